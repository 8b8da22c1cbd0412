package proxy

import (
	"net/http"
	"net/url"
)

// RedirectToHTTPS sends every request to the same path of https://address. That is the service's own name and not the Host of
// the request: a certificate is for the one, and the other is for the client to choose.
func RedirectToHTTPS(address func() string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := address()
		if host == "" {
			http.Error(w, "503 Service Unavailable: the service is starting; try again in a moment", http.StatusServiceUnavailable)
			return
		}
		target := url.URL{Scheme: "https", Host: host, Path: r.URL.Path, RawPath: r.URL.RawPath, RawQuery: r.URL.RawQuery}
		// 308 keeps method and body.
		http.Redirect(w, r, target.String(), http.StatusPermanentRedirect)
	})
}
