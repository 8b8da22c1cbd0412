package graft

import (
	"reflect"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
)

var endpoints = register(Graft{
	Name:    "endpoint of a connection",
	Without: "clients that read nothing hold megabytes of the worker, and a move does not wait until its last answers have arrived",
	Until:   "gonet.TCPConn gives its endpoint",
	of:      reflect.TypeFor[gonet.TCPConn](),
	field:   "ep",
	fits:    is[tcpip.Endpoint],
})

// Endpoint gives what a connection of a node is made of; nil when it cannot be seen.
func Endpoint(conn *gonet.TCPConn) tcpip.Endpoint {
	field, ok := endpoints.get(conn)
	if !ok {
		return nil
	}
	endpoint, _ := field.Interface().(tcpip.Endpoint)
	return endpoint
}
