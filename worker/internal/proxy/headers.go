package proxy

import (
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
)

// claimed are the headers by which a proxy tells of the client. What the client itself says there is not believed.
// A name ending in "-" stands for all that begin with it.
var claimed = []string{"Forwarded", "X-Forwarded-", "X-Real-Ip", "X-Scheme", identityPrefix}

const identityPrefix = "X-Tailscale-"

// rewriter makes the request for the upstream, in the order of arsfeld/tsnsrv (its proxy.go): path, forwarded headers, the
// operator's headers, identity last so that nothing can stand in for it.
func rewriter(config Config, target *url.URL) func(*httputil.ProxyRequest) {
	return func(r *httputil.ProxyRequest) {
		r.Out.URL.RawQuery = r.In.URL.RawQuery // ReverseProxy drops what Go cannot parse, such as a;b
		r.SetURL(target)
		if r.In.URL.Path == "" {
			r.Out.URL.Path = target.Path
		}
		removeClaims(r.Out.Header)
		r.SetXForwarded()
		if config.Spec.RecommendedProxyHeaders {
			setRecommended(r)
		}
		for name, value := range config.Spec.UpstreamHeaders {
			r.Out.Header.Set(name, value)
		}
		removeMatching(r.Out.Header, identityPrefix)
		if config.Spec.Whois {
			setIdentity(r, config)
		}
	}
}

// setRecommended adds what recommendedProxyHeaders stands for, and keeps the Host that the client asked for.
func setRecommended(r *httputil.ProxyRequest) {
	scheme := "http"
	if r.In.TLS != nil {
		scheme = "https"
	}
	r.Out.Host = r.In.Host
	r.Out.Header.Set("X-Scheme", scheme)
	if ip, _, err := net.SplitHostPort(r.In.RemoteAddr); err == nil {
		r.Out.Header.Set("X-Real-Ip", ip)
	}
	host, port, err := net.SplitHostPort(r.In.Host)
	if err != nil {
		r.Out.Header.Set("X-Forwarded-Server", r.In.Host)
		return
	}
	r.Out.Header.Set("X-Forwarded-Server", host)
	r.Out.Header.Set("X-Forwarded-Port", port)
}

func removeClaims(header http.Header) {
	for _, name := range claimed {
		removeMatching(header, name)
	}
}

// removeMatching takes underscores for dashes: CGI-like upstreams do so too, and X_Tailscale_User would be the same to them.
func removeMatching(header http.Header, pattern string) {
	for name := range header {
		plain := name
		if strings.Contains(name, "_") {
			plain = http.CanonicalHeaderKey(strings.ReplaceAll(name, "_", "-"))
		}
		if plain == pattern || strings.HasSuffix(pattern, "-") && strings.HasPrefix(plain, pattern) {
			delete(header, name)
		}
	}
}
