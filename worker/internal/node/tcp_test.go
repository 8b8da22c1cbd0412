package node

import (
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"tailscale.com/net/packet"
	"tailscale.com/types/ipproto"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/tailnet"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/unexported"
)

// listening is a node that listens on port 80 of an address, and a client that has come up on the same tailnet.
func listening(t *testing.T) (n, client *Node, listener net.Listener, address string) {
	t.Helper()
	network := startTailnet(t, tailnet.Options{})
	n, client = start(t, config(t, network, "web", "")), start(t, config(t, network, "client", ""))
	address = await(t, n, Running).Addresses[0]
	await(t, client, Running)
	listener, err := n.Listen(":80")
	if err != nil {
		t.Fatal(err)
	}
	return n, client, listener, address
}

func TestCloseWithManyConnections(t *testing.T) {
	n, client, listener, address := listening(t)
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

// heard counts what a node hears of TCP, and of that what does nothing but acknowledge.
type heard struct {
	mu         sync.Mutex
	all, empty int
}

func (h *heard) counts() (all, empty int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.all, h.empty
}

func listenIn(n *Node) *heard {
	h := &heard{}
	n.server.Sys().Tun.Get().InstallCaptureHook(func(path packet.CapturePath, _ time.Time, b []byte, _ packet.CaptureMeta) {
		var p packet.Parsed
		p.Decode(b)
		if path != packet.FromPeer || p.IPProto != ipproto.TCP {
			return
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		h.all++
		if p.TCPFlags == packet.TCPAck && len(p.Payload()) == 0 {
			h.empty++
		}
	})
	return h
}

// conversation is a connection between two nodes, seen from both ends, and what the client hears of it.
func conversation(t *testing.T) (served, dialed net.Conn, h *heard) {
	t.Helper()
	_, client, listener, address := listening(t)
	accepted := make(chan net.Conn, 1)
	go func() {
		defer close(accepted)
		if connection, err := listener.Accept(); err == nil {
			accepted <- connection
		}
	}()
	dialed, err := client.Dial(t.Context(), "tcp", address+":80")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dialed.Close() })
	if served = <-accepted; served == nil {
		t.Fatal("nothing was accepted")
	}
	t.Cleanup(func() { served.Close() })
	return served, dialed, listenIn(client)
}

func TestAnswersCarryAcknowledgements(t *testing.T) {
	served, dialed, h := conversation(t)
	go func() { _, _ = io.Copy(served, served) }() // until it is closed
	const requests = 200
	word := []byte("word")
	for range requests {
		if _, err := dialed.Write(word); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(dialed, word); err != nil {
			t.Fatal(err)
		}
	}
	// One is sent late now and then, on a machine that has other things to do.
	if all, empty := h.counts(); all < requests || empty > requests/4 {
		t.Errorf("of %d packets for %d requests, %d only acknowledge", all, requests, empty)
	}
}

// Without an answer the client would send again, and then give up.
func TestAcknowledgesWithoutAnswer(t *testing.T) {
	_, dialed, h := conversation(t)
	for range 3 {
		_, before := h.counts()
		if _, err := dialed.Write([]byte("word")); err != nil {
			t.Fatal(err)
		}
		eventually(t, "it is acknowledged", func() bool { _, now := h.counts(); return now > before })
	}
}
