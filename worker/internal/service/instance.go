package service

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/limit"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/node"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/protocol"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/proxy"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/statedir"
)

// instance is one run of a node with what serves on it. It is not safe for concurrent use.
type instance struct {
	spec       protocol.ServiceSpec
	options    Options
	hadAuthKey bool
	last       node.Status
	lasting
	share      *limit.Share // of the worker's open files
	log        *slog.Logger
	requestLog *slog.Logger
	tell       teller

	dir      *statedir.Dir
	clients  *clients
	calling  sync.WaitGroup
	endCalls context.CancelFunc // nil until the node is up
	node     *node.Node
	names    atomic.Pointer[names]  // of the node, as last known
	named    chan struct{}          // closed when they first are
	https    atomic.Pointer[string] // port of the listener that redirects go to

	upstream     *proxy.Upstream // nil without a proxy, as the next two
	proxy        *proxy.Proxy
	door         *proxy.Door
	gate         *proxy.Gate // of tcp listeners
	certificates *certificates
	servers      map[protocol.ListenSpec]server

	retired     sync.WaitGroup // servers of listeners that a change took away
	retiredEnds context.Context
	endRetired  context.CancelFunc
}

// lasting is what a service keeps from one instance to the next.
type lasting struct {
	counters *proxy.Counters
	limits   *limit.Limits
	backends proxy.Backends
}

// server is what serves one listener: a proxy.Server or a proxy.Forwarder.
type server interface {
	StopListening()
	Drain(ctx context.Context)
}

// teller takes what concerns the status of the service and happens on the side. It may be called from any goroutine.
type teller interface {
	// problem sets what is wrong with a part of the service; nil when nothing is any more.
	problem(part string, err error)
	// certificate sets how the certificate stands; nil for none.
	certificate(status *protocol.CertificateStatus)
}

// startInstance starts the node from its directory, which it closes in the end, and listens. An error leaves nothing behind.
func startInstance(options Options, spec protocol.ServiceSpec, dir *statedir.Dir, lasting lasting, tell teller, log *slog.Logger) (_ *instance, err error) {
	i := &instance{options: options, lasting: lasting, share: options.files.Join(), log: log,
		requestLog: options.RequestLog.With("service", spec.Name), tell: tell, dir: dir, clients: recallClients(dir, log),
		door: proxy.NewDoor(), named: make(chan struct{}), servers: map[protocol.ListenSpec]server{}}
	i.names.Store(&names{})
	i.retiredEnds, i.endRetired = context.WithCancel(context.Background())
	defer func() {
		if err != nil {
			i.close(expired(), expired())
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
		Tags:       spec.Node.Tags,
		ClientID:   spec.Node.ClientID,
		Audience:   spec.Node.Audience,
		Port:       port,
		Verbose:    spec.Node.Verbose,
		Interfaces: options.Interfaces,
		Log:        log,
		Clients:    i.clients.list,
	})
	if err != nil {
		return nil, err
	}
	i.certificates = newCertificates(i.node, tell)
	i.gate = proxy.NewGate(i.node.WhoIs, i.counters, i.requestLog)
	if err := i.apply(spec); err != nil {
		return nil, err
	}
	i.node.Listening()
	return i, nil
}

// apply makes proxy and listeners what the spec says, touching only what differs.
func (i *instance) apply(spec protocol.ServiceSpec) error {
	spec.AuthKey, spec.OrderCertificate, spec.Retry, spec.Standby = nil, nil, nil, nil
	i.limits.Set(spec.Limits)
	if spec.Proxy != nil {
		if err := i.applyProxy(spec.Name, *spec.Proxy); err != nil {
			return err
		}
	}
	if err := i.gate.Allow(spec.TcpAllow); err != nil {
		return err
	}
	for listen, server := range i.servers {
		if !slices.Contains(spec.Listeners, listen) {
			delete(i.servers, listen)
			i.tell.problem(partOf(listen), nil)
			i.retire(server)
		}
	}
	i.certificates.use(spec.Listeners)
	port := portOfHTTPS(spec.Listeners)
	i.https.Store(&port)
	for _, listen := range spec.Listeners {
		if _, ok := i.servers[listen]; ok {
			continue
		}
		server, err := i.serve(listen)
		if err != nil {
			return &listenError{address: listen.Address, err: err}
		}
		i.servers[listen] = server
	}
	i.spec = spec
	return nil
}

// serve begins to listen.
func (i *instance) serve(listen protocol.ListenSpec) (server, error) {
	config := proxy.ServerConfig{Spec: listen, Handler: i.door, Door: i.door, Counters: i.counters, Limits: i.limits, Seen: i.seen, Log: i.requestLog}
	if listen.Scheme == protocol.ListenSpecSchemeFunnel {
		part := partOf(listen)
		config.TLS = i.certificates.config(listen)
		config.Seen = func(net.Addr) {} // the internet cannot be called back
		return proxy.Serve(i.node.ListenFunnel(listen.Address, func(err error) { i.tell.problem(part, err) }), config), nil
	}
	listener, err := i.node.Listen(listen.Address)
	if err != nil {
		return nil, err
	}
	switch listen.Scheme {
	case protocol.ListenSpecSchemeTcp:
		var dial limit.Dial = (&net.Dialer{}).DialContext
		if listen.UseTailnetDialer {
			dial = i.node.Dial
		}
		return proxy.Forward(listener, i.gate, i.share.Dialer(dial), config), nil
	case protocol.ListenSpecSchemeRedirect:
		config.Handler = i.door.OwnNames(proxy.RedirectToHTTPS(i.address))
	case protocol.ListenSpecSchemeHttps:
		config.TLS = i.certificates.config(listen)
	}
	return proxy.Serve(listener, config), nil
}

func portOfHTTPS(listeners []protocol.ListenSpec) string {
	for _, listen := range listeners {
		if speaksTLS(listen) {
			_, port, _ := strings.Cut(listen.Address, ":")
			return port
		}
	}
	return "443"
}

// Parts of a service in its status, beside its listeners.
const (
	partUpstream = "upstream"
	partAuth     = "auth server"
)

// partOf names a listener in the status.
func partOf(listen protocol.ListenSpec) string { return string(listen.Scheme) + " " + listen.Address }

// applyProxy swaps the handler. No connection is touched, but those of clients that its rules do not let in any more.
func (i *instance) applyProxy(name string, spec protocol.ProxySpec) error {
	upstream := i.upstream
	if upstream == nil || !upstream.Fits(spec, i.node) {
		var err error
		if upstream, err = proxy.OpenUpstream(spec, i.node, i.share); err != nil {
			return err
		}
	}
	next, err := proxy.New(proxy.Config{
		Service:   name,
		Spec:      spec,
		Upstream:  upstream,
		WhoIs:     i.node.WhoIs,
		Canonical: i.canonical,
		Counters:  i.counters,
		Limits:    i.limits,
		Backends:  i.backends,
		Log:       i.requestLog,
		AccessLog: i.options.AccessLog.With("service", name),
	})
	if err != nil {
		return err // an upstream of its own has opened nothing yet
	}
	i.door.Swap(next)
	if i.upstream != nil && i.upstream != upstream {
		i.upstream.Close()
		i.forget()
	}
	if i.proxy != nil {
		i.proxy.Close()
	}
	i.upstream, i.proxy = upstream, next
	return nil
}

// forget makes the servers ones that have not been asked yet: they may be others from now on.
func (i *instance) forget() {
	i.backends.Upstream.Forget()
	i.backends.Auth.Forget()
	i.tell.problem(partUpstream, nil)
	i.tell.problem(partAuth, nil)
}

func (i *instance) closeProxy() {
	if i.proxy != nil {
		i.proxy.Close()
		i.upstream.Close()
	}
}

// names are what clients may call the node.
type names struct {
	domain    string
	addresses []netip.Addr
}

// address is where browsers find the service; empty until the node knows its name.
func (i *instance) address() string {
	domain, port := i.names.Load().domain, *i.https.Load()
	if domain == "" || port == "443" {
		return domain
	}
	return net.JoinHostPort(domain, port)
}

// learn takes over what the node says of itself.
func (i *instance) learn(status node.Status) {
	i.last = status
	if status.DNSName == "" {
		return
	}
	known := &names{domain: strings.ToLower(status.DNSName)}
	for _, text := range status.Addresses {
		if address, err := netip.ParseAddr(text); err == nil {
			known.addresses = append(known.addresses, address)
		}
	}
	if i.names.Swap(known).domain == "" {
		close(i.named)
	}
}

// nameWait is how long a request waits for the node to say what it is called. A node that starts takes its first clients
// some milliseconds before.
const nameWait = 5 * time.Second

// canonical is proxy.Config's. While the node has not said what it is called, requests wait, and then have asked in vain.
func (i *instance) canonical(ctx context.Context, host string) (name string, ok bool) {
	known := i.names.Load()
	if known.domain == "" {
		ctx, cancel := context.WithTimeout(ctx, nameWait)
		defer cancel()
		select {
		case <-i.named:
		case <-ctx.Done():
		}
		known = i.names.Load()
	}
	short, _, _ := strings.Cut(known.domain, ".")
	if known.domain != "" && (host == known.domain || host == short) {
		return known.domain, true
	}
	if address, err := netip.ParseAddr(host); err == nil {
		return known.domain, known.domain != "" && slices.Contains(known.addresses, address.Unmap())
	}
	return host, i.certificates.covers(host)
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
func (i *instance) retire(server server) {
	server.StopListening()
	i.retired.Go(func() {
		ctx, cancel := context.WithTimeout(i.retiredEnds, restartDrain)
		defer cancel()
		server.Drain(ctx)
	})
}

// lastAccepts is how long connections that were being made when the shields went up may take to be accepted.
const lastAccepts = 50 * time.Millisecond

// shieldUp turns no one away who comes now: the next node of this name answers them. Without it, whoever connects between the
// end of the listeners and that of the node is refused.
func (i *instance) shieldUp(ctx context.Context) {
	if i.node == nil || ctx.Err() != nil {
		return
	}
	if err := i.node.ShieldUp(ctx); err != nil {
		i.log.Warn("cannot shield the node; clients that connect until it is gone are refused", "error", err)
		return
	}
	select {
	case <-ctx.Done():
	case <-time.After(lastAccepts):
	}
}

// close lets requests end until ctx is done, and then frees node, port and directory, in this order: the lock must be the
// last, as it promises that no node runs from the directory. Until quiet is done, what runs may end while everybody else is
// still served: behind the shields, nobody new is.
func (i *instance) close(quiet, ctx context.Context) {
	i.counters.AwaitOld(quiet)
	if i.node != nil {
		i.node.PrepareClose(i.options.nextPeers()) // while everybody is served
	}
	i.shieldUp(ctx)
	var drained sync.WaitGroup
	for _, server := range i.servers {
		drained.Go(func() { server.Drain(ctx) })
	}
	drained.Wait()
	i.endRetired()
	i.retired.Wait()
	i.closeProxy()
	if i.certificates != nil {
		i.certificates.close()
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
	i.share.Leave()
	i.clients.settle()
	if err := i.dir.Close(); err != nil {
		i.log.Warn("releasing the state directory", "path", i.dir.Path(), "error", err)
	}
}
