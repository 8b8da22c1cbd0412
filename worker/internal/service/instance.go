package service

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/custody"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/exposure"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/identity"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/limit"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/node"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/protocol"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/proxy"
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

	exposure exposure.Exposure
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
func startInstance(options Options, spec protocol.ServiceSpec, holding custody.Holding, lasting lasting, tell teller, log *slog.Logger) (_ *instance, err error) {
	i := &instance{options: options, lasting: lasting, share: options.files.Join(), log: log,
		requestLog: options.RequestLog.With("service", spec.Name), tell: tell,
		door: proxy.NewDoor(), servers: map[protocol.ListenSpec]server{}}
	i.retiredEnds, i.endRetired = context.WithCancel(context.Background())
	defer func() {
		if err != nil {
			i.close(expired(), expired())
		}
	}()
	authKey := ""
	if spec.AuthKey != nil {
		authKey, spec.AuthKey = *spec.AuthKey, nil
	}
	i.hadAuthKey = authKey != ""
	i.exposure, err = exposure.Start(spec.Exposure, holding, identity.Config{
		AuthKey: authKey, Interfaces: options.Interfaces, NextPeers: options.nextPeers, Log: log,
	})
	if err != nil {
		return nil, err
	}
	i.certificates = newCertificates(i.exposure, tell)
	i.gate = proxy.NewGate(i.counters, i.requestLog)
	if err := i.apply(spec); err != nil {
		return nil, err
	}
	i.exposure.Listening()
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
	config := proxy.ServerConfig{Spec: listen, Handler: i.door, Door: i.door, Counters: i.counters, Limits: i.limits, Log: i.requestLog}
	part := partOf(listen)
	listener, err := i.exposure.Listen(listen, func(err error) { i.tell.problem(part, err) })
	if err != nil {
		return nil, err
	}
	switch listen.Scheme {
	case protocol.ListenSpecSchemeTcp:
		var dial limit.Dial = (&net.Dialer{}).DialContext
		if listen.UseTailnetDialer {
			dial = i.exposure.Dial
		}
		return proxy.Forward(listener, i.gate, i.share.Dialer(dial), config), nil
	case protocol.ListenSpecSchemeRedirect:
		config.Handler = i.door.OwnNames(proxy.RedirectToHTTPS(i.address))
	case protocol.ListenSpecSchemeHttps, protocol.ListenSpecSchemeFunnel:
		config.TLS = i.certificates.config(listen)
	case protocol.ListenSpecSchemeHttp:
	default:
		listener.Close()
		return nil, fmt.Errorf("this version cannot serve %q", listen.Scheme)
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
	partControl  = "control"
)

// partOf names a listener in the status.
func partOf(listen protocol.ListenSpec) string { return string(listen.Scheme) + " " + listen.Address }

// applyProxy swaps the handler. No connection is touched, but those of clients that its rules do not let in any more.
func (i *instance) applyProxy(name string, spec protocol.ProxySpec) error {
	upstream := i.upstream
	if upstream == nil || !upstream.Fits(spec, i.exposure) {
		var err error
		if upstream, err = proxy.OpenUpstream(spec, i.exposure, i.share); err != nil {
			return err
		}
	}
	next, err := proxy.New(proxy.Config{
		Service:   name,
		Spec:      spec,
		Upstream:  upstream,
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

// address is where browsers find the service; empty until the node knows its name.
func (i *instance) address() string {
	domain, port := i.exposure.Name(), *i.https.Load()
	if domain == "" || port == "443" {
		return domain
	}
	return net.JoinHostPort(domain, port)
}

// learn takes over what the node says of itself.
func (i *instance) learn(status node.Status) {
	i.last = status
	i.exposure.Learn(status)
}

// canonical is proxy.Config's: the names of certificate files are the service's, too.
func (i *instance) canonical(ctx context.Context, host string) (name string, ok bool) {
	if name, ok := i.exposure.Canonical(ctx, host); ok {
		return name, true
	}
	return host, i.certificates.covers(host)
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

// close lets requests end until ctx is done, and then frees the exposure. Until quiet is done, what runs may end while
// everybody else is still served: once it has withdrawn, nobody new is.
func (i *instance) close(quiet, ctx context.Context) {
	i.counters.AwaitOld(quiet)
	if i.exposure != nil {
		i.exposure.Drain()
		i.exposure.Withdraw(ctx)
	}
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
	if i.exposure != nil {
		i.exposure.Close()
	}
	i.share.Leave()
}
