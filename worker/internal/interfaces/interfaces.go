// Package interfaces is the one view of the host's network interfaces that all nodes of this process share.
//
// Left alone, every node lists all interfaces on every change, and asks the kernel for the whole address table once per
// interface: N nodes x M interfaces x M addresses for each container that starts. Here the kernel is asked once, and again
// only after it has said that something changed. Interfaces of containers are left out, because a change of theirs is no
// change of network and would make every node probe its endpoints anew and tell all peers.
package interfaces

import (
	"fmt"
	"log/slog"
	"path"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"tailscale.com/net/netmon"
)

const (
	// pollInterval bounds how old the list may be on a host where the kernel does not tell of changes.
	pollInterval = time.Second

	// gatherTime is how long news are gathered before they are acted upon: a container that starts is a dozen of them, and
	// its end follows soon. A node waits as long between two looks of its own.
	gatherTime = time.Second
)

// Monitor is what of a node's *netmon.Monitor is needed: Poll makes it compare its view with the shared one.
type Monitor interface{ Poll() }

// source is the kernel's side: what there is, and whether it may have changed.
type source interface {
	// list dumps all interfaces with their addresses, and the names of those with a default route.
	list() (all []netmon.Interface, withDefaultRoute []string, err error)
	// drain returns, without waiting, the news since the last call.
	drain() []news
	// wait blocks until there is something to drain; an error says that there will be nothing any more.
	wait() error
	// takeOver ends the subscriptions of the nodes' monitors. They lose nothing that we do not tell them.
	takeOver() error
	close() error
}

// news is one message of the kernel.
type news struct {
	index int    // of the interface that it is about; 0: of all, or not known
	name  string // what that interface is called now; empty if the message does not say
	gone  bool   // the interface is no more
}

// Table is the shared view.
type Table struct {
	log     *slog.Logger
	ignored []string // shell patterns
	source  source
	gather  time.Duration
	closed  chan struct{}

	mu        sync.Mutex
	served    []netmon.Interface
	ways      []string     // interfaces with a default route
	hidden    map[int]bool // interfaces that are left out, by index
	listedAt  time.Time    // zero: never, or out of date
	polling   bool         // no news from the kernel: served is good for pollInterval
	told      bool         // that interfaces are left out
	takesOver bool         // the subscriptions of attached monitors
	monitors  map[Monitor]struct{}
}

// New makes the view; ignored are shell patterns of interface names. It fails for a pattern that does not parse.
func New(ignored []string, log *slog.Logger) (*Table, error) {
	for _, pattern := range ignored {
		if _, err := path.Match(pattern, ""); err != nil {
			return nil, fmt.Errorf("interface pattern %q: %w", pattern, err)
		}
	}
	kernel, err := openKernel()
	if err != nil {
		log.Warn("the kernel does not tell of network changes; listing interfaces at most once a second instead", "error", err)
	}
	return newTable(kernel, err == nil, gatherTime, ignored, log), nil
}

func newTable(kernel source, subscribed bool, gather time.Duration, ignored []string, log *slog.Logger) *Table {
	table := &Table{
		log: log, ignored: ignored, source: kernel, gather: gather, closed: make(chan struct{}),
		polling: !subscribed, monitors: map[Monitor]struct{}{}, hidden: map[int]bool{},
	}
	if subscribed {
		go table.follow()
	}
	return table
}

// Install makes the table the source of interfaces for every node of this process. Call it before the first node exists.
func (t *Table) Install() { netmon.RegisterInterfaceGetter(t.Get) }

// TakeOver makes the table the only one that listens to the kernel: the monitors that are attached from now on lose their
// own subscriptions, so that N nodes do not wake for each route of each container that comes and goes. It does nothing
// where the kernel tells us no news. Call it after Install and before the first node exists.
func (t *Table) TakeOver() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.takesOver = !t.polling
}

// Close ends the subscription.
func (t *Table) Close() error {
	close(t.closed)
	return t.source.close()
}

// Attach has a node's monitor told when the shared view changes, until the returned function is called.
func (t *Table) Attach(monitor Monitor) (detach func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.monitors[monitor] = struct{}{} // first, so that it is never without news
	if t.takesOver {
		if err := t.source.takeOver(); err != nil {
			// Then the node listens as well: it costs CPU and nothing else.
			t.takesOver = false
			t.log.Warn("cannot end the nodes' own subscriptions to network changes; each node will wake for each change", "error", err)
		}
	}
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.monitors, monitor)
	}
}

// Get lists the interfaces. Callers must not change what they get.
func (t *Table) Get() ([]netmon.Interface, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.refresh()
}

// refresh asks the kernel again if it has to. The caller holds mu.
func (t *Table) refresh() ([]netmon.Interface, error) {
	// A node may ask between a change and the time that follow takes it up: look at the socket before trusting the cache.
	if !t.polling && slices.ContainsFunc(t.source.drain(), t.concerns) {
		t.listedAt = time.Time{}
	}
	if !t.listedAt.IsZero() && (!t.polling || time.Since(t.listedAt) < pollInterval) {
		return t.served, nil
	}
	now := time.Now()
	all, withDefaultRoute, err := t.source.list()
	if err != nil {
		return nil, fmt.Errorf("listing network interfaces: %w", err)
	}
	kept := t.keep(all, withDefaultRoute)
	changed := t.served != nil && !(reflect.DeepEqual(kept, t.served) && slices.Equal(withDefaultRoute, t.ways))
	t.served, t.ways, t.listedAt = kept, withDefaultRoute, now
	if changed {
		// Who has no subscription hears it only here; others may have been served the old list after the change but before
		// our socket knew. Poll does not block, and a monitor that knows already finds nothing new.
		for monitor := range t.monitors {
			monitor.Poll()
		}
	}
	return kept, nil
}

// concerns tells whether news may change the list, and takes note of interfaces that come and go but are left out. The
// kernel names an interface before it tells anything else of it.
func (t *Table) concerns(n news) bool {
	if n.name != "" {
		t.hidden[n.index] = t.isIgnored(n.name) && !slices.Contains(t.ways, n.name)
	}
	concerns := !t.hidden[n.index]
	if n.gone {
		delete(t.hidden, n.index)
	}
	return concerns
}

// keep leaves out what the patterns name, but never an interface with a default route: that one is the way to the network.
func (t *Table) keep(all []netmon.Interface, withDefaultRoute []string) []netmon.Interface {
	kept := make([]netmon.Interface, 0, len(all))
	var hidden []string
	clear(t.hidden)
	for _, each := range all {
		if t.isIgnored(each.Name) && !slices.Contains(withDefaultRoute, each.Name) {
			hidden = append(hidden, each.Name)
			t.hidden[each.Index] = true
			continue
		}
		kept = append(kept, each)
	}
	if len(hidden) > 0 && !t.told {
		t.told = true
		t.log.Info("leaving interfaces out of the nodes' view (supervisor.ignoreInterfaces)", "count", len(hidden),
			"interfaces", strings.Join(hidden, " "))
	}
	return kept
}

func (t *Table) isIgnored(name string) bool {
	return slices.ContainsFunc(t.ignored, func(pattern string) bool {
		matches, _ := path.Match(pattern, name) // New has checked the pattern
		return matches
	})
}

// follow refreshes the list when the kernel has news, and so tells the nodes. It costs nothing while there is none.
func (t *Table) follow() {
	for {
		err := t.source.wait()
		if t.isClosed() {
			return
		}
		if err != nil {
			t.log.Warn("the kernel's news of network changes ended; listing interfaces once a second instead", "error", err)
			t.poll()
			return
		}
		for again := t.gather; t.pause(again) && !t.look(); again = pollInterval {
			// Monitors without a subscription hear it from us or not at all.
		}
		if t.isClosed() {
			return
		}
	}
}

// poll is what remains without news. Monitors whose subscriptions were taken over have nobody else to tell them.
func (t *Table) poll() {
	t.mu.Lock()
	t.polling = true
	t.mu.Unlock()
	for ok := true; ok; ok = t.pause(pollInterval) {
		t.mu.Lock()
		t.listedAt = time.Time{}
		t.mu.Unlock()
		t.look()
	}
}

// look lists anew if it has to, and so tells the monitors of a change.
func (t *Table) look() (ok bool) {
	t.mu.Lock()
	_, err := t.refresh()
	t.mu.Unlock()
	if err != nil {
		t.log.Warn("cannot list network interfaces", "error", err)
	}
	return err == nil
}

func (t *Table) isClosed() bool {
	select {
	case <-t.closed:
		return true
	default:
		return false
	}
}

// pause waits; false means that the table was closed.
func (t *Table) pause(duration time.Duration) bool {
	select {
	case <-t.closed:
		return false
	case <-time.After(duration):
		return true
	}
}
