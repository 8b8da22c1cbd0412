package proxy

import (
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/protocol"
)

// keepAliveTimeout closes connections that clients left open: a tailnet peer that vanished says no goodbye.
const keepAliveTimeout = 5 * time.Minute

// Server serves one listener of a service.
type Server struct {
	http        *http.Server
	connections *connections
}

// Serve begins to serve listener, and owns it from then on. seen is told of each client that connects; it must not block.
func Serve(listener net.Listener, spec protocol.ListenSpec, handler http.Handler, counters *Counters, seen func(net.Addr)) *Server {
	server := &Server{
		http: &http.Server{
			Handler:           handler,
			ReadHeaderTimeout: time.Duration(spec.ReadHeaderTimeoutMs) * time.Millisecond,
			IdleTimeout:       keepAliveTimeout,
			ConnContext:       rememberPeer,
			Protocols:         http1(),
			ErrorLog:          log.New(io.Discard, "", 0), // what clients do wrong
		},
		connections: &connections{Listener: listener, counters: counters, seen: seen, open: map[*connection]struct{}{}},
	}
	go server.http.Serve(server.connections)
	return server
}

// StopListening frees the address at once; connections stay. Drain follows.
func (s *Server) StopListening() { _ = s.connections.Listener.Close() }

// Drain stops listening, lets requests end until ctx is done, and then closes every connection, WebSockets included.
func (s *Server) Drain(ctx context.Context) {
	_ = s.http.Shutdown(ctx)
	_ = s.http.Close()
	s.connections.closeAll()
}

// connections is a listener that knows what it accepted: net/http forgets a connection that became a WebSocket.
type connections struct {
	net.Listener
	counters *Counters
	seen     func(net.Addr)

	mu   sync.Mutex
	open map[*connection]struct{}
}

func (c *connections) Accept() (net.Conn, error) {
	accepted, err := c.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c.seen(accepted.RemoteAddr())
	tracked := &connection{Conn: accepted, owner: c}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open[tracked] = struct{}{}
	c.counters.open.Add(1)
	return tracked, nil
}

func (c *connections) closeAll() {
	c.mu.Lock()
	left := make([]*connection, 0, len(c.open))
	for each := range c.open {
		left = append(left, each)
	}
	c.mu.Unlock()
	for _, each := range left {
		each.Close()
	}
}

// connection counts the bytes of one client.
type connection struct {
	net.Conn
	owner *connections
}

func (c *connection) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.owner.counters.bytesIn.Add(uint64(n))
	return n, err
}

func (c *connection) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.owner.counters.bytesOut.Add(uint64(n))
	return n, err
}

// CloseWrite lets one side of a WebSocket end before the other.
func (c *connection) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return c.Close()
}

func (c *connection) Close() error {
	c.owner.mu.Lock()
	if _, ok := c.owner.open[c]; ok {
		delete(c.owner.open, c)
		c.owner.counters.open.Add(-1)
	}
	c.owner.mu.Unlock()
	return c.Conn.Close()
}
