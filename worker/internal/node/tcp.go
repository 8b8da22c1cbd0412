package node

import (
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"tailscale.com/tsnet"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/delayedack"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/graft"
)

const (
	// timeWait is how long TCP remembers a connection that the node has ended first. Of a client that uses the same port again
	// meanwhile, it drops the first packets: tsnet has no listener that could take them over. And it holds memory for each. The
	// default is 60 s; in 5 s a last packet that was lost is sent again four times.
	timeWait = 5 * time.Second

	// stuckAfter is more than a server usually takes to close.
	stuckAfter = 20 * time.Millisecond
)

// forgetConnectionsSoon has the node's TCP forget connections after timeWait.
func forgetConnectionsSoon(server *tsnet.Server) {
	stack, ok := server.Sys().Netstack.Get().(interface {
		SetTransportProtocolOption(tcpip.TransportProtocolNumber, tcpip.SettableTransportProtocolOption) tcpip.Error
	})
	if ok {
		option := tcpip.TCPTimeWaitTimeoutOption(timeWait)
		_ = stack.SetTransportProtocolOption(tcp.ProtocolNumber, &option) // fails for unknown options only
	}
}

// delayAcknowledgements has the node's TCP send them with answers where it can.
func delayAcknowledgements(server *tsnet.Server) {
	if !acknowledgeAtOnce {
		delayedack.Install(server.Sys().Tun.Get())
	}
}

// closeServer ends the server. tailscale 1.102 stops sending first, and resets all connections then: from the 513th on, which
// includes those that have ended within timeWait, it would wait for ever for somebody to send it.
func closeServer(server *tsnet.Server) error {
	if closeLink := graft.CloseLink(server.Sys().Netstack.Get()); closeLink != nil {
		defer time.AfterFunc(stuckAfter, closeLink).Stop()
	}
	return server.Close()
}
