package limit

import (
	"context"
	"errors"
	"net"
	"sync"
	"syscall"
)

const (
	workerFiles  = 64 // of the worker itself: logs, control socket, timers
	serviceFiles = 16 // of the node of a service: UDP sockets, control server, relay, certificates
	fewestFiles  = 8  // what a service may open however low the limit is
)

// ErrFiles says that a service has as many connections to upstreams as its share of the worker's open files allows.
var ErrFiles = errors.New("the service has as many open files as its share of the worker's allows; " +
	"a higher limit for open files (LimitNOFILE=) allows more")

// Files shares the file descriptors of a worker among its services: connections to upstreams need one each, and without a share
// of its own a service could not answer once another has taken all.
type Files struct {
	most int

	mu       sync.Mutex
	services int
}

// NewFiles shares as many files as this process may open.
func NewFiles() *Files {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil || limit.Cur > 1<<30 {
		limit.Cur = 1 << 30
	}
	return &Files{most: int(limit.Cur)}
}

// Join gives a service its share. The shares of the others shrink; who has more open keeps it.
func (f *Files) Join() *Share {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.services++
	return &Share{files: f}
}

// share is how many files one service may have open.
func (f *Files) share() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return max(fewestFiles, (f.most-workerFiles)/max(1, f.services)-serviceFiles)
}

// Share is what one service may open.
type Share struct {
	files *Files

	mu   sync.Mutex
	open int
}

// Leave gives the share back.
func (s *Share) Leave() {
	s.files.mu.Lock()
	defer s.files.mu.Unlock()
	s.files.services--
}

// Dial opens a connection, as in net.Dialer.DialContext.
type Dial func(ctx context.Context, network, address string) (net.Conn, error)

// Dialer is dial, but counts each connection until it is closed, and fails with ErrFiles when the share is used up.
func (s *Share) Dialer(dial Dial) Dial {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		if !s.take() {
			return nil, ErrFiles
		}
		conn, err := dial(ctx, network, address)
		if err != nil {
			s.giveBack()
			return nil, err
		}
		return &countedConn{Conn: conn, share: s}, nil
	}
}

func (s *Share) take() bool {
	most := s.files.share()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open >= most {
		return false
	}
	s.open++
	return true
}

func (s *Share) giveBack() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open--
}

// countedConn counts for its share until it is closed.
type countedConn struct {
	net.Conn
	share  *Share
	closed sync.Once
}

// Close implements net.Conn.
func (c *countedConn) Close() error {
	c.closed.Do(c.share.giveBack)
	return c.Conn.Close()
}

// CloseWrite lets one side end before the other, where the connection can.
func (c *countedConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return c.Close()
}
