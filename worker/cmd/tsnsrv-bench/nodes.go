package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"strings"
	"sync"

	"tailscale.com/tsnet"
	"tailscale.com/types/logger"
)

// answeredBytes is the body of -answer, the size that the upstream has by default.
const answeredBytes = 512

// nodes runs services without any measure of ours, as the floor that others are compared with: plain tsnet nodes, each with
// the standard library's reverse proxy.
func nodes(ctx context.Context, c *console) error {
	names := c.flags.String("names", "", "host names of the nodes, with commas in between")
	stateDir := c.flags.String("state-dir", "", "`directory` in which each node has its own")
	controlURL := c.flags.String("control-url", "", "`URL` of the control server")
	upstreamURL := c.flags.String("upstream", "", "`URL` that all of them publish")
	answers := c.flags.Bool("answer", false, "answer requests here instead of asking an upstream: the limit of any proxy")
	certificateFile := c.flags.String("certificate-file", "", "`file`, with -key-file: serve https on port 443 with it, and not http")
	keyFile := c.flags.String("key-file", "", "`file` of the certificate's key")
	concurrency := c.flags.Int("concurrency", 0, "how many start at a time; 0: all")
	metricsAddress := c.flags.String("metrics-addr", "127.0.0.1:0", "`address` of metrics and profiles")
	authKey := takeAuthKey()
	ctx, err := c.parseUntilStdin(ctx)
	if err != nil {
		return err
	}
	switch {
	case *names == "":
		return errors.New("-names is needed")
	case *stateDir == "" || *controlURL == "":
		return errors.New("-state-dir and -control-url are needed")
	}
	listen := listenPlainly
	if *certificateFile != "" || *keyFile != "" {
		certificate, err := tls.LoadX509KeyPair(*certificateFile, *keyFile)
		if err != nil {
			return err
		}
		listen = listenSecurely(certificate)
	}
	handler := answer(answeredBytes)
	if !*answers {
		if handler, err = proxyTo(*upstreamURL); err != nil {
			return err
		}
	}
	metricsURL, stopMetrics, err := serve(*metricsAddress, inspect())
	if err != nil {
		return err
	}
	defer stopMetrics()

	var servers []*tsnet.Server
	for name := range strings.SplitSeq(*names, ",") {
		servers = append(servers, &tsnet.Server{
			Hostname: name, Dir: filepath.Join(*stateDir, name), ControlURL: *controlURL, AuthKey: authKey, UserLogf: logger.Discard,
		})
	}
	// What a failed start leaves ends with the process.
	if err := startAll(ctx, servers, *concurrency, listen, handler); err != nil {
		return err
	}
	defer closeAll(servers)
	c.lines.print(event{Event: "ready", MetricsURL: metricsURL})
	<-ctx.Done()
	return nil
}

// listen begins to listen on a node that is up.
type listen func(server *tsnet.Server) (net.Listener, error)

func listenPlainly(server *tsnet.Server) (net.Listener, error) { return server.Listen("tcp", ":80") }

// listenSecurely is what tsnet's ListenTLS does, with one certificate for all.
func listenSecurely(certificate tls.Certificate) listen {
	return func(server *tsnet.Server) (net.Listener, error) {
		listener, err := server.Listen("tcp", ":443")
		if err != nil {
			return nil, err
		}
		return tls.NewListener(listener, &tls.Config{Certificates: []tls.Certificate{certificate}}), nil
	}
}

// startAll returns when every node is up and listens, or when no more is to be expected; the error is the first one.
func startAll(ctx context.Context, servers []*tsnet.Server, concurrency int, listen listen, handler http.Handler) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if concurrency <= 0 {
		concurrency = len(servers)
	}
	slots := make(chan struct{}, concurrency)
	var all sync.WaitGroup
	for _, server := range servers {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			if err := start(ctx, server, listen, handler); err != nil {
				cancel(fmt.Errorf("starting %s: %w", server.Hostname, err))
			}
		})
	}
	all.Wait()
	return context.Cause(ctx)
}

func start(ctx context.Context, server *tsnet.Server, listen listen, handler http.Handler) error {
	if _, err := server.Up(ctx); err != nil {
		return err
	}
	listener, err := listen(server)
	if err != nil {
		return err
	}
	go func() {
		// Ends with the node.
		_ = http.Serve(listener, handler)
	}()
	return nil
}

func closeAll(servers []*tsnet.Server) {
	var all sync.WaitGroup
	for _, server := range servers {
		all.Go(func() { server.Close() })
	}
	all.Wait()
}

// proxyTo is one reverse proxy for all nodes: they share the connections to the upstream.
func proxyTo(upstreamURL string) (http.Handler, error) {
	target, err := url.Parse(upstreamURL)
	if err != nil || target.Host == "" {
		return nil, fmt.Errorf("-upstream is %q: want a URL such as http://127.0.0.1:8080", upstreamURL)
	}
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.SetXForwarded()
		},
		Transport: &http.Transport{DialContext: new(net.Dialer).DialContext, MaxIdleConnsPerHost: 64},
	}, nil
}
