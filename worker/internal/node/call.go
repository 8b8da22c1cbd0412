package node

import (
	"context"
	"net/netip"
	"time"

	"tailscale.com/tailcfg"
)

const (
	callAttempts = 15
	callTimeout  = 300 * time.Millisecond // an answer takes milliseconds
	settleTime   = 200 * time.Millisecond
)

// Call pings a peer until it answers, which renews the WireGuard session between the two. It gives up after a few attempts;
// a peer that is off the tailnet costs nothing more.
//
// First by disco, until there is a path: WireGuard sends its handshake once in 5 seconds (RekeyTimeout), so the first one
// must not be lost. Then, a moment later, by TSMP, which needs a session and is answered by the peer's engine. The moment:
// a peer that learns our new disco key answers disco at once, and only then resets its side of the session, and a handshake
// that falls in between is lost.
func (n *Node) Call(ctx context.Context, peer netip.Addr) {
	if !n.ping(ctx, peer, tailcfg.PingDisco) {
		return
	}
	select {
	case <-ctx.Done():
	case <-time.After(settleTime):
		n.ping(ctx, peer, tailcfg.PingTSMP)
	}
}

// ping tells whether the peer has answered.
func (n *Node) ping(ctx context.Context, peer netip.Addr, kind tailcfg.PingType) bool {
	for range callAttempts {
		attempt, cancel := context.WithTimeout(ctx, callTimeout)
		result, err := n.local.Ping(attempt, peer, kind)
		cancel()
		n.log.Info("PING", "kind", kind, "peer", peer, "err", err, "res", result)
		if err == nil && result.Err == "" {
			return true
		}
		if ctx.Err() != nil {
			return false
		}
	}
	return false
}
