package tailnet

import (
	"net"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// connections is a listener that remembers what it accepted, so that all of it can be broken at once.
type connections struct {
	net.Listener
	mu   sync.Mutex
	open map[*connection]struct{}
}

type connection struct {
	net.Conn
	owner *connections
}

func track(listener net.Listener) *connections {
	return &connections{Listener: listener, open: map[*connection]struct{}{}}
}

func (c *connections) Accept() (net.Conn, error) {
	accepted, err := c.Listener.Accept()
	if err != nil {
		return nil, err
	}
	tracked := &connection{Conn: accepted, owner: c}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open[tracked] = struct{}{}
	return tracked, nil
}

func (c *connections) closeAll() {
	c.mu.Lock()
	broken := c.open
	c.open = map[*connection]struct{}{}
	c.mu.Unlock()
	for conn := range broken {
		conn.Conn.Close()
	}
}

// unheard tells whether there is one whose other side has ended, as the kernel has it, and that is still open here.
func (c *connections) unheard() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for conn := range c.open {
		if hasEnded(conn.Conn) {
			return true
		}
	}
	return false
}

// tcpEstablished is the kernel's number for a connection of which neither side has ended (TCP_ESTABLISHED).
const tcpEstablished = 1

func hasEnded(conn net.Conn) (ended bool) {
	raw, ok := conn.(syscall.Conn)
	if !ok {
		return false
	}
	access, err := raw.SyscallConn()
	if err != nil {
		return true
	}
	// An error means that it is closed.
	_ = access.Control(func(fd uintptr) {
		info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		ended = err != nil || info.State != tcpEstablished
	})
	return ended
}

func (c *connection) Close() error {
	c.owner.mu.Lock()
	delete(c.owner.open, c)
	c.owner.mu.Unlock()
	return c.Conn.Close()
}
