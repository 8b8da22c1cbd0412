package proxy

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/limit"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/protocol"
)

// impatient is an upstream that answers the first request of a connection with "<method> <length of the body>", and closes the
// connection when the next one begins to arrive.
func impatient(t *testing.T) (url string) {
	t.Helper()
	listener := upstreamOf(t, func(conn *net.TCPConn) {
		reader := bufio.NewReader(conn)
		request, err := http.ReadRequest(reader)
		if err != nil {
			return
		}
		n, err := io.Copy(io.Discard, request.Body)
		if err != nil {
			return
		}
		text := fmt.Sprint(request.Method, " ", n)
		if request.Method == http.MethodHead {
			text = ""
		}
		fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(text), text)
		_, _ = reader.Peek(1)
	})
	return "http://" + listener.Addr().String()
}

func TestRequestsOnAConnectionThatTheUpstreamCloses(t *testing.T) {
	for _, over := range everyReach(t) {
		t.Run(over.name, func(t *testing.T) {
			f := serveOver(t, over, protocol.ProxySpec{Upstream: impatient(t)}, over.whoIs)
			ask := func(method, body string) (int, string) {
				t.Helper()
				request, err := http.NewRequest(method, f.url, strings.NewReader(body))
				if err != nil {
					t.Fatal(err)
				}
				response, err := f.client.Do(request)
				if err != nil {
					t.Fatal(err)
				}
				defer response.Body.Close()
				text, err := io.ReadAll(response.Body)
				if err != nil {
					t.Fatal(err)
				}
				return response.StatusCode, string(text)
			}
			for _, c := range []struct {
				method, body string
				again        bool
			}{
				{"GET", "", true}, {"PUT", "a body", true}, {"PUT", "", true}, {"DELETE", "", true}, {"PROPFIND", "<x/>", true}, {"HEAD", "", true},
				{"POST", "a body", false}, {"POST", "", false}, {"PATCH", "a body", false}, {"MKCOL", "", false},
			} {
				ask("GET", "") // leaves a connection on which the next request gets no answer
				status, text := ask(c.method, c.body)
				want := fmt.Sprint(c.method, " ", len(c.body))
				if c.method == "HEAD" {
					want = ""
				}
				if isAnswered := status == http.StatusOK && text == want; isAnswered != c.again || !isAnswered && status != http.StatusBadGateway {
					t.Errorf("%s with %d bytes: %d %q\n%s", c.method, len(c.body), status, text, f.log)
				}
			}
			// By how much of it has been sent: the whole of it, or nothing.
			ask("GET", "")
			const size = 10 * mostReplayed
			if status, text := ask("PUT", strings.Repeat("x", size)); status != http.StatusBadGateway && text != fmt.Sprint("PUT ", size) {
				t.Errorf("a large body: %d %q", status, text)
			}
		})
	}
}

// onceWritable is a connection on which nothing can be sent after the first answer.
type onceWritable struct {
	net.Conn
	answered atomic.Bool
}

func (c *onceWritable) Write(p []byte) (int, error) {
	if c.answered.Load() {
		return 0, errors.New("broken pipe")
	}
	return c.Conn.Write(p)
}

func (c *onceWritable) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.answered.Store(n > 0)
	return n, err
}

// dialFunc is a node.
type dialFunc func() (net.Conn, error)

func (d *dialFunc) Dial(context.Context, string, string) (net.Conn, error) { return (*d)() }

func TestWhatWasNotSentIsSentAgain(t *testing.T) {
	var requests atomic.Int32
	listener := upstreamOf(t, func(conn *net.TCPConn) {
		reader := bufio.NewReader(conn)
		for {
			request, err := http.ReadRequest(reader)
			if err != nil {
				return
			}
			requests.Add(1)
			body, _ := io.ReadAll(request.Body)
			fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		}
	})
	dialer := dialFunc(func() (net.Conn, error) {
		conn, err := net.Dial("tcp", listener.Addr().String())
		return &onceWritable{Conn: conn}, err
	})
	f := serve(t, protocol.ProxySpec{Upstream: echo(t).URL}, nil)
	upstream, err := OpenUpstream(protocol.ProxySpec{Upstream: "http://upstream.test", UseTailnetDialer: true}, &dialer, limit.NewFiles().Join())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(upstream.Close)
	f.use(protocol.ProxySpec{Upstream: "http://upstream.test", UseTailnetDialer: true}, upstream)
	for i := range int32(5) {
		response, err := f.client.Post(f.url, "text/plain", strings.NewReader("a body"))
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(response.Body)
		response.Body.Close()
		if response.StatusCode != http.StatusOK || string(body) != "a body" || requests.Load() != i+1 {
			t.Errorf("POST %d: %s %q, %d requests at the upstream", i, response.Status, body, requests.Load())
		}
	}
}

func TestConnectionsAreLetGoOfBeforeTheUpstreamDoes(t *testing.T) {
	const kept = 2 * time.Second
	ended := make(chan time.Duration, 1)
	listener := upstreamOf(t, func(conn *net.TCPConn) {
		reader := bufio.NewReader(conn)
		if _, err := http.ReadRequest(reader); err != nil {
			return
		}
		fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nKeep-Alive: timeout=%d, max=100\r\nContent-Length: 2\r\n\r\nok", int(kept.Seconds()))
		answered := time.Now()
		_, _ = reader.Peek(1)
		ended <- time.Since(answered)
	})
	f := serve(t, protocol.ProxySpec{Upstream: "http://" + listener.Addr().String()}, nil)
	if response, _ := f.send(http.MethodGet, "/", nil); response.StatusCode != http.StatusOK {
		t.Fatal(response.Status)
	}
	// The first connection is of the time before the upstream had said so: it ends at once.
	if after := receive(t, ended, "the end of the first connection"); after >= kept {
		t.Errorf("the first connection was kept for %v", after)
	}
	f.send(http.MethodGet, "/", nil)
	if after := receive(t, ended, "the end of the second connection"); after >= kept {
		t.Errorf("a connection was kept for %v", after)
	}
}

func TestKeepAlive(t *testing.T) {
	for header, want := range map[string]time.Duration{
		"timeout=5": 5 * time.Second, "max=5, Timeout=7": 7 * time.Second, "timeout=0": 0, "timeout=x": 0, "timeout": 0, "": 0, "timeout=-1": 0,
	} {
		if got := keepAlive(http.Header{"Keep-Alive": {header}}); got != want {
			t.Errorf("%q: %v", header, got)
		}
	}
}
