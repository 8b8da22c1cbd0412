package identity

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/custody"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/node"
)

// mostClients bounds whom a node calls when it starts: more would make the start of many nodes a storm.
const mostClients = 32

// spreadTime is how long control may take to tell all peers of a node; Headscale collects changes for 0.8 s.
const spreadTime = 5 * time.Second

// clients remembers who uses a service, so that a node that comes back can renew their sessions at once.
//
// A peer goes on encrypting for the WireGuard session of the process that died, and notices only seconds later. A ping from
// the new process makes both sides shake hands, and the next packet of the peer arrives.
type clients struct {
	holding custody.Holding
	log     *slog.Logger

	mu     sync.Mutex
	recent []netip.Addr        // the most recent first
	called map[netip.Addr]bool // in this run
	came   chan struct{}       // somebody who was not

	writing sync.Mutex
	writes  sync.WaitGroup
}

func recallClients(holding custody.Holding, log *slog.Logger) *clients {
	return &clients{
		holding: holding, log: log, recent: holding.RecentClients(), called: map[netip.Addr]bool{}, came: make(chan struct{}, 1),
	}
}

// seen notes that a client has connected, and tells whether it is new. Only then, which is rare, the file is written.
func (c *clients) seen(remote net.Addr) bool {
	address, err := netip.ParseAddrPort(remote.String())
	if err != nil || !c.note(address.Addr().Unmap()) {
		return false
	}
	c.writes.Go(c.write)
	return true
}

// note moves the client to the front, and tells whether it was not among the recent ones.
func (c *clients) note(client netip.Addr) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	at := slices.Index(c.recent, client)
	if at >= 0 {
		c.recent = slices.Delete(c.recent, at, at+1)
	}
	c.recent = slices.Insert(c.recent, 0, client)
	c.recent = c.recent[:min(len(c.recent), mostClients)]
	if !c.called[client] {
		select {
		case c.came <- struct{}{}:
		default: // that is known already
		}
	}
	return at < 0
}

func (c *clients) write() {
	c.writing.Lock() // two writers must not end in the order in which they did not begin
	defer c.writing.Unlock()
	if err := c.holding.RememberClients(c.list()); err != nil {
		c.log.Warn("cannot remember who uses the service; after a crash their first requests may take some seconds", "error", err)
	}
}

func (c *clients) list() []netip.Addr {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.recent)
}

// settle waits until what was noted is written. Nobody may connect any more.
func (c *clients) settle() { c.writes.Wait() }

// uncalled gives the recent clients that it has not given before.
func (c *clients) uncalled() []netip.Addr {
	c.mu.Lock()
	defer c.mu.Unlock()
	var fresh []netip.Addr
	for _, client := range c.recent {
		if !c.called[client] {
			c.called[client] = true
			fresh = append(fresh, client)
		}
	}
	return fresh
}

// greet renews the sessions with the recent clients, those of the last run first, and with those who come until the news of
// the new process has spread: they learn of it in the middle of a session, reset their side, and would hear nothing more
// until the other side gives up on it, 15 seconds later. It ends then, or with ctx.
func (c *clients) greet(ctx context.Context, from *node.Node) {
	var calls sync.WaitGroup
	defer calls.Wait()
	if sessions, ok := from.TookOver(); ok {
		for _, peer := range sessions {
			calls.Go(func() { from.Resume(ctx, peer) })
		}
		return // there is no news that could spread
	}
	if from.HadMap() {
		for _, client := range c.list() {
			calls.Go(func() { from.ShakeHands(ctx, client) })
		}
	}
	select {
	case <-ctx.Done():
		return
	case <-from.Confirmed():
	}
	spread := time.After(spreadTime)
	for {
		for _, client := range c.uncalled() {
			calls.Go(func() { from.Call(ctx, client) })
		}
		select {
		case <-ctx.Done():
			return
		case <-spread:
			return
		case <-c.came:
		}
	}
}
