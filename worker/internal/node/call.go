package node

import (
	"context"
	"net/netip"
	"time"

	"tailscale.com/tailcfg"
	"tailscale.com/types/key"
)

const (
	callAttempts = 15
	callTimeout  = 300 * time.Millisecond // an answer takes milliseconds
	settleTime   = 200 * time.Millisecond

	lookTime    = 10 * time.Millisecond
	discardPort = 9 // RFC 863: whatever comes there is thrown away
)

// Call renews the WireGuard session with a peer that hears, or has just heard, from control that the node runs in another
// process. It gives up after a few attempts; a peer that is off the tailnet costs nothing more.
//
// First by disco, until there is a path: WireGuard sends its handshake once in 5 seconds (RekeyTimeout), so the first one
// must not be lost. Then, a moment later, a handshake. The moment: a peer that learns our new disco key answers disco at
// once, and only then resets its side of the session, and a handshake that falls in between is lost. So is one of before: our
// side of that session is dropped too, or it would go on for the 15 seconds after which WireGuard gives up on it.
func (n *Node) Call(ctx context.Context, peer netip.Addr) {
	if !n.ping(ctx, peer) {
		return
	}
	select {
	case <-ctx.Done():
	case <-time.After(settleTime):
		if who, err := n.local.WhoIs(ctx, peer.String()); err == nil {
			n.server.Sys().Engine.Get().ResetDevicePeer(who.Node.Key)
			n.shakeHands(ctx, peer, who.Node.Key)
		}
	}
}

// ping asks by disco until the peer has answered.
func (n *Node) ping(ctx context.Context, peer netip.Addr) (answered bool) {
	for range callAttempts {
		attempt, cancel := context.WithTimeout(ctx, callTimeout)
		result, err := n.local.Ping(attempt, peer, tailcfg.PingDisco)
		cancel()
		if err == nil && result.Err == "" {
			return true
		}
		if ctx.Err() != nil {
			return false
		}
	}
	return false
}

// ShakeHands sends packets until there was a handshake with the peer, which a packet begins by itself when there is no
// session.
//
// A node that came up with a kept network map is known to its peers by the disco key of its last run until control tells them:
// they ignore disco for a second or more. But WireGuard knows no such key, and this goes by the relay at once.
//
// A ping by TSMP would do so too, and would be answered. But in tailscale 1.102 the answer is given by the goroutine that
// decrypts what comes from us, and waits there for the one that reads the peer's own packets; that one may be waiting to
// make a session anew, while another that drops ours holds the lock and waits for the first. The peer then hangs for good,
// and a host with many services that come back at once makes it likely. What nobody answers cannot do so.
func (n *Node) ShakeHands(ctx context.Context, peer netip.Addr) {
	if who, err := n.local.WhoIs(ctx, peer.String()); err == nil {
		n.shakeHands(ctx, peer, who.Node.Key)
	}
}

func (n *Node) shakeHands(ctx context.Context, peer netip.Addr, peerKey key.NodePublic) {
	since := time.Now()
	connection, err := n.server.Dial(ctx, "udp", netip.AddrPortFrom(peer, discardPort).String())
	if err != nil {
		return
	}
	defer connection.Close()
	look := time.NewTicker(lookTime)
	defer look.Stop()
	for range callAttempts {
		if _, err := connection.Write([]byte{0}); err != nil {
			return
		}
		for waited := time.Duration(0); waited < callTimeout; waited += lookTime {
			select {
			case <-ctx.Done():
				return
			case <-look.C:
			}
			if n.shookHands(peerKey, since) {
				return
			}
		}
	}
}

// shookHands tells whether there was a handshake with the peer since then.
func (n *Node) shookHands(peer key.NodePublic, since time.Time) bool {
	return n.lastHandshake(peer).After(since)
}

// lastHandshake tells when there was one, whoever began it; zero when there was none in this run.
func (n *Node) lastHandshake(peer key.NodePublic) time.Time {
	session, ok := n.server.Sys().Engine.Get().PeerByKey(peer)
	if !ok {
		return time.Time{}
	}
	return session.LastHandshake()
}
