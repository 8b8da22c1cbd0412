package exposure

import (
	"github.com/arsfeld/tsnsrv-sup/worker/internal/custody"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/identity"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/node"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/origin"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/protocol"
)

// own exposes a service by an identity of its own, whose life is that of the service.
type own struct {
	*identity.Identity
	*names
}

func startOwn(holding custody.Holding, config identity.Config) (Exposure, error) {
	started, err := identity.Start(holding, config)
	if err != nil {
		return nil, err
	}
	return &own{Identity: started, names: newNames()}, nil
}

func (o *own) Listen(listen protocol.ListenSpec, report func(error)) (origin.Listener, error) {
	if listen.Scheme == protocol.ListenSpecSchemeFunnel {
		return origin.Of(o.ListenFunnel(listen.Address, report), origin.Origin{Internet: true}), nil
	}
	listener, err := o.Identity.Listen(listen.Address)
	if err != nil {
		return nil, err
	}
	return origin.Of(listener, origin.Origin{WhoIs: o.WhoIs}), nil
}

func (o *own) Learn(status node.Status) {
	if status.DNSName != "" {
		o.learn(status.DNSName, status.Addresses)
	}
	if status.State == node.Running {
		o.Greet()
	}
}
