package node

import (
	"net"
	"net/netip"
	"sync"
	"time"

	"tailscale.com/tsnet"
	"tailscale.com/wgengine/netstack"
)

// earlyPatience is how long a connection that came before its listener waits for it.
const earlyPatience = 5 * time.Second

// early holds connections that come between the start of a node, which with a kept network map is on the tailnet at once, and
// its first listeners. tsnet would refuse them; and when a node has just moved, its clients come in that very moment.
type early struct {
	server    *tsnet.Server
	forget    func()
	listening chan struct{}
	once      sync.Once
}

// holdEarly begins to hold connections. The server must not have been started.
func holdEarly(server *tsnet.Server) *early {
	e := &early{server: server, listening: make(chan struct{})}
	e.forget = server.RegisterFallbackTCPHandler(func(source, destination netip.AddrPort) (func(net.Conn), bool) {
		return func(connection net.Conn) { e.handOver(connection, source, destination) }, true
	})
	return e
}

// end lets go of those that are held, and holds no more.
func (e *early) end() {
	e.once.Do(func() {
		e.forget()
		close(e.listening)
	})
}

// handOver gives the connection to whoever listens by then, as tsnet would have done.
func (e *early) handOver(connection net.Conn, source, destination netip.AddrPort) {
	select {
	case <-e.listening:
	case <-time.After(earlyPatience):
		connection.Close()
		return
	}
	stack, ok := e.server.Sys().Netstack.Get().(*netstack.Impl)
	if ok {
		if handle, ok := stack.GetTCPHandlerForFlow(source, destination); ok && handle != nil {
			handle(connection)
			return
		}
	}
	connection.Close() // nobody listens there
}
