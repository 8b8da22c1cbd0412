package proxy

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tailscale.com/client/tailscale/apitype"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/limit"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/origin"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/protocol"
)

// gated is a tcp listener with a gate, before an upstream that gives back what it is sent.
type gated struct {
	*testing.T
	over     reach
	gate     *Gate
	counters *Counters
	address  net.Addr
	reached  atomic.Int32 // connections at the upstream
	who      atomic.Pointer[origin.WhoIs]
	log      *logText
}

func gate(t *testing.T, over reach) *gated {
	t.Helper()
	limits := limit.New()
	g := &gated{T: t, over: over, counters: NewMetrics().Add("git", limits, noBackends()), log: &logText{}}
	g.is(alice)
	upstream := upstreamOf(t, func(conn *net.TCPConn) {
		g.reached.Add(1)
		_, _ = io.Copy(conn, conn)
	})
	log := slog.New(slog.NewTextHandler(g.log, nil))
	g.gate = NewGate(g.counters, log)
	listener := over.from(over.listen(t), func(ctx context.Context, address string) (*apitype.WhoIsResponse, error) {
		return (*g.who.Load())(ctx, address)
	})
	g.address = listener.Addr()
	f := Forward(listener, g.gate, hostDialer{}.Dial, ServerConfig{
		Spec: protocol.ListenSpec{DialAddress: upstream.Addr().String()}, Counters: g.counters, Limits: limits, Log: log,
	})
	t.Cleanup(func() { f.Drain(expired()) })
	return g
}

// is sets who the clients are from now on.
func (g *gated) is(whoIs origin.WhoIs) {
	g.who.Store(&whoIs)
	if g.gate != nil {
		g.gate.clients.forgetAll()
	}
}

func (g *gated) allow(values ...string) {
	g.Helper()
	var rules []protocol.AccessRule
	for _, value := range values {
		rules = append(rules, protocol.AccessRule{Path: "/", Kind: protocol.AccessRuleKindTag, Value: value})
	}
	if err := g.gate.Allow(rules); err != nil {
		g.Fatal(err)
	}
}

// connect gives what carries one line there and back; it fails when the connection has ended.
func (g *gated) connect() (carry func() error) {
	g.Helper()
	conn, err := g.over.dial(g.Context(), g.address)
	if err != nil {
		g.Fatal(err)
	}
	g.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(patience))
	lines := bufio.NewReader(conn)
	return func() error {
		_, _ = io.WriteString(conn, "line\n")
		_, err := lines.ReadString('\n')
		if isTimeout(err) {
			g.Error("the end of the connection was not heard of")
		}
		return err
	}
}

func TestTCPIsForWhomTheRulesName(t *testing.T) {
	gone := func(context.Context, string) (*apitype.WhoIsResponse, error) { return nil, errors.New("no such peer") }
	tagless := func(ctx context.Context, address string) (*apitype.WhoIsResponse, error) {
		who, err := alice(ctx, address)
		who.Node.Tags = nil
		return who, err
	}
	for _, over := range everyReach(t)[:2] { // TLS and funnel are not for tcp
		t.Run(over.name, func(t *testing.T) {
			g := gate(t, over)
			isDenied := func(what string, carry func() error, denied uint64) {
				t.Helper()
				if carry() == nil || g.counters.denied.Load() != denied || !strings.Contains(g.log.String(), "a tcp connection was denied") {
					t.Errorf("%s: passes; %d denied, log:\n%s", what, g.counters.denied.Load(), g.log)
				}
			}
			passes := func(what string, carry func() error) {
				t.Helper()
				if err := carry(); err != nil {
					t.Errorf("%s: %v", what, err)
				}
			}
			before := g.connect()
			passes("without rules", before)
			g.allow("tag:a")
			passes("who was there, and is named", before)
			during := g.connect()
			passes("who is named", during)

			g.allow("tag:c")
			isDenied("who was there without rules, and is not named", before, 2)
			isDenied("who was there, and is not named any more", during, 2)
			reached := g.reached.Load()
			isDenied("who is not named", g.connect(), 3)
			g.is(gone)
			isDenied("who is not known", g.connect(), 4)
			if g.reached.Load() != reached {
				t.Error("the upstream was reached")
			}

			g.is(alice)
			g.allow("tag:a")
			later := g.connect()
			passes("who is named again", later)
			g.is(tagless)
			g.aMinutePasses()
			isDenied("who has lost the tag", later, 5)
			g.allow()
			passes("without rules again", g.connect())
		})
	}
}

// aMinutePasses does what the timers of connections do after identityMaxAge.
func (g *gated) aMinutePasses() {
	g.Helper()
	g.gate.mu.Lock()
	var clients []*connection
	for client, known := range g.gate.guests {
		if known.recheck == nil || !known.recheck.Stop() {
			g.Error("the client's identity is not asked for again")
		}
		clients = append(clients, client)
	}
	g.gate.mu.Unlock()
	for _, client := range clients {
		g.gate.review(client)
	}
}
