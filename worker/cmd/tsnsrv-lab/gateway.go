package main

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"net"
	"net/http"
	"net/http/httputil"
	"strings"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/tailnet"
)

//go:embed gateway.html
var gatewayHTML string

var gatewayPage = template.Must(template.New("gateway").Parse(gatewayHTML))

// gateway shows the tailnet to browsers that are not on it: <service>.localhost is asked for over a node of the lab.
// Requests pass with the headers that the browser sent, and with the service's name as their Host.
type gateway struct {
	tailnet *tailnet.Tailnet
	proxy   *httputil.ReverseProxy
}

func newGateway(tn *tailnet.Tailnet, transport http.RoundTripper) *gateway {
	g := &gateway{tailnet: tn}
	g.proxy = passTo(transport, func(r *http.Request) string { return serviceOf(r.Host) }, g.serveFailure)
	return g
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

func (g *gateway) serveFailure(w http.ResponseWriter, r *http.Request, err error) {
	g.servePage(w, r, http.StatusBadGateway, fmt.Sprintf("%s does not answer: %v", r.Host, err))
}

// servePage lists the nodes as links, below what went wrong if anything did.
func (g *gateway) servePage(w http.ResponseWriter, r *http.Request, status int, problem string) {
	// The port under which the browser reached the gateway, which its links have to keep.
	port := ""
	if _, number, err := net.SplitHostPort(r.Host); err == nil {
		port = ":" + number
	}
	var page bytes.Buffer
	if err := gatewayPage.Execute(&page, map[string]any{"Problem": problem, "Nodes": g.tailnet.Services(), "Port": port}); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(page.Bytes())
}
