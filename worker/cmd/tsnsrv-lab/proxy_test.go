package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// throughProxy is a client that sends everything by the lab's proxy, as curl --proxy does.
func throughProxy(t *testing.T, lab ready) *http.Client {
	t.Helper()
	proxyURL, err := url.Parse(lab.ProxyURL)
	if err != nil {
		t.Fatal(err)
	}
	return &http.Client{Timeout: patience, Transport: &http.Transport{Proxy: http.ProxyURL(proxyURL), DisableKeepAlives: true}}
}

func TestProxy(t *testing.T) {
	lab, _ := startLab(t, "-upstreams", "1")
	photos := publish(t, lab.ControlURL, "photos", lab.Upstreams[0])

	t.Run("CONNECT reaches a port that speaks no HTTP", func(t *testing.T) {
		listener, err := photos.Listen("tcp", ":7000")
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		go func() {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			defer conn.Close()
			// An answer that needs the end of the question: a proxy that does not pass it on leaves both waiting.
			question, _ := io.ReadAll(conn)
			fmt.Fprintf(conn, "%s?", question)
		}()
		conn, reader, status := connect(t, lab, "photos.tail-lab.ts.net:7000")
		if status != http.StatusOK {
			t.Fatalf("CONNECT: %d", status)
		}
		io.WriteString(conn, "anyone")
		conn.CloseWrite()
		if answer, err := io.ReadAll(reader); err != nil || string(answer) != "anyone?" {
			t.Errorf("through the tunnel came %q %v", answer, err)
		}
	})
	t.Run("plain HTTP under the service's own name", func(t *testing.T) {
		response, err := throughProxy(t, lab).Get("http://photos.tail-lab.ts.net/whoami")
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		if body, err := io.ReadAll(response.Body); err != nil || !strings.Contains(string(body), `"name":"photos"`) {
			t.Errorf("it answers %s %v", body, err)
		}
	})
	t.Run("a name that nobody has, by either way", func(t *testing.T) {
		if _, _, status := connect(t, lab, "nobody.tail-lab.ts.net:443"); status != http.StatusBadGateway {
			t.Errorf("CONNECT: %d", status)
		}
		response, err := throughProxy(t, lab).Get("http://nobody.tail-lab.ts.net/")
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		if body, _ := io.ReadAll(response.Body); response.StatusCode != http.StatusBadGateway || !strings.Contains(string(body), "no node named") {
			t.Errorf("GET: %d %s", response.StatusCode, body)
		}
	})
	t.Run("who takes it for a web server is told", func(t *testing.T) {
		if status, body := get(t, lab.ProxyURL); status != http.StatusBadRequest || !strings.Contains(body, "proxy") {
			t.Errorf("%d %s", status, body)
		}
	})
}

// connect asks the proxy for a tunnel and returns its end, which is closed with the test, and what to read of it.
func connect(t *testing.T, lab ready, address string) (*net.TCPConn, *bufio.Reader, int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", strings.TrimPrefix(lab.ProxyURL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(patience))
	fmt.Fprintf(conn, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n", address, address)
	reader := bufio.NewReader(conn)
	response, err := http.ReadResponse(reader, &http.Request{Method: http.MethodConnect})
	if err != nil {
		t.Fatal(err)
	}
	return conn.(*net.TCPConn), reader, response.StatusCode
}
