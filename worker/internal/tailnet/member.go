package tailnet

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"tailscale.com/client/local"
	"tailscale.com/ipn"
	"tailscale.com/ipn/ipnstate"
	"tailscale.com/tsnet"
	"tailscale.com/types/key"
)

const (
	joinTimeout = 30 * time.Second
	// dialTimeout allows for the peer's network map, a WireGuard handshake and a lost SYN or two.
	dialTimeout = 10 * time.Second
)

// Member is a node of the lab's own, by which clients that are on no tailnet reach the nodes on this one.
type Member struct {
	tailnet    *Tailnet
	node       *tsnet.Server
	local      *local.Client
	localCalls *http.Transport
	key        key.NodePublic
}

// Join brings a node up whichever way the tailnet lets nodes in, and keeps its state in the directory. The caller closes the
// result before the tailnet.
func (t *Tailnet) Join(ctx context.Context, hostname, stateDir string) (*Member, error) {
	ctx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	t.mu.Lock()
	t.own = append(t.own, hostname)
	t.mu.Unlock()
	node := &tsnet.Server{
		Dir:        stateDir,
		Hostname:   hostname,
		ControlURL: t.ControlURL(),
		AuthKey:    t.control.RequireAuthKey,
		UserLogf:   func(string, ...any) {},
	}
	client, err := node.LocalClient()
	if err != nil {
		return nil, fmt.Errorf("starting the node %s: %w", hostname, err)
	}
	// In place of the client's own transport, which nobody else can reach: see Close.
	localCalls := &http.Transport{DialContext: client.Dial}
	client.Transport = localCalls
	go t.completeOwnLogin(ctx, client)
	status, err := node.Up(ctx)
	if err != nil {
		node.Close()
		return nil, fmt.Errorf("bringing up the node %s: %w", hostname, err)
	}
	return &Member{tailnet: t, node: node, local: client, localCalls: localCalls, key: status.Self.PublicKey}, nil
}

// completeOwnLogin presses the button for a node of the lab's own when the tailnet wants an interactive login.
func (t *Tailnet) completeOwnLogin(ctx context.Context, client *local.Client) {
	watcher, err := client.WatchIPNBus(ctx, ipn.NotifyInitialState)
	if err != nil {
		return
	}
	defer watcher.Close()
	for {
		notice, err := watcher.Next()
		if err != nil || notice.State != nil && *notice.State == ipn.Running {
			return
		}
		if notice.BrowseToURL != nil {
			// One that is not known any more is followed by a new one.
			_ = t.CompleteLogin(*notice.BrowseToURL)
		}
	}
}

// Close ends the node and all connections through it.
func (m *Member) Close() {
	// Calls side by side leave connections that were opened in vain, and the node's Close would wait 5 s for a first
	// request on each (http.Server.Shutdown, StateNew).
	m.localCalls.CloseIdleConnections()
	m.node.Close()
}

// Services lists the nodes that are not the lab's own, in the order of Nodes.
func (t *Tailnet) Services() []Node {
	t.mu.Lock()
	own := slices.Clone(t.own)
	t.mu.Unlock()
	return slices.DeleteFunc(t.Nodes(), func(node Node) bool { return slices.Contains(own, node.Hostname) })
}

// Dial connects to a port of a service, as "photos:80" or by its full name. It waits a while for one that joined just now.
func (m *Member) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	name, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	peer, err := m.find(ctx, name, func(*ipnstate.PeerStatus) bool { return true })
	if err != nil {
		return nil, err
	}
	ip := peer.TailscaleIPs[0].String()
	conn, err := m.node.Dial(ctx, network, net.JoinHostPort(ip, port))
	if err != nil {
		return nil, fmt.Errorf("dialling %s at %s port %s over the tailnet: %w", name, ip, port, err)
	}
	return conn, nil
}

// find gives the node that has the name now, once the member's own network map has it in a state that is usable; before
// that, packets to it would be dropped. It asks the control server and not MagicDNS, so that a service that came up a moment
// ago is found, and one that came back under a new key too.
func (m *Member) find(ctx context.Context, name string, usable func(*ipnstate.PeerStatus) bool) (*ipnstate.PeerStatus, error) {
	wanted, err := m.tailnet.lookup(name)
	if err != nil {
		return nil, err
	}
	for {
		status, err := m.local.Status(ctx)
		if err != nil {
			return nil, fmt.Errorf("reading the network map of the node %s: %w", m.node.Hostname, err)
		}
		for key, peer := range status.Peer {
			if key.String() == wanted.NodeKey && usable(peer) {
				return peer, nil
			}
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return nil, fmt.Errorf("%s has joined the tailnet, but the node %s has not heard of it", wanted.Hostname, m.node.Hostname)
		}
	}
}

func (t *Tailnet) lookup(name string) (Node, error) {
	for _, node := range t.Services() {
		if strings.EqualFold(node.Hostname, name) || strings.EqualFold(node.DNSName, name) {
			return node, nil
		}
	}
	return Node{}, fmt.Errorf("no node named %q has joined the tailnet", name)
}
