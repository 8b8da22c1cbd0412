package proxy

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pires/go-proxyproto"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/origin"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/protocol"
)

// Forwarder serves one tcp listener of a service: it carries bytes, and knows nothing of what they mean.
type Forwarder struct {
	spec        protocol.ListenSpec
	dial        Dial
	gate        *Gate
	log         *slog.Logger
	connections *connections
	carrying    sync.WaitGroup
	ctx         context.Context // of dials
	giveUp      context.CancelFunc
}

// Forward begins to serve listener, and owns it from then on. gate decides who may connect, and dial connects to the upstream.
// Of the config, Handler, Door and TLS are not used.
func Forward(listener origin.Listener, gate *Gate, dial Dial, config ServerConfig) *Forwarder {
	f := &Forwarder{spec: config.Spec, dial: dial, gate: gate, log: config.Log, connections: track(listener, config)}
	f.ctx, f.giveUp = context.WithCancel(context.Background())
	f.carrying.Go(f.serve)
	return f
}

// StopListening frees the address at once; connections stay. Drain follows.
func (f *Forwarder) StopListening() { _ = f.connections.Listener.Close() }

// Drain stops listening, lets connections end until ctx is done, and then closes them.
func (f *Forwarder) Drain(ctx context.Context) {
	f.StopListening()
	f.connections.part(ctx)
	cut := context.AfterFunc(ctx, func() {
		f.giveUp()
		f.connections.closeAll()
	})
	f.carrying.Wait()
	cut()
	f.giveUp()
	f.connections.closeAll()
}

func (f *Forwarder) serve() {
	for {
		client, err := f.connections.Accept()
		if err != nil {
			return
		}
		f.carrying.Go(func() {
			running := f.connections.counters.running.begin()
			defer running.Add(-1)
			defer client.Close()
			if !f.gate.enter(client.(*connection), f.spec.Address) {
				return
			}
			if err := f.carry(client.(*connection)); err != nil {
				f.connections.counters.upstreamErrors.Add(1)
				f.log.Warn("a tcp connection could not be forwarded", "peer", client.RemoteAddr().String(), "listener", f.spec.Address, "upstream", f.spec.DialAddress, "error", err)
			}
		})
	}
}

// carry connects a client to the upstream until both have ended. An error is of the upstream, before it took anything.
func (f *Forwarder) carry(client *connection) error {
	ctx, cancel := withTimeout(f.ctx, f.spec.DialTimeoutMs)
	defer cancel()
	upstream, err := f.dial(ctx, "tcp", f.spec.DialAddress)
	if err != nil {
		if f.ctx.Err() != nil {
			return nil // drained
		}
		return err
	}
	defer upstream.Close()
	// Whoever closes the client, Drain included, ends the other side as well.
	client.onClose(func() { upstream.Close() })
	if f.spec.ProxyProtocol {
		if _, err := proxyproto.HeaderProxyFromAddrs(2, client.RemoteAddr(), client.LocalAddr()).WriteTo(upstream); err != nil {
			return err
		}
	}
	idle := watchIdle(milliseconds(f.spec.IdleTimeoutMs), func() { client.Close() })
	defer idle.stop()
	var up sync.WaitGroup
	up.Go(func() { pour(upstream, client, idle) })
	pour(client, upstream, idle)
	up.Wait()
	return nil
}

// pour copies one direction. The end of it is passed on, so that either side may finish first; trouble ends both.
func pour(to, from net.Conn, idle *idle) {
	buffer := buffers.Get()
	defer buffers.Put(buffer)
	// Without the methods of the connections, which would bring buffers of their own.
	_, err := io.CopyBuffer(struct{ io.Writer }{to}, idle.watched(from), buffer)
	if half, ok := to.(interface{ CloseWrite() error }); ok && err == nil {
		_ = half.CloseWrite()
		return
	}
	to.Close()
	from.Close()
}

// idle ends a connection that carries nothing in either direction. The zero limit never does.
type idle struct {
	limit time.Duration
	last  atomic.Int64 // nanoseconds of the monotonic clock since began
	began time.Time
	timer *time.Timer
}

func watchIdle(limit time.Duration, end func()) *idle {
	i := &idle{limit: limit, began: time.Now()}
	if limit > 0 {
		i.timer = time.AfterFunc(limit, func() {
			if left := limit - time.Since(i.began) + time.Duration(i.last.Load()); left > 0 {
				i.timer.Reset(left)
			} else {
				end()
			}
		})
	}
	return i
}

func (i *idle) stop() {
	if i.timer != nil {
		i.timer.Stop()
	}
}

func (i *idle) watched(from io.Reader) io.Reader {
	if i.timer == nil {
		return struct{ io.Reader }{from}
	}
	return readerFunc(func(p []byte) (int, error) {
		n, err := from.Read(p)
		i.last.Store(int64(time.Since(i.began)))
		return n, err
	})
}

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// withTimeout takes 0 for "no limit", as all time-outs of the protocol do.
func withTimeout(ctx context.Context, ms int) (context.Context, context.CancelFunc) {
	if ms == 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeoutCause(ctx, milliseconds(ms), errTimeout)
}

var errTimeout = errors.New("timed out")

func milliseconds(ms int) time.Duration { return time.Duration(ms) * time.Millisecond }
