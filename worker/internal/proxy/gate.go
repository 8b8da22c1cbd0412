package proxy

import (
	"context"
	"log/slog"
	"net/url"
	"sync"
	"time"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/access"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/protocol"
)

// gateWhoisTimeoutMs is how long looking up who is behind a tcp connection may take; then nobody is.
const gateWhoisTimeoutMs = 1000

// Gate decides who may use the tcp listeners of a service. Of a connection nothing is known but who is behind it.
type Gate struct {
	clients  *identities
	counters *Counters
	log      *slog.Logger

	mu     sync.Mutex
	rules  *access.Rules // nil: everybody may
	guests map[*connection]*guest
}

// guest is a client that was let in.
type guest struct {
	listener string
	recheck  *time.Timer // nil while everybody may
}

// NewGate makes a Gate that lets everybody in.
func NewGate(counters *Counters, log *slog.Logger) *Gate {
	config := Config{Counters: counters, Log: log, Spec: protocol.ProxySpec{WhoisTimeoutMs: gateWhoisTimeoutMs}}
	return &Gate{clients: newIdentities(config), counters: counters, log: log, guests: map[*connection]*guest{}}
}

// Allow lets in only those whom the rules name; all, if there are none. Connections of others have ended when it returns.
func (g *Gate) Allow(list []protocol.AccessRule) error {
	var rules *access.Rules
	if len(list) > 0 {
		var err error
		if rules, err = access.New(list); err != nil {
			return err
		}
	}
	g.mu.Lock()
	g.rules = rules
	var reviews sync.WaitGroup
	for client := range g.guests {
		reviews.Go(func() { g.review(client) })
	}
	g.mu.Unlock()
	reviews.Wait()
	return nil
}

// enter tells whether a client is let in, which holds until it closes its connection or the gate does.
func (g *Gate) enter(client *connection, listener string) bool {
	g.mu.Lock()
	g.guests[client] = &guest{listener: listener} // before the rules are looked at, so that a change of them sees it
	g.mu.Unlock()
	client.onClose(func() { g.leave(client) })
	return g.review(client)
}

// review closes the connection of a client whom the rules do not name, and comes back after identityMaxAge for the others:
// roles and tags change, and nodes leave the tailnet.
func (g *Gate) review(client *connection) bool {
	g.mu.Lock()
	rules, address := g.rules, client.RemoteAddr().String()
	g.mu.Unlock()
	if rules == nil {
		return true
	}
	// An error is in the log, and tells of nobody.
	who, _ := g.clients.of(context.Background(), client.owner.origin, address)
	decision := rules.Decide(&url.URL{Path: "/"}, who.who)
	g.mu.Lock()
	known := g.guests[client]
	if known != nil && decision.Allowed {
		if known.recheck == nil {
			known.recheck = time.AfterFunc(identityMaxAge, func() { g.review(client) })
		} else {
			known.recheck.Reset(identityMaxAge)
		}
	}
	g.mu.Unlock()
	if known == nil || decision.Allowed {
		return known != nil
	}
	g.counters.denied.Add(1)
	g.log.Warn("a tcp connection was denied", "listener", known.listener, "peer", address, "identity", who.who.String(), "reason", decision.Reason)
	client.Close()
	return false
}

func (g *Gate) leave(client *connection) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if known := g.guests[client]; known != nil && known.recheck != nil {
		known.recheck.Stop()
	}
	delete(g.guests, client)
}
