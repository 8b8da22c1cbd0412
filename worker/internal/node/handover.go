package node

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"go4.org/mem"
	"tailscale.com/tsnet"
	"tailscale.com/types/key"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/graft"
)

const (
	handoverName = "handover.json"
	discoKeySize = 32

	handoverTimeout = time.Second
	sessionTime     = 3 * time.Minute // for which WireGuard uses a session (RejectAfterTime)
	// mostSessions bounds whom a node calls that takes over: more would take longer than peers take to notice by themselves.
	mostSessions = 64
)

// handover is what a node that ends in good order leaves to the process in which it runs next, for peers to take the two for
// one: the key by which they find ways to the node (disco), and who of them has a WireGuard session with it.
//
// tailscale makes a new key at each start. Peers that hear of it from control, a moment after the node has begun to serve again,
// drop session and way, and with them what is in flight, which TCP sends again after 200 ms. Or their new handshake meets ours,
// and both are void. With the same key there is no news. But then nothing tells a peer that its session is void, and it would
// go on with it for 15 seconds: all that have one are called. Who had one is not known after a crash, and so the key is left
// at the end and used once.
type handover struct {
	DiscoKey []byte       `json:"discoKey"`
	Peers    []netip.Addr `json:"peers"`
}

// takeHandover gives what the last run has left, once.
func takeHandover(dir string) (left handover, ok bool) {
	path := filepath.Join(dir, handoverName)
	text, err := os.ReadFile(path)
	if err != nil || os.Remove(path) != nil {
		return handover{}, false
	}
	if json.Unmarshal(text, &left) != nil || len(left.DiscoKey) != discoKeySize {
		return handover{}, false
	}
	return left, true
}

// handOver leaves what takeHandover gives, if the next run can use it: it needs the network map, too.
func (n *Node) handOver() {
	if _, err := os.Lstat(n.keptMap.sealFile); err != nil || !n.disco.isUsed {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), handoverTimeout)
	defer cancel()
	peers, err := n.peersWithSession(ctx)
	if err == nil && len(peers) > mostSessions {
		return
	}
	var text []byte
	if err == nil {
		text, err = json.Marshal(handover{DiscoKey: n.disco.key, Peers: peers})
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(n.dir, handoverName), text, 0o600)
	}
	if err != nil {
		n.log.Warn("cannot hand over to the next run of the node; its clients may wait for a second", "error", err)
	}
}

// peersWithSession are those who may send something that only this process can decrypt, or the one before: who has not been
// called since goes on with the session of that one.
func (n *Node) peersWithSession(ctx context.Context) ([]netip.Addr, error) {
	status, err := n.local.Status(ctx)
	if err != nil {
		return nil, err
	}
	peers := []netip.Addr{}
	if time.Since(n.startedAt) < sessionTime {
		peers = append(peers, n.sessions...)
	}
	for _, peer := range status.Peer {
		hasSession := time.Since(peer.LastHandshake) < sessionTime && len(peer.TailscaleIPs) > 0
		if hasSession && !slices.Contains(peers, peer.TailscaleIPs[0]) {
			peers = append(peers, peer.TailscaleIPs[0])
		}
	}
	return peers, nil
}

// disco is the key by which a node is known to its peers.
type disco struct {
	key    []byte
	isUsed bool // peers know the node by it; settled when the server has started
}

// give has the server use this key from its start on, in place of one of its own.
func (d *disco) give(server *tsnet.Server) {
	d.isUsed = graft.SetDiscoKey(server.Sys().MagicSock.Get(), key.DiscoPrivateFromRaw32(mem.B(d.key)))
}

func newDiscoKey() []byte {
	raw := make([]byte, discoKeySize)
	rand.Read(raw) // never fails
	return raw
}
