package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"time"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/tailnet"
)

// proxy is an HTTP proxy into the tailnet: curl --proxy, a browser's proxy setting. It takes a CONNECT to any port of a
// service, so that TLS is between client and service, and anything else than HTTP finds its way too.
type proxy struct {
	member *tailnet.Member
	plain  *httputil.ReverseProxy
}

func newProxy(member *tailnet.Member, transport http.RoundTripper) *proxy {
	return &proxy{member: member, plain: passTo(transport, func(r *http.Request) string { return r.Host }, serveUnreachable)}
}

func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.Method == http.MethodConnect:
		p.tunnel(w, r)
	case r.URL.IsAbs():
		p.plain.ServeHTTP(w, r)
	default:
		http.Error(w, "this is an HTTP proxy: name it as such (curl --proxy), and ask for the service's own URL", http.StatusBadRequest)
	}
}

func (p *proxy) tunnel(w http.ResponseWriter, r *http.Request) {
	service, err := p.member.Dial(r.Context(), "tcp", r.Host)
	if err != nil {
		serveUnreachable(w, r, err)
		return
	}
	client, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		service.Close()
		serveUnreachable(w, r, err)
		return
	}
	// A client that went away is noticed by the first byte for it.
	_, _ = client.Write([]byte("HTTP/1.1 200 Connection established\r\n\r\n"))
	// Not by the server's reader beyond what it holds: at its end it cancels the request, with an answer still on its way.
	early, _ := buffered.Peek(buffered.Reader.Buffered())
	sent := io.MultiReader(bytes.NewReader(early), client)
	tailnet.Pipe(r.Context(), tailnet.Replayed{Conn: client, Reader: sent}, service)
}

func serveUnreachable(w http.ResponseWriter, r *http.Request, err error) {
	http.Error(w, fmt.Sprintf("%s does not answer: %v", r.Host, err), http.StatusBadGateway)
}

// newTransport keeps connections to services for later requests. The caller closes those that are idle at the end.
func newTransport(member *tailnet.Member) *http.Transport {
	return &http.Transport{
		DialContext:         member.Dial,
		MaxIdleConns:        1024,
		MaxIdleConnsPerHost: 64,
		IdleConnTimeout:     30 * time.Second,
		DisableCompression:  true,
	}
}

// passTo hands requests on to the host that target names, under that name, with the headers that the client sent.
func passTo(
	transport http.RoundTripper, target func(*http.Request) string, failed func(http.ResponseWriter, *http.Request, error),
) *httputil.ReverseProxy {
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme = "http"
			r.Out.URL.Host = target(r.In)
			r.Out.Host = r.Out.URL.Host // services answer for their own names only
			// Rewrite has dropped these; who stands for a plain client passes on what the client claims.
			for _, name := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"} {
				if values, sent := r.In.Header[name]; sent {
					r.Out.Header[name] = values
				}
			}
		},
		Transport:     transport,
		FlushInterval: -1,
		ErrorHandler:  failed,
	}
}
