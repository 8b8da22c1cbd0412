package proxy

import (
	"cmp"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/protocol"
)

// answersWith is an upstream that answers everything with one status, header and body.
func answersWith(t *testing.T, status int, header http.Header, body string) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for name, values := range header {
			w.Header()[name] = []string{strings.ReplaceAll(values[0], "<host>", r.Host)}
		}
		w.WriteHeader(status)
		fmt.Fprint(w, body)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

const (
	ownPage   = "http://" + ownName
	s3Refuses = `<Error><Code>SignatureDoesNotMatch</Code></Error>`
)

var (
	form      = http.Header{"Host": {ownName}, "Origin": {ownPage}}
	webSocket = http.Header{
		"Host": {ownName}, "Origin": {ownPage}, "Connection": {"Upgrade"}, "Upgrade": {websocketProtocol},
		"Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"AAAAAAAAAAAAAAAAAAAAAA=="},
	}
	signed = http.Header{"Host": {ownName}, "Authorization": {"AWS4-HMAC-SHA256 Credential=A/20261130/us-east-1/s3/aws4_request, SignedHeaders=host;x-amz-date, Signature=0"}}
)

func location(to string) http.Header { return http.Header{"Location": {to}} }

// Symptoms of an upstream that takes its own clients for others are named with the key that cures them.
func TestSymptomsAreNamed(t *testing.T) {
	for _, c := range []struct {
		name, method string
		path         string
		asked        http.Header
		status       int
		answered     http.Header
		body         string
		keepsHost    bool
		want         string // in the log; nothing: an application that works, or that cannot be judged
	}{
		{name: "to its own address", status: 302, answered: location("http://<host>/login"), want: "redirects clients to its own address"},
		{name: "to its own address, by https", status: 308, answered: location("https://<host>/"), want: "redirects clients to its own address"},
		{name: "to the service", status: 302, answered: location("http://" + ownName + "/login")},
		{name: "to the host that was kept", status: 302, answered: location("http://<host>/login"), keepsHost: true},
		{name: "by a path", status: 302, answered: location("/login")},
		{name: "elsewhere", status: 302, answered: location("https://login.example/")},
		{name: "to another port of its host", status: 302, answered: location("http://127.0.0.1:1/")},
		{name: "created at its own address", status: 201, answered: location("http://<host>/1")},

		{name: "Django's host", status: 400, body: "<h1>Bad Request (400)</h1><p></p>", want: "refuses the name that it is sent"},
		{name: "Starlette's host", status: 400, body: "Invalid host header", want: "refuses the name that it is sent"},
		{name: "Vite's host", status: 403, body: `Blocked request. This host ("x") is not allowed.`, want: "refuses the name that it is sent"},
		{name: "Syncthing's host", status: 403, body: "Host check error", keepsHost: true, want: "remove recommendedProxyHeaders"},
		{name: "some bad request", status: 400, body: "no such field"},
		{name: "some denial", status: 403, body: "you may not host meetings"},

		{name: "a WebSocket", asked: webSocket, status: 403, want: "refuses a WebSocket of its own pages"},
		{name: "a WebSocket, with Host", asked: webSocket, status: 403, keepsHost: true},
		{name: "a WebSocket without login", asked: webSocket, status: 401},
		{name: "another site's WebSocket", asked: with(webSocket, "Origin", "https://evil.example"), status: 403},

		{name: "Django's form", method: "POST", asked: form, status: 403, body: "<p>CSRF verification failed. Request aborted.</p>", want: "refuses a form of its own pages"},
		{name: "Go's form", method: "POST", asked: form, status: 403, body: "cross-origin request detected", want: "refuses a form of its own pages"},
		{name: "a form that is not allowed", method: "POST", asked: form, status: 403, body: "you may not do this"},
		{name: "a form, with Host", method: "POST", asked: form, status: 403, body: "cross-origin request detected", keepsHost: true},
		{name: "another site's form", method: "POST", asked: with(form, "Origin", "https://evil.example"), status: 403, body: "cross-origin request detected"},
		{name: "a page", asked: form, status: 403, body: "cross-origin request detected"},

		{name: "S3", asked: signed, status: 403, body: s3Refuses, want: "refuses signatures"},
		{name: "S3, what is not allowed", asked: signed, status: 403, body: "<Error><Code>AccessDenied</Code></Error>"},
		{name: "S3, a wrong secret", asked: signed, status: 403, body: s3Refuses, keepsHost: true},
		{name: "S3, unsigned", status: 403, body: s3Refuses},
		{name: "S3, presigned", path: "/b/k?X-Amz-SignedHeaders=host&X-Amz-Signature=0", status: 403, body: s3Refuses, want: "refuses signatures"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := serve(t, protocol.ProxySpec{Upstream: answersWith(t, c.status, c.answered, c.body), RecommendedProxyHeaders: c.keepsHost, Upgrades: []string{websocketProtocol}}, nil)
			f.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
			if c.asked == nil {
				c.asked = http.Header{"Host": {ownName}}
			}
			for range 3 {
				if response, body := f.send(c.method, cmp.Or(c.path, "/"), c.asked); response.StatusCode != c.status || body != c.body {
					t.Fatalf("%s %q", response.Status, body)
				}
			}
			log := f.log.String()
			if got := strings.Count(log, "level=WARN"); c.want == "" && got != 0 || c.want != "" && (got != 1 || !strings.Contains(log, c.want) || !strings.Contains(log, "remedy=")) {
				t.Errorf("want %q once, got\n%s", c.want, log)
			}
		})
	}
}

func with(header http.Header, name, value string) http.Header {
	header = header.Clone()
	header.Set(name, value)
	return header
}

// Whatever an application refuses that has taken the like before, it refuses for another reason.
func TestAnApplicationThatWorksHasNoSymptoms(t *testing.T) {
	refuses := false
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case refuses:
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprint(w, s3Refuses, "cross-origin request detected", "invalid host header")
		case r.Header.Get("Upgrade") != "":
			w.Header().Set("Connection", "Upgrade")
			w.Header().Set("Upgrade", websocketProtocol)
			w.Header().Set("Sec-Websocket-Accept", acceptOf(r.Header.Get("Sec-Websocket-Key")))
			w.WriteHeader(http.StatusSwitchingProtocols)
		}
	}))
	t.Cleanup(upstream.Close)
	f := serve(t, protocol.ProxySpec{Upstream: upstream.URL, Upgrades: []string{websocketProtocol}}, nil)
	for _, refuses = range []bool{false, true} {
		f.send(http.MethodPost, "/", form)
		f.send(http.MethodGet, "/", signed)
		f.upgrade(webSocket)
	}
	if log := f.log.String(); strings.Contains(log, "level=WARN") {
		t.Error(log)
	}
}

// upgrade asks for another protocol, and hangs up whatever the answer.
func (f *front) upgrade(header http.Header) {
	f.Helper()
	conn, err := f.dialFront(f.Context())
	if err != nil {
		f.Fatal(err)
	}
	defer conn.Close()
	request, err := http.NewRequest(http.MethodGet, f.url, nil)
	if err != nil {
		f.Fatal(err)
	}
	request.Host, request.Header = header.Get("Host"), header
	if err := request.Write(conn); err != nil {
		f.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 1)); err != nil {
		f.Fatal(err)
	}
}

func TestAWrongSchemeIsNamed(t *testing.T) {
	secure := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(secure.Close)
	plain := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(plain.Close)
	_, securePort, _ := strings.Cut(secure.URL, "://")
	_, plainPort, _ := strings.Cut(plain.URL, "://")
	grpc := python(t, "grpc", "app.py", "serve")
	for _, c := range []struct{ upstream, want string }{
		{"http://" + alerting(t), "it wants TLS: let upstream: begin with https://"},
		{"http://" + securePort, "let upstream: begin with https://"},
		{"https://" + plainPort, "it speaks HTTP/1.1 without TLS: let upstream: begin with http://"},
		{"h2c://" + plainPort, "let upstream: begin with http://"}, // its answer, or its end, is seen first
		{"http://" + grpc, "it speaks HTTP/2 without TLS: let upstream: begin with h2c://"},
	} {
		f := serve(t, protocol.ProxySpec{Upstream: c.upstream}, nil)
		// What such an upstream says may come before the request is sent, and is lost then.
		named := func() bool {
			f.send(http.MethodGet, "/", nil)
			return strings.Contains(f.log.String(), c.want)
		}
		await(t, named)
	}
}

// alerting is a TLS server that answers what is no TLS with an alert, as OpenSSL does.
func alerting(t *testing.T) string {
	return upstreamOf(t, func(conn *net.TCPConn) {
		_, _ = conn.Read(make([]byte, 4096)) // all of the request, or the answer is lost by a reset
		_, _ = conn.Write([]byte{21, 3, 1, 0, 2, 2, byte(tls.AlertError(70))})
	}).Addr().String()
}

// What a server says to a request that is still being sent is lost, as often as not. A call of gRPC is known all the same.
func TestGRPCWithoutHTTP2IsNamed(t *testing.T) {
	call := http.Header{"Content-Type": {"application/grpc"}, "Te": {"trailers"}}
	grpc := python(t, "grpc", "app.py", "serve")
	for range 20 {
		f := serve(t, protocol.ProxySpec{Upstream: "http://" + grpc}, nil)
		request, err := http.NewRequest(http.MethodPost, f.url+"/echo.Echo/Unary", io.MultiReader(strings.NewReader("\x00\x00\x00\x00\x02hi")))
		if err != nil {
			t.Fatal(err)
		}
		request.Header = call
		response, err := f.client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if trouble, _ := f.trouble.Load("upstream"); !strings.Contains(fmt.Sprint(trouble), "let upstream: begin with h2c://") {
			t.Fatalf("its health is %v", trouble)
		}
	}
	f := serve(t, protocol.ProxySpec{Upstream: "http://127.0.0.1:1"}, nil)
	f.send(http.MethodPost, "/echo.Echo/Unary", call)
	if log := f.log.String(); strings.Contains(log, "remedy") || !strings.Contains(log, "connection refused") {
		t.Error(log)
	}
}
