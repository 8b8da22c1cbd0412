package main

import (
	"net/http"
	"time"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/tailnet"
)

// newAdmin is the lab's own API, for tests that need what an administrator or an outage does:
//
//	GET  /lab/nodes            the nodes that control knows
//	GET  /lab/live             per node key: live map streams, process starts, and how often two ran at once
//	GET  /lab/orders           the orders for certificates that nodes have placed, oldest first
//	POST /lab/login?url=       completes an interactive login
//	POST /lab/expire?node=&in= ends the validity of a node's key, by host name: in=72h from now, in=-1m at once
//	POST /lab/pause, /resume   takes the control server away, and brings it back
//
// Answers are JSON, or 404 with one line of text that says why not. acme is nil when the lab runs no ACME server.
func newAdmin(tn *tailnet.Tailnet, acme *tailnet.ACME) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /lab/nodes", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, tn.Nodes()) })
	mux.HandleFunc("GET /lab/live", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, tn.Sessions()) })
	mux.HandleFunc("GET /lab/orders", func(w http.ResponseWriter, r *http.Request) { serveOrders(w, r, acme) })
	mux.HandleFunc("POST /lab/login", change(func(r *http.Request) error { return tn.CompleteLogin(r.URL.Query().Get("url")) }))
	mux.HandleFunc("POST /lab/expire", change(func(r *http.Request) error {
		in, err := time.ParseDuration(r.URL.Query().Get("in"))
		if err != nil {
			return err
		}
		return tn.Expire(r.URL.Query().Get("node"), time.Now().Add(in))
	}))
	mux.HandleFunc("POST /lab/pause", change(func(*http.Request) error { tn.Pause(); return nil }))
	mux.HandleFunc("POST /lab/resume", change(func(*http.Request) error { tn.Resume(); return nil }))
	return mux
}

func serveOrders(w http.ResponseWriter, r *http.Request, acme *tailnet.ACME) {
	if acme == nil {
		http.Error(w, "the lab runs no ACME server: start it with -acme-server", http.StatusNotFound)
		return
	}
	orders, err := acme.Orders(r.Context())
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	writeJSON(w, orders)
}

func change(apply func(*http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if err := apply(r); err != nil {
			http.Error(w, err.Error(), http.StatusNotFound)
			return
		}
		writeJSON(w, map[string]bool{"ok": true})
	}
}
