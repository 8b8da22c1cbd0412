package proxy

import (
	"context"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/connauth"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/origin"
)

// peer is what is remembered of one client connection.
type peer struct {
	origin     origin.Origin
	connection *connection // nil when it is not behind our Server
	door       *Door       // nil when nobody knows the connection
	login      connauth.Client

	mu     sync.Mutex // of who it is, so that only its first request asks
	caller caller
	since  time.Time // zero: not known

	visiting sync.Mutex // of the rest
	visits   map[*visit]struct{}
	endless  string      // what has begun on it that does not end by itself: the protocol of an upgrade, or eventStream
	recheck  *time.Timer // nil while nobody asks again who it is
}

// visit is a request that runs, as the rules see it.
type visit struct {
	url    *url.URL // nobody changes it
	host   string
	method string
}

// eventStream stands for a response that does not end by itself, beside the protocols of upgrades.
const eventStream = "an event stream"

type peerKey struct{}

// rememberPeer is the ConnContext of every server.
func rememberPeer(door *Door) func(context.Context, net.Conn) context.Context {
	return func(ctx context.Context, conn net.Conn) context.Context {
		p := &peer{connection: connectionOf(conn), visits: map[*visit]struct{}{}}
		if p.connection == nil {
			return context.WithValue(ctx, peerKey{}, p)
		}
		p.origin = p.connection.owner.origin
		if door != nil {
			p.door = door
			door.enter(p)
			p.connection.onClose(func() {
				door.leave(p)
				p.login.Close()
			})
			ctx = connauth.With(ctx, &p.login)
		}
		return context.WithValue(ctx, peerKey{}, p)
	}
}

func peerOf(r *http.Request) *peer {
	if known, ok := r.Context().Value(peerKey{}).(*peer); ok {
		return known
	}
	return &peer{} // not behind our Server
}

// begin notes that a request runs.
func (p *peer) begin(r *http.Request) *visit {
	v := &visit{url: r.URL, host: r.Host, method: r.Method}
	p.visiting.Lock()
	defer p.visiting.Unlock()
	if p.door != nil {
		p.visits[v] = struct{}{}
	}
	return v
}

// watch has it asked again every identityMaxAge who the client is, for as long as something runs.
func (p *peer) watch() {
	p.visiting.Lock()
	defer p.visiting.Unlock()
	if p.recheck == nil && p.door != nil {
		p.recheck = time.AfterFunc(identityMaxAge, p.checkAgain)
	}
}

func (p *peer) finish(v *visit) {
	p.visiting.Lock()
	defer p.visiting.Unlock()
	delete(p.visits, v)
	if len(p.visits) == 0 {
		p.endless = ""
	}
}

// stay notes that what begins now does not end by itself.
func (p *peer) stay(what string) {
	p.visiting.Lock()
	defer p.visiting.Unlock()
	p.endless = what
}

// running gives what runs on the connection.
func (p *peer) running() (visits []*visit, endless string) {
	p.visiting.Lock()
	defer p.visiting.Unlock()
	for v := range p.visits {
		visits = append(visits, v)
	}
	return visits, p.endless
}

// checkAgain asks anew who the client is, and ends what is not let in any more.
func (p *peer) checkAgain() {
	p.visiting.Lock()
	if len(p.visits) == 0 {
		p.recheck = nil
		p.visiting.Unlock()
		return
	}
	p.visiting.Unlock()
	p.mu.Lock()
	p.since = time.Time{}
	p.mu.Unlock()
	p.door.review(p, false)
	p.visiting.Lock()
	defer p.visiting.Unlock()
	if p.recheck != nil {
		p.recheck.Reset(identityMaxAge)
	}
}
