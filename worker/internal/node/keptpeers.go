package node

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"tailscale.com/tailcfg"
	"tailscale.com/types/key"
	"tailscale.com/types/netmap"
)

// Peers says which peers are worth keeping for the next start of a node.
type Peers int

const (
	AllPeers  Peers = iota // it starts alone, as in a move: nobody shall notice
	UsedPeers              // many start at once
)

const mostKeptPeers = 64

// fewPeers are kept anyway. Fewer in tests.
var fewPeers = 16

// withUsedPeers gives the map without the peers that the node has had nothing to do with, and without their users.
//
// N nodes that come back at once would otherwise read N x N peers before the first of them serves. A peer that is missing is
// told by control a moment later. If its first connection comes before that, nothing answers its handshake, and WireGuard
// tries again after 5 seconds: as with a node that has no kept map at all.
//
// Used are the clients of late, also of earlier runs, and whoever the node has had a handshake with in this one: by that, too,
// what it dials itself, and the relays of funnel.
func withUsedPeers(
	whole *netmap.NetworkMap, clients []netip.Addr, lastHandshake func(key.NodePublic) time.Time,
) *netmap.NetworkMap {
	if len(whole.Peers) <= fewPeers {
		return whole
	}
	type used struct {
		peer   tailcfg.NodeView
		client bool
		at     time.Time
	}
	var candidates []used
	for _, peer := range whole.Peers {
		client := slices.ContainsFunc(clients, func(address netip.Addr) bool { return carries(peer, address) })
		if at := lastHandshake(peer.Key()); client || !at.IsZero() {
			candidates = append(candidates, used{peer, client, at})
		}
	}
	slices.SortFunc(candidates, func(a, b used) int {
		if a.client != b.client {
			if a.client {
				return -1
			}
			return 1
		}
		return cmp.Or(b.at.Compare(a.at), cmp.Compare(a.peer.ID(), b.peer.ID()))
	})
	candidates = candidates[:min(len(candidates), mostKeptPeers)]
	kept := *whole
	kept.Peers = nil
	users := map[tailcfg.UserID]bool{whole.User(): true}
	for _, candidate := range candidates {
		kept.Peers = append(kept.Peers, candidate.peer)
		users[candidate.peer.User()] = true
		users[candidate.peer.Sharer()] = true
	}
	kept.UserProfiles = map[tailcfg.UserID]tailcfg.UserProfileView{}
	for id, profile := range whole.UserProfiles {
		if users[id] {
			kept.UserProfiles[id] = profile
		}
	}
	return &kept
}

// carries tells whether packets of the address come by way of the peer: it is the peer's own, or in a subnet behind it.
func carries(peer tailcfg.NodeView, address netip.Addr) bool {
	for _, prefix := range peer.AllowedIPs().All() {
		if prefix.Bits() > 0 && prefix.Contains(address) { // an exit node carries everything
			return true
		}
	}
	return false
}
