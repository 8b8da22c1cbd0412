package proxy

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"testing"
	"time"

	"github.com/pires/go-proxyproto"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/limit"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/protocol"
)

// forward carries tcp to upstream, and gives the address of its listener.
func forward(t *testing.T, upstream net.Listener, spec protocol.ListenSpec) (*Forwarder, *Counters, string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	spec.DialAddress = upstream.Addr().String()
	limits := limit.New()
	counters := NewMetrics().Add("git", limits, noBackends())
	f := Forward(loopback.from(listener, alice), NewGate(counters, discard), hostDialer{}.Dial, ServerConfig{Spec: spec, Counters: counters, Limits: limits, Log: discard})
	t.Cleanup(func() { f.Drain(expired()) })
	return f, counters, listener.Addr().String()
}

func expired() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// upstreamOf answers each connection by handle.
func upstreamOf(t *testing.T, handle func(*net.TCPConn)) net.Listener {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				handle(conn.(*net.TCPConn))
			}()
		}
	}()
	return listener
}

func dial(t *testing.T, address string) *net.TCPConn {
	t.Helper()
	conn, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(patience))
	return conn.(*net.TCPConn)
}

func TestTCPCarriesBothWaysAndEitherSideMayEndFirst(t *testing.T) {
	upstream := upstreamOf(t, func(conn *net.TCPConn) {
		sent, _ := io.ReadAll(conn) // until the client has ended its half
		_, _ = conn.Write(bytes.ToUpper(sent))
	})
	_, counters, address := forward(t, upstream, protocol.ListenSpec{})
	client := dial(t, address)
	long := bytes.Repeat([]byte("x"), 3*bufferBytes+1)
	go func() {
		_, _ = client.Write(long)
		_ = client.CloseWrite()
	}()
	answer, err := io.ReadAll(client)
	if err != nil || !bytes.Equal(answer, bytes.ToUpper(long)) {
		t.Errorf("%d bytes, %v", len(answer), err)
	}
	if got := counters.Snapshot(); got.BytesIn != len(long) || got.BytesOut != len(long) {
		t.Errorf("counted %+v", got)
	}
}

func TestTCPUpstreamMaySpeakFirst(t *testing.T) {
	upstream := upstreamOf(t, func(conn *net.TCPConn) { _, _ = io.WriteString(conn, "SSH-2.0-test\r\n") })
	_, _, address := forward(t, upstream, protocol.ListenSpec{})
	if banner, err := io.ReadAll(dial(t, address)); string(banner) != "SSH-2.0-test\r\n" || err != nil {
		t.Errorf("%q, %v", banner, err)
	}
}

func TestTCPTellsTheUpstreamTheClient(t *testing.T) {
	headers := make(chan *proxyproto.Header, 1)
	upstream := upstreamOf(t, func(conn *net.TCPConn) {
		header, err := proxyproto.Read(bufio.NewReader(conn))
		if err != nil {
			t.Error(err)
		}
		headers <- header
	})
	_, _, address := forward(t, upstream, protocol.ListenSpec{ProxyProtocol: true})
	client := dial(t, address)
	header := <-headers
	if header == nil || header.Version != 2 || header.SourceAddr.String() != client.LocalAddr().String() {
		t.Errorf("got %+v, the client is %v", header, client.LocalAddr())
	}
}

func TestTCPEndsWhatCarriesNothing(t *testing.T) {
	upstream := upstreamOf(t, func(conn *net.TCPConn) { _, _ = io.Copy(conn, conn) })
	_, _, address := forward(t, upstream, protocol.ListenSpec{IdleTimeoutMs: 50})
	client := dial(t, address)
	reader := bufio.NewReader(client)
	for range 5 { // traffic keeps it open
		if _, err := client.Write([]byte("a\n")); err != nil {
			t.Fatal(err)
		}
		if _, err := reader.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := reader.ReadString('\n'); err != io.EOF {
		t.Errorf("idle, and then %v", err)
	}
}

func TestTCPWithoutAnUpstreamIsAnErrorOfTheUpstream(t *testing.T) {
	upstream := upstreamOf(t, func(*net.TCPConn) {})
	upstream.Close()
	_, counters, address := forward(t, upstream, protocol.ListenSpec{DialTimeoutMs: 1000})
	if _, err := io.ReadAll(dial(t, address)); err != nil {
		t.Error(err)
	}
	if got := counters.Snapshot(); got.Errors != 1 {
		t.Errorf("counted %+v", got)
	}
}

func TestTCPDrainLetsConnectionsEndUntilItsTimeIsUp(t *testing.T) {
	upstream := upstreamOf(t, func(conn *net.TCPConn) { _, _ = io.Copy(conn, conn) })
	f, counters, address := forward(t, upstream, protocol.ListenSpec{})
	client := dial(t, address)
	reader := bufio.NewReader(client)
	if _, err := client.Write([]byte("a\n")); err != nil {
		t.Fatal(err)
	}
	if _, err := reader.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	ctx, cut := context.WithCancel(context.Background())
	drained := make(chan struct{})
	go func() {
		f.Drain(ctx)
		close(drained)
	}()
	if _, err := client.Write([]byte("b\n")); err != nil {
		t.Fatal(err)
	}
	if line, err := reader.ReadString('\n'); line != "b\n" {
		t.Errorf("while draining: %q, %v", line, err)
	}
	cut()
	<-drained
	if _, err := reader.ReadByte(); err == nil {
		t.Error("the connection outlived the drain")
	}
	if open := counters.open.Load(); open != 0 {
		t.Errorf("%d connections are still counted", open)
	}
}
