package proxy

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/protocol"
)

// With nosniff, a type that is made up keeps style sheets from being used, and turns an upload into a page that runs scripts.
func TestNoContentTypeIsMadeUp(t *testing.T) {
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header()["Content-Type"] = nil
		if r.URL.Path == "/typed" {
			w.Header().Set("Content-Type", "text/css")
		}
		if r.URL.Path == "/hinted" {
			w.WriteHeader(http.StatusEarlyHints) // ReverseProxy clears the header after it
		}
		_, _ = w.Write([]byte("<html><script>"))
	}))
	t.Cleanup(upstream.Close)
	auth := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Forwarded-Uri") == "/denied" {
			w.Header()["Content-Type"] = nil
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = w.Write([]byte("<html>"))
		}
	}))
	t.Cleanup(auth.Close)
	for _, over := range everyReach(t) {
		t.Run(over.name, func(t *testing.T) {
			f := serveOver(t, over, protocol.ProxySpec{Upstream: upstream.URL, ForwardAuth: &protocol.ForwardAuthSpec{URL: auth.URL, TimeoutMs: 5000}}, over.whoIs)
			clients := []*http.Client{f.client}
			if over.isSecure() {
				clients = append(clients, f.http2())
			}
			for _, client := range clients {
				f.client = client
				for path, want := range map[string]string{"/": "", "/hinted": "", "/typed": "text/css", "/denied": ""} {
					response, _ := f.send(http.MethodGet, path, nil)
					if got := response.Header["Content-Type"]; len(got) > 0 && got[0] != want || len(got) == 0 && want != "" {
						t.Errorf("%s %s: %q, want %q", response.Proto, path, got, want)
					}
				}
			}
		})
	}
}
