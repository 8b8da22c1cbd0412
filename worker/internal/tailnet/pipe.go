package tailnet

import (
	"context"
	"io"
	"net"
	"sync"
)

// Pipe passes bytes between two connections until both directions have ended or ctx is done, and closes both. An end in one
// direction is passed on, and the other one goes on.
func Pipe(ctx context.Context, a, b net.Conn) {
	closeBoth := func() {
		a.Close()
		b.Close()
	}
	stop := context.AfterFunc(ctx, closeBoth)
	defer stop()
	pass := func(to, from net.Conn) {
		_, err := io.Copy(to, from)
		if half, ok := to.(halfCloser); err != nil || !ok || half.CloseWrite() != nil {
			closeBoth()
		}
	}
	var directions sync.WaitGroup
	directions.Go(func() { pass(a, b) })
	directions.Go(func() { pass(b, a) })
	directions.Wait()
	closeBoth()
}

type halfCloser interface{ CloseWrite() error }

// Replayed is a connection of which something was read before its time, and which gives that again.
type Replayed struct {
	net.Conn
	// Reader gives first what was read, then what comes.
	Reader io.Reader
}

func (r Replayed) Read(p []byte) (int, error) { return r.Reader.Read(p) }

// CloseWrite ends this side's direction, or the connection if it cannot end one alone.
func (r Replayed) CloseWrite() error { return closeWrite(r.Conn) }

func closeWrite(conn net.Conn) error {
	if half, ok := conn.(halfCloser); ok {
		return half.CloseWrite()
	}
	return conn.Close()
}
