package proxy

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/limit"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/protocol"
)

// endless answers without an end.
func endless(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.Copy(w, zeros{}) }))
	t.Cleanup(server.Close)
	return server.URL
}

func TestHeaderLimit(t *testing.T) {
	for _, over := range everyReach(t) {
		t.Run(over.name, func(t *testing.T) {
			f := serveOver(t, over, guarded(t), over.whoIs)
			conn := f.connect()
			fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: %s\r\nX-Large: %s\r\n", ownName, strings.Repeat("x", 80<<10))
			response, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil || response.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
				t.Errorf("%v, %v", response, err)
			}
			if over.isSecure() {
				request, _ := http.NewRequest(http.MethodGet, f.url, nil)
				request.Header.Set("X-Large", strings.Repeat("x", 80<<10))
				if response, err := f.http2().Do(request); err == nil && response.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
					t.Errorf("HTTP/2: %v", response)
				}
			}
		})
	}
}

func TestConnectionsOfOneClientAreLimited(t *testing.T) {
	for _, over := range everyReach(t) {
		t.Run(over.name, func(t *testing.T) {
			f := serveOver(t, over, guarded(t), over.whoIs)
			f.limits.Set(protocol.LimitsSpec{MaxConnectionsPerClient: 3})
			answers := func(conn net.Conn) bool {
				fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", ownName)
				response, err := http.ReadResponse(bufio.NewReader(conn), nil)
				return err == nil && response.StatusCode == http.StatusOK
			}
			first := f.connect()
			for _, conn := range []net.Conn{first, f.connect(), f.connect()} {
				if !answers(conn) {
					t.Error("a connection within the limit is not served")
				}
			}
			if conn, err := f.dialFront(t.Context()); err == nil && answers(conn) {
				t.Error("a connection above the limit is served")
			}
			if f.limits.Reached(limit.ConnectionsPerClient) != 1 {
				t.Errorf("counted %d times", f.limits.Reached(limit.ConnectionsPerClient))
			}
			first.Close()
			await(t, func() bool { return f.limits.Open() == 2 })
			if !answers(f.connect()) {
				t.Error("there is no place for another connection after one has ended")
			}
		})
	}
}

func TestRequestsAtOnceAreLimited(t *testing.T) {
	arrived, leave := make(chan struct{}), make(chan struct{})
	upstream := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		arrived <- struct{}{}
		<-leave
	}))
	t.Cleanup(upstream.Close)
	spec := guarded(t)
	spec.Upstream = upstream.URL
	for _, c := range []struct {
		limits protocol.LimitsSpec
		status int
	}{
		{protocol.LimitsSpec{MaxRequests: 1}, http.StatusServiceUnavailable},
		{protocol.LimitsSpec{MaxRequestsPerClient: 1}, http.StatusTooManyRequests},
	} {
		f := serve(t, spec, nil)
		f.limits.Set(c.limits)
		ended := make(chan error)
		go func() {
			_, err := f.client.Get(f.url)
			ended <- err
		}()
		<-arrived
		response, _ := f.send(http.MethodGet, "/", nil)
		if response.StatusCode != c.status || response.Header.Get("Retry-After") == "" {
			t.Errorf("%+v: %v", c.limits, response)
		}
		leave <- struct{}{}
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

func TestRateOfAClientIsLimited(t *testing.T) {
	for _, over := range overNodes(t) {
		t.Run(over.name, func(t *testing.T) {
			f := serveOver(t, over, guarded(t), over.whoIs)
			f.limits.Set(protocol.LimitsSpec{RateLimit: 0.3, FunnelRateLimit: 0.3}) // three, and no fourth for a second
			for i := range 4 {
				response, err := f.client.Get(f.url)
				if err != nil {
					t.Fatal(err)
				}
				_, _ = io.Copy(io.Discard, response.Body)
				response.Body.Close()
				if isRefused := response.StatusCode == http.StatusTooManyRequests; isRefused != (i == 3) {
					t.Errorf("request %d: %d", i+1, response.StatusCode)
				}
			}
		})
	}
}

// What a client does not take is not kept for it.
func TestClientThatReadsNothingIsCutOff(t *testing.T) {
	for _, over := range everyReach(t) {
		t.Run(over.name, func(t *testing.T) {
			spec := guarded(t)
			spec.Upstream = endless(t)
			f := serveOver(t, over, spec, over.whoIs)
			f.limits.Set(protocol.LimitsSpec{SendTimeoutMs: 300})
			conn := f.connect()
			fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", ownName)
			await(t, func() bool { return f.counters.stalled.Load() == 1 })
			await(t, func() bool { return f.limits.Open() == 0 })
		})
	}
}

// Slow is not stalled.
func TestClientThatReadsSlowlyIsServed(t *testing.T) {
	const sendTimeout = 300
	for _, over := range everyReach(t) {
		t.Run(over.name, func(t *testing.T) {
			spec := guarded(t)
			spec.Upstream = endless(t)
			f := serveOver(t, over, spec, over.whoIs)
			f.limits.Set(protocol.LimitsSpec{SendTimeoutMs: sendTimeout})
			conn := f.connect()
			fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", ownName)
			reading := time.NewTicker(milliseconds(sendTimeout) / 10)
			defer reading.Stop()
			for range 40 { // four times the time-out
				<-reading.C
				if _, err := io.CopyN(io.Discard, conn, 256<<10); err != nil {
					t.Fatal(err)
				}
			}
			if stalled := f.counters.stalled.Load(); stalled != 0 {
				t.Errorf("cut off %d times", stalled)
			}
		})
	}
}

// The internet gets no more than a relay carries, so that it cannot keep the worker busy.
func TestTheInternetIsSentSoMuchInASecond(t *testing.T) {
	const bytes, atMost = 8 << 20, 32 << 20
	spec := guarded(t)
	spec.Upstream = endless(t)
	for _, over := range overNodes(t) {
		if over.scheme != protocol.ListenSpecSchemeFunnel {
			continue
		}
		f := serveOver(t, over, spec, over.whoIs)
		conn, started := f.connect(), time.Now()
		fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", ownName)
		if _, err := io.CopyN(io.Discard, conn, bytes); err != nil {
			t.Fatal(err)
		}
		const saved = 1 << 20
		if took, least := time.Since(started), time.Duration(bytes-saved)*time.Second/atMost; took < least {
			t.Errorf("%d bytes took %v, less than %v", bytes, took, least)
		}
	}
}

// A stream without a window ends, and its connection goes on.
func TestStreamWithoutAWindowIsCutOff(t *testing.T) {
	for _, over := range overNodes(t) {
		if !over.isSecure() {
			continue
		}
		t.Run(over.name, func(t *testing.T) {
			for what, upstream := range map[string]string{"endless": endless(t), "short": echo(t).URL} {
				spec := guarded(t)
				spec.Upstream = upstream
				f := serveOver(t, over, spec, over.whoIs)
				f.limits.Set(protocol.LimitsSpec{SendTimeoutMs: 300})
				conn := f.connect("h2").(*tls.Conn)
				framer := greet(t, conn, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
				ask(t, framer, 1)
				if err := awaitReset(framer, 1); err != nil {
					t.Errorf("%s: %v", what, err)
				}
				ask(t, framer, 3)
				if err := awaitReset(framer, 3); err != nil {
					t.Errorf("%s: the connection did not go on: %v", what, err)
				}
				f.server.Drain(expired())
			}
		})
	}
}

// greet begins to speak HTTP/2.
func greet(t *testing.T, conn net.Conn, settings ...http2.Setting) *http2.Framer {
	t.Helper()
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	framer := http2.NewFramer(conn, conn)
	if err := framer.WriteSettings(settings...); err != nil {
		t.Fatal(err)
	}
	return framer
}

// ask sends a request without a body.
func ask(t *testing.T, framer *http2.Framer, stream uint32) {
	t.Helper()
	var block strings.Builder
	encoder := hpack.NewEncoder(&block)
	for _, field := range []hpack.HeaderField{{Name: ":method", Value: "GET"}, {Name: ":scheme", Value: "https"}, {Name: ":authority", Value: ownName}, {Name: ":path", Value: "/"}} {
		if err := encoder.WriteField(field); err != nil {
			t.Fatal(err)
		}
	}
	err := framer.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: []byte(block.String()), EndStream: true, EndHeaders: true})
	if err != nil {
		t.Fatal(err)
	}
}

func awaitReset(framer *http2.Framer, stream uint32) error {
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			return err
		}
		switch frame := frame.(type) {
		case *http2.RSTStreamFrame:
			if frame.StreamID == stream {
				return nil
			}
		case *http2.GoAwayFrame:
			return errors.New("the connection ends")
		}
	}
}

// The more connections a service has, the less each may fill with what nobody reads.
func TestManyConnectionsReceiveLess(t *testing.T) {
	for _, over := range overNodes(t) {
		t.Run(over.name, func(t *testing.T) {
			f := serveOver(t, over, guarded(t), over.whoIs)
			const many = 128
			for range many {
				f.connect()
			}
			await(t, func() bool { return f.limits.Open() == many })
			bounded := 0
			for _, options := range f.socketOptions() {
				if options.GetReceiveBufferSize() < tcp.DefaultReceiveBufferSize {
					bounded++
				}
			}
			if want := many - sharedBuffer/tcp.DefaultReceiveBufferSize; bounded < want {
				t.Errorf("%d of %d connections have less than the default, want %d", bounded, many, want)
			}
		})
	}
}

// Clients that do not read share a bound between them, and one that reads has as much as before.
func TestManyClientsThatReadNothingBufferLess(t *testing.T) {
	spec := guarded(t)
	spec.Upstream = endless(t)
	for _, over := range overNodes(t) {
		t.Run(over.name, func(t *testing.T) {
			f := serveOver(t, over, spec, over.whoIs)
			const many = 16
			for range many {
				client := f.connect()
				takeLittle(client)
				fmt.Fprintf(client, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", ownName)
			}
			await(t, func() bool { return f.limits.Sending.Load() == many })
			total := int64(0)
			for _, options := range f.socketOptions() {
				total += options.GetSendBufferSize()
			}
			const nodesMost = 6 << 20 // what a node gives a connection of its own accord
			share := sharedBuffer * (1 + math.Log(many/freeBuffers))
			if total > freeBuffers*nodesMost+int64(share) {
				t.Errorf("%d clients may buffer %d MiB", many, total>>20)
			}
		})
	}
}

// takeLittle has a client buffer little of what it does not read, so that its service soon waits for it.
func takeLittle(client net.Conn) {
	if secured, ok := client.(*tls.Conn); ok {
		client = secured.NetConn()
	}
	if kernel, ok := client.(*net.TCPConn); ok {
		_ = kernel.SetReadBuffer(smallestBuffer)
		return
	}
	wireOf(client).endpoint.SocketOptions().SetReceiveBufferSize(smallestBuffer, true)
}

// socketOptions are those of the connections of a node that are open.
func (f *front) socketOptions() (all []*tcpip.SocketOptions) {
	f.server.connections.mu.Lock()
	defer f.server.connections.mu.Unlock()
	for each := range f.server.connections.open {
		if each.wire.endpoint == nil {
			f.Fatal("what a node buffers for a connection is not found in this version of its TCP")
		}
		all = append(all, each.wire.endpoint.SocketOptions())
	}
	return all
}
