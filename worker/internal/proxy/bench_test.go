package proxy

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"testing"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/limit"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/protocol"
)

// The two benchmarks are one request on a connection that stays, through a proxy on loopback to a small answer. What the
// first takes more than the second is what this package costs; client and upstream, in the same process, are in both:
//
//	go test ./internal/proxy -run - -bench Proxy -benchmem -count 6
//
// BenchmarkProxy is the whole chain as a service has it by default, identity included.
func BenchmarkProxy(b *testing.B) {
	spec := protocol.ProxySpec{Upstream: smallAnswers(b), Whois: true, WhoisTimeoutMs: 1000, RecommendedProxyHeaders: true}
	limits := limit.New()
	counters := NewMetrics().Add("web", limits, noBackends())
	upstream, err := OpenUpstream(spec, hostDialer{}, limit.NewFiles().Join())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(upstream.Close)
	log := slog.New(slog.NewTextHandler(io.Discard, nil)) // at info, as a worker's
	handler, err := New(Config{Service: "web", Spec: spec, Upstream: upstream, Counters: counters, Limits: limits, Backends: noBackends(), Log: log, AccessLog: log,
		Canonical: func(_ context.Context, host string) (string, bool) { return host, true }})
	if err != nil {
		b.Fatal(err)
	}
	listener := listenLocally(b)
	door := NewDoor()
	door.Swap(handler)
	server := Serve(loopback.from(listener, alice), ServerConfig{Handler: door, Door: door, Counters: counters, Limits: limits})
	b.Cleanup(func() { server.Drain(context.Background()) })
	exchange(b, listener.Addr())
}

// BenchmarkBareReverseProxy is the least that proxying with the standard library costs.
func BenchmarkBareReverseProxy(b *testing.B) {
	target, err := url.Parse(smallAnswers(b))
	if err != nil {
		b.Fatal(err)
	}
	transport := &http.Transport{MaxIdleConnsPerHost: idlePerHost, DisableCompression: true}
	b.Cleanup(transport.CloseIdleConnections)
	listener := listenLocally(b)
	server := &http.Server{Handler: &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.SetXForwarded()
		},
		Transport: transport,
	}}
	go server.Serve(listener)
	b.Cleanup(func() { server.Close() })
	exchange(b, listener.Addr())
}

func smallAnswers(b *testing.B) string {
	answer := []byte("a small answer\n")
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(answer) }))
	b.Cleanup(server.Close)
	return server.URL
}

func listenLocally(b *testing.B) net.Listener {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	return listener
}

// exchange sends a request as a browser would and reads the answer, b.N times. The client allocates nothing.
func exchange(b *testing.B, address net.Addr) {
	client, err := net.Dial("tcp", address.String())
	if err != nil {
		b.Fatal(err)
	}
	defer client.Close()
	request := []byte("GET /path?query=1 HTTP/1.1\r\nHost: web.example\r\nUser-Agent: bench\r\nAccept: */*\r\n" +
		"Accept-Encoding: gzip\r\nAccept-Language: en\r\nCookie: session=1\r\n\r\n")
	answer := make([]byte, 4096)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := client.Write(request); err != nil {
			b.Fatal(err)
		}
		for got := 0; ; {
			n, err := client.Read(answer[got:])
			if err != nil {
				b.Fatal(err)
			}
			if got += n; answer[got-1] == '\n' && string(answer[got-len("answer\n"):got]) == "answer\n" {
				break
			}
		}
	}
}
