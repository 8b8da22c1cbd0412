// Package exposure is how clients reach a service. What serves the service knows none of the ways, only Exposure.
package exposure

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/custody"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/identity"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/node"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/origin"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/protocol"
)

// Exposure is one way in which clients reach a service, from its start to its end.
//
// It ends in three steps, so that nobody is turned away: Drain while everybody is served, Withdraw when new clients are to find
// the service elsewhere, and Close once the listeners have ended.
type Exposure interface {
	// Listen begins to take the clients of one listener. report is told of trouble that comes and goes with time, and nil when
	// there is none any more.
	Listen(listen protocol.ListenSpec, report func(error)) (origin.Listener, error)

	// Listening says that all first listeners are there. Clients that come earlier wait for it.
	Listening()

	// Dial connects to a peer on the tailnet, or to any other host by the network of this machine.
	Dial(ctx context.Context, network, address string) (net.Conn, error)

	// KeepCertificate keeps the certificate of the service's own name; changed is told of each change, one at a time.
	KeepCertificate(changed func(node.CertificateStatus)) *node.Certificate

	// Canonical gives the full name of the service for each name and address by which clients may ask for it, and any other host
	// as it is, not ok. While the name is not known, it waits for some seconds.
	Canonical(ctx context.Context, host string) (name string, ok bool)

	// Name is the full name; empty until it is known.
	Name() string

	// Updates delivers the latest status of the node. The receiver hands each to Learn.
	Updates() <-chan node.Status
	Learn(status node.Status)

	// ControlLost tells since when there has been no connection to the control server; false while there is one.
	ControlLost() (since time.Time, lost bool)

	// UDPPort is the port of WireGuard.
	UDPPort() uint16

	Drain()
	Withdraw(ctx context.Context)
	Close()
}

// Start begins what spec says, and owns holding from then on: an error has let go of it. Of config, the spec says which node.
func Start(spec protocol.ExposureSpec, holding custody.Holding, config identity.Config) (Exposure, error) {
	switch spec.Kind {
	case protocol.ExposureSpecKindNode:
		config.Node = spec.Node
		return startOwn(holding, config)
	}
	return nil, errors.Join(fmt.Errorf("there is no exposure %q", spec.Kind), holding.Close())
}
