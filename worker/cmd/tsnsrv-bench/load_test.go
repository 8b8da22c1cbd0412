package main

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"
)

func TestPercentiles(t *testing.T) {
	var odd, even latencies
	for ms := 1; ms <= 1000; ms++ {
		part := &odd
		if ms%2 == 0 {
			part = &even
		}
		*part = append(*part, time.Duration(ms)*time.Millisecond)
	}
	all := merge([]latencies{even, odd})
	for p, want := range map[float64]float64{0: 1, 0.1: 1, 50: 500, 90: 900, 99: 990, 99.95: 1000, 100: 1000} {
		if got := all.percentile(p); got != want {
			t.Errorf("p%v of 1..1000 ms is %v ms, want %v", p, got, want)
		}
	}
	if got := (latencies{}).percentile(50); got != 0 {
		t.Errorf("of none: %v", got)
	}
}

func TestOpenLoop(t *testing.T) {
	start := time.Unix(1000, 0)
	next := openLoop(start, start.Add(time.Second), 4)
	for i := range 4 {
		if at, ok := next(); !ok || at != start.Add(time.Duration(i)*250*time.Millisecond) {
			t.Errorf("request %d is due at %v, %v", i, at, ok)
		}
	}
	if at, ok := next(); ok {
		t.Errorf("a fifth one is due at %v", at)
	}
}

// askerOf asks an ordinary HTTP server instead of a service on the tailnet.
func askerOf(t *testing.T, handler http.Handler) *asker {
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return askerAt(server)
}

func askerAt(server *httptest.Server) *asker {
	dial := plainly(func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, server.Listener.Addr().String())
	})
	return &asker{dial: dial, target: peer{Name: "svc0", Addresses: []netip.Addr{netip.MustParseAddr("100.64.0.1")}}}
}

// What could not be sent when it was due, because all connections were busy, has waited since then.
func TestLatencyCountsFromTheTimeARequestIsDue(t *testing.T) {
	a := askerOf(t, answer(1000))
	start := time.Now().Add(-10 * time.Second)
	end := start.Add(time.Second)
	a.schedule = openLoop(start, end, 10)
	a.run(t.Context(), end, time.Now().Add(patience))
	result := summarise([]*asker{a}, time.Second)
	if result.Total != 10 || result.Failed != 0 || result.PerSecond != 0 {
		t.Errorf("10 requests that were all answered late: %+v", result)
	}
	if result.P50Ms < 9000 || result.SlowestMs < 10_000 {
		t.Errorf("they have waited for 9 s and more: %+v", result)
	}
}

func TestRequestsThatAreNotEvenSentHaveFailed(t *testing.T) {
	a := askerOf(t, answer(1))
	start := time.Now().Add(-10 * time.Second)
	end := start.Add(time.Second)
	a.schedule = openLoop(start, end, 10)
	a.run(t.Context(), end, end)
	if result := summarise([]*asker{a}, time.Second); result.Total != 10 || result.Errors[errNotAsked.Error()] != 10 {
		t.Errorf("%+v", result)
	}
}

func TestConnectionsThatAreClosedAreReplaced(t *testing.T) {
	a := askerOf(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Connection", "close") }))
	start := time.Now().Add(-time.Second)
	a.schedule = openLoop(start, start.Add(time.Second), 5)
	a.run(t.Context(), start, time.Now().Add(patience))
	if result := summarise([]*asker{a}, time.Second); result.Total != 5 || result.Failed != 0 {
		t.Errorf("%+v", result)
	}
}

func TestFreshConnectionsHaveAWholeHandshakeEach(t *testing.T) {
	var connections, resumed atomic.Int32
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.TLS.DidResume {
			resumed.Add(1)
		}
	}))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	server.StartTLS()
	t.Cleanup(server.Close)
	a := &asker{fresh: true, target: peer{Name: "svc0", Addresses: []netip.Addr{netip.MustParseAddr("100.64.0.1")}}}
	a.dial = securely(func(ctx context.Context, network, address string) (net.Conn, error) {
		if address != "100.64.0.1:443" {
			t.Errorf("https goes to %s", address)
		}
		return new(net.Dialer).DialContext(ctx, network, server.Listener.Addr().String())
	})
	start := time.Now().Add(-time.Second)
	a.schedule = openLoop(start, start.Add(time.Second), 5)
	a.run(t.Context(), start, time.Now().Add(patience))
	if result := summarise([]*asker{a}, time.Second); result.Total != 5 || result.Failed != 0 {
		t.Errorf("%+v", result)
	}
	if connections.Load() != 5 || resumed.Load() != 0 {
		t.Errorf("%d connections, of which %d were resumed", connections.Load(), resumed.Load())
	}
}

// A service that moves closes the connections that it has, and requests may cross that on their way.
func TestConnectionsThatEndWithARequestOnTheWay(t *testing.T) {
	for name, test := range map[string]struct {
		answers int // on each connection, before the next request ends it without one
		failed  int
	}{
		"a kept one is replaced, and the request sent again": {answers: 1, failed: 0},
		"a new one has failed":                               {answers: 0, failed: 5},
	} {
		t.Run(name, func(t *testing.T) {
			type count struct{}
			server := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				if asked := r.Context().Value(count{}).(*int); *asked == test.answers {
					panic(http.ErrAbortHandler)
				} else {
					*asked++
				}
			}))
			server.Config.ConnContext = func(ctx context.Context, _ net.Conn) context.Context {
				return context.WithValue(ctx, count{}, new(int))
			}
			server.Start()
			t.Cleanup(server.Close)
			a := askerAt(server)
			start := time.Now().Add(-time.Second)
			a.schedule = openLoop(start, start.Add(time.Second), 5)
			a.run(t.Context(), start, time.Now().Add(patience))
			if result := summarise([]*asker{a}, time.Second); result.Total != 5 || result.Failed != test.failed {
				t.Errorf("%+v", result)
			}
		})
	}
}

func TestVisits(t *testing.T) {
	for name, connections := range map[string]int{"with connections that are kept": 2, "with a connection for each request": 0} {
		t.Run(name, func(t *testing.T) {
			var opened, asked atomic.Int32
			server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				if asked.Add(1) == 3 {
					http.Error(w, "no", http.StatusBadGateway)
				}
			}))
			server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
				if state == http.StateNew {
					opened.Add(1)
				}
			}
			server.Start()
			t.Cleanup(server.Close)
			a := askerAt(server)
			spec := loadSpec{mode: "visits", connections: connections, perSecondEach: 100, duration: 100 * time.Millisecond}
			result, err := runLoad(t.Context(), a.dial, []peer{a.target}, spec, &lines{encoder: json.NewEncoder(io.Discard)})
			if err != nil || result.Total != 10 || result.Failed != 1 || result.Errors["status 502"] != 1 {
				t.Errorf("%+v %v", result, err)
			}
			if each := int(opened.Load()) == 11; each != (connections == 0) { // with the warm-up
				t.Errorf("%d connections for 11 requests", opened.Load())
			}
		})
	}
}

func TestCancelledLoadEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	a := askerOf(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done() // the connection is closed by the one that asks
	}))
	end := time.Now().Add(time.Hour)
	a.schedule = closedLoop(end)
	a.run(ctx, end, end)
	if result := summarise([]*asker{a}, time.Hour); result.Total != 0 {
		t.Errorf("what was cancelled has neither failed nor been answered: %+v", result)
	}
}

func TestConnectionsAreSpreadOverTheTargets(t *testing.T) {
	targets := []peer{{Name: "a"}, {Name: "b"}, {Name: "c"}, {Name: "d"}}
	for connections, want := range map[int]string{2: "ac", 4: "abcd", 6: "aabccd"} {
		got := ""
		for _, a := range makeAskers(nil, targets, loadSpec{mode: "closed", connections: connections}) {
			got += a.target.Name
		}
		if got != want {
			t.Errorf("%d connections to a, b, c, d: %s, want %s", connections, got, want)
		}
	}
}
