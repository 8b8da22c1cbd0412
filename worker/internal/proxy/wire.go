package proxy

import (
	"math/bits"
	"net"
	"sync/atomic"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/graft"
)

const (
	// freeBuffers is how many connections of a service may buffer as much as a node's TCP finds useful, which is megabytes.
	freeBuffers = 4

	// sharedBuffer is what all other connections of a service share for each direction, in bytes.
	sharedBuffer = 16 << 20

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
	return wire{graft.Endpoint(netstack)}
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

// limitReceiving bounds what is kept of what the client sends and nobody has read, by how many connections its service has.
func (w wire) limitReceiving(open int) {
	if w.endpoint != nil && open > freeBuffers {
		w.endpoint.SocketOptions().SetReceiveBufferSize(shareOf(open), true)
	}
}

// limitSending bounds what waits to be sent to the client, by how many clients of its service are waited for. Without it, each
// client that does not read holds megabytes of the worker, and far more than that while they are sent: WireGuard has 64 KiB
// for each packet in its queues. last is what it gave the connection the last time, 0 at first.
func (w wire) limitSending(waiting int, last *atomic.Int64) {
	if w.endpoint == nil || waiting <= freeBuffers && last.Load() == 0 {
		return
	}
	size := shareOf(max(waiting, freeBuffers))
	if last.Swap(size) != size {
		w.endpoint.SocketOptions().SetSendBufferSize(size, true)
	}
}

// shareOf gives each of n connections the same, in steps of two, so that it seldom changes.
func shareOf(n int) int64 {
	share := int64(sharedBuffer / n)
	return max(int64(1)<<(bits.Len64(uint64(share))-1), smallestBuffer)
}

// abort resets the connection and forgets what waits to be sent. Close would keep that until the client takes it.
func (w wire) abort() {
	if w.endpoint != nil {
		w.endpoint.Abort()
	}
}
