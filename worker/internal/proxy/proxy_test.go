package proxy

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/limit"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/protocol"
)

func answering(text string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, text) })
}

// withoutID takes off what differs from request to request.
func withoutID(body string) string {
	text, _, _ := strings.Cut(body, " (request ")
	return text
}

func TestWaysToTheUpstream(t *testing.T) {
	secure := httptest.NewUnstartedServer(answering("secure"))
	defer secure.Close()
	secure.Config.ErrorLog = log.New(io.Discard, "", 0) // one client does not trust it
	secure.StartTLS()
	plain := httptest.NewServer(answering("plain"))
	defer plain.Close()
	socket := filepath.Join(t.TempDir(), "upstream.sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	unix := &http.Server{Handler: answering("unix")}
	go unix.Serve(listener)
	defer unix.Close()

	for _, c := range []struct {
		what string
		spec protocol.ProxySpec
		want string
	}{
		{"http", protocol.ProxySpec{Upstream: plain.URL}, "plain"},
		{"through the node", protocol.ProxySpec{Upstream: plain.URL, UseTailnetDialer: true}, "plain"},
		{"https, any certificate", protocol.ProxySpec{Upstream: secure.URL, InsecureHTTPS: true}, "secure"},
		{"https, certificate not trusted", protocol.ProxySpec{Upstream: secure.URL}, "502 Bad Gateway: the service behind web did not answer"},
		{"another address", protocol.ProxySpec{Upstream: "http://nowhere.invalid", DialAddress: plain.Listener.Addr().String()}, "plain"},
		{"Unix socket", protocol.ProxySpec{Upstream: "http://nowhere.invalid", DialUnixPath: socket}, "unix"},
	} {
		if _, body := serve(t, c.spec, nil).send(http.MethodGet, "/", nil); withoutID(body) != c.want {
			t.Errorf("%s: got %q", c.what, body)
		}
	}
}

func TestFailureTellsTheClientLittleAndTheLogAll(t *testing.T) {
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := dead.Addr().String()
	dead.Close()
	f := serve(t, protocol.ProxySpec{Upstream: "http://" + address}, nil)
	response, body := f.send(http.MethodGet, "/path?token=secret", nil)
	if response.StatusCode != http.StatusBadGateway || withoutID(body) != "502 Bad Gateway: the service behind web did not answer" {
		t.Errorf("%d %q", response.StatusCode, body)
	}
	id := response.Header.Get("X-Request-Id")
	if id == "" || !strings.Contains(f.log.String(), id) || !strings.Contains(f.log.String(), address) {
		t.Errorf("request id %q; log:\n%s", id, f.log)
	}
	if strings.Contains(f.log.String(), "secret") {
		t.Errorf("the query is in the log:\n%s", f.log)
	}
	if got := f.counters.Snapshot(); got.Errors != 1 || got.Requests != 1 {
		t.Errorf("counters: %+v", got)
	}
}

func TestTimeoutIsAGatewayTimeout(t *testing.T) {
	config := Config{Service: "web", Counters: NewMetrics().Add("web", limit.New(), noBackends()), Backends: noBackends(), Log: discard, AccessLog: discard}
	recorder := httptest.NewRecorder()
	err := &net.OpError{Op: "dial", Err: context.DeadlineExceeded}
	failureHandler(config)(recorder, httptest.NewRequest(http.MethodGet, "/", nil), err)
	if recorder.Code != http.StatusGatewayTimeout || withoutID(recorder.Body.String()) != "504 Gateway Timeout: the service behind web did not answer in time" {
		t.Errorf("%d %s", recorder.Code, recorder.Body)
	}
}

func TestEventStreamIsNotHeldBack(t *testing.T) {
	next := make(chan string)
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for event := range next {
			fmt.Fprintf(w, "data: %s\n", event)
			w.(http.Flusher).Flush()
		}
	}))
	defer upstream.Close()
	f := serve(t, protocol.ProxySpec{Upstream: upstream.URL}, nil)
	go func() { next <- "first" }()
	response, err := f.client.Get(f.url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	reader := bufio.NewReader(response.Body)
	for _, event := range []string{"first", "second", "third"} {
		if event != "first" {
			next <- event // not before the last one has arrived
		}
		if line, err := reader.ReadString('\n'); err != nil || line != "data: "+event+"\n" {
			t.Fatalf("got %q, %v", line, err)
		}
	}
	if f.counters.Snapshot().Requests != 1 {
		t.Error("a stream counts when it begins")
	}
	close(next)
}

func TestUploadIsNotHeldBack(t *testing.T) {
	arrived := make(chan string)
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		lines := bufio.NewScanner(r.Body)
		for lines.Scan() {
			arrived <- lines.Text()
		}
		fmt.Fprint(w, "all")
	}))
	defer upstream.Close()
	f := serve(t, protocol.ProxySpec{Upstream: upstream.URL}, nil)
	body, toServer := io.Pipe()
	go func() {
		defer toServer.Close()
		for _, line := range []string{"first", "second", "third"} {
			fmt.Fprintln(toServer, line)
			if got := <-arrived; got != line { // the next one is sent only after this one has arrived
				t.Errorf("got %q", got)
			}
		}
	}()
	response, err := f.client.Post(f.url, "text/plain", body)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if text, _ := io.ReadAll(response.Body); string(text) != "all" {
		t.Errorf("got %q", text)
	}
}

func TestLargeBodyHasNoLimit(t *testing.T) {
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, n, err)
	}))
	defer upstream.Close()
	const size = 20 << 20
	f := serve(t, protocol.ProxySpec{Upstream: upstream.URL}, nil)
	response, err := f.client.Post(f.url, "text/plain", io.LimitReader(zeros{}, size))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if body, _ := io.ReadAll(response.Body); string(body) != fmt.Sprint(size, " <nil>") {
		t.Errorf("got %q", body)
	}
	if f.counters.Snapshot().BytesIn < size {
		t.Errorf("counters: %+v", f.counters.Snapshot())
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestWebSocketPassesAndEndsWithTheServer(t *testing.T) {
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
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
			connection.Write(r.Context(), kind, append([]byte("echo "), message...))
		}
	}))
	defer upstream.Close()
	f := serve(t, protocol.ProxySpec{Upstream: upstream.URL, Upgrades: []string{websocketProtocol}}, nil)
	connection, response, err := websocket.Dial(t.Context(), f.url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if response.StatusCode != http.StatusSwitchingProtocols {
		t.Errorf("status %d", response.StatusCode)
	}
	if err := connection.Write(t.Context(), websocket.MessageText, []byte("hi")); err != nil {
		t.Fatal(err)
	}
	if _, message, err := connection.Read(t.Context()); err != nil || string(message) != "echo hi" {
		t.Errorf("got %q, %v", message, err)
	}
	if got := f.counters.Snapshot(); got.Requests != 1 || got.OpenConnections != 1 || got.BytesIn == 0 {
		t.Errorf("counters: %+v", got)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	f.server.Drain(ctx)
	if _, _, err := connection.Read(ctx); err == nil || ctx.Err() != nil {
		t.Errorf("still open after the drain: %v", err)
	}
	await(t, func() bool { return f.counters.Snapshot().OpenConnections == 0 })
}

func TestDrainAwaitsTheFirstRequestOfAConnection(t *testing.T) {
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "late") }))
	defer upstream.Close()
	f := serve(t, protocol.ProxySpec{Upstream: upstream.URL}, nil)
	address := strings.TrimPrefix(f.url, "http://")
	silent, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	late, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer late.Close()
	await(t, func() bool { return f.counters.Snapshot().OpenConnections == 2 })
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		f.server.Drain(ctx)
	}()
	time.Sleep(2 * lastBytes) // the way of a request
	fmt.Fprint(late, "GET / HTTP/1.1\r\nHost: web.example.ts.net\r\n\r\n")
	response, err := http.ReadResponse(bufio.NewReader(late), nil)
	if err != nil {
		t.Fatal(err)
	}
	if body, _ := io.ReadAll(response.Body); string(body) != "late" {
		t.Errorf("got %q", body)
	}
	select {
	case <-ended: // the other one never asks
	case <-time.After(patience):
		t.Error("the drain does not end")
	}
}

func await(t *testing.T, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("waited in vain")
		}
	}
}

func TestClientThatGoesAwayIsNoUpstreamError(t *testing.T) {
	arrived := make(chan struct{}, 1)
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/half" {
			fmt.Fprint(w, "half")
			w.(http.Flusher).Flush()
		}
		arrived <- struct{}{}
		<-r.Context().Done() // the abort reaches the upstream
	}))
	defer upstream.Close()
	f := serve(t, protocol.ProxySpec{Upstream: upstream.URL}, nil)
	ask := func(ctx context.Context, path string) (*http.Response, error) {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, f.url+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		return f.client.Do(request)
	}

	before, leave := context.WithCancel(t.Context())
	go func() { <-arrived; leave() }()
	if response, err := ask(before, "/"); err == nil {
		response.Body.Close()
		t.Error("answered")
	}
	await(t, func() bool {
		return f.counters.clientAborts.Load() == 1 && f.counters.byStatus[statusAborted].Load() == 1
	})

	inTheMiddle, leave := context.WithCancel(t.Context())
	response, err := ask(inTheMiddle, "/half")
	if err != nil {
		t.Fatal(err)
	}
	leave()
	response.Body.Close()
	await(t, func() bool {
		return f.counters.clientAborts.Load() == 2 && f.counters.byStatus[http.StatusOK].Load() == 1
	})
	if f.counters.upstreamErrors.Load() != 0 {
		t.Errorf("counters: %+v", f.counters.Snapshot())
	}
}

func TestUpstreamThatBreaksOffIsAnError(t *testing.T) {
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		fmt.Fprint(w, "half")
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}))
	defer upstream.Close()
	f := serve(t, protocol.ProxySpec{Upstream: upstream.URL}, nil)
	response, err := f.client.Get(f.url)
	if err == nil {
		_, err = io.ReadAll(response.Body)
		response.Body.Close()
	}
	if err == nil {
		t.Error("the client took half an answer for a whole one")
	}
	await(t, func() bool { return f.counters.upstreamErrors.Load() == 1 })
	if f.counters.clientAborts.Load() != 0 {
		t.Error("counted as the client's doing")
	}
}

func TestConnectIsRefused(t *testing.T) {
	f := serve(t, protocol.ProxySpec{Upstream: echo(t).URL}, nil)
	for target, want := range map[string]int{ownName + ":80": http.StatusMethodNotAllowed, "internal:22": http.StatusMisdirectedRequest} {
		if response := f.raw("CONNECT " + target + " HTTP/1.1\r\nHost: " + target + "\r\n\r\n"); response.StatusCode != want {
			t.Errorf("to %s: %s", target, response.Status)
		}
	}
}
