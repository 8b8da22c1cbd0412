package main

import (
	"context"
	"time"

	"tailscale.com/client/local"
	"tailscale.com/tailcfg"
	"tailscale.com/tsnet"
	"tailscale.com/types/key"
	"tailscale.com/wgengine"
	"tailscale.com/wgengine/magicsock"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/graft"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/session"
)

// sessions is what the client has with its peers below TCP, and how to make it anew.
type sessions struct {
	wireGuard wgengine.Engine
	paths     *magicsock.Conn
	local     *local.Client
}

func sessionsOf(server *tsnet.Server) (*sessions, error) {
	local, err := server.LocalClient()
	if err != nil {
		return nil, err
	}
	return &sessions{wireGuard: server.Sys().Engine.Get(), paths: server.Sys().MagicSock.Get(), local: local}, nil
}

// lastHandshake is zero when there was none.
func (s *sessions) lastHandshake(peer key.NodePublic) time.Time {
	return session.LastHandshake(s.wireGuard, peer)
}

// expire has the next packet begin a handshake.
func (s *sessions) expire(peer key.NodePublic) { graft.ExpireSession(s.wireGuard, peer) }

// forget drops the session, and what is known of the way to a peer: the UDP address of a process that has died is trusted for some
// more seconds (trustUDPAddrDuration), and all packets go there. The first ones take the relay then.
//
// The way is removed and added again, as there is no other way to reach one peer's; the session would go on with the one that
// was removed. The network map may change meanwhile, and must not be overwritten by what it was before: hence the second look.
func (s *sessions) forget(ctx context.Context, peer key.NodePublic, id tailcfg.NodeID) error {
	node, err := s.local.PeerByID(ctx, id)
	for err == nil {
		s.paths.RemovePeer(id)
		s.paths.UpsertPeer(node.View())
		var now *tailcfg.Node
		if now, err = s.local.PeerByID(ctx, id); err == nil && now.Equal(node) {
			s.wireGuard.ResetDevicePeer(peer)
			return nil
		}
		node = now
	}
	return err
}
