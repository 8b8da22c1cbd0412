package proxy

import (
	"maps"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/claim"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/protocol"
)

const (
	identityPrefix = "X-Tailscale-"
	mostAdded      = 4 + 4 + 11 // forwarded, recommended, identity
)

// rewriter makes the request for the upstream, in the order of arsfeld/tsnsrv (its proxy.go): path, forwarded headers, the
// operator's headers, identity last so that nothing can stand in for it.
//
// Values that are the same for many requests are put into the header as they are, as a slice of one: Set would make a new
// one for each. Nobody may append to a value of Out.
func rewriter(config Config, target *url.URL, clients *identities) func(*httputil.ProxyRequest) {
	operators, said := operatorsHeaders(config.Spec.UpstreamHeaders), newSaid(config.Spec)
	room := mostAdded + len(operators)
	return func(r *httputil.ProxyRequest) {
		r.Out.URL.RawQuery = r.In.URL.RawQuery // ReverseProxy drops what Go cannot parse, such as a;b
		r.SetURL(target)
		if r.In.URL.Path == "" {
			r.Out.URL.Path = target.Path
		}
		if r.Out.Trailer = r.In.Trailer; len(r.In.Trailer) > 0 { // one map, as its values are there only after the body
			r.Out.Body = said.trailers(r.In.Trailer, r.Out.Body)
		}
		r.Out.Header = said.headers(r.Out.Header, room)
		r.SetXForwarded()
		if config.Spec.StripPrefix {
			setStripped(r)
		}
		if config.Spec.RecommendedProxyHeaders {
			setRecommended(r)
		}
		maps.Copy(r.Out.Header, operators)
		if config.Spec.Whois {
			maps.Copy(r.Out.Header, clients.callerOf(r.In).headers)
		}
		replay(r.Out)
	}
}

// respond checks the response of the upstream, and changes it as the operator wants it.
func (p *Proxy) respond(response *http.Response) error {
	if response.StatusCode >= http.StatusInternalServerError {
		p.config.Counters.upstream5xx.Add(1)
		p.config.Backends.Upstream.Bad(errStatus(response.StatusCode))
	} else {
		p.config.Backends.Upstream.Good()
	}
	p.diagnose(response)
	endless := ""
	switch {
	case response.StatusCode == http.StatusSwitchingProtocols:
		if err := checkUpgrade(response); err != nil {
			return err
		}
		endless = strings.ToLower(response.Header.Get("Upgrade"))
	case isEventStream(response.Header):
		endless = eventStream
	}
	if endless != "" {
		if err := p.keep(response.Request, endless); err != nil {
			return err
		}
	}
	if removed := p.config.Spec.RemoveResponseHeaders; len(removed) > 0 {
		removeAll(response.Header, removed)
		removeAll(response.Trailer, removed)
		if response.StatusCode != http.StatusSwitchingProtocols {
			response.Body = &beforeEnd{response.Body, func() { removeAll(response.Trailer, removed) }}
		}
	}
	for name, value := range p.config.Spec.ResponseHeaders {
		response.Header.Set(name, value)
	}
	return nil
}

// isEventStream tells that a response goes on until somebody ends it.
func isEventStream(header http.Header) bool {
	return strings.HasPrefix(header.Get("Content-Type"), "text/event-stream")
}

// setStripped tells the upstream which part of the path it does not see, so that it can put it before its links.
func setStripped(r *httputil.ProxyRequest) {
	if prefix, ok := r.In.Context().Value(strippedKey{}).([]string); ok {
		r.Out.Header["X-Forwarded-Prefix"] = prefix
	}
}

var schemeHTTP, schemeHTTPS = []string{"http"}, []string{"https"}

// setRecommended adds what recommendedProxyHeaders stands for, and keeps the Host that the client asked for. It follows
// SetXForwarded, some of whose values are wanted under a second name.
func setRecommended(r *httputil.ProxyRequest) {
	out := r.Out.Header
	r.Out.Host = r.In.Host
	out["X-Scheme"] = schemeHTTP
	if r.In.TLS != nil {
		out["X-Scheme"] = schemeHTTPS
	}
	if ip, ok := out["X-Forwarded-For"]; ok {
		out["X-Real-Ip"] = ip
	}
	out["X-Forwarded-Server"] = out["X-Forwarded-Host"]
	if !strings.Contains(r.In.Host, ":") {
		return // most often; SplitHostPort would make an error to say so
	}
	if host, port, err := net.SplitHostPort(r.In.Host); err == nil {
		out.Set("X-Forwarded-Server", host)
		out.Set("X-Forwarded-Port", port)
	}
}

// operatorsHeaders are upstreamHeaders as they go into each request: all but those that would stand in for an identity, and
// Upgrade, which is for a client to ask.
func operatorsHeaders(spec protocol.ProxySpecUpstreamHeaders) http.Header {
	header := http.Header{}
	for name, value := range spec {
		if !strings.HasPrefix(claim.Folded(name), identityPrefix) && !strings.EqualFold(name, "Upgrade") {
			header.Set(name, value)
		}
	}
	return header
}
