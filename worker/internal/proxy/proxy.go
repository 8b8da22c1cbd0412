// Package proxy is the way of a request: from a connection on the tailnet, through a chain of small handlers, to the
// upstream of the service. It knows nothing of nodes or of the supervisor; what it needs of them comes as functions.
package proxy

import (
	"context"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"sync"
	"time"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/access"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/forwardauth"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/limit"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/prefix"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/protocol"
)

// Config is what the handler of one service is made of.
type Config struct {
	Service  string
	Spec     protocol.ProxySpec
	Upstream *Upstream

	// Canonical gives the full name of the node for a name or address that it has, in lower case and without port, and for a
	// name that one of its certificates is for, that name. Not ok: it has none of them.
	Canonical func(ctx context.Context, host string) (name string, ok bool)

	Counters *Counters
	Limits   *limit.Limits
	Backends Backends

	// Log takes what goes wrong with requests. Clients cause it, so it has to bound what it writes.
	Log       *slog.Logger
	AccessLog *slog.Logger
}

// flushInterval is for bodies of known length that trickle in. Event streams, and all bodies of unknown length, ReverseProxy
// flushes at once by itself; asking it to do so for every body costs a packet per response, as the header then goes alone.
const flushInterval = 50 * time.Millisecond

// Proxy is the handler of one service. A link of the chain that a service does not ask for is not in it.
type Proxy struct {
	http.Handler
	config   Config
	clients  *identities
	rules    *access.Rules      // nil: anybody may use everything, as below
	prefixes *prefix.Prefixes   // nil: it answers on all paths
	guard    *forwardauth.Guard // nil: nobody is asked
	foreign  foreignNames

	diagnosis diagnosis
}

// New makes the chain, from the outside in: measure -> refuse other names -> limit clients -> refuse what is no proxying ->
// ignore upgrades -> limit bodies -> access rules -> forward auth -> prefixes -> rewrite -> upstream. There is no ServeMux in
// it, which would redirect //x and /a/../b before the upstream sees them.
func New(config Config) (*Proxy, error) {
	spec := config.Spec
	target, err := targetOf(spec)
	if err != nil {
		return nil, err
	}
	if speaksH2C(spec) {
		spec.Upgrades, config.Spec.Upgrades = nil, nil // HTTP/2 has none
	}
	p := &Proxy{config: config, clients: newIdentities(config)}
	if len(spec.Allow) > 0 {
		if p.rules, err = access.New(spec.Allow); err != nil {
			return nil, err
		}
	}
	if len(spec.Prefixes) > 0 {
		p.prefixes = prefix.New(spec.Prefixes, spec.StripPrefix)
	}
	if p.guard, err = p.newGuard(); err != nil {
		return nil, err
	}
	var chain http.Handler = &httputil.ReverseProxy{
		Rewrite:        rewriter(config, target, p.clients),
		Transport:      config.Upstream,
		ModifyResponse: p.respond,
		ErrorHandler:   failureHandler(config),
		FlushInterval:  flushInterval,
		BufferPool:     buffers,
		ErrorLog:       log.New(io.Discard, "", 0), // aborted copies, which measure sees as well
	}
	if removed := spec.RemoveResponseHeaders; len(removed) > 0 {
		proxied := chain
		chain = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { proxied.ServeHTTP(&informational{w, removed}, r) })
	}
	chain = ignoreUpgrades(spec.Upgrades, limitBody(config, p.guarded(chain)))
	p.Handler = measure(config, p.ownNames(limitClients(config, refuseConnect(chain))))
	return p, nil
}

// Close ends idle connections to the auth server.
func (p *Proxy) Close() {
	if p.guard != nil {
		p.guard.Close()
	}
}

// refuseConnect keeps the service from being asked to tunnel to somewhere else, and about no path at all (OPTIONS *).
func refuseConnect(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodConnect {
			http.Error(w, "405 Method Not Allowed: this server is not a forward proxy", http.StatusMethodNotAllowed)
			return
		}
		if r.RequestURI == "*" {
			http.Error(w, "400 Bad Request: the request target must be a path", http.StatusBadRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// bufferPool lets all services copy bodies through the same few buffers.
type bufferPool struct{ pool sync.Pool }

const bufferBytes = 32 << 10

var buffers = &bufferPool{pool: sync.Pool{New: func() any { return new([bufferBytes]byte) }}}

func (b *bufferPool) Get() []byte       { return b.pool.Get().(*[bufferBytes]byte)[:] }
func (b *bufferPool) Put(buffer []byte) { b.pool.Put((*[bufferBytes]byte)(buffer)) }
