package graft

import (
	"reflect"

	"tailscale.com/types/key"
	"tailscale.com/wgengine"
)

type expirer interface{ ExpireCurrentKeypairs() }

var sessions = register(Graft{
	Name:    "WireGuard session",
	Without: "clients of a service whose worker has died wait up to 15 seconds",
	Until:   "wgint.Peer has a method that ends a session without a lock on the device",
	of:      peerType(),
	field:   "p",
	fits:    has[expirer],
})

// peerType is wgint.Peer, whose package is internal.
func peerType() reflect.Type {
	method, _ := reflect.TypeFor[wgengine.Engine]().MethodByName("PeerByKey")
	return method.Type.Out(0)
}

// ExpireSession has the next packet to the peer begin a new session at once, however soon after the last handshake. Nothing
// happens when there is no session.
//
// ResetDevicePeer would do so too. But it locks WireGuard's device until the goroutines of the peer have ended; in tailscale 1.102
// one of them may wait for the node's other packets to be sent (for instance to tell the peer that it was refused), and these wait
// for the device: the node would hang for good.
func ExpireSession(engine wgengine.Engine, peer key.NodePublic) {
	session, ok := engine.PeerByKey(peer)
	if !ok {
		return
	}
	if field, ok := sessions.get(&session); ok {
		field.Interface().(expirer).ExpireCurrentKeypairs()
	}
}
