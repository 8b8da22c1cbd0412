package node

import (
	"context"
	"net/netip"
	"time"

	"tailscale.com/net/packet"
	"tailscale.com/tailcfg"
	"tailscale.com/types/key"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/graft"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/session"
)

const (
	callAttempts = 15
	callTimeout  = 300 * time.Millisecond // an answer takes milliseconds
	settleTime   = 200 * time.Millisecond

	// announceAfter is how long control may take to accept the node before peers are told by the node itself.
	announceAfter = time.Second

	lookTime    = 10 * time.Millisecond
	discardPort = 9 // RFC 863: whatever comes there is thrown away
)

// Call sees to it that there is a WireGuard session with a peer that hears, or has just heard, from control that the node runs
// in another process. It gives up after a few attempts; a peer that is off the tailnet costs nothing more.
//
// A peer that knows our new disco key answers disco at once. If it has the key from control, it then resets its side of the
// session. What comes by the session afterwards shows that there was no reset, or that the peer has made a new session: there
// is nothing to do. In a moment of silence it cannot be told, but then nothing is under way that could be lost: both sides
// begin anew. Our side of the session would otherwise go on for the 15 seconds after which WireGuard gives up on it.
func (n *Node) Call(ctx context.Context, peer netip.Addr) {
	for range callAttempts {
		if n.ping(ctx, peer) {
			n.renewInSilence(ctx, peer)
			return
		}
	}
}

// renewInSilence begins a new session with the peer as soon as nothing has come by the present one for a moment.
func (n *Node) renewInSilence(ctx context.Context, peer netip.Addr) {
	who, err := n.local.WhoIs(ctx, peer.String())
	if err != nil {
		return
	}
	for range callAttempts {
		before := n.received(who.Node.Key)
		select {
		case <-ctx.Done():
			return
		case <-time.After(settleTime):
		}
		if n.received(who.Node.Key) == before {
			graft.ExpireSession(n.server.Sys().Engine.Get(), who.Node.Key)
			n.shakeHands(ctx, peer, who.Node.Key)
			return
		}
	}
}

// ping asks by disco, and tells whether the peer answered soon.
func (n *Node) ping(ctx context.Context, peer netip.Addr) bool {
	attempt, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	result, err := n.local.Ping(attempt, peer, tailcfg.PingDisco)
	return err == nil && result.Err == ""
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
	who, err := n.local.WhoIs(ctx, peer.String())
	if err != nil || !n.shakeHands(ctx, peer, who.Node.Key) {
		return
	}
	select {
	case <-ctx.Done():
	case <-n.confirmed:
	case <-time.After(announceAfter):
		n.announce(ctx, peer)
	}
}

// announce tells the peer our disco key by the session, until it answers by disco. A peer that has it from there, and not
// from control, keeps the session when control tells the same. Older peers do not listen.
//
// It is for a control that is slow or down. Headscale tells the key of the last run once more when a node logs in, and this
// one a moment later: a peer that had ours before would reset its session twice, and the second of two handshakes within 20 ms
// is taken for a flood and dropped.
func (n *Node) announce(ctx context.Context, peer netip.Addr) {
	own, own6 := n.server.TailscaleIPs()
	if peer.Is6() {
		own = own6
	}
	system := n.server.Sys()
	news := packet.TSMPDiscoKeyAdvertisement{Src: own, Dst: peer, Key: system.MagicSock.Get().DiscoPublicKey()}
	message, err := news.Marshal()
	if err != nil {
		return
	}
	for range callAttempts {
		if system.Tun.Get().InjectOutbound(message) != nil || n.ping(ctx, peer) || ctx.Err() != nil {
			return
		}
	}
}

// Resume makes a session with a peer that takes this node for the one that ran before, and goes on with that one's session.
func (n *Node) Resume(ctx context.Context, peer netip.Addr) {
	n.ping(ctx, peer) // the handshake goes the way that the peer has answered on; without an answer by the relay
	if who, err := n.local.WhoIs(ctx, peer.String()); err == nil {
		n.shakeHands(ctx, peer, who.Node.Key)
	}
}

// shakeHands tells whether there was a handshake soon.
func (n *Node) shakeHands(ctx context.Context, peer netip.Addr, peerKey key.NodePublic) bool {
	since := time.Now()
	connection, err := n.server.Dial(ctx, "udp", netip.AddrPortFrom(peer, discardPort).String())
	if err != nil {
		return false
	}
	defer connection.Close()
	look := time.NewTicker(lookTime)
	defer look.Stop()
	for range callAttempts {
		if _, err := connection.Write([]byte{0}); err != nil {
			return false
		}
		for waited := time.Duration(0); waited < callTimeout; waited += lookTime {
			select {
			case <-ctx.Done():
				return false
			case <-look.C:
			}
			if n.shookHands(peerKey, since) {
				return true
			}
		}
	}
	return false
}

// shookHands tells whether there was a handshake with the peer since then.
func (n *Node) shookHands(peer key.NodePublic, since time.Time) bool {
	return n.lastHandshake(peer).After(since)
}

// lastHandshake tells when there was one, whoever began it; zero when there was none in this run.
func (n *Node) lastHandshake(peer key.NodePublic) time.Time {
	return session.LastHandshake(n.server.Sys().Engine.Get(), peer)
}

// received gives how many bytes have come from the peer in this run, by the sessions with it.
func (n *Node) received(peer key.NodePublic) uint64 {
	session, ok := n.server.Sys().Engine.Get().PeerByKey(peer)
	if !ok {
		return 0
	}
	return session.RxBytes()
}
