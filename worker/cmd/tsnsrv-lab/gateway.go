package main

import (
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"html/template"
	"net"
	"net/http"
	"net/http/httputil"
	"slices"
	"strings"
	"time"

	"tailscale.com/client/local"
	"tailscale.com/ipn"
	"tailscale.com/tsnet"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/tailnet"
)

const (
	gatewayHostname = "lab-gateway"
	joinTimeout     = 30 * time.Second
	// dialTimeout allows for the peer's network map, a WireGuard handshake and a lost SYN or two.
	dialTimeout = 10 * time.Second
)

//go:embed gateway.html
var gatewayHTML string

var gatewayPage = template.Must(template.New("gateway").Parse(gatewayHTML))

// gateway shows the tailnet to browsers that are not on it: <service>.localhost is asked for over a node of its own.
// Requests pass unchanged, with the headers and the Host that the browser sent.
type gateway struct {
	tailnet    *tailnet.Tailnet
	node       *tsnet.Server
	local      *local.Client
	localCalls *http.Transport
	proxy      *httputil.ReverseProxy
}

// joinGateway brings the gateway's node up, whichever way the tailnet lets nodes in.
func joinGateway(ctx context.Context, tn *tailnet.Tailnet, stateDir, authKey string) (*gateway, error) {
	ctx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	node := &tsnet.Server{
		Dir:        stateDir,
		Hostname:   gatewayHostname,
		ControlURL: tn.ControlURL(),
		AuthKey:    authKey,
		UserLogf:   func(string, ...any) {},
	}
	client, err := node.LocalClient()
	if err != nil {
		return nil, fmt.Errorf("starting the gateway's node: %w", err)
	}
	// In place of the client's own transport, which nobody else can reach: see close.
	localCalls := &http.Transport{DialContext: client.Dial}
	client.Transport = localCalls
	go completeOwnLogin(ctx, tn, client)
	if _, err := node.Up(ctx); err != nil {
		node.Close()
		return nil, fmt.Errorf("bringing up the gateway's node: %w", err)
	}
	g := &gateway{tailnet: tn, node: node, local: client, localCalls: localCalls}
	g.proxy = &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme = "http"
			r.Out.URL.Host = serviceOf(r.In.Host)
			// Rewrite has dropped these; a gateway that stands for a plain client passes on what the client claims.
			for _, name := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"} {
				if values, sent := r.In.Header[name]; sent {
					r.Out.Header[name] = values
				}
			}
		},
		Transport: &http.Transport{
			DialContext:         g.dial,
			MaxIdleConns:        1024,
			MaxIdleConnsPerHost: 64,
			IdleConnTimeout:     30 * time.Second,
			DisableCompression:  true,
		},
		FlushInterval: -1,
		ErrorHandler:  g.serveFailure,
	}
	return g, nil
}

// completeOwnLogin presses the button for the gateway's node when the tailnet wants an interactive login.
func completeOwnLogin(ctx context.Context, tn *tailnet.Tailnet, client *local.Client) {
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
			_ = tn.CompleteLogin(*notice.BrowseToURL)
		}
	}
}

func (g *gateway) close() {
	g.proxy.Transport.(*http.Transport).CloseIdleConnections()
	// Calls side by side leave connections that were opened in vain, and the node's Close would wait 5 s for a first
	// request on each (http.Server.Shutdown, StateNew).
	g.localCalls.CloseIdleConnections()
	g.node.Close()
}

func (g *gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if serviceOf(r.Host) == "" {
		g.servePage(w, r, http.StatusOK, "")
		return
	}
	g.proxy.ServeHTTP(w, r)
}

// serviceOf is the service that a Host header names, or "" for the gateway itself.
func serviceOf(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	service, isService := strings.CutSuffix(strings.ToLower(host), ".localhost")
	if !isService {
		return ""
	}
	return service
}

// dial connects to the node that has the service's name now. It asks the control server and not MagicDNS, so that a
// service that came up a moment ago is found, and one that came back under a new key too.
func (g *gateway) dial(ctx context.Context, network, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	service, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	node, err := g.lookup(service)
	if err != nil {
		return nil, err
	}
	if err := g.awaitPeer(ctx, node); err != nil {
		return nil, err
	}
	conn, err := g.node.Dial(ctx, network, net.JoinHostPort(node.Addresses[0], port))
	if err != nil {
		return nil, fmt.Errorf("dialling %s at %s port %s over the tailnet: %w", service, node.Addresses[0], port, err)
	}
	return conn, nil
}

func (g *gateway) lookup(service string) (tailnet.Node, error) {
	for _, node := range g.services() {
		if strings.EqualFold(node.Hostname, service) {
			return node, nil
		}
	}
	return tailnet.Node{}, fmt.Errorf("no node named %q has joined the tailnet", service)
}

// services are all nodes but the gateway's own.
func (g *gateway) services() []tailnet.Node {
	return slices.DeleteFunc(g.tailnet.Nodes(), func(node tailnet.Node) bool { return node.Hostname == gatewayHostname })
}

// awaitPeer waits until the gateway's own network map has the node; before that, packets to it would be dropped.
func (g *gateway) awaitPeer(ctx context.Context, node tailnet.Node) error {
	for {
		status, err := g.local.Status(ctx)
		if err != nil {
			return fmt.Errorf("reading the gateway's network map: %w", err)
		}
		for key := range status.Peer {
			if key.String() == node.NodeKey {
				return nil
			}
		}
		if !pause(ctx, 20*time.Millisecond) {
			return fmt.Errorf("%s has joined the tailnet, but the gateway has not heard of it", node.Hostname)
		}
	}
}

func (g *gateway) serveFailure(w http.ResponseWriter, r *http.Request, err error) {
	g.servePage(w, r, http.StatusBadGateway, fmt.Sprintf("%s does not answer: %v", serviceOf(r.Host), err))
}

// servePage lists the nodes as links, below what went wrong if anything did.
func (g *gateway) servePage(w http.ResponseWriter, r *http.Request, status int, problem string) {
	// The port under which the browser reached the gateway, which its links have to keep.
	port := ""
	if _, number, err := net.SplitHostPort(r.Host); err == nil {
		port = ":" + number
	}
	var page bytes.Buffer
	if err := gatewayPage.Execute(&page, map[string]any{"Problem": problem, "Nodes": g.services(), "Port": port}); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(page.Bytes())
}
