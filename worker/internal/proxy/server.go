package proxy

import (
	"context"
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/protocol"
)

// ServerConfig is what one listener of a service is served with.
type ServerConfig struct {
	Spec     protocol.ListenSpec
	Handler  http.Handler
	TLS      *tls.Config // nil: without TLS
	Counters *Counters
	Seen     func(net.Addr) // told of each client that connects; must not block
}

// Server serves one listener that speaks HTTP.
type Server struct {
	http        *http.Server
	connections *connections
	counters    *Counters
	newcomers   *newcomers
}

// Serve begins to serve listener, and owns it from then on.
func Serve(listener net.Listener, config ServerConfig) *Server {
	newcomers := &newcomers{since: map[net.Conn]time.Time{}}
	server := &Server{
		http: &http.Server{
			Handler:           config.Handler,
			TLSConfig:         config.TLS,
			ReadHeaderTimeout: milliseconds(config.Spec.ReadHeaderTimeoutMs),
			IdleTimeout:       milliseconds(config.Spec.IdleTimeoutMs),
			ConnContext:       rememberPeer(config.Spec.Scheme == protocol.ListenSpecSchemeFunnel),
			ConnState:         newcomers.note,
			Protocols:         protocols(),
			ErrorLog:          log.New(io.Discard, "", 0), // what clients do wrong
		},
		connections: track(listener, config.Counters, config.Seen),
		counters:    config.Counters,
		newcomers:   newcomers,
	}
	if config.TLS != nil {
		go server.http.ServeTLS(server.connections, "", "")
	} else {
		go server.http.Serve(server.connections)
	}
	return server
}

// protocols are those of both sides. HTTP/2 is for TLS, where both can tell that they speak it.
func protocols() *http.Protocols {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	return &protocols
}

// StopListening frees the address at once; connections stay. Drain follows.
func (s *Server) StopListening() { _ = s.connections.Listener.Close() }

// Drain stops listening, lets requests end until ctx is done, and then closes every connection. Event streams and WebSockets,
// which do not end by themselves, are not waited for.
func (s *Server) Drain(ctx context.Context) {
	s.StopListening()
	s.connections.part(ctx)
	// Ends what is idle, and lets who is new ask: from Shutdown on, net/http reads requests and drops them.
	s.http.SetKeepAlivesEnabled(false)
	until(ctx, func() bool { return !s.newcomers.expected() })
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		s.counters.running.awaitAll(ctx)
		time.AfterFunc(lastBytes, cancel)
	}()
	_ = s.http.Shutdown(ctx)
	_ = s.http.Close()
	s.connections.closeAll()
}

// connections is a listener that knows what it accepted: net/http forgets a connection that became a WebSocket.
type connections struct {
	net.Listener
	counters *Counters
	seen     func(net.Addr)
	partings sync.WaitGroup

	mu    sync.Mutex
	open  map[*connection]struct{}
	hurry <-chan struct{} // nil until they part
}

func track(listener net.Listener, counters *Counters, seen func(net.Addr)) *connections {
	return &connections{Listener: listener, counters: counters, seen: seen, open: map[*connection]struct{}{}}
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

// closeAll closes what is open, and waits until it and those before have ended.
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
	c.partings.Wait()
}

// connection counts the bytes of one client.
type connection struct {
	net.Conn
	owner *connections
	also  func() // guarded by owner.mu

	wroteAt atomic.Int64 // Unix nanoseconds
	parted  atomic.Bool
	ended   sync.Once
}

// onClose adds what is to be closed with the connection; at once, if that is closed already.
func (c *connection) onClose(also func()) {
	c.owner.mu.Lock()
	_, open := c.owner.open[c]
	if open {
		c.also = also
	}
	c.owner.mu.Unlock()
	if !open {
		also()
	}
}

func (c *connection) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.parted.Load() {
		return 0, net.ErrClosed // a request that crossed our goodbye: nobody hears the answer
	}
	c.owner.counters.bytesIn.Add(uint64(n))
	return n, err
}

func (c *connection) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.wroteAt.Store(time.Now().UnixNano())
	c.owner.counters.bytesOut.Add(uint64(n))
	return n, err
}

// CloseWrite lets one side end before the other.
func (c *connection) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return c.Close()
}

func (c *connection) Close() error {
	c.owner.mu.Lock()
	_, open := c.owner.open[c]
	also := c.also
	hurry := c.owner.hurry
	parting := open && hurry != nil
	if open {
		delete(c.owner.open, c)
		c.owner.counters.open.Add(-1)
	}
	if parting {
		c.parted.Store(true)
		c.owner.partings.Go(func() { c.part(hurry) })
	}
	c.owner.mu.Unlock()
	if open && also != nil {
		also()
	}
	if parting {
		return nil
	}
	return c.end()
}

func (c *connection) end() (err error) {
	c.ended.Do(func() { err = c.Conn.Close() })
	return err
}
