// Package session looks at, and ends, what WireGuard has agreed on with a peer.
package session

import (
	"time"

	"tailscale.com/types/key"
	"tailscale.com/wgengine"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/unexported"
)

// LastHandshake tells when there was one, whoever began it; zero when there was none in this run.
func LastHandshake(engine wgengine.Engine, peer key.NodePublic) time.Time {
	session, ok := engine.PeerByKey(peer)
	if !ok {
		return time.Time{}
	}
	return session.LastHandshake()
}

// Expire has the next packet to the peer begin a new session at once, however soon after the last handshake. Nothing happens when
// there is no session.
//
// ResetDevicePeer would do so too. But it locks WireGuard's device until the goroutines of the peer have ended; in tailscale 1.102
// one of them may wait for the node's other packets to be sent (for instance to tell the peer that it was refused), and these wait
// for the device: the node would hang for good.
func Expire(engine wgengine.Engine, peer key.NodePublic) {
	session, ok := engine.PeerByKey(peer)
	if !ok {
		return
	}
	if field, ok := unexported.Field(&session, "p"); ok {
		if session, ok := field.Interface().(interface{ ExpireCurrentKeypairs() }); ok {
			session.ExpireCurrentKeypairs()
		}
	}
}
