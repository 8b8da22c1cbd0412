package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"time"
)

// dial opens a connection to a service.
type dial func(ctx context.Context, service peer) (net.Conn, error)

const (
	httpPort  = 80
	httpsPort = 443
)

// plainly reaches services by http; node opens connections on the tailnet.
func plainly(node func(ctx context.Context, network, address string) (net.Conn, error)) dial {
	return func(ctx context.Context, service peer) (net.Conn, error) {
		return node(ctx, "tcp", netip.AddrPortFrom(service.Addresses[0], httpPort).String())
	}
}

// securely reaches them by https, with a whole handshake for each connection. Whose certificate it is does not matter here,
// and checking it would only take CPU from what is measured.
func securely(node func(ctx context.Context, network, address string) (net.Conn, error)) dial {
	return func(ctx context.Context, service peer) (net.Conn, error) {
		conn, err := node(ctx, "tcp", netip.AddrPortFrom(service.Addresses[0], httpsPort).String())
		if err != nil {
			return nil, err
		}
		secured := tls.Client(conn, &tls.Config{ServerName: service.Name, InsecureSkipVerify: true})
		if err := secured.HandshakeContext(ctx); err != nil {
			conn.Close()
			return nil, err
		}
		return secured, nil
	}
}

// request is what is asked of every service.
var request = &http.Request{Method: http.MethodGet}

// connection asks one service, one request after the other. It is less than http.Transport on purpose: the client shares
// its cores with what is measured, and the transport hands each request to two other goroutines.
type connection struct {
	conn   net.Conn
	reader *bufio.Reader
	ask    []byte
	used   bool // it has brought an answer
}

// staleError says that a connection that was kept has ended before there was any byte of an answer. The service may have closed
// it while the request was on its way: clients ask again then, on a new one, if the request may be repeated (RFC 9112, 9.3.1).
type staleError struct{ error }

// open connects to a service.
func open(ctx context.Context, dial dial, service peer) (*connection, error) {
	conn, err := dial(ctx, service)
	if err != nil {
		return nil, err
	}
	return &connection{
		conn:   conn,
		reader: bufio.NewReader(conn),
		ask:    fmt.Appendf(nil, "GET / HTTP/1.1\r\nHost: %s\r\nUser-Agent: tsnsrv-bench\r\n\r\n", service.Name),
	}, nil
}

// get asks and reads the whole answer. After an error, or when reusable is false, the connection can only be closed. An
// answer other than 200 is an error that leaves the connection usable.
func (c *connection) get() (reusable bool, err error) {
	_, err = c.conn.Write(c.ask)
	if err == nil {
		_, err = c.reader.Peek(1)
	}
	switch {
	case err != nil && c.used && !isTimeout(err):
		return false, staleError{err}
	case err != nil:
		return false, err
	}
	c.used = true
	response, err := http.ReadResponse(c.reader, request)
	if err != nil {
		return false, err
	}
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return false, err
	}
	if response.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %d", response.StatusCode)
	}
	return !response.Close, err
}

// isTimeout tells whether a deadline has passed. The connections of a node have an error of their own for it, which is not
// os.ErrDeadlineExceeded.
func isTimeout(err error) bool {
	var timeout interface{ Timeout() bool }
	return errors.As(err, &timeout) && timeout.Timeout()
}

// limit has what is asked from now on fail if it takes longer than until then.
func (c *connection) limit(until time.Time) { _ = c.conn.SetDeadline(until) } // fails on a closed connection, as get will

func (c *connection) close() { c.conn.Close() }
