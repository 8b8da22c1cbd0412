package proxy

import (
	"net"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/unexported"
)

const (
	// freeConnections is how many connections of a service may buffer as much as a node's TCP finds useful, which is megabytes.
	freeConnections = 8

	// sharedBuffer is what all other connections of a service share for each direction, in bytes. It does not shrink what a
	// connection has, so n connections have at most sharedBuffer*ln(n/freeConnections) in all.
	sharedBuffer = 32 << 20

	// smallestBuffer is a window that still keeps a connection moving.
	smallestBuffer = 64 << 10
)

// wire is what is known of the packets of a connection of a node; the zero wire, of any other connection, knows nothing.
type wire struct{ endpoint tcpip.Endpoint }

// wireOf looks behind gonet, which does not show it: how much has arrived is nowhere else.
func wireOf(conn net.Conn) wire {
	netstack := netstackOf(conn)
	if netstack == nil {
		return wire{}
	}
	field, ok := unexported.Field(netstack, "ep")
	if !ok {
		return wire{}
	}
	endpoint, _ := field.Interface().(tcpip.Endpoint)
	return wire{endpoint}
}

// arrived tells whether the client has acknowledged the end of our side, and with it all before.
func (w wire) arrived() bool {
	var info tcpip.TCPInfoOption
	if w.endpoint == nil || w.endpoint.GetSockOpt(&info) != nil {
		return true
	}
	switch tcp.EndpointState(info.State) {
	case tcp.StateEstablished, tcp.StateCloseWait, tcp.StateFinWait1, tcp.StateClosing, tcp.StateLastAck:
		return false
	}
	return true
}

// heard counts what the client has sent, acknowledgements included.
func (w wire) heard() uint64 {
	if w.endpoint == nil {
		return 0
	}
	stats, ok := w.endpoint.Stats().(*tcp.Stats)
	if !ok {
		return 0
	}
	return stats.SegmentsReceived.Value()
}

// netstackOf finds a node's connection, below what a relay puts around it; nil for any other.
func netstackOf(conn net.Conn) *gonet.TCPConn {
	for {
		switch known := conn.(type) {
		case *gonet.TCPConn:
			return known
		case interface{ NetConn() net.Conn }:
			conn = known.NetConn()
		default:
			return nil
		}
	}
}

// restrain bounds what is buffered for a connection, by how many its service has open with it. Without it, each client that
// does not read, or whose body nobody reads, holds megabytes of the worker.
func (w wire) restrain(open int) {
	if w.endpoint == nil || open <= freeConnections {
		return
	}
	size := int64(max(sharedBuffer/open, smallestBuffer))
	w.endpoint.SocketOptions().SetSendBufferSize(size, true)
	w.endpoint.SocketOptions().SetReceiveBufferSize(size, true)
}

// abort resets the connection and forgets what waits to be sent. Close would keep that until the client takes it.
func (w wire) abort() {
	if w.endpoint != nil {
		w.endpoint.Abort()
	}
}
