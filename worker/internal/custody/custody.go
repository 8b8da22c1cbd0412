// Package custody is who may run an identity, and where its files are. Whoever holds it runs the node; there is no other proof
// of the right to do so.
package custody

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
)

// Keeper gives identities into custody. statedir is the one for directories of this host.
type Keeper interface {
	// Await gives the identity once its holder has let go of it; ctx says how long to wait for that. A ctx that is done from
	// the start only tries. holder is what others are told who find it taken. Errors are *LockedError or *UnusableError.
	Await(ctx context.Context, name, holder string) (Holding, error)
}

// Holding is an identity that is ours, until Close.
type Holding interface {
	// Path is the directory with its files, which nobody else writes.
	Path() string
	// UDPPort is the port of WireGuard that belongs to it.
	UDPPort(log *slog.Logger) (uint16, error)
	// RecentClients are the tailnet addresses that RememberClients was last given.
	RecentClients() []netip.Addr
	RememberClients(clients []netip.Addr) error
	// Close lets go of it. No node may run from it any more.
	Close() error
}

// LockedError says that another process, or another service of this one, runs a node of the identity.
type LockedError struct {
	Path   string
	Holder string // "<worker id> <pid>", as the holder wrote it; may be empty
}

func (e *LockedError) Error() string {
	holder := e.Holder
	if holder == "" {
		holder = "another process"
	}
	return fmt.Sprintf("state directory %s is in use by %s; stop that one, or give this service a stateDir of its own", e.Path, holder)
}

// UnusableError says why the files of an identity cannot be used; Err has the remedy.
type UnusableError struct {
	Path string
	Err  error
}

func (e *UnusableError) Error() string {
	return fmt.Sprintf("state directory %s cannot be used: %s", e.Path, e.Err)
}

func (e *UnusableError) Unwrap() error { return e.Err }
