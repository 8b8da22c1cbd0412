package graft

import (
	"reflect"

	"tailscale.com/wgengine/netstack"
)

type closer interface{ Close() }

var links = register(Graft{
	Name:    "link of a node's TCP",
	Without: "closing a node that has had more than 512 connections within some seconds hangs",
	Until:   "netstack.Impl.Close resets connections before it stops sending",
	of:      reflect.TypeFor[netstack.Impl](),
	field:   "linkEP",
	fits:    has[closer],
})

// CloseLink ends the sending of a node's TCP, whatever waits for it. stack is what tsd.System.Netstack gives. It is nil when there
// is none.
func CloseLink(stack any) func() {
	field, ok := links.get(stack)
	if !ok {
		return nil
	}
	link, ok := field.Interface().(closer)
	if !ok {
		return nil
	}
	return link.Close
}
