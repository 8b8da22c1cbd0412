// Package service runs the services of this worker: each one a tailnet node, its listeners and its proxy. It does what it
// is told and reports what becomes of it; when to try again or to move is the supervisor's decision.
package service

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/custody"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/interfaces"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/limit"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/node"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/protocol"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/proxy"
)

// Why a request was turned down; both pass with time.
var (
	ErrLeaving = errors.New("the service is being removed; put it again after \"removed\"")
	ErrClosing = errors.New("the worker is shutting down; put the service into another one")
)

// unlimited is the capacity of the start queue when all may start at once. The elements have no size.
const unlimited = 1 << 20

// Options is what all services share.
type Options struct {
	Keeper           custody.Keeper
	Holder           string // "<worker id> <pid>", written into the locks
	StartConcurrency int    // how many nodes start at the same time; 0: all
	Interfaces       *interfaces.Table
	Metrics          *proxy.Metrics
	Log              *slog.Logger
	RequestLog       *slog.Logger // of what goes wrong with requests; bounds what it writes
	AccessLog        *slog.Logger

	// Set by NewSet.
	files     *limit.Files
	nextPeers func() node.Peers // worth keeping for a node that ends now
}

// Set is all services of the worker. Its methods do not wait and may be called from any goroutine.
type Set struct {
	options Options
	slots   chan struct{} // one element for each node that is starting

	revision atomic.Int64 // of the newest status, list or removal that was told

	mu       sync.Mutex
	services map[string]*Service
	watches  map[*Watch]struct{}
	used     bool // a service was put at least once
	closing  bool
	done     chan struct{} // closed when closing and empty
}

// NewSet makes an empty set.
func NewSet(options Options) *Set {
	concurrency := options.StartConcurrency
	if concurrency <= 0 {
		concurrency = unlimited
	}
	s := &Set{
		options:  options,
		slots:    make(chan struct{}, concurrency),
		services: map[string]*Service{},
		watches:  map[*Watch]struct{}{},
		done:     make(chan struct{}),
	}
	s.options.files, s.options.nextPeers = limit.NewFiles(), s.nextPeers
	return s
}

// nextPeers: whoever ends while the worker goes on, starts alone elsewhere; those that end together start together.
func (s *Set) nextPeers() node.Peers {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return node.UsedPeers
	}
	return node.AllPeers
}

// Put begins to make the service what the spec says, and gives its status as it is then. Errors: ErrLeaving, ErrClosing.
func (s *Set) Put(spec protocol.ServiceSpec) (protocol.ServiceStatus, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return protocol.ServiceStatus{}, ErrClosing
	}
	s.used = true
	if existing, ok := s.services[spec.Name]; ok {
		status, err := existing.put(spec)
		s.tell(spec.Name, 0)
		return status, err
	}
	created := newService(s, spec)
	s.services[spec.Name] = created
	s.tell(spec.Name, 0)
	go created.run()
	return created.Status(), nil
}

// Delete begins to remove a service: its requests have the given time to end. It tells whether there is such a service.
func (s *Set) Delete(name string, drain time.Duration) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	existing, ok := s.services[name]
	if ok {
		existing.leave(drain)
		s.tell(name, 0)
	}
	return ok
}

// Shutdown begins to remove all services; Done tells when they are gone. A second call can only shorten the time.
func (s *Set) Shutdown(drain time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, each := range s.services {
		each.leave(drain)
		s.tell(each.name, 0)
	}
	if !s.closing {
		s.closing = true
		s.finish()
	}
}

// Done is closed when Shutdown was called and no service is left.
func (s *Set) Done() <-chan struct{} { return s.done }

// Used tells whether a service was ever put.
func (s *Set) Used() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.used
}

// Status gives the state of one service.
func (s *Set) Status(name string) (protocol.ServiceStatus, bool) {
	s.mu.Lock()
	existing, ok := s.services[name]
	s.mu.Unlock()
	if !ok {
		return protocol.ServiceStatus{}, false
	}
	return existing.Status(), true
}

// Statuses gives the state of all services, by name, and the revision of the list: what is put later has a higher one.
func (s *Set) Statuses() ([]protocol.ServiceStatus, int) {
	s.mu.Lock()
	revision := s.draw()
	services := make([]*Service, 0, len(s.services))
	for _, each := range s.services {
		services = append(services, each)
	}
	s.mu.Unlock()
	statuses := make([]protocol.ServiceStatus, len(services))
	for i, each := range services {
		statuses[i] = each.Status()
	}
	slices.SortFunc(statuses, func(a, b protocol.ServiceStatus) int { return cmp.Compare(a.Name, b.Name) })
	return statuses, revision
}

// LookAround brings up to date what no node tells by itself. It costs next to nothing: the event stream calls it every few seconds.
func (s *Set) LookAround() {
	s.mu.Lock()
	services := slices.Collect(maps.Values(s.services))
	s.mu.Unlock()
	for _, each := range services {
		each.lookAtControl()
	}
}

// draw gives the next revision.
func (s *Set) draw() int { return int(s.revision.Add(1)) }

// remove takes a service out that has freed everything.
func (s *Set) remove(gone *Service) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.services, gone.name)
	s.tell(gone.name, s.draw())
	s.finish()
}

// finish closes done when the time has come. The caller holds mu.
func (s *Set) finish() {
	if s.closing && len(s.services) == 0 {
		close(s.done)
	}
}

// changed tells the watches that a status is new.
func (s *Set) changed(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tell(name, 0)
}

// tell notes a change with each watch; with a revision, a removal. The caller holds mu.
func (s *Set) tell(name string, removed int) {
	for watch := range s.watches {
		watch.note(name, removed)
	}
}

// Change says that a service was removed, that its status is new, or first the one and then the other.
type Change struct {
	Name    string
	Removed int // the revision of the removal; 0 for none
}

// Watch collects changes for one reader. However slow it is, it costs one entry per service and holds nobody up.
type Watch struct {
	set   *Set
	ready chan struct{}

	mu      sync.Mutex
	order   []string
	removed map[string]int // the pending names, and the revision of the last removal among what happened
}

// Watch begins to collect changes until Close.
func (s *Set) Watch() *Watch {
	watch := &Watch{set: s, ready: make(chan struct{}, 1), removed: map[string]int{}}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watches[watch] = struct{}{}
	return watch
}

// Close ends the watch.
func (w *Watch) Close() {
	w.set.mu.Lock()
	defer w.set.mu.Unlock()
	delete(w.set.watches, w)
}

// Ready receives when there is something to Take.
func (w *Watch) Ready() <-chan struct{} { return w.ready }

// Take gives the changes since the last call, in the order in which they began.
func (w *Watch) Take() []Change {
	w.mu.Lock()
	defer w.mu.Unlock()
	changes := make([]Change, len(w.order))
	for i, name := range w.order {
		changes[i] = Change{Name: name, Removed: w.removed[name]}
	}
	w.order = w.order[:0]
	clear(w.removed)
	return changes
}

func (w *Watch) note(name string, removed int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, pending := w.removed[name]; !pending {
		w.order = append(w.order, name)
	}
	w.removed[name] = max(w.removed[name], removed)
	signal(w.ready)
}

// signal wakes the reader of a channel of capacity one; a wake-up that is pending stands for this one too.
func signal(channel chan<- struct{}) {
	select {
	case channel <- struct{}{}:
	default:
	}
}

// expired is a context for what must not wait any more.
func expired() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}
