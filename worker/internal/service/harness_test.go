package service

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"time"

	"tailscale.com/tsnet"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/interfaces"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/node"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/protocol"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/proxy"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/statedir"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/tailnet"
)

const (
	patience = 30 * time.Second
	labKey   = "lab-key"
)

func TestMain(m *testing.M) {
	node.ForgetEnvironment()
	node.DisableLogUpload()
	os.Exit(m.Run())
}

// harness is a worker's set of services on a real tailnet.
type harness struct {
	*testing.T
	network *tailnet.Tailnet
	set     *Set
}

func newHarness(t *testing.T, network tailnet.Options, concurrency int) *harness {
	t.Helper()
	t.TempDir() // the first call has them all removed, and that must come after the nodes are closed
	lab, err := tailnet.Start(network)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(lab.Close)
	discard := slog.New(slog.DiscardHandler)
	table, err := interfaces.New(nil, discard)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { table.Close() })
	set := NewSet(Options{Keeper: statedir.Keeper{}, Holder: "w1 1", StartConcurrency: concurrency, Interfaces: table, Metrics: proxy.NewMetrics(), Log: discard, RequestLog: discard, AccessLog: discard})
	t.Cleanup(func() {
		set.Shutdown(0)
		<-set.Done()
	})
	return &harness{T: t, network: lab, set: set}
}

// spec is a service with an upstream that answers with text.
func (h *harness) spec(name, upstream string) protocol.ServiceSpec {
	key := labKey
	return protocol.ServiceSpec{
		Name:     name,
		SpecHash: "1",
		AuthKey:  &key,
		Exposure: protocol.ExposureSpec{Kind: protocol.ExposureSpecKindNode, Node: protocol.IdentitySpec{
			StateDir: h.TempDir(), Hostname: name, ControlURL: h.network.ControlURL(), ConnectTimeoutMs: 30_000,
		}},
		Listeners: []protocol.ListenSpec{{Address: ":80", Scheme: protocol.ListenSpecSchemeHttp}},
		Proxy:     &protocol.ProxySpec{Upstream: upstream, Whois: true, WhoisTimeoutMs: 5000, Upgrades: []string{"websocket"}},
	}
}

func (h *harness) upstream(handler http.HandlerFunc) string {
	server := httptest.NewServer(handler)
	h.Cleanup(server.Close)
	return server.URL
}

func (h *harness) text(text string) string {
	return h.upstream(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, text) })
}

func (h *harness) put(spec protocol.ServiceSpec) protocol.ServiceStatus {
	h.Helper()
	status, err := h.set.Put(spec)
	if err != nil {
		h.Fatal(err)
	}
	return status
}

// await waits on the watch, as the event stream does, until the service's status is as wanted.
func (h *harness) await(name, what string, wanted func(protocol.ServiceStatus) bool) protocol.ServiceStatus {
	h.Helper()
	watch := h.set.Watch()
	defer watch.Close()
	deadline := time.After(patience)
	for {
		status, ok := h.set.Status(name)
		if ok && wanted(status) {
			return status
		}
		select {
		case <-watch.Ready():
			watch.Take()
		case <-deadline:
			h.Fatalf("waited %v for %s to be %s; it is %+v", patience, name, what, status)
		}
	}
}

func (h *harness) awaitPhase(name string, phase protocol.ServiceStatusPhase) protocol.ServiceStatus {
	h.Helper()
	return h.await(name, string(phase), func(s protocol.ServiceStatus) bool { return s.Phase == phase })
}

func (h *harness) awaitRemoved(name string) {
	h.Helper()
	watch := h.set.Watch()
	defer watch.Close()
	deadline := time.After(patience)
	for {
		if _, ok := h.set.Status(name); !ok {
			return
		}
		select {
		case <-watch.Ready():
			watch.Take()
		case <-deadline:
			h.Fatalf("waited %v for %s to be removed", patience, name)
		}
	}
}

// visitor is a client on a node of its own.
type visitor struct {
	*http.Client
	node *tsnet.Server
}

func (h *harness) visitor() visitor {
	h.Helper()
	joined := &tsnet.Server{
		Dir: h.TempDir(), Hostname: "visitor", ControlURL: h.network.ControlURL(), AuthKey: labKey, UserLogf: func(string, ...any) {},
	}
	h.Cleanup(func() { joined.Close() })
	if _, err := joined.Up(h.Context()); err != nil {
		h.Fatal(err)
	}
	transport := &http.Transport{DialContext: joined.Dial}
	h.Cleanup(transport.CloseIdleConnections)
	return visitor{Client: &http.Client{Transport: transport, Timeout: patience}, node: joined}
}

func (h *harness) get(client visitor, status protocol.ServiceStatus) string {
	h.Helper()
	response, err := client.Get("http://" + status.Identity.Addresses[0] + "/")
	if err != nil {
		h.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		h.Fatal(err)
	}
	return string(body)
}
