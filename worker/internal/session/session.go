// Package session looks at what WireGuard has agreed on with a peer.
package session

import (
	"time"

	"tailscale.com/types/key"
	"tailscale.com/wgengine"
)

// LastHandshake tells when there was one, whoever began it; zero when there was none in this run.
func LastHandshake(engine wgengine.Engine, peer key.NodePublic) time.Time {
	session, ok := engine.PeerByKey(peer)
	if !ok {
		return time.Time{}
	}
	return session.LastHandshake()
}
