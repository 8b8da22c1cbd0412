package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"tailscale.com/tsnet"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/protocol"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/tailnet"
)

const (
	patience = 30 * time.Second
	labKey   = "tskey-lab-secret"
)

// binary is the program under test, built once: a test binary would behave differently, as tsnet knows that it is in one.
var binary string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		directory, err := os.MkdirTemp("", "tsnsrv-worker")
		if err != nil {
			panic(err)
		}
		defer os.RemoveAll(directory)
		binary = filepath.Join(directory, "tsnsrv-worker")
		build := exec.Command("go", "build", "-o", binary, "-ldflags", "-X main.version=1.2.3-test", ".")
		if output, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "building the worker: %v\n%s", err, output)
			return 1
		}
		return m.Run()
	}())
}

// worker is a running tsnsrv-worker.
type worker struct {
	*testing.T
	command *exec.Cmd
	dir     string
	client  *http.Client
	exited  chan struct{}
}

func startWorker(t *testing.T, prepare func(*exec.Cmd), arguments ...string) *worker {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "run")
	w := &worker{T: t, dir: dir, exited: make(chan struct{})}
	w.command = exec.Command(binary, append([]string{"-id", "w-test", "-shard", "3", "-dir", dir}, arguments...)...)
	w.command.Env = append(os.Environ(), "TS_AUTHKEY=must-not-be-used")
	if prepare != nil {
		prepare(w.command)
	}
	if err := w.command.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		w.command.Wait()
		close(w.exited)
	}()
	w.client = &http.Client{Timeout: patience, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(dir, socketName))
		},
	}}
	t.Cleanup(func() {
		w.client.CloseIdleConnections()
		w.command.Process.Kill()
		<-w.exited
	})
	await(t, "the control socket", func() bool {
		response, err := w.client.Get("http://worker/v1/hello")
		if err == nil {
			response.Body.Close()
		}
		return err == nil
	})
	return w
}

func await(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v in vain for %s", patience, what)
		}
	}
}

func (w *worker) do(method, path, body string) (int, string) {
	w.Helper()
	request, err := http.NewRequest(method, "http://worker"+path, strings.NewReader(body))
	if err != nil {
		w.Fatal(err)
	}
	response, err := w.client.Do(request)
	if err != nil {
		w.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		w.Fatal(err)
	}
	return response.StatusCode, string(text)
}

func (w *worker) awaitExit() error {
	w.Helper()
	select {
	case <-w.exited:
	case <-time.After(patience):
		w.Fatalf("still running after %v", patience)
	}
	if code := w.command.ProcessState.ExitCode(); code != 0 {
		return fmt.Errorf("exit code %d", code)
	}
	return nil
}

func serviceSpec(t *testing.T, network *tailnet.Tailnet, name, upstream string) string {
	t.Helper()
	key := labKey
	node := protocol.IdentitySpec{StateDir: t.TempDir(), Hostname: name, ControlURL: network.ControlURL(), ConnectTimeoutMs: 30_000}
	node.Tags = []string{}
	spec := protocol.ServiceSpec{
		Name: name, SpecHash: "1", AuthKey: &key, Exposure: protocol.ExposureSpec{Kind: protocol.ExposureSpecKindNode, Node: node},
		Listeners: []protocol.ListenSpec{{Address: ":80", Scheme: protocol.ListenSpecSchemeHttp}},
		Proxy: &protocol.ProxySpec{
			Upstream: upstream, Whois: true, WhoisTimeoutMs: 1000, UseTailnetDialer: true,
			UpstreamHeaders: protocol.ProxySpecUpstreamHeaders{}, RemoveUpstreamHeaders: []string{},
			ResponseHeaders: protocol.ProxySpecResponseHeaders{}, RemoveResponseHeaders: []string{},
			Prefixes: []protocol.PrefixSpec{}, Allow: []protocol.AccessRule{}, Hostnames: []string{}, Upgrades: []string{},
		},
		TcpAllow: []protocol.AccessRule{},
	}
	text, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func startTailnet(t *testing.T) *tailnet.Tailnet {
	t.Helper()
	network, err := tailnet.Start(tailnet.Options{RequireAuthKey: labKey})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(network.Close)
	return network
}

// events reads the stream until one matches.
func (w *worker) events() (*bufio.Scanner, func()) {
	w.Helper()
	response, err := (&http.Client{Transport: w.client.Transport}).Get("http://worker/v1/events")
	if err != nil {
		w.Fatal(err)
	}
	return bufio.NewScanner(response.Body), func() { response.Body.Close() }
}

func awaitEvent(t *testing.T, lines *bufio.Scanner, matches func(protocol.WorkerEvent) bool) protocol.WorkerEvent {
	t.Helper()
	for lines.Scan() {
		event, err := protocol.Decode[protocol.WorkerEvent](lines.Bytes())
		if err != nil {
			t.Fatalf("event %s: %v", lines.Text(), err)
		}
		if matches(event) {
			return event
		}
	}
	t.Fatalf("the stream ended: %v", lines.Err())
	panic("unreachable")
}

// The whole life of a worker: introduced, given a service, serving it, losing everything around it, and ended.
func TestWorkerServesAndOutlivesItsSupervisor(t *testing.T) {
	network := startTailnet(t)
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") }))
	defer upstream.Close()

	readEnd, writeEnd, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	w := startWorker(t, func(command *exec.Cmd) { command.Stdout, command.Stderr = writeEnd, writeEnd })
	writeEnd.Close()

	_, text := w.do(http.MethodGet, "/v1/hello", "")
	hello, err := protocol.Decode[protocol.Hello]([]byte(text))
	if err != nil || hello.Pid != w.command.Process.Pid || hello.Shard != 3 || hello.WorkerID != "w-test" || hello.Version != "1.2.3-test" {
		t.Errorf("hello: %+v, %v", hello, err)
	}
	onDisk, err := os.ReadFile(filepath.Join(w.dir, helloName))
	if err != nil || strings.TrimSpace(string(onDisk)) != strings.TrimSpace(text) {
		t.Errorf("worker.json: %s, %v", onDisk, err)
	}
	for name, want := range map[string]os.FileMode{"": 0o700, socketName: 0o600, helloName: 0o600} {
		if info, err := os.Stat(filepath.Join(w.dir, name)); err != nil || info.Mode().Perm() != want {
			t.Errorf("%q: %v, %v; want %v", name, info.Mode(), err, want)
		}
	}

	lines, closeEvents := w.events()
	first := awaitEvent(t, lines, func(protocol.WorkerEvent) bool { return true })
	if first.Type != protocol.WorkerEventTypeState || len(first.State.Services) != 0 {
		t.Errorf("first event: %+v", first)
	}
	if status, text := w.do(http.MethodPut, "/v1/services/web", serviceSpec(t, network, "web", upstream.URL)); status != http.StatusOK {
		t.Fatalf("%d %s", status, text)
	}
	up := awaitEvent(t, lines, func(e protocol.WorkerEvent) bool {
		return e.Service != nil && e.Service.Phase == protocol.ServiceStatusPhaseReady
	})
	closeEvents()

	visitor := &tsnet.Server{Dir: t.TempDir(), Hostname: "visitor", ControlURL: network.ControlURL(), AuthKey: labKey, UserLogf: t.Logf}
	defer visitor.Close()
	if _, err := visitor.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	client := visitor.HTTPClient()
	client.Timeout = patience
	request := func(path string) string {
		response, err := client.Get("http://" + up.Service.Identity.Addresses[0] + path)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		body, _ := io.ReadAll(response.Body)
		return string(body)
	}
	if got := request("/"); got != "hello" {
		t.Errorf("got %q", got)
	}

	// The reader of its output goes, and it has something to say: an upstream that does not answer.
	readEnd.Close()
	upstream.Close()
	for range 3 {
		if got := request("/private?secret=1"); !strings.HasPrefix(got, "502 Bad Gateway") || strings.Contains(got, "127.0.0.1") {
			t.Errorf("got %q", got)
		}
	}
	w.command.Process.Signal(syscall.SIGPIPE)
	w.command.Process.Signal(syscall.SIGHUP)
	_, metrics := w.do(http.MethodGet, "/metrics", "")
	for _, want := range []string{
		`tsnsrv_requests_total{code="200",service="web"} 1`,
		`tsnsrv_requests_total{code="502",service="web"} 3`,
		`tsnsrv_errors_total{service="web",type="upstream"} 3`,
		`tsnsrv_request_duration_seconds_count{service="web"} 4`,
		`tsnsrv_open_connections{service="web"} 1`,
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("metrics lack %s:\n%s", want, metrics)
		}
	}

	lines, closeEvents = w.events()
	defer closeEvents()
	if status, _ := w.do(http.MethodDelete, "/v1/services/web?drainMs=0", ""); status != http.StatusAccepted {
		t.Errorf("delete: %d", status)
	}
	awaitEvent(t, lines, func(e protocol.WorkerEvent) bool {
		return e.Type == protocol.WorkerEventTypeRemoved && *e.Name == "web"
	})
	const counted = `tsnsrv_request_duration_seconds_count{service="web"} 4`
	if _, metrics := w.do(http.MethodGet, "/metrics", ""); !strings.Contains(metrics, counted) || strings.Contains(metrics, "tsnsrv_open_connections") {
		t.Errorf("want the counters of the removed service, and no gauge:\n%s", metrics)
	}
	if status, _ := w.do(http.MethodPost, "/v1/shutdown", ""); status != http.StatusAccepted {
		t.Errorf("shutdown: %d", status)
	}
	if err := w.awaitExit(); err != nil {
		t.Error(err)
	}
	wantCounted(t, w.dir, counted)
	wantEmpty(t, w.dir)
}

func TestTerminateDrainsAndCleansUp(t *testing.T) {
	network := startTailnet(t)
	logFile := filepath.Join(t.TempDir(), "logs", "worker.log")
	w := startWorker(t, nil, "-log-file", logFile, "-log-level", "debug")
	lines, closeEvents := w.events()
	defer closeEvents()
	w.do(http.MethodPut, "/v1/services/web", serviceSpec(t, network, "web", "http://127.0.0.1:1"))
	awaitEvent(t, lines, func(e protocol.WorkerEvent) bool {
		return e.Service != nil && e.Service.Phase == protocol.ServiceStatusPhaseReady
	})
	w.command.Process.Signal(syscall.SIGTERM)
	awaitEvent(t, lines, func(e protocol.WorkerEvent) bool { return e.Type == protocol.WorkerEventTypeRemoved })
	if err := w.awaitExit(); err != nil {
		t.Error(err)
	}
	wantCounted(t, w.dir, `tsnsrv_request_duration_seconds_count{service="web"} 0`)
	wantEmpty(t, w.dir)

	text, err := os.ReadFile(logFile)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), labKey) {
		t.Error("the auth key is in the log")
	}
	for line := range strings.Lines(string(text)) {
		var entry struct {
			Level, Msg, Service string
			Shard               int
		}
		if err := json.Unmarshal([]byte(line), &entry); err != nil || entry.Shard != 3 {
			t.Errorf("log line %s: %v", line, err)
		}
	}
}

func TestSecondWorkerInOneDirectoryIsRefused(t *testing.T) {
	w := startWorker(t, nil)
	second := exec.Command(binary, "-id", "w-other", "-shard", "1", "-dir", w.dir)
	output, err := second.CombinedOutput()
	if err == nil || !strings.Contains(string(output), "another worker") {
		t.Errorf("%v: %s", err, output)
	}
	if _, text := w.do(http.MethodGet, "/v1/hello", ""); !strings.Contains(text, "w-test") {
		t.Errorf("the first one suffered: %s", text)
	}
}

func TestDeadSocketIsTakenOver(t *testing.T) {
	w := startWorker(t, nil)
	w.command.Process.Kill()
	<-w.exited
	again := exec.Command(binary, "-id", "w-again", "-shard", "1", "-dir", w.dir)
	if err := again.Start(); err != nil {
		t.Fatal(err)
	}
	defer again.Wait() // after the Kill below
	defer again.Process.Kill()
	await(t, "the new worker", func() bool {
		response, err := w.client.Get("http://worker/v1/hello")
		if err == nil {
			response.Body.Close()
		}
		return err == nil
	})
}

func TestUsageErrors(t *testing.T) {
	for _, arguments := range [][]string{
		{}, {"-id", "a", "-shard", "0", "-dir", "/x"}, {"-id", "a", "-shard", "1", "-dir", "/x", "-gc-percent", "0"},
		{"-id", "a", "-shard", "1", "-dir", "/x", "left-over"},
	} {
		command := exec.Command(binary, arguments...)
		output, _ := command.CombinedOutput()
		if command.ProcessState.ExitCode() != 2 || len(output) == 0 {
			t.Errorf("%q: exit code %d, %s", arguments, command.ProcessState.ExitCode(), output)
		}
	}
	for _, arguments := range [][]string{
		{"-dir", filepath.Join(t.TempDir(), "missing", "run")}, {"-dir", t.TempDir(), "-ignore-interfaces", "eth[0"},
		{"-dir", t.TempDir(), "-log-level", "loud"},
	} {
		command := exec.Command(binary, append([]string{"-id", "a", "-shard", "1"}, arguments...)...)
		output, _ := command.CombinedOutput()
		if command.ProcessState.ExitCode() != 1 || len(output) == 0 {
			t.Errorf("%q: exit code %d, %s", arguments, command.ProcessState.ExitCode(), output)
		}
	}
}

func TestStartTicksReadsPastTheName(t *testing.T) {
	stat := "42 (a) b) S 1 1 1 0 -1 4194560 1 0 0 0 1 2 3 4 20 0 5 0 987654 1000 100"
	if ticks, err := startTicks([]byte(stat)); err != nil || ticks != 987654 {
		t.Errorf("got %d, %v", ticks, err)
	}
	if _, err := startTicks([]byte("nonsense")); err == nil {
		t.Error("nonsense accepted")
	}
}

func wantEmpty(t *testing.T, dir string) {
	t.Helper()
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 0 {
		t.Errorf("left in the run directory: %v, %v", left, err)
	}
}

// wantCounted takes away what the worker has left of its counters, as the supervisor does.
func wantCounted(t *testing.T, dir, line string) {
	t.Helper()
	path := filepath.Join(dir, metricsName)
	text, err := os.ReadFile(path)
	if err != nil || !strings.Contains(string(text), line+"\n") {
		t.Errorf("%s does not say %q: %v\n%s", path, line, err, text)
	}
	os.Remove(path)
}
