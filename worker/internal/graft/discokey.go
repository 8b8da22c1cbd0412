package graft

import (
	"reflect"

	"tailscale.com/types/key"
	"tailscale.com/wgengine/magicsock"
)

type discoKey interface{ Set(key.DiscoPrivate) }

var discoKeys = register(Graft{
	Name:    "disco key",
	Without: "clients of a service that moves wait for seconds, as they take its new process for another node",
	Until:   "tsnet.Server passes magicsock.Options.ForceDiscoKey on",
	of:      reflect.TypeFor[magicsock.Conn](),
	field:   "discoAtomic",
	fits:    has[discoKey],
})

// SetDiscoKey does what magicsock.Options.ForceDiscoKey is for, which tsnet has no field for: tailscale 1.102 can set the key of a
// socket later, but only to one that nobody knows (RotateDiscoKey). It tells whether the socket has it.
func SetDiscoKey(socket *magicsock.Conn, to key.DiscoPrivate) bool {
	field, ok := discoKeys.get(socket)
	if !ok {
		return false
	}
	field.Addr().Interface().(discoKey).Set(to)
	return socket.DiscoPublicKey() == to.Public()
}
