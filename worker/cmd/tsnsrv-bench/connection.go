package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"
)

// dial opens a connection on the tailnet.
type dial func(ctx context.Context, network, address string) (net.Conn, error)

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

// open connects to a service; host is what the request names it.
func open(ctx context.Context, dial dial, address, host string) (*connection, error) {
	conn, err := dial(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return &connection{
		conn:   conn,
		reader: bufio.NewReader(conn),
		ask:    fmt.Appendf(nil, "GET / HTTP/1.1\r\nHost: %s\r\nUser-Agent: tsnsrv-bench\r\n\r\n", host),
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
	case err != nil && c.used && !errors.Is(err, os.ErrDeadlineExceeded):
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

// limit has what is asked from now on fail if it takes longer than until then.
func (c *connection) limit(until time.Time) { _ = c.conn.SetDeadline(until) } // fails on a closed connection, as get will

func (c *connection) close() { c.conn.Close() }
