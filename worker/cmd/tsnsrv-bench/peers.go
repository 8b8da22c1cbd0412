package main

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"tailscale.com/client/local"
	"tailscale.com/ipn"
	"tailscale.com/tailcfg"
	"tailscale.com/types/key"
)

// rewatchAfter keeps a broken watch from spinning.
const rewatchAfter = 100 * time.Millisecond

// peer is a node that the client's network map has.
type peer struct {
	Name      string       `json:"name"` // first label of its DNS name
	Addresses []netip.Addr `json:"addresses"`
	Online    bool         `json:"online"`

	dnsName string // all labels
	id      tailcfg.NodeID
	key     key.NodePublic
	process key.DiscoPublic // made anew each time the node starts
}

// peers is the client's network map as it is now.
type peers struct {
	mu      sync.Mutex
	byID    map[tailcfg.NodeID]peer
	changed chan struct{} // closed at the next change
}

// followPeers begins to watch the node's map, until ctx is done.
func followPeers(ctx context.Context, client *local.Client) *peers {
	p := &peers{byID: map[tailcfg.NodeID]peer{}, changed: make(chan struct{})}
	go p.watch(ctx, client)
	return p
}

func (p *peers) watch(ctx context.Context, client *local.Client) {
	for ctx.Err() == nil {
		watcher, err := client.WatchIPNBus(ctx, ipn.NotifyInitialNetMap|ipn.NotifyPeerChanges|ipn.NotifyPeerPatches)
		for err == nil {
			var notice ipn.Notify
			if notice, err = watcher.Next(); err == nil {
				p.apply(&notice)
			}
		}
		if watcher != nil {
			watcher.Close()
		}
		// The bus drops a watcher that falls behind. The next one starts with the whole map.
		pause(ctx, rewatchAfter)
	}
}

func (p *peers) apply(notice *ipn.Notify) {
	p.mu.Lock()
	defer p.mu.Unlock()
	//lint:ignore SA1019 nothing else gives a new watch the peers that there are, with their disco keys
	initial := notice.NetMap
	if initial != nil || notice.SelfChange != nil {
		// A map as a whole: what it does not list is gone.
		clear(p.byID)
	}
	if initial != nil {
		for _, node := range initial.Peers {
			p.byID[node.ID()] = newPeer(node)
		}
	}
	for _, node := range notice.PeersChanged {
		p.byID[node.ID] = newPeer(node.View())
	}
	for _, id := range notice.PeersRemoved {
		delete(p.byID, id)
	}
	for _, patch := range notice.PeerChangedPatch {
		if known, ok := p.byID[patch.NodeID]; ok && patch.Online != nil {
			known.Online = *patch.Online
			p.byID[patch.NodeID] = known
		}
	}
	close(p.changed)
	p.changed = make(chan struct{})
}

func newPeer(node tailcfg.NodeView) peer {
	name, _, _ := strings.Cut(node.Name(), ".")
	online, _ := node.Online().GetOk()
	known := peer{Name: name, Online: online, dnsName: strings.TrimSuffix(node.Name(), "."), id: node.ID(), key: node.Key(), process: node.DiscoKey()}
	for _, prefix := range node.Addresses().All() {
		known.Addresses = append(known.Addresses, prefix.Addr())
	}
	return known
}

// list is all peers by name.
func (p *peers) list() []peer {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := []peer{}
	for _, known := range p.byID {
		list = append(list, known)
	}
	slices.SortFunc(list, func(a, b peer) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// find waits until there is a peer of this name with an address. The error is that of ctx.
func (p *peers) find(ctx context.Context, name string) (peer, error) {
	for {
		known, changed := p.get(name)
		if len(known.Addresses) > 0 {
			return known, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return peer{}, ctx.Err()
		}
	}
}

// named finds all of these now, or tells which of them the network map does not have.
func (p *peers) named(names []string) ([]peer, error) {
	found, missing := []peer{}, []string{}
	for _, name := range names {
		known, _ := p.get(name)
		if len(known.Addresses) == 0 {
			missing = append(missing, name)
			continue
		}
		found = append(found, known)
	}
	if len(missing) > 0 {
		return nil, fmt.Errorf("not in the network map: %s", strings.Join(missing, ", "))
	}
	return found, nil
}

func (p *peers) get(name string) (peer, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, known := range p.byID {
		if known.Name == name {
			return known, p.changed
		}
	}
	return peer{}, p.changed
}
