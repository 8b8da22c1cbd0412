package tailnet

import (
	"net"
	"testing"
	"time"

	"tailscale.com/tailcfg"
	"tailscale.com/types/key"
)

// A successor asks while the end of its predecessor is still unread: nothing ran twice. While the predecessor lives, it did.
func TestSessionsHearOfEndsFirst(t *testing.T) {
	for _, c := range []struct {
		what      string
		isKilled  bool
		wantTwice int
	}{{"killed", true, 0}, {"alive", false, 1}} {
		t.Run(c.what, func(t *testing.T) {
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer listener.Close()
			connections := track(listener)
			process, err := net.Dial("tcp", listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer process.Close()
			served, err := connections.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer served.Close()

			s := newSessions(connections.unheard)
			node := key.NewNode().Public()
			request := func() *tailcfg.MapRequest {
				return &tailcfg.MapRequest{Stream: true, NodeKey: node, DiscoKey: key.NewDisco().Public()}
			}
			endFirst := s.begin(request())
			if c.isKilled {
				process.Close()
				for deadline := time.Now().Add(10 * time.Second); !connections.unheard(); time.Sleep(time.Millisecond) {
					if time.Now().After(deadline) {
						t.Fatal("the kernel does not tell of the end")
					}
				}
				read := make(chan struct{})
				defer func() { <-read }()
				go func() {
					defer close(read)
					// As late as a busy server may be: after the successor's request has come.
					time.Sleep(2 * handlerTimeout)
					served.Close()
					endFirst()
				}()
			} else {
				defer endFirst()
			}
			defer s.begin(request())()
			if got := s.twice[node]; got != c.wantTwice {
				t.Errorf("twice: %d, want %d", got, c.wantTwice)
			}
		})
	}
}
