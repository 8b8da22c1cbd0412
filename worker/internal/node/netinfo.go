package node

import (
	"sync"

	"tailscale.com/tailcfg"
	"tailscale.com/tsnet"
	"tailscale.com/types/opt"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/graft"
)

// steadyNetInfo keeps what the node tells control of its network from going back and forth. Control passes each change on to all
// other nodes.
//
// With a single relay, as is usual with Headscale, tailscale learns that all peers see the host at one address only if the relay's
// first answer came so late that it had asked twice. So each node that wakes up may tell it, and take it back the next time, and
// of many that wake up together each hears that of each other.
func steadyNetInfo(server *tsnet.Server) {
	socket := server.Sys().MagicSock.Get()
	if report := graft.NetInfoCallback(socket); report != nil {
		socket.SetNetInfoCallback(steady(report))
	}
}

// steady reports the same again where nothing has changed that matters; the control client then has nothing to send.
func steady(report func(*tailcfg.NetInfo)) func(*tailcfg.NetInfo) {
	var mu sync.Mutex
	var last *tailcfg.NetInfo
	return func(now *tailcfg.NetInfo) {
		mu.Lock()
		defer mu.Unlock()
		if last != nil && isNoNews(last.MappingVariesByDestIP, now.MappingVariesByDestIP) {
			now = now.Clone()
			now.MappingVariesByDestIP = last.MappingVariesByDestIP
		}
		if !now.BasicallyEqual(last) {
			last = now
		}
		report(last)
	}
}

// isNoNews of whether the host's address depends on who is asked: what is not known now, or was not and is not so.
func isNoNews(before, now opt.Bool) bool {
	return now == "" || before == "" && now == opt.False
}
