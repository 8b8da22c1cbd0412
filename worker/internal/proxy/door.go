package proxy

import (
	"context"
	"errors"
	"net/http"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
)

// Door is what the listeners of a service serve: its Proxy, which can change under connections that stay.
//
// It knows what runs, so that no decision outlives its reasons for long: a WebSocket, an event stream or a long download was
// let in by one request, and goes on for hours. What the rules of a new Proxy would not let in ends with the change; what they
// would not let in any more because somebody has lost a role, a tag or the tailnet itself, within identityMaxAge. The
// connection is closed: no other end can be told to all clients, and those that may will connect again.
type Door struct {
	current atomic.Pointer[Proxy]

	mu    sync.Mutex
	peers map[*peer]struct{}
}

// NewDoor makes a Door; it serves after the first Swap.
func NewDoor() *Door { return &Door{peers: map[*peer]struct{}{}} }

func (d *Door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	client := peerOf(r)
	defer client.finish(client.begin(r))
	proxy := d.current.Load() // after begin, so that a change that comes now sees what runs
	if proxy.rules != nil {
		client.watch()
	}
	proxy.ServeHTTP(w, r)
}

// Swap has next serve what comes from now on. Requests that run end with the one before; those that next would not let in, and
// those that do not end by themselves when another server is to be asked about them, have ended when it returns.
func (d *Door) Swap(next *Proxy) {
	last := d.current.Swap(next)
	if last == nil {
		return
	}
	var reviews sync.WaitGroup // side by side, as identities may have to be looked up
	d.mu.Lock()
	for client := range d.peers {
		reviews.Go(func() { d.review(client, !last.asksLike(next)) })
	}
	d.mu.Unlock()
	reviews.Wait()
}

// review closes the connection of a client if something runs on it that is not let in. unasked tells that the server which
// decides about requests is another one now.
func (d *Door) review(client *peer, unasked bool) {
	visits, endless := client.running()
	proxy := d.current.Load()
	if len(visits) > 0 && proxy.rules != nil {
		client.watch()
	}
	for _, visit := range visits {
		reason := proxy.objection(client, visit, endless)
		if unasked && endless != "" && reason == "" {
			reason = "the authorization service is another one"
		}
		if reason != "" {
			proxy.auditEnd(client, visit, reason)
			client.connection.Close()
			return
		}
	}
}

// objection says why the proxy would not let in a request that runs; empty when it would.
func (p *Proxy) objection(client *peer, v *visit, endless string) string {
	if _, ok := p.nameOf(context.Background(), v.host); !ok {
		return "the service has not the name that it was asked for by"
	}
	if endless != "" && endless != eventStream && !slices.Contains(p.config.Spec.Upgrades, endless) {
		return "upgrades does not list " + endless
	}
	if p.prefixes != nil {
		if _, _, err := p.prefixes.Match(v.url, client.origin.Internet); err != nil {
			return err.Error()
		}
	}
	if p.rules != nil {
		caller := p.clients.behind(context.Background(), client, client.connection.RemoteAddr().String())
		return p.rules.Decide(v.url, caller.who).Reason
	}
	return ""
}

// asksLike tells whether two proxies leave the decision about requests to the same server, in the same way.
func (p *Proxy) asksLike(other *Proxy) bool {
	return reflect.DeepEqual(p.config.Spec.ForwardAuth, other.config.Spec.ForwardAuth)
}

// errOvertaken says that a proxy let something in that lasts, and is not the service's any more.
var errOvertaken = errors.New("the rules have changed meanwhile")

// keep notes that the response to a request does not end by itself. It fails if the proxy has been replaced since it let the
// request in, and the new one would not have: the review that came with it may have been too early to see what began.
func (p *Proxy) keep(r *http.Request, endless string) error {
	client := peerOf(r)
	if client.door == nil {
		return nil
	}
	client.stay(endless)
	current := client.door.current.Load()
	if current == p {
		return nil
	}
	visits, _ := client.running()
	for _, visit := range visits {
		if !p.asksLike(current) || current.objection(client, visit, endless) != "" {
			return errOvertaken
		}
	}
	return nil
}

func (d *Door) enter(client *peer) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.peers[client] = struct{}{}
}

func (d *Door) leave(client *peer) {
	d.mu.Lock()
	delete(d.peers, client)
	d.mu.Unlock()
	client.visiting.Lock()
	defer client.visiting.Unlock()
	if client.recheck != nil {
		client.recheck.Stop()
		client.recheck = nil
	}
}
