// Package node runs one tailnet node of this process: a tsnet.Server whose state directory, UDP port and login are under
// our control, and whose life is told as a stream of Status.
package node

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"tailscale.com/client/local"
	"tailscale.com/client/tailscale/apitype"
	_ "tailscale.com/feature/identityfederation" // login by ClientID and Audience
	"tailscale.com/ipn"
	"tailscale.com/ipn/store"
	"tailscale.com/tsnet"
	"tailscale.com/types/logger"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/collector"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/interfaces"
)

// Config is what a node is made of. Dir must be locked by the caller for as long as the node runs.
type Config struct {
	Dir        string
	Hostname   string
	ControlURL string // empty: Tailscale's own
	AuthKey    string // used only if the node has to log in
	Ephemeral  bool
	Tags       []string // asked for at login
	ClientID   string   // workload identity, with Audience; empty for none
	Audience   string
	Port       uint16 // UDP port of WireGuard
	Verbose    bool   // log what tsnet says
	Interfaces *interfaces.Table
	Log        *slog.Logger

	Clients func() []netip.Addr // whom the next start must know; nil for nobody in particular
}

// Node is a running node.
type Node struct {
	server  *tsnet.Server
	local   *local.Client
	calls   *http.Transport // of local
	log     *slog.Logger
	dir     string
	updates chan Status
	stop    context.CancelFunc
	running sync.WaitGroup // what stop ends
	detach  func()

	up         chan struct{} // closed when it first was
	upOnce     sync.Once
	hadMap     bool          // it was up without control
	keptMap    *keptMap      // guarded by oneMap once the node runs
	mapChanged chan struct{} // there is something to keep
	accepted   atomic.Bool   // by control, in this run
	confirmed  chan struct{} // closed when it first was

	confirmOnce sync.Once
	dialOnce    sync.Once
	clients     func() []netip.Addr

	early *early

	lastMap sync.Once

	controlLost atomic.Int64 // Unix nanoseconds of the first look that found no connection to control; 0 for none

	startedAt time.Time
	disco     *disco
	sessions  []netip.Addr // of the last run, taken over with its disco key; nil for none
}

// StateError says that the node's key file is there but cannot be read.
type StateError struct {
	Path string
	Err  error
}

func (e *StateError) Error() string {
	return fmt.Sprintf("node state %s cannot be read: %v; restore it, or move it away to log in as a new node", e.Path, e.Err)
}

func (e *StateError) Unwrap() error { return e.Err }

// Start starts a node and returns at once; Updates tells what becomes of it. An error means that nothing is left running.
func Start(config Config) (*Node, error) {
	if config.Clients == nil {
		config.Clients = func() []netip.Addr { return nil }
	}
	backendLog := logger.Discard
	if config.Verbose {
		backendLog = func(format string, args ...any) { config.Log.Info(fmt.Sprintf(format, args...), "source", "tsnet") }
	}
	// The store is opened here and not by tsnet, which would leave a running engine behind when it cannot be read.
	path := filepath.Join(config.Dir, "tailscaled.state")
	file, err := store.New(backendLog, path)
	if err != nil {
		return nil, &StateError{Path: path, Err: err}
	}
	keys := &keys{file: file}
	keptMap := newKeptMap(config, keys)
	lent, err := keptMap.lend()
	if err != nil {
		return nil, fmt.Errorf("removing a network map that is not of this login: %w", err)
	}
	if _, err := keptMap.login(); err == nil {
		// tsnet would ask cloud and control for a key at each start, and not start when they do not answer.
		config.ClientID, config.Audience = "", ""
	}
	server := newServer(config, keys, backendLog)
	left, ok := takeHandover(config.Dir)
	if !ok || !lent { // without the map it would know none of the peers that it has to call
		left = handover{DiscoKey: newDiscoKey()}
	}
	disco := &disco{key: left.DiscoKey}
	prepare(server, disco.give, forgetConnectionsSoon, delayAcknowledgements)
	early := holdEarly(server)
	client, err := launch(server, keys, keptMap, lent)
	if err != nil {
		early.end()
		return nil, err
	}
	steadyNetInfo(server)
	// The default transport could not be told to let go of its connections, and tsnet waits 5 s for each that was opened and
	// not used.
	calls := &http.Transport{DialContext: client.Dial}
	client.Transport = calls
	ctx, stop := context.WithCancel(context.Background())
	// Nothing on this host asks the node for names, and its own dials look into the network map. Left on, the node makes up a
	// configuration of the resolver and compares it with the last one for each change of each peer.
	if _, err := client.EditPrefs(ctx, &ipn.MaskedPrefs{CorpDNSSet: true}); err != nil {
		config.Log.Warn("cannot switch the node's resolver off; it costs CPU and nothing else", "error", err)
	}
	n := &Node{
		server:  server,
		local:   client,
		calls:   calls,
		log:     config.Log,
		dir:     config.Dir,
		updates: make(chan Status, 1),
		up:      make(chan struct{}),
		stop:    stop,
		detach:  config.Interfaces.Attach(server.Sys().NetMon.Get()),

		hadMap:     lent,
		keptMap:    keptMap,
		mapChanged: make(chan struct{}, 1),
		confirmed:  make(chan struct{}),
		early:      early,
		clients:    config.Clients,
		startedAt:  time.Now(),
		disco:      disco,
	}
	if disco.isUsed {
		n.sessions = left.Peers
	}
	if actual := server.Sys().MagicSock.Get().LocalPort(); actual != config.Port {
		config.Log.Warn("the UDP port of this service is taken; using another one until the next start", "port", config.Port, "actual", actual)
	}
	n.running.Go(func() {
		if err := keys.release(); err != nil {
			config.Log.Warn("cannot write the node's state file", "path", path, "error", err)
		}
	})
	n.running.Go(func() { n.watch(ctx, Status{confirmed: !lent}) })
	n.running.Go(func() { n.keepMaps(ctx) })
	return n, nil
}

func newServer(config Config, keys ipn.StateStore, backendLog logger.Logf) *tsnet.Server {
	return &tsnet.Server{
		Dir:        config.Dir,
		Store:      keys,
		Hostname:   config.Hostname,
		ControlURL: config.ControlURL,
		AuthKey:    config.AuthKey,
		Ephemeral:  config.Ephemeral,
		ClientID:   config.ClientID,
		Audience:   config.Audience,
		Port:       config.Port,
		Logf:       backendLog,
		UserLogf:   logger.Discard, // the login URL reaches us by the IPN bus

		AdvertiseTags: config.Tags,
	}
}

// launch starts the server. While it starts, a kept map that is lent to it stays where it looks for one, and what it writes of
// its state is held back; the latter goes on, for the caller to release.
func launch(server *tsnet.Server, keys *keys, keptMap *keptMap, lent bool) (*local.Client, error) {
	if lent {
		keys.hold()
	}
	started := collector.NodeStarting()
	client, err := server.LocalClient()
	started()
	if lent {
		keptMap.takeBack()
	}
	if err != nil {
		_ = keys.release()
		abandon(server)
		return nil, fmt.Errorf("starting the node: %w", err)
	}
	return client, nil
}

// abandon frees what a failed start leaves: tsnet closes only a part by itself, and Close is not safe then.
func abandon(server *tsnet.Server) {
	system := server.Sys()
	if system == nil {
		return
	}
	if engine, ok := system.Engine.GetOK(); ok {
		engine.Close()
	}
	system.Bus.Get().Close()
}

// Updates delivers the latest Status after each change; older ones that nobody took are dropped.
func (n *Node) Updates() <-chan Status { return n.updates }

// UDPPort is the port that the node has really bound.
func (n *Node) UDPPort() uint16 { return n.server.Sys().MagicSock.Get().LocalPort() }

// Listening says that all first listeners are there. Until then, whoever connects to the node waits.
func (n *Node) Listening() { n.early.end() }

// Listen listens on the node's tailnet addresses; address is "host:port", usually without a host.
func (n *Node) Listen(address string) (net.Listener, error) { return n.server.Listen("tcp", address) }

// Dial connects from the node to a tailnet peer, or to any other host by the network of this machine. The latter not by way
// of tsnet, whose connections cannot be closed in one direction, and are cut when the host's network changes.
func (n *Node) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	if _, onTailnet, err := n.server.Sys().Dialer.Get().UserDialPlan(ctx, network, address); err == nil && !onTailnet {
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}
	n.dialOnce.Do(n.KeepMap) // with the peer, which has had its handshake by then
	return n.server.Dial(ctx, network, address)
}

// WhoIs tells who is behind a tailnet address ("ip:port").
func (n *Node) WhoIs(ctx context.Context, address string) (*apitype.WhoIsResponse, error) {
	return n.local.WhoIs(ctx, address)
}

// HadMap tells whether the node came up with a kept network map, without control.
func (n *Node) HadMap() bool { return n.hadMap }

// TookOver tells whether peers take the node for the one that ran before, and which of them it has to Resume a session with.
func (n *Node) TookOver() (sessions []netip.Addr, ok bool) { return n.sessions, n.sessions != nil }

// Confirmed is closed when control has accepted the node in this run; it is then telling the node's peers.
func (n *Node) Confirmed() <-chan struct{} { return n.confirmed }

// ControlLost tells since when the node has had no connection to its control server; false while it has one. To be asked every few
// seconds: it is lost from the first time on that none is found.
func (n *Node) ControlLost() (since time.Time, lost bool) {
	if n.server.Sys().HealthTracker.Get().GetInPollNetMap() {
		n.controlLost.Store(0)
		return time.Time{}, false
	}
	n.controlLost.CompareAndSwap(0, time.Now().UnixNano())
	return time.Unix(0, n.controlLost.Load()), true
}

// ShieldUp has the node drop new connections from now on, without a word: whoever tries one sends its packet again, and
// finds the node where it runs next. A closed listener would refuse it. Connections that are there stay.
//
// The next start is open again: tsnet begins each with fresh preferences.
func (n *Node) ShieldUp(ctx context.Context) error {
	_, err := n.local.EditPrefs(ctx, &ipn.MaskedPrefs{Prefs: ipn.Prefs{ShieldsUp: true}, ShieldsUpSet: true})
	return err
}

// PrepareClose does what of Close may take a while, so that it need not be done when nobody is served any more. next says
// which peers the next run shall know before control has answered.
func (n *Node) PrepareClose(next Peers) { n.lastMap.Do(func() { n.keepLastMap(next) }) }

// Close takes the node off the tailnet and frees its port. The directory may be used by another process afterwards.
func (n *Node) Close() error {
	n.stop()
	n.early.end()
	n.running.Wait()
	n.PrepareClose(AllPeers)
	n.handOver() // last of all, as a peer may come at any time
	n.detach()
	n.calls.CloseIdleConnections()
	return closeServer(n.server)
}

// rewatchAfter keeps a broken watch from spinning.
const rewatchAfter = 100 * time.Millisecond

// watchedOnBus is the cheapest mask: no network map, no peers, no engine statistics. Of each change of a peer the bus would
// still tell that there is something we did not ask for; with NotifyRateLimit it gathers these, and nothing else, for 3 s.
const watchedOnBus = ipn.NotifyInitialState | ipn.NotifyRateLimit

// watch folds what the node's bus says into Status, and publishes each change.
func (n *Node) watch(ctx context.Context, status Status) {
	for ctx.Err() == nil {
		watcher, err := n.local.WatchIPNBus(ctx, watchedOnBus)
		for err == nil {
			var notice ipn.Notify
			if notice, err = watcher.Next(); err == nil {
				status = n.fold(ctx, status, &notice)
			}
		}
		if watcher != nil {
			watcher.Close()
		}
		// The bus drops a watcher that falls behind. The next one starts with the state as it is then.
		select {
		case <-ctx.Done():
		case <-time.After(rewatchAfter):
		}
	}
}

func (n *Node) fold(ctx context.Context, before Status, notice *ipn.Notify) Status {
	after := before.apply(notice)
	if after.State == Running && before.State != Running {
		after = n.identify(ctx, after)
		n.upOnce.Do(func() { close(n.up) })
	}
	switch {
	case after.State == Refused, after.State == NeedsLogin:
		n.forgetMap()
	case after.State == Running && after.confirmed:
		n.accepted.Store(true)
		n.confirmOnce.Do(func() { close(n.confirmed) })
		if !before.confirmed || before.State != Running || notice.SelfChange != nil {
			n.KeepMap()
		}
	}
	if after.State == NeedsLogin && before.State == Running && after.LoginURL == "" {
		// A node that had a login and lost it does not ask for a new one by itself.
		if err := n.local.StartLoginInteractive(ctx); err != nil {
			n.log.Warn("cannot ask the control server for a login URL", "error", err)
		}
	}
	if !after.equal(before) {
		select {
		case <-n.updates: // nobody took the last one: it is out of date
		default:
		}
		n.updates <- after
	}
	return after
}

const (
	identifyAttempts = 20
	identifyAgain    = 50 * time.Millisecond
)

// identify adds who the node is, once it is up. While the backend goes over from a kept map to control's, it may not know.
func (n *Node) identify(ctx context.Context, status Status) Status {
	for range identifyAttempts {
		full, err := n.local.StatusWithoutPeers(ctx)
		if err == nil && full.Self != nil && len(full.TailscaleIPs) > 0 {
			status.confirmed = status.confirmed || full.Self.Online // this is about a poll of control that stands
			if full.AuthURL != "" && !status.confirmed {
				status.State, status.LoginURL = NeedsLogin, full.AuthURL // told before the bus was watched, which tells it once
			}
			var keyExpiry time.Time
			if full.Self.KeyExpiry != nil {
				keyExpiry = *full.Self.KeyExpiry
			}
			return status.withSelf(full.Self.DNSName, full.TailscaleIPs, full.Self.PublicKey, keyExpiry)
		}
		select {
		case <-ctx.Done():
			return status
		case <-time.After(identifyAgain):
		}
	}
	return status // gone again; the next notice tells
}
