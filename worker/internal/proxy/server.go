package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/limit"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/origin"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/protocol"
)

// ServerConfig is what one listener of a service is served with.
type ServerConfig struct {
	Spec     protocol.ListenSpec
	Handler  http.Handler
	Door     *Door       // knows the connections of the service; nil to let none know
	TLS      *tls.Config // nil: without TLS
	Counters *Counters
	Limits   *limit.Limits // of the service
	Log      *slog.Logger  // of what goes wrong with connections; has to bound what it writes
}

// Server serves one listener that speaks HTTP.
type Server struct {
	http        *http.Server
	connections *connections
	counters    *Counters
	newcomers   *newcomers
}

// Serve begins to serve listener, and owns it from then on.
func Serve(listener origin.Listener, config ServerConfig) *Server {
	newcomers := &newcomers{since: map[net.Conn]time.Time{}}
	spoken := protocols()
	spoken.SetUnencryptedHTTP2(config.TLS == nil) // for clients that know it beforehand, as those of gRPC do
	server := &Server{
		http: &http.Server{
			Handler:           finishBodies(config.Handler),
			TLSConfig:         config.TLS,
			ReadHeaderTimeout: milliseconds(config.Spec.ReadHeaderTimeoutMs),
			IdleTimeout:       milliseconds(config.Spec.IdleTimeoutMs),
			MaxHeaderBytes:    config.Spec.MaxHeaderBytes,
			ConnContext:       rememberPeer(config.Door),
			ConnState:         newcomers.note,
			Protocols:         spoken,
			HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: mostStreams},
			ErrorLog:          log.New(io.Discard, "", 0), // what clients do wrong

			// net/http would answer OPTIONS * itself, and wait for its body without an end.
			DisableGeneralOptionsHandler: true,
		},
		connections: track(listener, config),
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

// protocols are those of both sides. With TLS, both can tell that they speak HTTP/2.
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

// mostStreams is how many requests one connection of HTTP/2 may have at once (RFC 9113 recommends no less).
const mostStreams = 100

// connections is a listener that knows what it accepted: net/http forgets a connection that became a WebSocket.
type connections struct {
	net.Listener
	counters *Counters
	limits   *limit.Limits
	origin   origin.Origin
	log      *slog.Logger
	partings sync.WaitGroup

	mu    sync.Mutex
	open  map[*connection]struct{}
	hurry <-chan struct{} // nil until they part
}

func track(listener origin.Listener, config ServerConfig) *connections {
	return &connections{Listener: listener, counters: config.Counters, limits: config.Limits, origin: listener.Origin(), log: config.Log,
		open: map[*connection]struct{}{}}
}

// Accept gives the next connection that the limits allow. Others are closed: there is no way to say why before TLS.
func (c *connections) Accept() (net.Conn, error) {
	for {
		accepted, err := c.Listener.Accept()
		if err != nil {
			return nil, err
		}
		client := limit.ClientOf(accepted.RemoteAddr(), c.origin.Internet)
		if reached := c.limits.Connect(client); reached != limit.None {
			c.log.Info("a connection was turned away", "peer", accepted.RemoteAddr().String(), "funnel", c.origin.Internet, "limit", reached)
			accepted.Close()
			continue
		}
		tracked := &connection{Conn: accepted, wire: wireOf(accepted), owner: c, client: client}
		tracked.wire.limitReceiving(c.limits.Open())
		c.mu.Lock()
		c.open[tracked] = struct{}{}
		c.mu.Unlock()
		c.counters.open.Add(1)
		return tracked, nil
	}
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
	wire   wire
	owner  *connections
	client limit.Client
	also   func() // guarded by owner.mu

	sendBuffer atomic.Int64 // see wire.limitSending
	wroteAt    atomic.Int64 // Unix nanoseconds
	extended   atomic.Int64 // when the time for writes was set last; the same
	parted     atomic.Bool
	heardAll   atomic.Bool // what else the client says is no request
	ended      sync.Once
}

// connectionOf finds our connection below what a server makes of it.
func connectionOf(conn net.Conn) *connection {
	for {
		switch known := conn.(type) {
		case *connection:
			return known
		case interface{ NetConn() net.Conn }:
			conn = known.NetConn()
		default:
			return nil
		}
	}
}

// onClose adds what is to be closed with the connection; at once, if that is closed already.
func (c *connection) onClose(also func()) {
	c.owner.mu.Lock()
	_, open := c.owner.open[c]
	if earlier := c.also; open {
		c.also = func() {
			if earlier != nil {
				earlier()
			}
			also()
		}
	}
	c.owner.mu.Unlock()
	if !open {
		also()
	}
}

func (c *connection) Read(p []byte) (int, error) {
	if c.heardAll.Load() {
		return 0, io.EOF
	}
	n, err := c.Conn.Read(p)
	if c.parted.Load() {
		return 0, net.ErrClosed // a request that crossed our goodbye: nobody hears the answer
	}
	c.owner.counters.bytesIn.Add(uint64(n))
	return n, err
}

// Write ends with an error once the client has taken in nothing for as long as the limits allow. It may take longer as a whole.
func (c *connection) Write(p []byte) (int, error) {
	if c.owner.origin.Internet {
		c.owner.limits.AwaitFunnel(len(p))
	}
	written := 0
	waiting := c.owner.limits.Sending.Add(1)
	defer c.owner.limits.Sending.Add(-1)
	c.wire.limitSending(int(waiting), &c.sendBuffer)
	for {
		c.extendWrites()
		n, err := c.Conn.Write(p[written:])
		written += n
		c.wroteAt.Store(time.Now().UnixNano())
		c.owner.counters.bytesOut.Add(uint64(n))
		if err == nil || !isTimeout(err) {
			return written, err
		}
		c.extended.Store(0) // that time is over
		if n == 0 {
			c.owner.counters.stalled.Add(1)
			c.wire.abort() // what waits to be sent would be kept for as long as the client wants
			return written, err
		}
	}
}

// extendWrites gives the next write its time. It sets the deadline anew only when a good part of it has passed: that is dear
// beside a small write.
func (c *connection) extendWrites() {
	timeout := c.owner.limits.SendTimeout()
	if timeout == 0 {
		return
	}
	now := time.Now()
	if last := c.extended.Load(); now.Sub(time.Unix(0, last)) < timeout/8 {
		return
	}
	c.extended.Store(now.UnixNano())
	_ = c.Conn.SetWriteDeadline(now.Add(timeout))
}

// SetWriteDeadline is for what the server sets around a handshake. Between requests it takes every deadline back, ours among
// them, which stays.
func (c *connection) SetWriteDeadline(t time.Time) error {
	if t.IsZero() && c.extended.Load() != 0 {
		return nil
	}
	c.extended.Store(0)
	return c.Conn.SetWriteDeadline(t)
}

// SetDeadline sets both.
func (c *connection) SetDeadline(t time.Time) error {
	return errors.Join(c.Conn.SetReadDeadline(t), c.SetWriteDeadline(t))
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
		c.owner.limits.Disconnect(c.client)
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
	c.ended.Do(func() {
		_ = c.Conn.SetWriteDeadline(time.Time{}) // its timer would hold the connection
		err = c.Conn.Close()
	})
	return err
}
