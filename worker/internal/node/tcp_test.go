package node

import (
	"net"
	"sync"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/tailnet"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/unexported"
)

func TestCloseWithManyConnections(t *testing.T) {
	network := startTailnet(t, tailnet.Options{})
	n, client := start(t, config(t, network, "web", "")), start(t, config(t, network, "client", ""))
	address := await(t, n, Running).Addresses[0]
	await(t, client, Running)
	listener, err := n.Listen(":80")
	if err != nil {
		t.Fatal(err)
	}
	const many = 600 // resets of 512 fit into the queue of what is to be sent
	accepted := make(chan net.Conn, many)
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			accepted <- connection
		}
	}()
	var dials sync.WaitGroup
	for range 20 {
		dials.Go(func() {
			for range many / 20 {
				connection, err := client.Dial(t.Context(), "tcp", address+":80")
				if err != nil {
					t.Error(err)
					return
				}
				t.Cleanup(func() { connection.Close() })
			}
		})
	}
	dials.Wait()
	if t.Failed() {
		return
	}
	for range many {
		connection := <-accepted
		t.Cleanup(func() { connection.Close() })
	}
	closed := make(chan error, 1)
	go func() { closed <- n.Close() }()
	select {
	case err := <-closed:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Fatal("it does not end")
	}
}

func TestConnectionsAreForgottenSoon(t *testing.T) {
	n := start(t, config(t, startTailnet(t, tailnet.Options{}), "web", ""))
	stack, ok := unexported.Field(n.server.Sys().Netstack.Get(), "ipstack")
	if !ok {
		t.Fatal("tailscale's netstack is made otherwise")
	}
	var option tcpip.TCPTimeWaitTimeoutOption
	asked := stack.Interface().(interface {
		TransportProtocolOption(tcpip.TransportProtocolNumber, tcpip.GettableTransportProtocolOption) tcpip.Error
	})
	if err := asked.TransportProtocolOption(tcp.ProtocolNumber, &option); err != nil {
		t.Fatal(err)
	}
	if time.Duration(option) != timeWait {
		t.Errorf("they are remembered for %v", time.Duration(option))
	}
}
