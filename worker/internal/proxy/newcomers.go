package proxy

import (
	"net"
	"net/http"
	"sync"
	"time"
)

// firstRequest is how long a client may take from being accepted to its first request: the way there and back, twice with TLS.
// Browsers also open connections to have them; nobody waits longer for those.
const firstRequest = 500 * time.Millisecond

// newcomers are the connections that have not brought a request yet.
type newcomers struct {
	mu    sync.Mutex
	since map[net.Conn]time.Time
}

// note is an http.Server.ConnState.
func (n *newcomers) note(conn net.Conn, state http.ConnState) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if state == http.StateNew {
		n.since[conn] = time.Now()
	} else {
		delete(n.since, conn)
	}
}

// expected tells whether one is likely to ask any moment. If its connection were closed now, its request would be lost: clients
// send again only what they sent on a connection that had worked.
func (n *newcomers) expected() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, at := range n.since {
		if time.Since(at) < firstRequest {
			return true
		}
	}
	return false
}
