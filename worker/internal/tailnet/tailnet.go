// Package tailnet runs a whole tailnet on loopback: a control server, a DERP relay and a STUN responder; when asked, also
// certificates for the nodes (StartACME), the relays of Funnel (StartIngress) and a way in for other programs (Join).
//
// Real nodes join it and reach each other without the internet, an account or root. It is built on the parts that
// Tailscale's own integration tests use, and is for tests and demonstrations only: it knows one user, allows
// everything, and forgets all at Close.
package tailnet

import (
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"tailscale.com/envknob"
	"tailscale.com/tailcfg"
	"tailscale.com/tstest/integration/testcontrol"
	"tailscale.com/types/logger"
)

// Options says what kind of tailnet to start. The zero value is one that lets every node in.
type Options struct {
	// Listen is the control server's address; default 127.0.0.1:0.
	Listen string
	// RequireAuthKey, when set, refuses nodes that do not show exactly this key when they register.
	RequireAuthKey string
	// RequireAuth makes every new node wait until its login URL is completed. It cannot be combined with RequireAuthKey:
	// the control server underneath asks for both then, which no real one does.
	RequireAuth bool
	// CacheNetworkMaps lets nodes keep their network map on disk, so that they are up before control answers.
	CacheNetworkMaps bool
	// HoldMapRequests delays the answer to each map request, as a distant or busy control server does.
	HoldMapRequests time.Duration
	// MagicDNSDomain is the suffix of the nodes' names; default "tail-lab.ts.net".
	MagicDNSDomain string
	// UserName is the display name of the tailnet's one user; default one that the control server makes up.
	UserName string
	// Logf takes the control server's log; default none.
	Logf logger.Logf
}

// Tailnet is a running tailnet. Its methods may be called from any goroutine.
type Tailnet struct {
	control     *testcontrol.Server
	relay       *relay
	records     *records
	sessions    *sessions
	connections *connections
	server      *http.Server
	paused      atomic.Bool
	closing     chan struct{}
	closeOnce   sync.Once

	mu       sync.Mutex // between the last handler's beginning and the wait for all of them, and for own
	handlers sync.WaitGroup
	own      []string // host names of the lab's own nodes
}

// Start brings up control, DERP and STUN. The caller closes the result.
//
// It switches log uploads and support access off for the whole process: a node that tries to upload from a host without
// internet probes for a way out for as long as it lives.
func Start(options Options) (*Tailnet, error) {
	if options.RequireAuth && options.RequireAuthKey != "" {
		return nil, fmt.Errorf("starting the tailnet: choose either an auth key or interactive login")
	}
	if options.Listen == "" {
		options.Listen = "127.0.0.1:0"
	}
	if options.MagicDNSDomain == "" {
		options.MagicDNSDomain = "tail-lab.ts.net"
	}
	if options.Logf == nil {
		options.Logf = logger.Discard
	}
	envknob.SetNoLogsNoSupport()

	listener, err := net.Listen("tcp", options.Listen)
	if err != nil {
		return nil, fmt.Errorf("starting the control server: %w", err)
	}
	relay, err := startRelay()
	if err != nil {
		listener.Close()
		return nil, err
	}

	connections := track(listener)
	t := &Tailnet{
		relay:       relay,
		records:     newRecords(),
		sessions:    newSessions(connections.unheard),
		connections: connections,
		closing:     make(chan struct{}),
	}
	capabilities := nodeCapabilities(options.CacheNetworkMaps)
	t.control = &testcontrol.Server{
		Logf:            options.Logf,
		DERPMap:         relay.derpMap(),
		RequireAuth:     options.RequireAuth,
		RequireAuthKey:  options.RequireAuthKey,
		MagicDNSDomain:  options.MagicDNSDomain,
		DNSConfig:       &tailcfg.DNSConfig{Proxied: true},
		ExplicitBaseURL: "http://" + listener.Addr().String(),
		// Without it a node keeps the sessions of a peer that came back as a new process until they time out.
		AllOnline:               true,
		AllNodesSameUser:        true,
		DefaultNodeCapabilities: &capabilities,
		HoldMapRequest: func(request *tailcfg.MapRequest) func() {
			if options.UserName != "" {
				t.nameUser(options.UserName)
			}
			end := t.sessions.begin(request)
			t.hold(options.HoldMapRequests)
			return end
		},
		OnSetDNS: func(request *tailcfg.SetDNSRequest) error {
			t.records.publish(request.Name, request.Value)
			return nil
		},
	}
	// Its complaints would be about connections that a closing node or a Pause broke.
	t.server = &http.Server{Handler: t, ErrorLog: log.New(io.Discard, "", 0)}
	go t.server.Serve(t.connections)
	return t, nil
}

// nodeCapabilities are what every node may do: what the control server grants by default, and the cache when wanted.
func nodeCapabilities(cacheNetworkMaps bool) tailcfg.NodeCapMap {
	granted := tailcfg.NodeCapMap{
		tailcfg.CapabilityHTTPS:                                 nil,
		tailcfg.NodeAttrFunnel:                                  nil,
		tailcfg.CapabilityFunnelPorts + "?ports=443,8443,10000": nil,
	}
	if cacheNetworkMaps {
		granted[tailcfg.NodeAttrCacheNetworkMaps] = nil
	}
	return granted
}

// ControlURL is what a node takes as its control server, such as "http://127.0.0.1:41234".
func (t *Tailnet) ControlURL() string { return t.control.BaseURL() }

// Pause takes the control server away: open connections break, and new ones are answered with 503 until Resume.
// Nodes go on serving the peers that they know.
func (t *Tailnet) Pause() {
	t.paused.Store(true)
	t.connections.closeAll()
}

// Resume ends a Pause.
func (t *Tailnet) Resume() { t.paused.Store(false) }

// Close ends everything, and waits for it. Nodes should be closed before, or they keep trying to reach control.
func (t *Tailnet) Close() {
	t.closeOnce.Do(func() {
		t.mu.Lock()
		close(t.closing)
		t.mu.Unlock()
		t.server.Close()
		// The nodes' connections have left the HTTP server's care when they were upgraded to Tailscale's protocol.
		t.connections.closeAll()
		t.handlers.Wait()
		t.relay.close()
	})
}

// ServeHTTP is the control server's outer face. Only what is listed gets through: the server underneath ends the whole
// process at a path that it does not know, and browsers ask for such (favicon.ico).
func (t *Tailnet) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !t.enter() {
		return
	}
	defer t.handlers.Done()
	switch {
	case t.paused.Load():
		http.Error(w, "the lab's control server is paused", http.StatusServiceUnavailable)
	case r.URL.Path == "/key", r.URL.Path == "/ts2021", r.URL.Path == "/generate_204":
		t.control.ServeHTTP(w, r)
	case strings.HasPrefix(r.URL.Path, "/auth/"):
		t.serveLogin(w, r)
	default:
		http.NotFound(w, r)
	}
}

// enter counts a handler that begins, unless Close has.
func (t *Tailnet) enter() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	select {
	case <-t.closing:
		return false
	default:
		t.handlers.Add(1)
		return true
	}
}

// hold waits for as long as a map request is to be delayed, or until Close.
func (t *Tailnet) hold(duration time.Duration) {
	if duration <= 0 {
		return
	}
	timer := time.NewTimer(duration)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-t.closing:
	}
}
