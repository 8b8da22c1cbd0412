// Package origin is what a listener knows of where its connections come from.
package origin

import (
	"context"
	"net"

	"tailscale.com/client/tailscale/apitype"
)

// WhoIs tells who is behind a tailnet address ("ip:port").
type WhoIs func(ctx context.Context, address string) (*apitype.WhoIsResponse, error)

// Origin is where the connections of a listener come from.
type Origin struct {
	Internet bool  // by way of Funnel: the client is nobody on the tailnet
	WhoIs    WhoIs // nil where nobody can know
}

// Listener is a net.Listener whose connections have an Origin. Their RemoteAddr is the client's own.
type Listener interface {
	net.Listener
	Origin() Origin
}

// Of gives a listener its Origin.
func Of(listener net.Listener, origin Origin) Listener { return known{listener, origin} }

type known struct {
	net.Listener
	origin Origin
}

func (k known) Origin() Origin { return k.origin }
