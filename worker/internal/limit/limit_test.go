package limit

import (
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/protocol"
)

func from(address string, funnel bool) Client {
	resolved, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		panic(err)
	}
	return ClientOf(resolved, funnel)
}

func TestOneClient(t *testing.T) {
	for _, c := range []struct {
		what   string
		a, b   Client
		isSame bool
	}{
		{"two connections of an address", from("100.64.0.1:1", false), from("100.64.0.1:2", false), true},
		{"two addresses", from("100.64.0.1:1", false), from("100.64.0.2:1", false), false},
		{"an address and its IPv6 spelling", from("100.64.0.1:1", false), from("[::ffff:100.64.0.1]:1", false), true},
		{"two tailnet nodes of one /64", from("[fd7a:115c:a1e0::1]:1", false), from("[fd7a:115c:a1e0::2]:1", false), false},
		{"two internet addresses of one /64", from("[2001:db8::1]:1", true), from("[2001:db8::2]:1", true), true},
		{"two internet addresses of two /64", from("[2001:db8::1]:1", true), from("[2001:db8:0:1::1]:1", true), false},
		{"one address from both sides", from("192.0.2.1:1", true), from("192.0.2.1:1", false), false},
	} {
		if (c.a == c.b) != c.isSame {
			t.Errorf("%s: same client %v, want %v", c.what, c.a == c.b, c.isSame)
		}
	}
}

func TestEachLimitIsReached(t *testing.T) {
	one, other := from("100.64.0.1:1", false), from("100.64.0.2:1", false)
	funnel := from("192.0.2.1:1", true)
	for _, c := range []struct {
		limit Limit
		spec  protocol.LimitsSpec
		fill  func(*Limits)
		probe func(*Limits) Limit
	}{
		{Connections, protocol.LimitsSpec{MaxConnections: 2}, func(l *Limits) { l.Connect(one); l.Connect(one) },
			func(l *Limits) Limit { return l.Connect(other) }},
		{ConnectionsPerClient, protocol.LimitsSpec{MaxConnectionsPerClient: 1}, func(l *Limits) { l.Connect(one); l.Connect(other) },
			func(l *Limits) Limit { return l.Connect(one) }},
		{ConnectionRate, protocol.LimitsSpec{FunnelRateLimit: 0.1}, func(l *Limits) { l.Connect(funnel); l.Disconnect(funnel) },
			func(l *Limits) Limit { return l.Connect(funnel) }},
		{Requests, protocol.LimitsSpec{MaxRequests: 2}, func(l *Limits) { l.Begin(one); l.Begin(other) },
			func(l *Limits) Limit { return l.Begin(other) }},
		{RequestsPerClient, protocol.LimitsSpec{MaxRequestsPerClient: 1}, func(l *Limits) { l.Begin(one); l.Begin(other) },
			func(l *Limits) Limit { return l.Begin(one) }},
		{RequestRate, protocol.LimitsSpec{RateLimit: 0.1}, func(l *Limits) { l.Begin(one); l.End(one) },
			func(l *Limits) Limit { return l.Begin(one) }},
	} {
		l := New()
		l.Set(c.spec)
		c.fill(l)
		if got := c.probe(l); got != c.limit {
			t.Errorf("%s: reached %q", c.limit, got)
		}
		if l.Reached(c.limit) != 1 {
			t.Errorf("%s: counted %d times", c.limit, l.Reached(c.limit))
		}
		l.Set(protocol.LimitsSpec{})
		if got := c.probe(l); got != None {
			t.Errorf("%s: still reached once it is lifted: %q", c.limit, got)
		}
	}
}

// One side's rate is not the other's.
func TestRatesAreOfTheWayIn(t *testing.T) {
	l := New()
	l.Set(protocol.LimitsSpec{FunnelRateLimit: 0.1})
	for range 100 {
		if got := l.Begin(from("100.64.0.1:1", false)); got != None {
			t.Fatalf("a client on the tailnet reached %q", got)
		}
	}
}

// Whatever clients do, the counts are what is open, no client is forgotten that has something, and none is kept that has not.
func TestCountsAreExact(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	l := New()
	l.Set(protocol.LimitsSpec{MaxConnections: 20, MaxConnectionsPerClient: 5, MaxRequests: 20, MaxRequestsPerClient: 5})
	connections, requests := map[Client]int{}, map[Client]int{}
	sum := func(counts map[Client]int) (all int) {
		for _, count := range counts {
			all += count
		}
		return all
	}
	for range 20_000 {
		client := from(fmt.Sprintf("100.64.0.%d:1", random.IntN(8)), false)
		switch random.IntN(4) {
		case 0:
			if l.Connect(client) == None {
				connections[client]++
			}
		case 1:
			if connections[client] > 0 {
				l.Disconnect(client)
				connections[client]--
			}
		case 2:
			if l.Begin(client) == None {
				requests[client]++
			}
		case 3:
			if requests[client] > 0 {
				l.End(client)
				requests[client]--
			}
		}
		if l.connections != sum(connections) || l.requests != sum(requests) || l.connections > 20 || l.requests > 20 {
			t.Fatalf("%d connections and %d requests, want %d and %d", l.connections, l.requests, sum(connections), sum(requests))
		}
		for client, used := range l.clients {
			if used.connections != connections[client] || used.requests != requests[client] || used.isIdle() {
				t.Fatalf("client %v has %+v", client, *used)
			}
		}
	}
}

// Strangers from ever new addresses do not fill the memory.
func TestIdleClientsAreForgotten(t *testing.T) {
	l := New()
	l.Set(protocol.LimitsSpec{FunnelRateLimit: 1})
	held := from("192.0.2.1:1", true)
	l.Connect(held)
	for i := range 3 * mostIdle {
		client := from(fmt.Sprintf("10.%d.%d.%d:1", i>>16, i>>8&255, i&255), true)
		l.Begin(client)
		l.End(client)
		if len(l.clients) > mostIdle+1 {
			t.Fatalf("%d clients are remembered", len(l.clients))
		}
	}
	if l.clients[held] == nil || l.clients[held].connections != 1 {
		t.Error("a client with a connection was forgotten")
	}
}

func TestWhatGoesToTheInternetIsPaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, started := New(), time.Now()
		l.AwaitFunnel(funnelBurst)
		if waited := time.Since(started); waited != 0 {
			t.Errorf("the first bytes waited for %v", waited)
		}
		var clients sync.WaitGroup
		for range 32 {
			clients.Go(func() {
				for range 64 {
					l.AwaitFunnel(32 << 10)
				}
			})
		}
		clients.Wait()
		if waited, want := time.Since(started), 2*time.Second; waited < want*99/100 || waited > want*101/100 {
			t.Errorf("64 MiB took %v", waited)
		}
		l.AwaitFunnel(2 * funnelBurst)
		if waited := time.Since(started); waited < 2*time.Second {
			t.Errorf("more than the burst at once: %v", waited)
		}
	})
}
