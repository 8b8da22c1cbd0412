package proxy

import (
	"context"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// mostForeignNames is how many names a service was asked for in vain are logged. Clients make them up.
const mostForeignNames = 20

// OwnNames serves what is asked of the service by one of its names, and answers 421 to the rest, as Proxy itself does.
func (d *Door) OwnNames(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d.current.Load().ownNames(next).ServeHTTP(w, r)
	})
}

// ownNames lets through what is asked of the service by one of its names. Anybody can point a name at the address of a node:
// by such a name a page of somebody else would be the same site as the service to a browser, and read it as its visitor. And
// some upstreams build links and choose sites by the name.
func (p *Proxy) ownNames(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, ok := p.nameOf(r.Context(), r.Host); !ok {
			p.config.Counters.misdirected.Add(1)
			p.foreign.log(p.config, r)
			http.Error(w, "421 Misdirected Request: no service with this name is available here", http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// nameOf gives the name that a Host is about, in the form that is used towards others: a name or address of the node becomes
// its full name. Not ok: it is none of the service's.
func (p *Proxy) nameOf(ctx context.Context, text string) (name string, ok bool) {
	host, _, ok := splitHost(text)
	if !ok {
		return "", false
	}
	if name, ok := p.config.Canonical(ctx, host); ok {
		return name, true
	}
	return host, slices.ContainsFunc(p.config.Spec.Hostnames, func(pattern string) bool {
		labels, isPattern := strings.CutPrefix(pattern, "*")
		return host == pattern || isPattern && len(host) > len(labels) && strings.HasSuffix(host, labels)
	})
}

// hostFor is what the auth server is told of the host: the name, with the port unless that goes without saying.
func (p *Proxy) hostFor(r *http.Request) (host string, ok bool) {
	name, ok := p.nameOf(r.Context(), r.Host)
	if !ok {
		return "", false
	}
	_, port, _ := splitHost(r.Host)
	if port == "" || port == "443" && r.TLS != nil || port == "80" && r.TLS == nil {
		return name, true
	}
	return net.JoinHostPort(name, port), true
}

// splitHost reads a Host: the name in lower case, without the dot at its end, and the port. Letters other than ASCII's are none
// of a host name's, and some of them become one in lower case.
func splitHost(text string) (host, port string, ok bool) {
	if rest, isIPv6 := strings.CutPrefix(text, "["); isIPv6 {
		host, port, ok = strings.Cut(rest, "]")
		if !ok || port != "" && port[0] != ':' {
			return "", "", false
		}
		port = strings.TrimPrefix(port, ":")
	} else {
		host, port, _ = strings.Cut(text, ":")
		host = strings.TrimSuffix(host, ".")
	}
	if number, err := strconv.ParseUint(port, 10, 16); port != "" && (err != nil || number == 0) {
		return "", "", false
	}
	if strings.ContainsFunc(host, func(c rune) bool { return c > '~' }) {
		return "", "", false
	}
	return strings.ToLower(host), port, host != ""
}

// foreignNames are names that a service was asked for and does not have.
type foreignNames struct {
	mu   sync.Mutex
	seen map[string]struct{}
}

// log writes one line for each name, up to a bound. Whoever relied on such a name learns from it what to do.
func (f *foreignNames) log(config Config, r *http.Request) {
	host := r.Host[:min(len(r.Host), longestName)]
	f.mu.Lock()
	_, known := f.seen[host]
	count := len(f.seen)
	if !known && count <= mostForeignNames {
		if f.seen == nil {
			f.seen = map[string]struct{}{}
		}
		f.seen[host] = struct{}{}
	}
	f.mu.Unlock()
	const remedy = "add the name to hostnames: if the service is to answer for it"
	switch {
	case known || count > mostForeignNames:
	case count == mostForeignNames:
		config.Log.Warn("requests for still more names that are not this service's are answered 421; they are only counted from now on", "remedy", remedy)
	default:
		config.Log.Warn("requests for a name that is not this service's are answered 421", "host", host, "peer", r.RemoteAddr, "remedy", remedy)
	}
}

// longestName is that of DNS.
const longestName = 253
