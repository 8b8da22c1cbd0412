package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// attackedHandler is a service without any limit that denies one path.
func attackedHandler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", publishing(512))
	deny := func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }
	mux.HandleFunc(deniedPath, deny)
	mux.HandleFunc(deniedPath+"/", deny)
	return mux
}

// attacked is that service without and with TLS, and the connections that it has.
type attacked struct {
	plain, secure *httptest.Server
	mu            sync.Mutex
	open          map[net.Conn]struct{}
}

func startAttacked(t *testing.T) *attacked {
	t.Helper()
	v := &attacked{open: map[net.Conn]struct{}{}}
	start := func() *httptest.Server {
		server := httptest.NewUnstartedServer(attackedHandler())
		server.Listener = remembering{server.Listener, v}
		server.EnableHTTP2 = true
		t.Cleanup(func() {
			v.breakAll() // what became a WebSocket is unknown to the server
			server.Close()
		})
		return server
	}
	v.plain, v.secure = start(), start()
	v.plain.Start()
	v.secure.StartTLS()
	return v
}

func (v *attacked) breakAll() {
	v.mu.Lock()
	defer v.mu.Unlock()
	for conn := range v.open {
		conn.(remembered).Conn.Close()
	}
}

func (v *attacked) connections() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return len(v.open)
}

type remembering struct {
	net.Listener
	by *attacked
}

func (r remembering) Accept() (net.Conn, error) {
	accepted, err := r.Listener.Accept()
	if err != nil {
		return nil, err
	}
	conn := remembered{accepted, r.by}
	r.by.mu.Lock()
	defer r.by.mu.Unlock()
	r.by.open[conn] = struct{}{}
	return conn, nil
}

type remembered struct {
	net.Conn
	by *attacked
}

func (r remembered) Close() error {
	r.by.mu.Lock()
	defer r.by.mu.Unlock()
	delete(r.by.open, r)
	return r.Conn.Close()
}

// against is an assault whose every shape has this many openings.
func against(t *testing.T, chosen attack, each int, v *attacked) *assault {
	t.Helper()
	a := &assault{}
	for _, shape := range chosen.shapes {
		server := v.secure
		if shape.protocol == plainHTTP {
			server = v.plain
		}
		a.fronts = append(a.fronts, &front{shape: shape, failures: map[string]int{}, to: target{
			name: "victim.example", protocol: shape.protocol,
			dial: func(ctx context.Context) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "tcp", server.Listener.Addr().String())
			},
		}})
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	a.open(ctx, each*len(chosen.shapes), 0)
	return a
}

// eventually looks again and again until the tallies are as wanted.
func eventually(t *testing.T, a *asking, what string, want func(*tally) bool) {
	t.Helper()
	var last []byte
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		result := a.look().(assaulted)
		last, _ = json.Marshal(result)
		if !slices.ContainsFunc(result.Shapes, func(each *tally) bool { return !want(each) }) {
			return
		}
	}
	t.Fatalf("not %s: %s", what, last)
}

func TestEachAttackHoldsWhatItIsFor(t *testing.T) {
	const each = 2
	// What a server without limits answers to the openings of a shape, by attack and shape; nothing to those that are not here.
	answers := map[string]map[string]int{
		"stalled-bodies h2 denied": {"403": each},
		"slow-readers http":        {"200": each}, "slow-readers https": {"200": each}, "slow-readers h2": {"200": each},
		"idle-websockets http": {"101": each}, "idle-websockets https": {"101": each},
		"zero-window-streams h2": {"200": each * streamsEach},
	}
	for _, chosen := range catalogue {
		t.Run(chosen.Name, func(t *testing.T) {
			v := startAttacked(t)
			a := &asking{assault: against(t, chosen, each, v)}
			defer a.release()
			eventually(t, a, "what a server without limits lets it hold", func(got *tally) bool {
				if chosen.Name == "denial-floods" {
					return got.Tried > each && got.Held == 0 && got.Answers["403"] > each && len(got.Answers) == 1
				}
				if strings.HasSuffix(got.Shape, " close") {
					return got.Tried > each && got.Held == 0 && got.Answers["connected"] > each && len(got.Answers) == 1
				}
				want := answers[chosen.Name+" "+got.Shape]
				tried := max(each, want["200"])
				held := tried - want["403"]
				return got.Tried == tried && got.Held == held && maps.Equal(got.Answers, want)
			})
		})
	}
}

func TestAttackTellsWhatTheServiceHasEnded(t *testing.T) {
	for _, chosen := range catalogue {
		if strings.HasSuffix(chosen.Name, "floods") {
			continue
		}
		t.Run(chosen.Name, func(t *testing.T) {
			v := startAttacked(t)
			a := &asking{assault: against(t, chosen, 1, v)}
			defer a.release()
			eventually(t, a, "begun", func(got *tally) bool { return got.Held > 0 || got.Answers["403"] > 0 })
			v.breakAll()
			eventually(t, a, "ended", func(got *tally) bool {
				return got.Held == 0 && got.Answers["closed"]+got.Answers["reset"] == 1
			})
		})
	}
}

func TestNothingIsLeftOfAnAttack(t *testing.T) {
	for _, chosen := range catalogue {
		t.Run(chosen.Name, func(t *testing.T) {
			v := startAttacked(t)
			a := &asking{assault: against(t, chosen, 1, v)}
			a.release()
			for deadline := time.Now().Add(patience); v.connections() > 0; time.Sleep(time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatalf("%d connections are left", v.connections())
				}
			}
		})
	}
}

func TestAttackThatCannotConnectSaysWhy(t *testing.T) {
	v := startAttacked(t)
	v.plain.Close()
	v.secure.Close()
	chosen, err := findAttack("unfinished-headers")
	if err != nil {
		t.Fatal(err)
	}
	result := against(t, chosen, 1, v).count()
	for _, got := range result.Shapes {
		if got.Tried != 1 || got.Held != 0 || len(got.Failures) != 1 {
			t.Errorf("%+v", got)
		}
	}
}

// The whole way: a client on a tailnet, told by commands, over a node and over the relay of Funnel.
func TestAttackCommands(t *testing.T) {
	tn := startTailnet(t)
	ingress, err := tn.StartIngress(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(ingress.Close)
	publish(t, tn, "victim", attackedHandler())
	publishOnFunnel(t, tn, "secured", attackedHandler())
	client := startClient(t, tn.ControlURL())
	client.await("victim")

	for _, wrong := range []string{
		`{"do":"attack","attack":"kindness","via":"tailnet","secure":"victim","plain":"victim"}`,
		`{"do":"attack","attack":"slow-readers","via":"pigeon","secure":"victim","plain":"victim"}`,
		`{"do":"attack","attack":"slow-readers","via":"tailnet","secure":"absent","plain":"victim"}`,
		`{"do":"attack","attack":"slow-readers","via":"funnel","secure":"victim","funnelAddress":"192.0.2.1:443"}`,
		`{"do":"attack","attack":"slow-readers","via":"funnel","secure":"victim","funnelAddress":"127.0.0.1:443","clients":1000}`,
		`{"do":"look"}`,
	} {
		if got, _ := client.do(wrong); got.Event != "error" || got.Message == "" {
			t.Errorf("%s: %+v", wrong, got)
		}
	}
	for way, shapes := range map[string][]string{
		`"via":"tailnet","secure":"secured","plain":"victim"`:                                                   {"http", "https", "h2"},
		fmt.Sprintf(`"via":"funnel","secure":"secured","funnelAddress":%q,"clients":2`, ingress.Addresses[443]): {"https", "h2"},
	} {
		begun, _ := client.do(fmt.Sprintf(`{"do":"attack","attack":"slow-readers","count":%d,"timeoutMs":30000,%s}`, 2*len(shapes), way))
		if begun.Event != "done" || len(begun.Shapes) != len(shapes) {
			t.Fatalf("%s: %+v", way, begun)
		}
		for again := true; again; {
			looked, _ := client.do(`{"do":"look"}`)
			again = false
			for i, got := range looked.Shapes {
				if got.Shape != shapes[i] || got.Tried != 2 || len(got.Failures) > 0 || got.Held != 2 {
					t.Fatalf("%s: %+v", way, got)
				}
				again = again || got.Answers["200"] < 2
			}
		}
		if got, _ := client.do(`{"do":"release"}`); got.Event != "done" {
			t.Errorf("release: %+v", got)
		}
	}
}
