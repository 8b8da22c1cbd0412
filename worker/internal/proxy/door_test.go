package proxy

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/coder/websocket"
	"tailscale.com/client/tailscale/apitype"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/origin"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/protocol"
)

// lasting is an upstream whose answers go on for as long as more is wanted of them: a WebSocket, an event stream, a download.
func lasting(t *testing.T, more <-chan struct{}) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/socket":
			connection, err := websocket.Accept(w, r, nil)
			if err != nil {
				t.Error(err)
				return
			}
			for {
				kind, message, err := connection.Read(r.Context())
				if err != nil {
					return
				}
				_ = connection.Write(r.Context(), kind, message)
			}
		case "/events":
			w.Header().Set("Content-Type", "text/event-stream")
		case "/download":
			w.Header().Set("Content-Length", "1000000")
		}
		for {
			fmt.Fprint(w, "more\n")
			w.(http.Flusher).Flush()
			select {
			case <-more:
			case <-r.Context().Done():
				return
			}
		}
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// lastingKinds open something that goes on, and give what carries one more bit of it.
var lastingKinds = map[string]func(f *front, more chan<- struct{}) func() error{
	"WebSocket": func(f *front, _ chan<- struct{}) func() error {
		client := &http.Client{Transport: f.client.Transport}
		connection, _, err := websocket.Dial(f.Context(), f.url+"/socket", &websocket.DialOptions{HTTPClient: client})
		if err != nil {
			f.Fatal(err)
		}
		return func() error {
			ctx, cancel := context.WithTimeout(f.Context(), patience)
			defer cancel()
			if err := connection.Write(ctx, websocket.MessageText, []byte("more")); err != nil {
				return err
			}
			_, _, err := connection.Read(ctx)
			return notLate(ctx, err)
		}
	},
	"event stream":        func(f *front, more chan<- struct{}) func() error { return f.keepReading(f.client, "/events", more) },
	"download":            func(f *front, more chan<- struct{}) func() error { return f.keepReading(f.client, "/download", more) },
	"HTTP/2 event stream": func(f *front, more chan<- struct{}) func() error { return f.keepReading(f.http2(), "/events", more) },
	"HTTP/2 download":     func(f *front, more chan<- struct{}) func() error { return f.keepReading(f.http2(), "/download", more) },
}

// notLate fails the test's purpose in a way that shows: to be in time is what counts.
func notLate(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		panic("nothing was heard of a connection, not even its end")
	}
	return err
}

func (f *front) keepReading(client *http.Client, path string, more chan<- struct{}) func() error {
	f.Helper()
	response, err := client.Get(f.url + path)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { response.Body.Close() })
	if response.StatusCode != http.StatusOK {
		f.Fatal(response.Status)
	}
	lines := bufio.NewReader(response.Body)
	if _, err := lines.ReadString('\n'); err != nil {
		f.Fatal(err)
	}
	return func() error {
		read := make(chan error, 1)
		go func() {
			_, err := lines.ReadString('\n')
			read <- err
		}()
		select {
		case more <- struct{}{}:
			return <-read
		case err := <-read: // it has ended
			return err
		}
	}
}

// kindsOver are those that a client can have of a front.
func kindsOver(over reach) []string {
	kinds := []string{"WebSocket", "event stream", "download"}
	if over.isSecure() {
		kinds = append(kinds, "HTTP/2 event stream", "HTTP/2 download")
	}
	return kinds
}

func TestWhatTheRulesLetInNoMoreEndsWithTheirChange(t *testing.T) {
	auth := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(auth.Close)
	anyone := protocol.AccessRule{Path: "/", Kind: protocol.AccessRuleKindAnyone}
	nobody := protocol.AccessRule{Path: "/", Kind: protocol.AccessRuleKindLogin, Value: "nobody@example.com"}
	for what, c := range map[string]struct {
		change func(*protocol.ProxySpec)
		ends   string // which kinds end
	}{
		"allow": {func(s *protocol.ProxySpec) { s.Allow = []protocol.AccessRule{nobody} }, "WebSocket event stream download"},
		"another part's allow": {func(s *protocol.ProxySpec) {
			nobody := nobody
			nobody.Path = "/admin"
			s.Allow = append(s.Allow, nobody)
		}, ""},
		"prefixes": {func(s *protocol.ProxySpec) {
			s.Prefixes = []protocol.PrefixSpec{{From: protocol.PrefixSpecFromAny, Path: "/x"}}
		}, "WebSocket event stream download"},
		"upgrades":    {func(s *protocol.ProxySpec) { s.Upgrades = nil }, "WebSocket"},
		"forwardAuth": {func(s *protocol.ProxySpec) { s.ForwardAuth.URL += "?other" }, "WebSocket event stream"},
		"no rule":     {func(s *protocol.ProxySpec) { s.ResponseHeaders = protocol.ProxySpecResponseHeaders{"X-A": "b"} }, ""},
	} {
		for _, over := range everyReach(t) {
			for _, kind := range kindsOver(over) {
				t.Run(what+", "+kind+" over "+over.name, func(t *testing.T) {
					more := make(chan struct{})
					spec := protocol.ProxySpec{
						Upstream: lasting(t, more), WhoisTimeoutMs: 1000, Upgrades: []string{websocketProtocol},
						Allow: []protocol.AccessRule{anyone}, ForwardAuth: &protocol.ForwardAuthSpec{URL: auth.URL, TimeoutMs: 5000},
					}
					f := serveOver(t, over, spec, over.whoIs)
					carry := lastingKinds[kind](f, more)
					if err := carry(); err != nil {
						t.Fatal(err)
					}
					forward := *spec.ForwardAuth
					spec.ForwardAuth = &forward
					c.change(&spec)
					f.change(spec)
					err := carry()
					ends := strings.Contains(c.ends, strings.TrimPrefix(kind, "HTTP/2 "))
					if ends != (err != nil) {
						t.Errorf("it goes on: %v", err)
					}
					if denied := f.counters.denied.Load(); ends != (denied == 1) || ends != strings.Contains(f.log.String(), "a request that ran was ended") {
						t.Errorf("%d denied, log:\n%s", denied, f.log)
					}
				})
			}
		}
	}
}

func TestWhoIsLetInNoMoreIsEndedWithinAMinute(t *testing.T) {
	for what, c := range map[string]struct {
		later origin.WhoIs
		ends  bool
	}{
		"still the same": {alice, false},
		"other tags": {func(ctx context.Context, address string) (*apitype.WhoIsResponse, error) {
			who, err := alice(ctx, address)
			who.Node.Tags = []string{"tag:c"}
			return who, err
		}, true},
		"gone": {func(context.Context, string) (*apitype.WhoIsResponse, error) { return nil, errors.New("no such peer") }, true},
	} {
		for _, over := range everyReach(t) {
			if over.scheme == protocol.ListenSpecSchemeFunnel {
				continue // nobody is known there
			}
			for _, kind := range kindsOver(over) {
				t.Run(what+", "+kind+" over "+over.name, func(t *testing.T) {
					var isLater atomic.Bool
					whoIs := func(ctx context.Context, address string) (*apitype.WhoIsResponse, error) {
						if isLater.Load() {
							return c.later(ctx, address)
						}
						return alice(ctx, address)
					}
					more := make(chan struct{})
					f := serveOver(t, over, protocol.ProxySpec{
						Upstream: lasting(t, more), WhoisTimeoutMs: 1000, Upgrades: []string{websocketProtocol},
						Allow: []protocol.AccessRule{{Path: "/", Kind: protocol.AccessRuleKindTag, Value: "tag:a"}},
					}, whoIs)
					carry := lastingKinds[kind](f, more)
					isLater.Store(true)
					f.door.current.Load().clients.forgetAll()
					f.aMinutePasses()
					if err := carry(); c.ends != (err != nil) {
						t.Errorf("it goes on: %v", err)
					}
				})
			}
		}
	}
}

// aMinutePasses does what the timers of connections do after identityMaxAge.
func (f *front) aMinutePasses() {
	f.Helper()
	f.door.mu.Lock()
	var clients []*peer
	for client := range f.door.peers {
		clients = append(clients, client)
	}
	f.door.mu.Unlock()
	for _, client := range clients {
		client.visiting.Lock()
		if !client.recheck.Stop() {
			f.Error("the client's identity is not asked for again")
		}
		client.visiting.Unlock()
		client.checkAgain()
	}
}

func TestADoorForgetsConnections(t *testing.T) {
	f := serve(t, protocol.ProxySpec{
		Upstream: echo(t).URL, Allow: []protocol.AccessRule{{Path: "/", Kind: protocol.AccessRuleKindAnyone}}, WhoisTimeoutMs: 1000,
	}, alice)
	for range 3 {
		conn := f.connect()
		fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", ownName)
		if _, err := io.ReadAll(conn); err != nil {
			t.Fatal(err)
		}
	}
	await(t, func() bool {
		f.door.mu.Lock()
		defer f.door.mu.Unlock()
		return len(f.door.peers) == 0
	})
}
