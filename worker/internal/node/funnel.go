package node

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"time"

	"tailscale.com/ipn"
	"tailscale.com/tsnet"
)

// relistenAfter is how long a funnel that was refused is left alone: an administrator has to allow it first.
const relistenAfter = time.Minute

// ListenFunnel listens to what Tailscale's relays bring in from the internet, on one of their ports (":443"). It returns at
// once: funnel needs a node that is up, and one that may, so the listener keeps trying and tells report how the last try
// went. A connection is as the client opened it: TLS has yet to begin, and RemoteAddr is the client's on the internet.
func (n *Node) ListenFunnel(address string, report func(error)) net.Listener {
	ctx, cancel := context.WithCancel(context.Background())
	f := &funnel{address: address, ctx: ctx, cancel: cancel, accepted: make(chan net.Conn)}
	f.serving.Go(func() { f.serve(n, report) })
	return f
}

// funnel is a listener whose real one comes later.
type funnel struct {
	address  string
	ctx      context.Context
	cancel   context.CancelFunc
	serving  sync.WaitGroup
	accepted chan net.Conn
}

func (f *funnel) Accept() (net.Conn, error) {
	select {
	case conn := <-f.accepted:
		return conn, nil
	case <-f.ctx.Done():
		return nil, net.ErrClosed
	}
}

// Close waits until the node no longer announces the funnel.
func (f *funnel) Close() error {
	f.cancel()
	f.serving.Wait()
	return nil
}

func (f *funnel) Addr() net.Addr { return funnelAddr(f.address) }

type funnelAddr string

func (funnelAddr) Network() string  { return "tcp" }
func (a funnelAddr) String() string { return string(a) }

func (f *funnel) serve(n *Node, report func(error)) {
	for f.ctx.Err() == nil {
		select {
		case <-n.up:
		case <-f.ctx.Done():
			return
		}
		listener, err := n.server.ListenFunnel("tcp", f.address, tsnet.FunnelOnly())
		report(err)
		if err == nil {
			stop := context.AfterFunc(f.ctx, func() { listener.Close() })
			f.pass(listener)
			if stop() {
				listener.Close()
			}
		}
		select {
		case <-time.After(relistenAfter):
		case <-f.ctx.Done():
		}
	}
}

// pass hands over what the relays bring, until the listener ends.
func (f *funnel) pass(listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		client, err := fromRelay(conn)
		if err != nil {
			conn.Close()
			continue
		}
		select {
		case f.accepted <- client:
		case <-f.ctx.Done():
			client.Close()
			return
		}
	}
}

// fromRelay takes off the TLS that tsnet has put on: whoever accepts does its own, below which it counts and closes. It
// refuses a connection that does not say whom the relay speaks for, as it would pass for one from the tailnet.
func fromRelay(conn net.Conn) (net.Conn, error) {
	withTLS, ok := conn.(*tls.Conn)
	if !ok {
		return nil, errors.New("the connection of a funnel is not the TLS that tsnet promises")
	}
	relayed, ok := withTLS.NetConn().(*ipn.FunnelConn)
	if !ok || !relayed.Src.IsValid() {
		return nil, errors.New("the connection of a funnel does not say where it comes from")
	}
	return &relayedConn{FunnelConn: relayed, client: net.TCPAddrFromAddrPort(relayed.Src)}, nil
}

type relayedConn struct {
	*ipn.FunnelConn
	client net.Addr
}

func (c *relayedConn) RemoteAddr() net.Addr { return c.client }

// NetConn is the connection of the relay, as in tls.Conn.
func (c *relayedConn) NetConn() net.Conn { return c.FunnelConn.Conn }
