package graft

import (
	"reflect"

	"tailscale.com/tailcfg"
	"tailscale.com/wgengine/magicsock"
)

var netInfos = register(Graft{
	Name:    "NetInfo callback",
	Without: "nodes that wake up at the same time tell each other, through control, of changes that are none; that costs CPU",
	Until:   "tailscale leaves out a MappingVariesByDestIP that it cannot know with one relay",
	of:      reflect.TypeFor[magicsock.Conn](),
	field:   "netInfoFunc",
	fits:    is[func(*tailcfg.NetInfo)],
})

// NetInfoCallback gives whom a socket tells what it finds out about the network; nil when nobody is told. Call it before the
// socket is used: the socket guards it by a lock that cannot be taken from here.
func NetInfoCallback(socket *magicsock.Conn) func(*tailcfg.NetInfo) {
	field, ok := netInfos.get(socket)
	if !ok {
		return nil
	}
	return field.Interface().(func(*tailcfg.NetInfo))
}
