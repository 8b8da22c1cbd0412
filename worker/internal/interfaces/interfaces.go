// Package interfaces is the one view of the host's network interfaces that all nodes of this process share.
//
// Left alone, every node lists all interfaces on every change, and asks the kernel for the whole address table once per
// interface: N nodes x M interfaces x M addresses for each container that starts. Here the kernel is asked once, and again
// only after it has said that something changed. Interfaces of containers are left out, because a change of theirs is no
// change of network and would make every node probe its endpoints anew and tell all peers.
package interfaces

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"tailscale.com/net/netmon"
)

// pollInterval bounds how old the list may be on a host where the kernel does not tell of changes.
const pollInterval = time.Second

// Monitor is what of a node's *netmon.Monitor is needed: Poll makes it compare its view with the shared one.
type Monitor interface{ Poll() }

// source is the kernel's side: what there is, and whether it may have changed.
type source interface {
	// list dumps all interfaces with their addresses, and the names of those with a default route.
	list() (all []netmon.Interface, withDefaultRoute []string, err error)
	// drain reports, without waiting, whether there was news since the last call.
	drain() bool
	// wait blocks until there is news; an error says that there will be none any more.
	wait() error
	close() error
}

// Table is the shared view.
type Table struct {
	log     *slog.Logger
	ignored []string // shell patterns
	source  source

	mu       sync.Mutex
	served   []netmon.Interface
	listedAt time.Time // zero: never, or out of date
	polling  bool      // no news from the kernel: served is good for pollInterval
	told     bool      // that interfaces are left out
	monitors map[Monitor]struct{}
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
	return newTable(kernel, err == nil, ignored, log), nil
}

func newTable(kernel source, subscribed bool, ignored []string, log *slog.Logger) *Table {
	table := &Table{log: log, ignored: ignored, source: kernel, polling: !subscribed, monitors: map[Monitor]struct{}{}}
	if subscribed {
		go table.follow()
	}
	return table
}

// Install makes the table the source of interfaces for every node of this process. Call it before the first node exists.
func (t *Table) Install() { netmon.RegisterInterfaceGetter(t.Get) }

// Close ends the subscription.
func (t *Table) Close() error { return t.source.close() }

// Attach has a node's monitor told when the shared view changes, until the returned function is called.
func (t *Table) Attach(monitor Monitor) (detach func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.monitors[monitor] = struct{}{}
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
	// A node may have heard of a change before our own socket woke follow: look at the socket before trusting the cache.
	if !t.polling && t.source.drain() {
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
	changed := t.served != nil && !reflect.DeepEqual(kept, t.served)
	t.served, t.listedAt = kept, now
	if changed {
		// Others may have been served the old list after the change but before our socket knew. Poll does not block, and a
		// monitor that knows already finds nothing new.
		for monitor := range t.monitors {
			monitor.Poll()
		}
	}
	return kept, nil
}

// keep leaves out what the patterns name, but never an interface with a default route: that one is the way to the network.
func (t *Table) keep(all []netmon.Interface, withDefaultRoute []string) []netmon.Interface {
	kept := make([]netmon.Interface, 0, len(all))
	var hidden []string
	for _, each := range all {
		if t.isIgnored(each.Name) && !slices.Contains(withDefaultRoute, each.Name) {
			hidden = append(hidden, each.Name)
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

// follow refreshes the list when the kernel has news, so that a node that asked too early is told. It costs nothing while
// there is none.
func (t *Table) follow() {
	for {
		err := t.source.wait()
		if errors.Is(err, os.ErrClosed) {
			return // Close
		}
		t.mu.Lock()
		t.listedAt = time.Time{}
		if err != nil {
			t.polling = true
			t.mu.Unlock()
			t.log.Warn("the kernel's news of network changes ended; listing interfaces at most once a second instead", "error", err)
			return
		}
		_, err = t.refresh()
		t.mu.Unlock()
		if err != nil {
			t.log.Warn("cannot list network interfaces", "error", err)
		}
	}
}
