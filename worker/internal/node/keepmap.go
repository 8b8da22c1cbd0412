package node

import (
	"context"
	"errors"
	"sync"
	"time"

	"tailscale.com/ipn"
	"tailscale.com/types/netmap"
)

const mapTimeout = 10 * time.Second // of the last write, at Close; nodes that close together wait for each other's

// Shorter in tests. A map has a file for each peer: rarely.
var (
	mapQuiet    = 30 * time.Second // from a change to the write: changes come in bursts when nodes join
	mapInterval = 15 * time.Minute // between two writes; what is new by then, control tells after a crash
)

// oneMap lets the nodes of this process write their maps one after the other: they hear of a change at the same moment, and
// requests shall not wait for all of them.
var oneMap sync.Mutex

// KeepMap asks that the network map on disk be renewed soon, as a client came that it may not know. It costs nothing when a
// renewal is due anyway.
func (n *Node) KeepMap() {
	select {
	case n.mapChanged <- struct{}{}:
	default:
	}
}

// keepMaps renews the kept map after changes, until ctx is done. The last run may have ended in a crash: so it does not wait
// for Close.
func (n *Node) keepMaps(ctx context.Context) {
	var last time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.mapChanged:
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(max(mapQuiet, time.Until(last.Add(mapInterval)))):
		}
		n.storeMap(ctx, UsedPeers)
		last = time.Now()
	}
}

// keepLastMap stores the map of a node that ends in good order, and gives up before that becomes a delay.
func (n *Node) keepLastMap(peers Peers) {
	ctx, cancel := context.WithTimeout(context.Background(), mapTimeout)
	defer cancel()
	n.storeMap(ctx, peers)
	n.accepted.Store(false)
}

// storeMap stores the map as it is now, if control vouches for the node.
func (n *Node) storeMap(ctx context.Context, peers Peers) {
	oneMap.Lock()
	defer oneMap.Unlock()
	if !n.accepted.Load() || n.keptMap.ephemeral {
		return
	}
	latest, relay, err := n.networkMap(ctx)
	if err == nil && peers == UsedPeers {
		latest = withUsedPeers(latest, n.clients(), n.lastHandshake)
	}
	if err == nil {
		err = n.keptMap.keep(ctx, latest, relay)
	}
	if err != nil && ctx.Err() == nil {
		n.log.Warn("cannot keep the network map; the next start will have to wait for the control server", "error", err)
	}
}

// forgetMap sees to it that the next start asks control first.
func (n *Node) forgetMap() {
	oneMap.Lock()
	defer oneMap.Unlock()
	n.accepted.Store(false)
	n.keptMap.forget()
}

// networkMap gives the map as it is now, and the region of the relay by which peers reach the node.
func (n *Node) networkMap(ctx context.Context) (*netmap.NetworkMap, int, error) {
	// The map is in no other answer that the local API promises.
	watcher, err := n.local.WatchIPNBus(ctx, ipn.NotifyInitialNetMap)
	if err != nil {
		return nil, 0, err
	}
	defer watcher.Close()
	first, err := watcher.Next()
	if err != nil {
		return nil, 0, err
	}
	//lint:ignore SA1019 tailscale 1.102 has no other way to the whole map, and still fills this in when it is asked for
	latest := first.NetMap
	if latest == nil || latest.DERPMap == nil {
		return nil, 0, errors.New("the node has none, or one without relays")
	}
	status, err := n.local.StatusWithoutPeers(ctx)
	if err != nil {
		return nil, 0, err
	}
	for id, region := range latest.DERPMap.Regions {
		if status.Self != nil && region.RegionCode == status.Self.Relay {
			return latest, id, nil
		}
	}
	return latest, latest.SelfNode.HomeDERP(), nil
}
