package exposure

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// nameWait is how long a request waits for the name. A node that starts takes its first clients some milliseconds before.
const nameWait = 5 * time.Second

// names are what clients may call a service. It is safe for concurrent use.
type names struct {
	known atomic.Pointer[called]
	first chan struct{} // closed when they are first known
}

type called struct {
	domain    string
	addresses []netip.Addr
}

func newNames() *names { return &names{first: make(chan struct{})} }

// learn sets the names. Only one goroutine may call it.
func (n *names) learn(domain string, addresses []string) {
	known := &called{domain: strings.ToLower(domain)}
	for _, text := range addresses {
		if address, err := netip.ParseAddr(text); err == nil {
			known.addresses = append(known.addresses, address)
		}
	}
	if n.known.Swap(known) == nil {
		close(n.first)
	}
}

// Name implements Exposure.
func (n *names) Name() string {
	if known := n.known.Load(); known != nil {
		return known.domain
	}
	return ""
}

// Canonical implements Exposure.
func (n *names) Canonical(ctx context.Context, host string) (name string, ok bool) {
	known := n.known.Load()
	if known == nil {
		ctx, cancel := context.WithTimeout(ctx, nameWait)
		defer cancel()
		select {
		case <-n.first:
		case <-ctx.Done():
			return host, false
		}
		known = n.known.Load()
	}
	short, _, _ := strings.Cut(known.domain, ".")
	if host == known.domain || host == short {
		return known.domain, true
	}
	if address, err := netip.ParseAddr(host); err == nil && slices.Contains(known.addresses, address.Unmap()) {
		return known.domain, true
	}
	return host, false
}
