package node

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/tailnet"
)

// visited gives the configuration of a node that a client has visited, and that has ended in good order.
func visited(t *testing.T, network *tailnet.Tailnet) (c Config, client string, process any) {
	t.Helper()
	c = config(t, network, "web", "")
	n, peer := start(t, c), start(t, config(t, network, "client", ""))
	address := await(t, n, Running).Addresses[0]
	client = await(t, peer, Running).Addresses[0]
	visit(t, peer, n, address)
	process = n.server.Sys().MagicSock.Get().DiscoPublicKey()
	n.Close()
	return c, client, process
}

// checkTookOver tells whether peers take the node for the process, and the node knows of its one client.
func checkTookOver(t *testing.T, n *Node, client string, process any) {
	t.Helper()
	sessions, ok := n.TookOver()
	if !ok || len(sessions) != 1 || sessions[0].String() != client {
		t.Errorf("it took over %v, %v; want the session with %s", sessions, ok, client)
	}
	if now := any(n.server.Sys().MagicSock.Get().DiscoPublicKey()); now != process {
		t.Errorf("peers knew the node by %v, and now by %v", process, now)
	}
}

func TestNextRunTakesOver(t *testing.T) {
	c, client, process := visited(t, startTailnet(t, tailnet.Options{}))
	left := filepath.Join(c.Dir, handoverName)
	if info, err := os.Stat(left); err != nil || info.Mode() != 0o600 {
		t.Errorf("what is left: %v %v", info, err)
	}
	n := start(t, c)
	checkTookOver(t, n, client, process)
	if _, err := os.Stat(left); !os.IsNotExist(err) {
		t.Errorf("a run after a crash would take over from before it: %v", err)
	}
}

// A run that ends before it has called anybody leaves them to the next.
func TestRunAfterTheNextTakesOverToo(t *testing.T) {
	c, client, process := visited(t, startTailnet(t, tailnet.Options{}))
	next := start(t, c)
	if status, err := next.local.Status(t.Context()); err != nil || len(status.Peer) == 0 {
		t.Fatalf("%v %+v", err, status)
	}
	next.Close()
	n := start(t, c)
	checkTookOver(t, n, client, process)
}

func TestWhatCannotBeTakenOver(t *testing.T) {
	write := func(text string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			if err := os.WriteFile(filepath.Join(dir, handoverName), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	for what, damage := range map[string]func(t *testing.T, dir string){
		"it is not there, as after a crash": func(t *testing.T, dir string) { os.Remove(filepath.Join(dir, handoverName)) },
		"it is torn":                        write(`{"discoKey":"AAAA`),
		"it has no key":                     write(`{"peers":["100.64.0.1"]}`),
		"the network map is gone":           func(t *testing.T, dir string) { os.RemoveAll(filepath.Join(dir, keptMapName)) },
	} {
		t.Run(what, func(t *testing.T) {
			c, _, process := visited(t, startTailnet(t, tailnet.Options{}))
			damage(t, c.Dir)
			n := start(t, c)
			if sessions, ok := n.TookOver(); ok {
				t.Errorf("it took over %v", sessions)
			}
			if now := any(n.server.Sys().MagicSock.Get().DiscoPublicKey()); now == process {
				t.Error("peers would not notice that it is another process")
			}
			await(t, n, Running)
		})
	}
}

// Control sees one key, and two processes nevertheless.
func TestTwoThatTakeOverAreSeen(t *testing.T) {
	network := startTailnet(t, tailnet.Options{})
	c, _, _ := visited(t, network)
	second := c
	second.Dir = t.TempDir()
	if err := os.CopyFS(second.Dir, os.DirFS(c.Dir)); err != nil {
		t.Fatal(err)
	}
	for _, each := range []Config{c, second} {
		n := start(t, each)
		if _, ok := n.TookOver(); !ok {
			t.Fatal("it did not take over")
		}
		await(t, n, Running)
	}
	eventually(t, "control has seen both", func() bool {
		twice := 0
		for _, session := range network.Sessions() {
			twice += session.Twice
		}
		return twice > 0
	})
}
