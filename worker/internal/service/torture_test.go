package service

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/protocol"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/tailnet"
)

// What HTTP allows, and what it does not, from a visitor over the tailnet through a service to an upstream.

// tortured is one service in front of handler, and a visitor to it.
func tortured(t *testing.T, handler http.HandlerFunc, change func(*protocol.ServiceSpec)) (*harness, visitor, string) {
	t.Helper()
	h := newHarness(t, tailnet.Options{RequireAuthKey: labKey}, 0)
	spec := h.spec("web", h.upstream(handler))
	if change != nil {
		change(&spec)
	}
	h.put(spec)
	status := h.awaitPhase("web", ready)
	client := h.visitor()
	client.Timeout = 0 // a gibibyte takes its time
	return h, client, status.Identity.Addresses[0]
}

// raw sends bytes as they are, and reads until the service has closed the connection.
func (h *harness) raw(client visitor, address, bytes string) string {
	h.Helper()
	conn, err := client.node.Dial(h.Context(), "tcp", net.JoinHostPort(address, "80"))
	if err != nil {
		h.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(conn, bytes); err != nil {
		h.Fatal(err)
	}
	answer, err := io.ReadAll(conn)
	if err != nil {
		h.Errorf("%q: %v after %q", bytes, err, answer)
	}
	return string(answer)
}

func TestTenThousandEvents(t *testing.T) {
	const events = 10_000
	_, client, address := tortured(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for i := range events {
			fmt.Fprintf(w, "id: %d\ndata: x\n\n", i)
			w.(http.Flusher).Flush()
		}
	}, nil)
	response, err := client.Get("http://" + address + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	next := 0
	for lines := bufio.NewScanner(response.Body); lines.Scan(); {
		if id, ok := strings.CutPrefix(lines.Text(), "id: "); ok {
			if id != fmt.Sprint(next) {
				t.Fatalf("event %s came in the place of %d", id, next)
			}
			next++
		}
	}
	if next != events {
		t.Errorf("%d events", next)
	}
}

func TestHundredWebSocketsEchoAMegabyte(t *testing.T) {
	const sockets, size = 100, 1 << 20
	_, client, address := tortured(t, func(w http.ResponseWriter, r *http.Request) {
		connection, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer connection.CloseNow()
		connection.SetReadLimit(size)
		for {
			kind, message, err := connection.Read(r.Context())
			if err != nil || connection.Write(r.Context(), kind, message) != nil {
				return
			}
		}
	}, nil)
	frame := bytes.Repeat([]byte("0123456789abcdef"), size/16)
	// All are open at the same time, and four of them have a megabyte on its way, or slow machines would run into the deadline.
	turn := make(chan struct{}, 4)
	echo := func() error {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		connection, _, err := websocket.Dial(ctx, "ws://"+address+"/", &websocket.DialOptions{HTTPClient: client.Client})
		if err != nil {
			return err
		}
		defer connection.CloseNow()
		connection.SetReadLimit(size)
		turn <- struct{}{}
		defer func() { <-turn }()
		ctx, cancel = context.WithTimeout(t.Context(), patience)
		defer cancel()
		if err := connection.Write(ctx, websocket.MessageBinary, frame); err != nil {
			return err
		}
		_, message, err := connection.Read(ctx)
		if err == nil && !bytes.Equal(message, frame) {
			t.Errorf("%d bytes came back, and other ones", len(message))
		}
		return err
	}
	// A visitor's tsnet loses up to 1 % of the connections that it opens, also to a server without a proxy.
	var lost atomic.Int64
	var all sync.WaitGroup
	for range sockets {
		all.Go(func() {
			for err := echo(); err != nil; err = echo() {
				if lost.Add(1) > sockets/10 {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	t.Logf("%d connections were lost and opened again", lost.Load())
}

// pattern is so many bytes that differ from place to place.
func pattern(size int64) io.Reader { return io.LimitReader(&counting{}, size) }

type counting struct{ at byte }

func (c *counting) Read(p []byte) (int, error) {
	for i := range p {
		c.at = c.at*5 + 1
		p[i] = c.at
	}
	return len(p), nil
}

func digest(from io.Reader) string {
	hash := sha256.New()
	_, _ = io.Copy(hash, from)
	return hex.EncodeToString(hash.Sum(nil))
}

// The end-to-end test of the same sends a gibibyte and looks at the worker alone.
func TestLongBodiesPassWhole(t *testing.T) {
	const size = int64(64 << 20)
	_, client, address := tortured(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut {
			fmt.Fprint(w, digest(r.Body))
			return
		}
		w.Header().Set("Content-Length", fmt.Sprint(size))
		_, _ = io.Copy(w, pattern(size))
	}, nil)
	want := digest(pattern(size))

	request, err := http.NewRequest(http.MethodPut, "http://"+address+"/", pattern(size))
	if err != nil {
		t.Fatal(err)
	}
	request.ContentLength = size
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	got, _ := io.ReadAll(response.Body)
	response.Body.Close()
	if string(got) != want {
		t.Errorf("uploaded: %s, want %s", got, want)
	}
	if response, err = client.Get("http://" + address + "/"); err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if got := digest(response.Body); got != want {
		t.Errorf("downloaded: %s, want %s", got, want)
	}
}

func TestTrailersPassBothWays(t *testing.T) {
	_, client, address := tortured(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Trailer", "Digest")
		fmt.Fprint(w, "body")
		w.Header().Set("Digest", "of "+r.Trailer.Get("Checksum"))
	}, nil)
	request, err := http.NewRequest(http.MethodPost, "http://"+address+"/", io.NopCloser(strings.NewReader("x")))
	if err != nil {
		t.Fatal(err)
	}
	request.Trailer = http.Header{"Checksum": {"abc"}}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if _, err := io.ReadAll(response.Body); err != nil {
		t.Fatal(err)
	}
	if got := response.Trailer.Get("Digest"); got != "of abc" {
		t.Errorf("trailer %q", got)
	}
}

func TestContinueIsTheUpstreamsToSay(t *testing.T) {
	h, client, address := tortured(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/refused" {
			w.Header().Set("Connection", "close")
			http.Error(w, "no", http.StatusForbidden) // without looking at the body
			return
		}
		_, _ = io.Copy(w, r.Body)
	}, nil)
	request := "PUT %s HTTP/1.1\r\nHost: web\r\nExpect: 100-continue\r\nContent-Length: 5\r\nConnection: close\r\n\r\n"
	accepted := h.raw(client, address, fmt.Sprintf(request, "/")+"hello")
	if !strings.Contains(accepted, "HTTP/1.1 200 OK") || !strings.HasSuffix(accepted, "hello") {
		t.Errorf("%q", accepted)
	}
	if refused := h.raw(client, address, fmt.Sprintf(request, "/refused")+"hello"); !strings.Contains(refused, "HTTP/1.1 403") {
		t.Errorf("%q", refused)
	}
}

func TestHTTP10(t *testing.T) {
	h, client, address := tortured(t, func(w http.ResponseWriter, _ *http.Request) {
		for range 3 {
			fmt.Fprint(w, "part ")
			w.(http.Flusher).Flush() // of unknown length, so that HTTP/1.1 would be chunked
		}
	}, nil)
	answer := h.raw(client, address, "GET / HTTP/1.0\r\nHost: web\r\n\r\n")
	head, body, _ := strings.Cut(answer, "\r\n\r\n")
	if !strings.HasPrefix(head, "HTTP/1.0 200") || strings.Contains(head, "chunked") || body != "part part part " {
		t.Errorf("%q", answer)
	}
}

// What an upstream might read as two requests, or as another one than we do, must reach it as one that is clear, or not at all.
func TestSmuggling(t *testing.T) {
	var mu sync.Mutex
	seen := map[string][]string{} // by path
	var upstream sync.WaitGroup
	// The upstream reads bytes, so that nothing which Go's own server would refuse is hidden.
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	upstream.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			upstream.Go(func() {
				defer conn.Close()
				reader := bufio.NewReader(conn)
				for {
					request, err := http.ReadRequest(reader)
					if err != nil {
						return
					}
					dump, _ := httputil.DumpRequest(request, false)
					mu.Lock()
					seen[request.URL.Path] = append(seen[request.URL.Path], string(dump))
					mu.Unlock()
					if _, err := io.Copy(io.Discard, request.Body); err != nil {
						return // it broke off
					}
					fmt.Fprint(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
				}
			})
		}
	})
	h, client, address := tortured(t, nil, func(spec *protocol.ServiceSpec) {
		spec.Proxy.Upstream = "http://" + listener.Addr().String()
		spec.Proxy.Whois = false
	})
	const end = "Host: web\r\nConnection: close\r\n"
	cases := map[string]struct {
		bytes string
		most  int // requests that the upstream may see
	}{
		"two lengths that differ":            {"POST /a HTTP/1.1\r\n" + end + "Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcde", 0},
		"length and chunks":                  {"POST /a HTTP/1.1\r\n" + end + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n", 1},
		"chunks, spelled to be missed":       {"POST /a HTTP/1.1\r\n" + end + "Transfer-Encoding: xchunked\r\nContent-Length: 4\r\n\r\nabcd", 0},
		"chunked twice":                      {"POST /a HTTP/1.1\r\n" + end + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 0},
		"a tab before chunked":               {"POST /a HTTP/1.1\r\n" + end + "Transfer-Encoding:\tchunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n", 1},
		"a space before the colon":           {"GET /a HTTP/1.1\r\n" + end + "Content-Length : 4\r\n\r\nabcd", 0},
		"a folded header":                    {"GET /a HTTP/1.1\r\n" + end + "X-A: b\r\n Transfer-Encoding: chunked\r\n\r\n", 1},
		"a bare LF in a value":               {"GET /a HTTP/1.1\r\n" + end + "X-A: b\nX-Tailscale-User: root\r\n\r\n", 1},
		"a bare CR in a value":               {"GET /a HTTP/1.1\r\n" + end + "X-A: b\rX-Tailscale-User: root\r\n\r\n", 0},
		"a NUL in a value":                   {"GET /a HTTP/1.1\r\n" + end + "X-A: b\x00c\r\n\r\n", 0},
		"a chunk size with a sign":           {"POST /a HTTP/1.1\r\n" + end + "Transfer-Encoding: chunked\r\n\r\n+4\r\nabcd\r\n0\r\n\r\n", 1},
		"a chunk size that overflows":        {"POST /a HTTP/1.1\r\n" + end + "Transfer-Encoding: chunked\r\n\r\n10000000000000004\r\nabcd\r\n0\r\n\r\n", 1},
		"a chunk that ends in garbage":       {"POST /a HTTP/1.1\r\n" + end + "Transfer-Encoding: chunked\r\n\r\n4\r\nabcdXX0\r\n\r\n", 1},
		"no host":                            {"GET /a HTTP/1.1\r\nConnection: close\r\n\r\n", 0},
		"two hosts":                          {"GET /a HTTP/1.1\r\n" + end + "Host: other\r\n\r\n", 0},
		"a method with a space in the line":  {"GET /a b HTTP/1.1\r\n" + end + "\r\n", 0},
		"another host by an absolute target": {"GET http://other.example/a HTTP/1.1\r\n" + end + "\r\n", 0},
		"a tunnel":                           {"CONNECT other.example:443 HTTP/1.1\r\n" + end + "\r\n", 0},
		"hop-by-hop headers of ours":         {"GET /a HTTP/1.1\r\nHost: web\r\nConnection: close, X-Forwarded-For, X-Request-Id\r\n\r\n", 1},
	}
	// A client may be refused before the upstream has read what came before the mistake. So each case asks for a path of its own, and
	// what the upstream saw is looked at when no connection to it is left.
	path := func(what string) string { return "/" + strings.ReplaceAll(what, " ", "-") }
	for what, c := range cases {
		answer := h.raw(client, address, strings.Replace(c.bytes, "/a", path(what), 1))
		if c.most == 0 && !strings.HasPrefix(answer, "HTTP/1.1 4") && !strings.HasPrefix(answer, "HTTP/1.1 501") {
			t.Errorf("%s: answered with %q", what, answer)
		}
	}
	h.set.Delete("web", patience)
	h.awaitRemoved("web")
	listener.Close()
	upstream.Wait()
	for what, c := range cases {
		requests := seen[path(what)]
		delete(seen, path(what))
		if len(requests) > c.most {
			t.Errorf("%s: the upstream saw %d requests: %q", what, len(requests), requests)
		}
		for _, request := range requests {
			if strings.Contains(request, "X-Tailscale-User") || !strings.Contains(request, "X-Forwarded-For: ") {
				t.Errorf("%s: the upstream saw %q", what, request)
			}
		}
	}
	if len(seen) > 0 {
		t.Errorf("the upstream saw what nobody asked for: %q", seen)
	}
}

func TestLargeHeaders(t *testing.T) {
	_, client, address := tortured(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Large", r.Header.Get("X-Large"))
	}, nil)
	large := strings.Repeat("x", 64<<10)
	request, err := http.NewRequest(http.MethodGet, "http://"+address+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("X-Large", large)
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusOK || response.Header.Get("X-Large") != large {
		t.Errorf("%d, %d bytes", response.StatusCode, len(response.Header.Get("X-Large")))
	}
	request.Header.Set("X-Large", strings.Repeat("x", 2<<20))
	if response, err = client.Do(request); err == nil {
		response.Body.Close()
		if response.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
			t.Errorf("2 MiB of header: %d", response.StatusCode)
		}
	}
}

func TestSlowClientsAreSentAway(t *testing.T) {
	h, client, address := tortured(t, func(http.ResponseWriter, *http.Request) {}, func(spec *protocol.ServiceSpec) {
		spec.Listeners[0].ReadHeaderTimeoutMs, spec.Listeners[0].IdleTimeoutMs = 200, 200
	})
	for what, bytes := range map[string]string{"nothing": "", "half a header": "GET / HTTP/1.1\r\nHost: web\r\nX-A", "idle": "GET / HTTP/1.1\r\nHost: web\r\n\r\n"} {
		if answer := h.raw(client, address, bytes); what == "idle" && !strings.HasPrefix(answer, "HTTP/1.1 200") {
			t.Errorf("%s: %q", what, answer)
		}
	}
	h.await("web", "free of connections", func(s protocol.ServiceStatus) bool { return s.Counters.OpenConnections == 0 })
}

// A client must not take half a body for the whole.
func TestUpstreamsThatBreakOff(t *testing.T) {
	_, client, address := tortured(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "100")
		fmt.Fprint(w, "half")
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}, nil)
	response, err := client.Get("http://" + address + "/")
	if err != nil {
		return // it has noticed before there was a header
	}
	defer response.Body.Close()
	if body, err := io.ReadAll(response.Body); err == nil {
		t.Errorf("%q and no error", body)
	}
}
