package service

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/node"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/protocol"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/proxy"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/statedir"
)

// instance is one run of a node with what serves on it. It is not safe for concurrent use.
type instance struct {
	spec       protocol.ServiceSpec
	hadAuthKey bool
	last       node.Status
	counters   *proxy.Counters
	log        *slog.Logger

	dir      *statedir.Dir
	clients  *clients
	calling  sync.WaitGroup
	endCalls context.CancelFunc // nil until the node is up
	node     *node.Node
	upstream *proxy.Upstream
	handler  swappable
	servers  map[protocol.ListenSpec]*proxy.Server

	retired     sync.WaitGroup // servers of listeners that a change took away
	retiredEnds context.Context
	endRetired  context.CancelFunc
}

// swappable lets the handler change under connections that stay.
type swappable struct{ current atomic.Pointer[http.Handler] }

func (s *swappable) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	(*s.current.Load()).ServeHTTP(w, r)
}

// startInstance takes the state directory, starts the node and listens. An error leaves nothing behind.
func startInstance(options Options, spec protocol.ServiceSpec, counters *proxy.Counters, log *slog.Logger) (_ *instance, err error) {
	dir, err := statedir.Open(spec.Node.StateDir, options.Holder)
	if err != nil {
		return nil, err
	}
	i := &instance{counters: counters, log: log, dir: dir, clients: recallClients(dir, log), servers: map[protocol.ListenSpec]*proxy.Server{}}
	i.retiredEnds, i.endRetired = context.WithCancel(context.Background())
	defer func() {
		if err != nil {
			i.close(expired())
		}
	}()
	port, err := dir.UDPPort(log)
	if err != nil {
		return nil, err
	}
	authKey := ""
	if spec.AuthKey != nil {
		authKey, spec.AuthKey = *spec.AuthKey, nil
	}
	i.hadAuthKey = authKey != ""
	i.node, err = node.Start(node.Config{
		Dir:        dir.Path(),
		Hostname:   spec.Node.Hostname,
		ControlURL: spec.Node.ControlURL,
		AuthKey:    authKey,
		Ephemeral:  spec.Node.Ephemeral,
		Port:       port,
		Verbose:    spec.Node.Verbose,
		Interfaces: options.Interfaces,
		Log:        log,
	})
	if err != nil {
		return nil, err
	}
	if err := i.apply(spec); err != nil {
		return nil, err
	}
	return i, nil
}

// apply makes proxy and listeners what the spec says, touching only what differs.
func (i *instance) apply(spec protocol.ServiceSpec) error {
	spec.AuthKey = nil
	if err := i.applyProxy(spec); err != nil {
		return err
	}
	for listen, server := range i.servers {
		if !slices.Contains(spec.Listeners, listen) {
			delete(i.servers, listen)
			i.retire(server)
		}
	}
	for _, listen := range spec.Listeners {
		if _, ok := i.servers[listen]; ok {
			continue
		}
		listener, err := i.node.Listen(listen.Address)
		if err != nil {
			return &listenError{address: listen.Address, err: err}
		}
		i.servers[listen] = proxy.Serve(listener, listen, &i.handler, i.counters, i.seen)
	}
	i.spec = spec
	return nil
}

// applyProxy swaps the handler. Requests that run end with the old one; no connection is touched.
func (i *instance) applyProxy(spec protocol.ServiceSpec) error {
	upstream := i.upstream
	if upstream == nil || !upstream.Fits(spec.Proxy) {
		upstream = proxy.NewUpstream(spec.Proxy, i.node.Dial)
	}
	handler, err := proxy.New(proxy.Config{
		Service:  spec.Name,
		Spec:     spec.Proxy,
		Upstream: upstream,
		WhoIs:    i.node.WhoIs,
		Counters: i.counters,
		Log:      i.log,
	})
	if err != nil {
		return err
	}
	i.handler.current.Store(&handler)
	if i.upstream != nil && i.upstream != upstream {
		i.upstream.Close()
	}
	i.upstream = upstream
	return nil
}

// seen remembers who has connected. What calls a new client at the next start needs a network map that has it.
func (i *instance) seen(remote net.Addr) {
	if i.clients.seen(remote) {
		i.node.KeepMap()
	}
}

// greet calls the clients, once, as soon as the node is up.
func (i *instance) greet() {
	if i.endCalls != nil {
		return
	}
	var ctx context.Context
	ctx, i.endCalls = context.WithCancel(context.Background())
	i.calling.Go(func() { i.clients.greet(ctx, i.node) })
}

// retire frees the listener's address now, and lets its requests end on the side.
func (i *instance) retire(server *proxy.Server) {
	server.StopListening()
	i.retired.Go(func() {
		ctx, cancel := context.WithTimeout(i.retiredEnds, restartDrain)
		defer cancel()
		server.Drain(ctx)
	})
}

// close lets requests end until ctx is done, and then frees node, port and directory, in this order: the lock must be the
// last, as it promises that no node runs from the directory.
func (i *instance) close(ctx context.Context) {
	var drained sync.WaitGroup
	for _, server := range i.servers {
		drained.Go(func() { server.Drain(ctx) })
	}
	drained.Wait()
	i.endRetired()
	i.retired.Wait()
	if i.upstream != nil {
		i.upstream.Close()
	}
	if i.endCalls != nil {
		i.endCalls()
		i.calling.Wait()
	}
	if i.node != nil {
		if err := i.node.Close(); err != nil {
			i.log.Warn("closing the node", "error", err)
		}
	}
	i.clients.settle()
	if err := i.dir.Close(); err != nil {
		i.log.Warn("releasing the state directory", "path", i.dir.Path(), "error", err)
	}
}
