// Package identity runs the node of a tailnet identity for as long as that is in our custody.
package identity

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/custody"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/interfaces"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/node"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/protocol"
)

// Config is how an identity runs.
type Config struct {
	Node       protocol.IdentitySpec
	AuthKey    string // used only if the node has to log in
	Interfaces *interfaces.Table
	NextPeers  func() node.Peers // whom the next run shall know before control has answered
	Log        *slog.Logger
}

// Identity is a node that remembers its clients and gives its files back in the end.
type Identity struct {
	*node.Node
	config  Config
	holding custody.Holding
	clients *clients

	calling  sync.WaitGroup
	endCalls context.CancelFunc // nil until the node is up
}

// Start starts the node, and owns holding from then on: an error has let go of it.
func Start(holding custody.Holding, config Config) (*Identity, error) {
	i := &Identity{config: config, holding: holding, clients: recallClients(holding, config.Log)}
	port, err := holding.UDPPort(config.Log)
	if err == nil {
		spec := config.Node
		i.Node, err = node.Start(node.Config{
			Dir:        holding.Path(),
			Hostname:   spec.Hostname,
			ControlURL: spec.ControlURL,
			AuthKey:    config.AuthKey,
			Ephemeral:  spec.Ephemeral,
			Tags:       spec.Tags,
			ClientID:   spec.ClientID,
			Audience:   spec.Audience,
			Port:       port,
			Verbose:    spec.Verbose,
			Interfaces: config.Interfaces,
			Log:        config.Log,
			Clients:    i.clients.list,
		})
	}
	i.config.AuthKey = ""
	if err != nil {
		i.letGo()
		return nil, err
	}
	return i, nil
}

// Listen is the node's, for clients that are remembered.
func (i *Identity) Listen(address string) (net.Listener, error) {
	listener, err := i.Node.Listen(address)
	if err != nil {
		return nil, err
	}
	return &noted{listener, i}, nil
}

// noted is a listener that remembers who has connected.
type noted struct {
	net.Listener
	of *Identity
}

func (n *noted) Accept() (net.Conn, error) {
	conn, err := n.Listener.Accept()
	if err == nil && n.of.clients.seen(conn.RemoteAddr()) {
		n.of.KeepMap() // what calls a new client at the next start needs a network map that has it
	}
	return conn, err
}

// Greet calls the clients, once, as soon as the node is up.
func (i *Identity) Greet() {
	if i.endCalls != nil {
		return
	}
	var ctx context.Context
	ctx, i.endCalls = context.WithCancel(context.Background())
	i.calling.Go(func() { i.clients.greet(ctx, i.Node) })
}

// Drain does what of Close takes a while, as long as everybody is served.
func (i *Identity) Drain() { i.PrepareClose(i.config.NextPeers()) }

// lastAccepts is how long connections that were being made when the shields went up may take to be accepted.
const lastAccepts = 50 * time.Millisecond

// Withdraw turns no one away who comes now: the next node of this identity answers them. Without it, whoever connects between
// the end of the listeners and that of the node is refused.
func (i *Identity) Withdraw(ctx context.Context) {
	if ctx.Err() != nil {
		return
	}
	if err := i.ShieldUp(ctx); err != nil {
		i.config.Log.Warn("cannot shield the node; clients that connect until it is gone are refused", "error", err)
		return
	}
	select {
	case <-ctx.Done():
	case <-time.After(lastAccepts):
	}
}

// Close ends the node, and then lets go of the identity. Nobody may listen any more.
func (i *Identity) Close() {
	if i.endCalls != nil {
		i.endCalls()
		i.calling.Wait()
	}
	if err := i.Node.Close(); err != nil {
		i.config.Log.Warn("closing the node", "error", err)
	}
	i.letGo()
}

// letGo comes last, as it promises that no node runs.
func (i *Identity) letGo() {
	i.clients.settle()
	if err := i.holding.Close(); err != nil {
		i.config.Log.Warn("releasing the state directory", "path", i.holding.Path(), "error", err)
	}
}
