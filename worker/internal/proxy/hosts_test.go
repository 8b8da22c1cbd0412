package proxy

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/protocol"
)

func TestHosts(t *testing.T) {
	for host, want := range map[string]struct{ name, port string }{
		"web":                    {"web", ""},
		"WEB.Example.TS.net.:80": {"web.example.ts.net", "80"},
		"web:":                   {"web", ""},
		"100.64.0.1:8080":        {"100.64.0.1", "8080"},
		"[FD7A::1]":              {"fd7a::1", ""},
		"[fd7a::1]:443":          {"fd7a::1", "443"},
		"":                       {},
		":80":                    {},
		".":                      {},
		"web:http":               {},
		"web:0":                  {},
		"web:65536":              {},
		"web:80:80":              {},
		"fd7a::1":                {},
		"[fd7a::1":               {},
		"[fd7a::1]80":            {},
		"we\u212a":               {},           // the Kelvin sign is a k in lower case
		"web..":                  {"web.", ""}, // nobody's name
	} {
		name, port, ok := splitHost(host)
		if ok != (want.name != "") || ok && (name != want.name || port != want.port) {
			t.Errorf("%q: %q %q %v", host, name, port, ok)
		}
	}
}

func TestOnlyItsOwnNamesAreServed(t *testing.T) {
	asked := 0
	auth := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked++ }))
	t.Cleanup(auth.Close)
	spec := protocol.ProxySpec{
		Upstream: echo(t).URL, RecommendedProxyHeaders: true, Hostnames: []string{"photos.example.org", "*.apps.example.org"}, WhoisTimeoutMs: 1000,
		Allow:       []protocol.AccessRule{{Path: "/nobody", Kind: protocol.AccessRuleKindLogin, Value: "nobody@example.com"}},
		ForwardAuth: &protocol.ForwardAuthSpec{URL: auth.URL, TimeoutMs: 5000, PassPaths: []string{"/passed"}},
	}
	own := []string{"web", "web.example.ts.net", "WEB.example.ts.net.", "web.example.ts.net:8080", "127.0.0.1", "[::1]:80",
		"photos.example.org", "Photos.Example.org.:81", "a.apps.example.org", "a.b.apps.example.org:443"}
	foreign := []string{"evil.example", "evil.example:80", "web.example.ts.net.evil.example", "evilweb.example.ts.net", "other.example.ts.net",
		"100.64.0.99", "[::2]", "localhost", "xphotos.example.org", "apps.example.org", "xapps.example.org"}
	for _, over := range everyReach(t) {
		t.Run(over.name, func(t *testing.T) {
			f := serveOver(t, over, spec, over.whoIs)
			clients := map[string]*http.Client{"HTTP/1.1": f.client}
			if over.isSecure() {
				clients["HTTP/2"] = f.http2()
			}
			for protocol, client := range clients {
				f.client = client
				for _, host := range own {
					response, dump := f.send(http.MethodGet, "/", http.Header{"Host": {host}})
					if response.StatusCode != http.StatusOK || !strings.Contains(dump, "\r\nHost: "+host+"\r\n") {
						t.Errorf("%s for %s: %s\n%s", protocol, host, response.Status, dump)
					}
				}
				asked = 0
				for _, host := range foreign {
					for _, path := range []string{"/", "/nobody", "/passed"} { // before access rules and forward auth, and before what these let pass
						response, dump := f.send(http.MethodGet, path, http.Header{"Host": {host}})
						if response.StatusCode != http.StatusMisdirectedRequest {
							t.Errorf("%s for %s%s: %s\n%s", protocol, host, path, response.Status, dump)
						}
					}
				}
				if asked != 0 {
					t.Errorf("the auth server was asked %d times about other names", asked)
				}
			}
			if got, want := f.counters.misdirected.Load(), uint64(len(clients)*len(foreign)*3); got != want || f.counters.denied.Load() != 0 {
				t.Errorf("counted %d as misdirected, want %d; %d as denied", got, want, f.counters.denied.Load())
			}
			for request, want := range map[string]int{
				"GET / HTTP/1.0\r\n\r\n":                                                      http.StatusMisdirectedRequest,
				"GET / HTTP/1.0\r\nHost: web\r\n\r\n":                                         http.StatusOK,
				"GET / HTTP/1.1\r\nHost:\r\nConnection: close\r\n\r\n":                        http.StatusMisdirectedRequest,
				"GET http://evil.example/ HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n": http.StatusMisdirectedRequest,
				"GET http://web/ HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n": http.StatusOK,
				"GET / HTTP/1.0\r\nHost: web@evil.example\r\n\r\n":                            http.StatusBadRequest,
				"GET / HTTP/1.0\r\nHost: web:x\r\n\r\n":                                       http.StatusMisdirectedRequest,
			} {
				if response := f.raw(request); response.StatusCode != want {
					t.Errorf("%q: %s", request, response.Status)
				}
			}
		})
	}
}

func TestForeignNamesAreLoggedOnce(t *testing.T) {
	f := serve(t, protocol.ProxySpec{Upstream: echo(t).URL}, nil)
	for range 2 {
		for i := range 3 * mostForeignNames {
			f.send(http.MethodGet, "/", http.Header{"Host": {fmt.Sprintf("%d.evil.example", i)}})
		}
		f.send(http.MethodGet, "/", http.Header{"Host": {strings.Repeat("x", 10_000)}})
	}
	log := f.log.String()
	if got := strings.Count(log, "level=WARN"); got != mostForeignNames+1 || strings.Count(log, "hostnames:") != got {
		t.Errorf("%d lines:\n%s", got, log)
	}
	if !strings.Contains(log, "host=3.evil.example") || strings.Count(log, "still more names") != 1 {
		t.Errorf("log:\n%s", log)
	}
}

// By the name that it is told, the auth server decides whose rules apply.
func TestTheAuthServerIsToldTheCanonicalName(t *testing.T) {
	told := make(chan http.Header, 1)
	auth := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		r.Header.Set("Host", r.Host)
		told <- r.Header
	}))
	t.Cleanup(auth.Close)
	spec := protocol.ProxySpec{
		Upstream: echo(t).URL, Hostnames: []string{"photos.example.org"},
		ForwardAuth: &protocol.ForwardAuthSpec{URL: auth.URL, TimeoutMs: 5000, PassPaths: []string{"/passed"}},
	}
	for _, over := range everyReach(t) {
		t.Run(over.name, func(t *testing.T) {
			f := serveOver(t, over, spec, over.whoIs)
			scheme, implied := "http", ":80"
			if over.isSecure() {
				scheme, implied = "https", ":443"
			}
			for host, want := range map[string]string{
				"WEB": ownName, "web.Example.ts.net.": ownName, "127.0.0.1": ownName, "[::1]": ownName, "web" + implied: ownName, "web:8443": ownName + ":8443",
				"Photos.example.org.": "photos.example.org", "photos.example.org:81": "photos.example.org:81",
			} {
				f.send(http.MethodGet, "/x", http.Header{"Host": {host}})
				if header := receive(t, told, "the question"); header.Get("X-Forwarded-Host") != want || header.Get("X-Original-Url") != scheme+"://"+want+"/x" {
					t.Errorf("%s: told %v", host, header)
				}
				f.send(http.MethodGet, "/passed", http.Header{"Host": {host}})
				if header := receive(t, told, "the page"); header.Get("X-Forwarded-Host") != want || header.Get("Host") != want {
					t.Errorf("%s, passed: told %v", host, header)
				}
			}
		})
	}
}
