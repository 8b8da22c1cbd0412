package service

import (
	"bufio"
	"io"
	"net"
	"testing"
	"time"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/protocol"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/tailnet"
)

func TestAccessRulesOfTCPListeners(t *testing.T) {
	upstream, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { upstream.Close() })
	go func() {
		for {
			conn, err := upstream.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_, _ = io.Copy(conn, conn)
			}()
		}
	}()
	h := newHarness(t, tailnet.Options{RequireAuthKey: labKey}, 0)
	spec := h.spec("git", "http://127.0.0.1:1")
	spec.Listeners = append(spec.Listeners, protocol.ListenSpec{Address: ":22", Scheme: protocol.ListenSpecSchemeTcp, DialAddress: upstream.Addr().String()})
	allow := func(hash string, kind protocol.AccessRuleKind, value string) {
		spec.SpecHash, spec.TcpAllow = hash, []protocol.AccessRule{{Path: "/", Kind: kind, Value: value}}
		h.put(spec)
		h.await("git", "ready with spec "+hash, func(s protocol.ServiceStatus) bool { return s.Phase == ready && s.SpecHash == hash })
	}
	allow("1", protocol.AccessRuleKindNode, "visitor")
	status, _ := h.set.Status("git")
	client := h.visitor()
	connect := func() (carry func() error) {
		conn, err := client.node.Dial(t.Context(), "tcp", net.JoinHostPort(status.Identity.Addresses[0], "22"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		_ = conn.SetDeadline(time.Now().Add(patience))
		lines := bufio.NewReader(conn)
		return func() error {
			_, _ = io.WriteString(conn, "line\n")
			_, err := lines.ReadString('\n')
			return err
		}
	}
	carry := connect()
	if err := carry(); err != nil {
		t.Errorf("who is named: %v", err)
	}
	allow("2", protocol.AccessRuleKindTag, "tag:admin")
	if carry() == nil {
		t.Error("who is not named any more is still connected")
	}
	if connect()() == nil {
		t.Error("who is not named is let in")
	}
}
