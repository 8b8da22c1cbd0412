package control

import (
	"net"
	"net/http"
	"time"
)

// Orphaned is closed when the worker was never given a service and nobody was connected for so long: its supervisor died
// between starting it and finding it, and none will come for it. A worker with services stays, whatever becomes of the
// supervisor.
func (s *Server) Orphaned(after time.Duration) <-chan struct{} {
	orphaned := make(chan struct{})
	var check func()
	check = func() {
		if s.options.Set.Used() {
			return
		}
		if left := after - s.aloneFor(); left > 0 {
			time.AfterFunc(left, check)
			return
		}
		close(orphaned)
	}
	time.AfterFunc(after, check)
	return orphaned
}

// aloneFor is how long nobody has been connected.
func (s *Server) aloneFor() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.open) > 0 {
		return 0
	}
	return time.Since(s.lastSeen)
}

func (s *Server) connState(connection net.Conn, state http.ConnState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch state {
	case http.StateNew:
		s.open[connection] = struct{}{}
	case http.StateClosed:
		delete(s.open, connection)
	default:
		return
	}
	s.lastSeen = time.Now()
}
