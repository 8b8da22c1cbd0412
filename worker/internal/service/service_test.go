package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/node"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/protocol"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/statedir"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/tailnet"
)

const (
	starting   = protocol.ServiceStatusPhaseStarting
	needsLogin = protocol.ServiceStatusPhaseNeedsLogin
	ready      = protocol.ServiceStatusPhaseReady
	draining   = protocol.ServiceStatusPhaseDraining
	failed     = protocol.ServiceStatusPhaseFailed
)

func TestServiceAnswersOnTheTailnetWithIdentity(t *testing.T) {
	h := newHarness(t, tailnet.Options{RequireAuthKey: labKey, MagicDNSDomain: "example.ts.net"}, 0)
	upstream := h.upstream(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.Header.Get("X-Tailscale-Node-Name"), " ", r.Header.Get("X-Tailscale-User"))
	})
	if status := h.put(h.spec("web", upstream)); status.Phase != starting {
		t.Errorf("put answered %+v", status)
	}
	status := h.awaitPhase("web", ready)
	if status.Identity.DNSName != "web.example.ts.net" || status.Identity.UdpPort == 0 || !strings.HasPrefix(status.Identity.NodeKey, "nodekey:") {
		t.Errorf("status: %+v", status)
	}
	client := h.visitor()
	if got := h.get(client, status); !strings.HasPrefix(got, "visitor") || !strings.Contains(got, "userid:") {
		t.Errorf("the upstream saw %q", got)
	}
	status, _ = h.set.Status("web")
	if status.Counters.Requests != 1 || status.Counters.BytesIn == 0 || status.Counters.BytesOut == 0 || status.Counters.OpenConnections != 1 {
		t.Errorf("counters: %+v", status.Counters)
	}
}

func TestPutIsIdempotent(t *testing.T) {
	h := newHarness(t, tailnet.Options{RequireAuthKey: labKey}, 0)
	spec := h.spec("web", h.text("a"))
	h.put(spec)
	before := h.awaitPhase("web", ready)
	retry := true
	spec.Retry = &retry // means something for a stuck service only
	after := h.put(spec)
	if after.Phase != ready || after.Since != before.Since || after.Identity.NodeKey != before.Identity.NodeKey {
		t.Errorf("before %+v, after %+v", before, after)
	}
}

// connectionReused tells by which connection a request went.
func connectionReused(reused *bool) context.Context {
	return httptrace.WithClientTrace(context.Background(), &httptrace.ClientTrace{
		GotConn: func(info httptrace.GotConnInfo) { *reused = info.Reused },
	})
}

func TestChangesInPlaceKeepConnections(t *testing.T) {
	h := newHarness(t, tailnet.Options{RequireAuthKey: labKey}, 0)
	spec := h.spec("web", h.text("before"))
	h.put(spec)
	status := h.awaitPhase("web", ready)
	client := h.visitor()
	if got := h.get(client, status); got != "before" {
		t.Fatalf("got %q", got)
	}

	spec.SpecHash, spec.Proxy.Upstream = "2", h.text("after")
	spec.Listeners = append(spec.Listeners, protocol.ListenSpec{Address: ":8080", Scheme: protocol.ListenSpecSchemeHttp})
	h.put(spec)
	changed := h.await("web", "changed", func(s protocol.ServiceStatus) bool { return s.SpecHash == "2" })
	if changed.Phase != ready || changed.Since != status.Since {
		t.Errorf("the change was not in place: %+v", changed)
	}
	var reused bool
	request, err := http.NewRequestWithContext(connectionReused(&reused), http.MethodGet, "http://"+status.Identity.Addresses[0], nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(response.Body)
	response.Body.Close()
	if string(body) != "after" || !reused {
		t.Errorf("got %q, connection reused: %v", body, reused)
	}
	response, err = client.Get("http://" + status.Identity.Addresses[0] + ":8080")
	if err != nil {
		t.Fatalf("the new listener: %v", err)
	}
	response.Body.Close()

	// And the first listener goes, while the second one stays.
	spec.SpecHash, spec.Listeners = "3", spec.Listeners[1:]
	h.put(spec)
	h.await("web", "changed", func(s protocol.ServiceStatus) bool { return s.SpecHash == "3" })
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if connection, err := client.node.Dial(ctx, "tcp", status.Identity.Addresses[0]+":80"); err == nil {
		connection.Close()
		t.Error("the old listener still accepts")
	}
}

func TestNodeChangeRestartsOnlyThisNode(t *testing.T) {
	h := newHarness(t, tailnet.Options{RequireAuthKey: labKey}, 0)
	spec, other := h.spec("web", h.text("web")), h.spec("other", h.text("other"))
	h.put(spec)
	h.put(other)
	before, untouched := h.awaitPhase("web", ready), h.awaitPhase("other", ready)
	spec.SpecHash, spec.Exposure.Node.Hostname = "2", "renamed"
	if status := h.put(spec); status.Phase != draining {
		t.Errorf("put answered %s", status.Phase)
	}
	after := h.await("web", "ready again", func(s protocol.ServiceStatus) bool { return s.Phase == ready && s.SpecHash == "2" })
	if after.Identity.NodeKey != before.Identity.NodeKey || after.Identity.UdpPort != before.Identity.UdpPort {
		t.Errorf("identity changed: %+v, %+v", before, after)
	}
	if now, _ := h.set.Status("other"); now.Since != untouched.Since {
		t.Errorf("the other service was touched: %+v", now)
	}
}

func TestDeleteDrainsAndFreesTheDirectory(t *testing.T) {
	h := newHarness(t, tailnet.Options{RequireAuthKey: labKey}, 0)
	arrived, goOn := make(chan struct{}), make(chan struct{})
	spec := h.spec("web", h.upstream(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			close(arrived)
			<-goOn
		}
		fmt.Fprint(w, "done")
	}))
	h.put(spec)
	status := h.awaitPhase("web", ready)
	client := h.visitor()
	answered := make(chan error, 1)
	go func() {
		response, err := client.Get("http://" + status.Identity.Addresses[0] + "/slow")
		if err == nil {
			response.Body.Close()
		}
		answered <- err
	}()
	<-arrived
	watch := h.set.Watch()
	defer watch.Close()
	if !h.set.Delete("web", patience) {
		t.Fatal("unknown service")
	}
	if _, err := h.set.Put(spec); !errors.Is(err, ErrLeaving) {
		t.Errorf("put while leaving: %v", err)
	}
	h.awaitPhase("web", draining)
	if _, err := statedir.Open(spec.Exposure.Node.StateDir, "x"); err == nil {
		t.Error("the directory is free while the node runs")
	}
	close(goOn)
	if err := <-answered; err != nil {
		t.Errorf("the open request: %v", err)
	}
	h.awaitRemoved("web")
	changes := watch.Take()
	if len(changes) != 1 || changes[0].Removed == 0 {
		t.Errorf("changes: %+v", changes)
	}
	free, err := statedir.Open(spec.Exposure.Node.StateDir, "x")
	if err != nil {
		t.Fatal(err)
	}
	free.Close()
	if h.set.Delete("web", 0) {
		t.Error("deleted twice")
	}
}

func TestDeleteEndsWebSocketsAndObeysTheDeadline(t *testing.T) {
	h := newHarness(t, tailnet.Options{RequireAuthKey: labKey}, 0)
	hanging := make(chan struct{})
	h.put(h.spec("web", h.upstream(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/hang" {
			close(hanging)
			<-r.Context().Done()
			return
		}
		connection, err := websocket.Accept(w, r, nil)
		if err == nil {
			connection.Read(r.Context())
		}
	})))
	status := h.awaitPhase("web", ready)
	client := h.visitor()
	connection, _, err := websocket.Dial(t.Context(), "ws://"+status.Identity.Addresses[0]+"/", &websocket.DialOptions{HTTPClient: client.Client})
	if err != nil {
		t.Fatal(err)
	}
	hung := make(chan error, 1)
	go func() {
		_, err := client.Get("http://" + status.Identity.Addresses[0] + "/hang")
		hung <- err
	}()
	<-hanging
	if status, _ := h.set.Status("web"); status.Counters.OpenConnections != 2 {
		t.Errorf("counters: %+v", status.Counters)
	}
	h.set.Delete("web", patience)
	h.set.Delete("web", 0) // changes its mind
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, _, err := connection.Read(ctx); err == nil || ctx.Err() != nil {
		t.Errorf("the client does not hear of the end of its WebSocket: %v", err)
	}
	if err := <-hung; err == nil {
		t.Error("the hanging request was answered")
	}
	h.awaitRemoved("web")
}

func TestRefusedAuthKeyFailsAndIsRetriedOnRequest(t *testing.T) {
	h := newHarness(t, tailnet.Options{RequireAuthKey: labKey}, 0)
	spec := h.spec("web", h.text("a"))
	wrong := "tskey-wrong"
	spec.AuthKey = &wrong
	h.put(spec)
	status := h.awaitPhase("web", failed)
	if status.Reason != protocol.ServiceStatusReasonAuthKeyRefused || strings.Contains(status.Message, wrong) {
		t.Errorf("status: %+v", status)
	}
	if again := h.put(spec); again.Phase != failed {
		t.Errorf("put without retry started it: %+v", again)
	}
	retry, right := true, labKey
	spec.Retry, spec.AuthKey = &retry, &right
	if again := h.put(spec); again.Phase != starting {
		t.Errorf("put with retry answered %+v", again)
	}
	h.awaitPhase("web", ready)
}

func TestLoginByAPerson(t *testing.T) {
	h := newHarness(t, tailnet.Options{RequireAuth: true}, 1)
	spec := h.spec("web", h.text("a"))
	spec.AuthKey, spec.Exposure.Node.ConnectTimeoutMs = nil, 2000
	h.put(spec)
	waiting := func(s protocol.ServiceStatus) bool { return s.Phase == needsLogin && s.Identity.LoginURL != "" }
	first := h.await("web", "waiting for a person", waiting)
	if first.Reason != protocol.ServiceStatusReasonNeedsLogin {
		t.Errorf("status: %+v", first)
	}
	// Retrying restarts the node, with whatever key there is by then.
	retry := true
	spec.Retry = &retry
	if again := h.put(spec); again.Phase != starting || again.Identity.LoginURL != "" {
		t.Errorf("put with retry answered %+v", again)
	}
	second := h.await("web", "waiting for a person again", waiting)
	if err := h.network.CompleteLogin(second.Identity.LoginURL); err != nil {
		t.Fatal(err)
	}
	if up := h.awaitPhase("web", ready); up.Identity.LoginURL != "" {
		t.Errorf("status: %+v", up)
	}
}

func TestUnusableDirectories(t *testing.T) {
	h := newHarness(t, tailnet.Options{RequireAuthKey: labKey}, 0)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	spec := h.spec("file", h.text("a"))
	spec.Exposure.Node.StateDir = file
	h.put(spec)
	if status := h.awaitPhase("file", failed); status.Reason != protocol.ServiceStatusReasonStateDirUnusable || !strings.Contains(status.Message, file) {
		t.Errorf("status: %+v", status)
	}

	holder, second := h.spec("holder", h.text("a")), h.spec("second", h.text("b"))
	second.Exposure.Node.StateDir = holder.Exposure.Node.StateDir
	h.put(holder)
	h.awaitPhase("holder", ready)
	h.put(second)
	if status := h.awaitPhase("second", failed); status.Reason != protocol.ServiceStatusReasonStateDirLocked || !strings.Contains(status.Message, "w1 1") {
		t.Errorf("status: %+v", status)
	}
	if status, _ := h.set.Status("holder"); status.Phase != ready {
		t.Errorf("the holder suffers: %+v", status)
	}

	damaged := h.spec("damaged", h.text("a"))
	if err := os.WriteFile(filepath.Join(damaged.Exposure.Node.StateDir, "tailscaled.state"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	h.put(damaged)
	if status := h.awaitPhase("damaged", failed); status.Reason != protocol.ServiceStatusReasonStateDirUnusable {
		t.Errorf("status: %+v", status)
	}
}

func TestConnectTimeoutFreesTheDirectory(t *testing.T) {
	h := newHarness(t, tailnet.Options{}, 0)
	silent, err := net.Listen("tcp", "127.0.0.1:0") // accepts, and never answers
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	spec := h.spec("web", h.text("a"))
	spec.Exposure.Node.ControlURL, spec.Exposure.Node.ConnectTimeoutMs = "http://"+silent.Addr().String(), 100
	h.put(spec)
	if status := h.awaitPhase("web", failed); status.Reason != protocol.ServiceStatusReasonConnectTimeout {
		t.Errorf("status: %+v", status)
	}
	free, err := statedir.Open(spec.Exposure.Node.StateDir, "x")
	if err != nil {
		t.Fatal(err)
	}
	free.Close()
}

func TestListenFailureIsNamed(t *testing.T) {
	h := newHarness(t, tailnet.Options{RequireAuthKey: labKey}, 0)
	spec := h.spec("web", h.text("a"))
	spec.Listeners[0].Address = "no-address:80"
	h.put(spec)
	if status := h.awaitPhase("web", failed); status.Reason != protocol.ServiceStatusReasonListenFailed {
		t.Errorf("status: %+v", status)
	}
}

func TestStartsAreQueued(t *testing.T) {
	h := newHarness(t, tailnet.Options{RequireAuth: true}, 1)
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	first, second := h.spec("first", h.text("a")), h.spec("second", h.text("b"))
	first.Exposure.Node.ControlURL = "http://" + silent.Addr().String()
	h.put(first)
	h.await("first", "starting", func(s protocol.ServiceStatus) bool { return s.Reason == protocol.ServiceStatusReasonStarting })
	if status := h.put(second); status.Reason != protocol.ServiceStatusReasonQueued {
		t.Errorf("second: %+v", status)
	}
	h.set.Delete("first", 0)
	h.awaitPhase("second", needsLogin) // the slot is free again
}

func TestLostLoginNeedsALogin(t *testing.T) {
	h := newHarness(t, tailnet.Options{RequireAuth: true}, 0)
	h.put(h.spec("web", h.text("a")))
	login := func(s protocol.ServiceStatus) bool { return s.Phase == needsLogin && s.Identity.LoginURL != "" }
	if err := h.network.CompleteLogin(h.await("web", "waiting", login).Identity.LoginURL); err != nil {
		t.Fatal(err)
	}
	h.awaitPhase("web", ready)
	if err := h.network.Expire("web", time.Now().Add(-time.Minute)); err != nil {
		t.Fatal(err)
	}
	h.await("web", "waiting again, with a URL", login)
}

func TestControlThatIsAwayIsAProblemUntilItIsBack(t *testing.T) {
	before := controlMayBeLost
	t.Cleanup(func() { controlMayBeLost = before })
	controlMayBeLost = 100 * time.Millisecond
	h := newHarness(t, tailnet.Options{}, 1)
	h.put(h.spec("web", h.text("hello")))
	web := h.awaitPhase("web", ready)
	client := h.visitor()
	h.set.LookAround()
	if status, _ := h.set.Status("web"); len(status.Problems) > 0 {
		t.Fatalf("control is there: %+v", status.Problems)
	}

	look := func(what string, wanted func([]protocol.ServiceProblem) bool) {
		t.Helper()
		for deadline := time.Now().Add(2 * patience); ; time.Sleep(20 * time.Millisecond) {
			h.set.LookAround()
			status, _ := h.set.Status("web")
			if wanted(status.Problems) {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s: %+v", what, status.Problems)
			}
		}
	}
	h.network.Pause()
	look("told that control is away", func(problems []protocol.ServiceProblem) bool {
		return len(problems) == 1 && problems[0].Part == partControl && strings.Contains(problems[0].Message, "control server since 20")
	})
	if got := h.get(client, web); got != "hello" {
		t.Errorf("without control: %q", got)
	}
	h.network.Resume()
	look("taken back when it is there again", func(problems []protocol.ServiceProblem) bool { return len(problems) == 0 })
}

func TestTheEndOfTheNodeKeyIsTold(t *testing.T) {
	h := newHarness(t, tailnet.Options{}, 1)
	h.put(h.spec("web", h.text("hello")))
	if status := h.awaitPhase("web", ready); status.Identity.NodeKeyExpiry != nil {
		t.Errorf("a key that never ends is said to end at %d", *status.Identity.NodeKeyExpiry)
	}
	ends := time.Now().Add(72 * time.Hour)
	if err := h.network.Expire("web", ends); err != nil {
		t.Fatal(err)
	}
	h.await("web", "told when its key ends", func(status protocol.ServiceStatus) bool {
		return status.Identity.NodeKeyExpiry != nil && *status.Identity.NodeKeyExpiry == int(ends.UnixMilli())
	})
	if err := h.network.Expire("web", time.Time{}); err != nil {
		t.Fatal(err)
	}
	h.await("web", "told that it does not", func(status protocol.ServiceStatus) bool { return status.Identity.NodeKeyExpiry == nil })
}

func TestShutdownRemovesAllAndRefusesMore(t *testing.T) {
	h := newHarness(t, tailnet.Options{RequireAuthKey: labKey}, 0)
	h.put(h.spec("a", h.text("a")))
	h.put(h.spec("b", h.text("b")))
	h.awaitPhase("a", ready)
	if h.set.nextPeers() != node.AllPeers {
		t.Error("a service that leaves alone would not take its peers along")
	}
	h.set.Shutdown(0)
	<-h.set.Done()
	if h.set.nextPeers() != node.UsedPeers {
		t.Error("services that end together leave each other's nodes to the next start")
	}
	if _, err := h.set.Put(h.spec("c", h.text("c"))); !errors.Is(err, ErrClosing) {
		t.Errorf("put after shutdown: %v", err)
	}
}
