package proxy

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Backends are those servers that a service depends on.
type Backends struct{ Upstream, Auth *Health }

const (
	// failuresInARow make a server unhealthy that also answers well: single pages fail for reasons of their own.
	failuresInARow = 3

	// wellFor is how long one good answer speaks for a server. After it, the first failure makes it unhealthy.
	wellFor = time.Minute
)

// Health is how a server that a service depends on has answered last: its upstream, or its auth server. It is passive: nothing
// is asked for its sake. It is safe for concurrent use.
type Health struct {
	report func(error) // told when it gets unhealthy, and with nil when it is well again

	lastGood atomic.Int64 // Unix nanoseconds
	failing  atomic.Bool  // the last answer was a failure

	mu        sync.Mutex
	failures  int // in a row
	since     time.Time
	unhealthy bool
}

// NewHealth makes the health of a server that has not been asked yet.
func NewHealth(report func(error)) *Health { return &Health{report: report} }

// Good notes a good answer. It costs two atomic operations while all is well.
func (h *Health) Good() {
	h.lastGood.Store(time.Now().UnixNano())
	if !h.failing.Load() {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.failing.Store(false)
	h.failures = 0
	if h.unhealthy {
		h.unhealthy = false
		h.report(nil)
	}
}

// Bad notes a failure: an error, or the answer in words.
func (h *Health) Bad(why error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	if h.failures == 0 {
		h.since = now
	}
	h.failing.Store(true)
	h.failures++
	speaks := now.Sub(time.Unix(0, h.lastGood.Load())) < wellFor
	if h.unhealthy || speaks && h.failures < failuresInARow {
		return
	}
	h.unhealthy = true
	h.report(fmt.Errorf("%w, since %s", why, h.since.UTC().Format(time.RFC3339)))
}

// Forget makes it a server that has not been asked yet, and tells nobody.
func (h *Health) Forget() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.failing.Store(false)
	h.lastGood.Store(0)
	h.failures, h.unhealthy = 0, false
}

// Up tells whether the last answers were good. It is not known before the first.
func (h *Health) Up() (up, known bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return !h.unhealthy, h.failures > 0 || h.lastGood.Load() != 0
}

// errStatus is an answer that is a failure by its status.
type errStatus int

func (e errStatus) Error() string { return fmt.Sprintf("it answers %d", int(e)) }

// inWords says what keeps a server from answering.
func inWords(err error) error {
	var operation *net.OpError
	switch {
	case isTimeout(err):
		return errors.New("it does not answer in time")
	case errors.Is(err, syscall.ECONNREFUSED) && errors.As(err, &operation):
		return fmt.Errorf("%v refuses connections: nothing listens there", operation.Addr)
	}
	return err
}
