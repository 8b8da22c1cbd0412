package main

import (
	"crypto/tls"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"tailscale.com/net/stun"
)

func TestRelay(t *testing.T) {
	file := filepath.Join(t.TempDir(), "derp.yaml")
	p := startProgram(t, "relay", "-host", "127.0.0.2", "-derp-map", file)
	p.ready()
	written, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	value := func(key string) string {
		found := regexp.MustCompile(`(?m)^ +` + key + `: (.+)$`).FindSubmatch(written)
		if found == nil {
			t.Fatalf("no %s in\n%s", key, written)
		}
		return string(found[1])
	}

	conn, err := net.Dial("udp", net.JoinHostPort(value("stuntestip"), value("stunport")))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	transaction := stun.NewTxID()
	if _, err := conn.Write(stun.Request(transaction)); err != nil {
		t.Fatal(err)
	}
	packet := make([]byte, 1500)
	n, err := conn.Read(packet)
	if err != nil {
		t.Fatal(err)
	}
	if got, seen, err := stun.ParseResponse(packet[:n]); err != nil || got != transaction || seen.String() != conn.LocalAddr().String() {
		t.Errorf("STUN says %v to %v: %v", seen, conn.LocalAddr(), err)
	}

	// The certificate is its own, hence insecurefortests.
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	defer transport.CloseIdleConnections()
	response, err := transport.RoundTrip(mustRequest(t, "https://"+net.JoinHostPort(value("ipv4"), value("derpport"))+"/derp"))
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if value("hostname") != "127.0.0.2" || response.StatusCode != http.StatusUpgradeRequired {
		t.Errorf("DERP without an upgrade: %s from %s", response.Status, value("hostname"))
	}
}

func mustRequest(t *testing.T, url string) *http.Request {
	t.Helper()
	request, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	return request
}
