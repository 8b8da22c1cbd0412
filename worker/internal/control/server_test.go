package control

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/interfaces"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/protocol"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/proxy"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/service"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/statedir"
)

const patience = 20 * time.Second

// harness is a server on a Unix socket. Its services fail at once (their state directory cannot be made), which is all the
// life that the protocol needs to be seen.
type harness struct {
	*testing.T
	server *Server
	set    *service.Set
	client *http.Client
	socket string
}

func newHarness(t *testing.T) *harness {
	t.Helper()
	discard := slog.New(slog.DiscardHandler)
	table, err := interfaces.New(nil, discard)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { table.Close() })
	set := service.NewSet(service.Options{Keeper: statedir.Keeper{}, Holder: "w1 1", Interfaces: table, Metrics: proxy.NewMetrics(), Log: discard, RequestLog: discard, AccessLog: discard})
	hello := protocol.Hello{ProtocolVersion: protocol.Version, WorkerID: "w1", Shard: 1, Pid: 1}
	server := New(Options{Hello: hello, Set: set, Metrics: http.NotFoundHandler(), Log: discard})
	socket := filepath.Join(t.TempDir(), "worker.sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	go server.Serve(listener)
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		set.Shutdown(0)
		<-set.Done()
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		server.Close(ctx)
	})
	return &harness{T: t, server: server, set: set, client: &http.Client{Transport: transport, Timeout: patience}, socket: socket}
}

func (h *harness) do(method, path, body string) (int, string) {
	h.Helper()
	request, err := http.NewRequest(method, "http://worker"+path, strings.NewReader(body))
	if err != nil {
		h.Fatal(err)
	}
	response, err := h.client.Do(request)
	if err != nil {
		h.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		h.Fatal(err)
	}
	return response.StatusCode, string(text)
}

// spec is that of the protocol's fixtures under another name, and with a directory that cannot be made.
func spec(name string) string {
	text, err := os.ReadFile("../../../shared/fixtures/protocol/accept/serviceSpec.json")
	if err != nil {
		panic(err)
	}
	var fixture struct{ Value map[string]any }
	if err := json.Unmarshal(text, &fixture); err != nil {
		panic(err)
	}
	fixture.Value["name"], fixture.Value["specHash"] = name, "1"
	fixture.Value["exposure"].(map[string]any)["node"].(map[string]any)["stateDir"] = "/dev/null/none"
	if text, err = json.Marshal(fixture.Value); err != nil {
		panic(err)
	}
	return string(text)
}

func TestHelloAndState(t *testing.T) {
	h := newHarness(t)
	status, text := h.do(http.MethodGet, "/v1/hello", "")
	if hello, err := protocol.Decode[protocol.Hello]([]byte(text)); status != http.StatusOK || err != nil || hello.WorkerID != "w1" {
		t.Errorf("%d %s: %v", status, text, err)
	}
	h.do(http.MethodPut, "/v1/services/web", spec("web"))
	_, text = h.do(http.MethodGet, "/v1/state", "")
	if state, err := protocol.Decode[protocol.WorkerState]([]byte(text)); err != nil || len(state.Services) != 1 || state.Services[0].Name != "web" {
		t.Errorf("%s: %v", text, err)
	}
}

func TestPutAnswersTheStatus(t *testing.T) {
	h := newHarness(t)
	code, text := h.do(http.MethodPut, "/v1/services/web", spec("web"))
	status, err := protocol.Decode[protocol.ServiceStatus]([]byte(text))
	if code != http.StatusOK || err != nil || status.Phase != protocol.ServiceStatusPhaseStarting || status.SpecHash != "1" {
		t.Errorf("%d %s: %v", code, text, err)
	}
}

func TestRefusals(t *testing.T) {
	h := newHarness(t)
	for _, c := range []struct {
		what, method, path, body string
		status                   int
		reason                   string
	}{
		{"no JSON", "PUT", "/v1/services/web", "{", 400, "InvalidSpec"},
		{"empty", "PUT", "/v1/services/web", "", 400, "InvalidSpec"},
		{"null", "PUT", "/v1/services/web", "null", 400, "InvalidSpec"},
		{"for another service", "PUT", "/v1/services/web", spec("other"), 400, "InvalidSpec"},
		{"out of schema", "PUT", "/v1/services/web", strings.Replace(spec("web"), `"http"`, `"gopher"`, 1), 400, "InvalidSpec"},
		{"too large", "PUT", "/v1/services/web", `{"name":"` + strings.Repeat("a", maxBodyBytes) + `"}`, 400, "InvalidSpec"},
		{"unknown service", "DELETE", "/v1/services/none", "", 404, "UnknownService"},
		{"bad drain", "DELETE", "/v1/services/web?drainMs=-1", "", 400, "InvalidRequest"},
		{"bad drain", "POST", "/v1/shutdown?drainMs=soon", "", 400, "InvalidRequest"},
		{"unknown request", "GET", "/v2/hello", "", 404, "UnknownRequest"},
		{"wrong method", "POST", "/v1/hello", "", 404, "UnknownRequest"},
	} {
		status, text := h.do(c.method, c.path, c.body)
		reply, err := protocol.Decode[protocol.ErrorReply]([]byte(text))
		if status != c.status || err != nil || reply.Reason != c.reason || reply.Message == "" {
			t.Errorf("%s: %d %s %v", c.what, status, text, err)
		}
	}
	if h.set.Used() {
		t.Error("a refused spec reached the services")
	}
}

// stream reads events as they come.
type stream struct {
	*testing.T
	lines *bufio.Scanner
}

func (h *harness) events() stream {
	h.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	h.Cleanup(cancel)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://worker/v1/events", nil)
	if err != nil {
		h.Fatal(err)
	}
	response, err := h.client.Do(request)
	if err != nil {
		h.Fatal(err)
	}
	h.Cleanup(func() { response.Body.Close() })
	return stream{h.T, bufio.NewScanner(response.Body)}
}

func (s stream) next() protocol.WorkerEvent {
	s.Helper()
	if !s.lines.Scan() {
		s.Fatalf("the stream has ended: %v", s.lines.Err())
	}
	event, err := protocol.Decode[protocol.WorkerEvent](s.lines.Bytes())
	if err != nil {
		s.Fatalf("%s: %v", s.lines.Text(), err)
	}
	return event
}

func TestEventsTellWholeStates(t *testing.T) {
	h := newHarness(t)
	h.do(http.MethodPut, "/v1/services/first", spec("first"))
	for range 3 { // several readers see the same
		events := h.events()
		if first := events.next(); first.Type != protocol.WorkerEventTypeState || len(first.State.Services) == 0 {
			t.Fatalf("first event: %+v", first)
		}
	}
	events := h.events()
	events.next()
	h.do(http.MethodPut, "/v1/services/web", spec("web"))
	for {
		event := events.next()
		if event.Service != nil && event.Service.Name == "web" && event.Service.Phase == protocol.ServiceStatusPhaseFailed {
			break
		}
	}
	h.do(http.MethodDelete, "/v1/services/web?drainMs=0", "")
	for {
		if event := events.next(); event.Type == protocol.WorkerEventTypeRemoved && *event.Name == "web" {
			break
		}
	}
	h.do(http.MethodPost, "/v1/shutdown", "")
	for {
		if event := events.next(); event.Type == protocol.WorkerEventTypeRemoved && *event.Name == "first" {
			break
		}
	}
	if events.lines.Scan() {
		t.Errorf("after the end: %s", events.lines.Text())
	}
}

// A reader that takes nothing costs one entry per service, and nobody waits for it.
func TestSlowReaderHoldsNobodyUp(t *testing.T) {
	h := newHarness(t)
	connection, err := net.Dial("unix", h.socket)
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	fmt.Fprint(connection, "GET /v1/events HTTP/1.1\r\nHost: worker\r\n\r\n")
	for i := range 300 {
		name := fmt.Sprintf("s%d", i)
		if code, text := h.do(http.MethodPut, "/v1/services/"+name, spec(name)); code != http.StatusOK {
			t.Fatalf("%d %s", code, text)
		}
	}
	if services, _ := h.set.Statuses(); len(services) != 300 {
		t.Errorf("%d services", len(services))
	}
}

func TestOrphanGuard(t *testing.T) {
	h := newHarness(t)
	await := func(what string, condition func() bool) {
		t.Helper()
		for deadline := time.Now().Add(patience); !condition(); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("waited in vain for %s", what)
			}
		}
	}
	select {
	case <-h.server.Orphaned(time.Millisecond):
	case <-time.After(patience):
		t.Fatal("a worker that nobody needs stays")
	}

	connection, err := net.Dial("unix", h.socket)
	if err != nil {
		t.Fatal(err)
	}
	await("the connection to count", func() bool { return h.server.aloneFor() == 0 })
	orphaned := h.server.Orphaned(time.Millisecond)
	select {
	case <-orphaned:
		t.Fatal("ended while somebody is connected")
	default:
	}
	connection.Close()
	select {
	case <-orphaned:
	case <-time.After(patience):
		t.Fatal("stays although nobody is connected any more")
	}
}
