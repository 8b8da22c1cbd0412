package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"testing"

	"tailscale.com/tsnet"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/tailnet"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/tailnet/acmetest"
)

func TestTLSAndFunnelWithCertificatesThatEnd(t *testing.T) {
	lab, _ := startLab(t, "-upstreams", "0", "-funnel", "-acme-server", acmetest.Program(t), "-certificate-lifetime", "6s")
	t.Setenv("TS_DEBUG_ACME_DIRECTORY_URL", lab.ACMEDirectoryURL)
	t.Setenv("SSL_CERT_FILE", lab.ACMERootFile)
	t.Cleanup(http.DefaultClient.CloseIdleConnections) // of the node's calls to the ACME server
	node := &tsnet.Server{Dir: t.TempDir(), Hostname: "photos", ControlURL: lab.ControlURL, UserLogf: func(string, ...any) {}}
	t.Cleanup(func() { node.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	// Or ListenFunnel would wait for it without an end.
	if _, err := node.Up(ctx); err != nil {
		t.Fatal(err)
	}
	listener, err := node.ListenFunnel("tcp", ":443")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "photo wall") })}
	go server.Serve(listener)
	t.Cleanup(func() { server.Close() })

	pem, err := os.ReadFile(lab.ACMERootFile)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	onTailnet := throughProxy(t, lab)
	onTailnet.Transport.(*http.Transport).TLSClientConfig = &tls.Config{RootCAs: roots}
	onInternet := &http.Client{Timeout: patience, Transport: &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, lab.Funnel[443])
		},
		TLSClientConfig:   &tls.Config{RootCAs: roots},
		DisableKeepAlives: true,
	}}
	// A visitor may come just when the certificate ends: the next one is served by then.
	serials := map[string]bool{}
	visit := func(client *http.Client) bool {
		response, err := client.Get("https://photos.tail-lab.ts.net/")
		if err != nil {
			return false
		}
		defer response.Body.Close()
		if body, err := io.ReadAll(response.Body); err != nil || string(body) != "photo wall" {
			t.Fatalf("the page is %q %v", body, err)
		}
		serials[hex.EncodeToString(response.TLS.PeerCertificates[0].SerialNumber.Bytes())] = true
		return true
	}
	await(t, "an answer on the tailnet", func() bool { return visit(onTailnet) })
	await(t, "an answer on the internet", func() bool { return visit(onInternet) })
	await(t, "another certificate", func() bool { return visit(onTailnet) && len(serials) > 1 })

	var orders []tailnet.Order
	_, body := get(t, lab.AdminURL+"/lab/orders")
	if err := json.Unmarshal([]byte(body), &orders); err != nil {
		t.Fatal(err)
	}
	for _, order := range orders {
		delete(serials, order.Serial)
	}
	if len(serials) > 0 || len(orders) < 2 || orders[0].Names[0] != "photos.tail-lab.ts.net" {
		t.Errorf("orders: %+v; certificates that none of them is for: %v", orders, serials)
	}
}
