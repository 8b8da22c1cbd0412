package node

import (
	"context"
	"encoding/hex"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tailscale.com/ipn/store"
	"tailscale.com/types/logger"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/tailnet"
)

// eventually waits for what no channel tells.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waited %v until %s", patience, what)
		}
	}
}

// ran gives the configuration of a node that has run and ended in good order, and what it was last.
func ran(t *testing.T, network *tailnet.Tailnet, hostname string) (Config, Status) {
	t.Helper()
	c := config(t, network, hostname, "")
	n := start(t, c)
	status := await(t, n, Running)
	eventually(t, "the map is kept", func() bool { return partsOf(c) > 0 })
	n.Close()
	return c, status
}

func partsOf(config Config) int {
	entries, _ := os.ReadDir(filepath.Join(config.Dir, keptMapName))
	return len(entries)
}

func part(config Config, key string) string {
	return filepath.Join(config.Dir, keptMapName, hex.EncodeToString([]byte(key)))
}

func sealOf(config Config) string { return filepath.Join(config.Dir, keptMapName+".json") }

func TestNodeIsUpAgainWhileControlIsAway(t *testing.T) {
	for what, options := range map[string]tailnet.Options{
		"control grants no caching": {},
		"control grants caching":    {CacheNetworkMaps: true},
	} {
		t.Run(what, func(t *testing.T) {
			network := startTailnet(t, options)
			c, before := ran(t, network, "web")
			network.Pause()
			for run := range 2 { // the second one has only what the first one left, which was never confirmed
				n := start(t, c)
				after := await(t, n, Running)
				if after.NodeKey != before.NodeKey || strings.Join(after.Addresses, " ") != strings.Join(before.Addresses, " ") {
					t.Errorf("run %d: before %+v, after %+v", run, before, after)
				}
				n.Close()
			}
		})
	}
}

func TestNodeIsUpAgainAfterACrash(t *testing.T) {
	network := startTailnet(t, tailnet.Options{})
	c := config(t, network, "web", "")
	n := start(t, c)
	before := await(t, n, Running)
	crashed := c
	eventually(t, "a copy that no write has crossed", func() bool {
		crashed.Dir = t.TempDir()
		if os.CopyFS(crashed.Dir, os.DirFS(c.Dir)) != nil {
			return false
		}
		m := keptMapOf(t, crashed)
		login, err := m.login()
		return err == nil && m.check(login) == nil
	})
	n.Close()
	network.Pause()
	if after := await(t, start(t, crashed), Running); after.NodeKey != before.NodeKey {
		t.Errorf("before %+v, after %+v", before, after)
	}
}

func TestACrashWhileTheBackendReadsLosesNothing(t *testing.T) {
	network := startTailnet(t, tailnet.Options{})
	c, _ := ran(t, network, "web")
	if !lends(t, c) { // and nobody takes it back
		t.Fatal("the map is not lent")
	}
	network.Pause()
	await(t, start(t, c), Running)
}

func keptMapOf(t *testing.T, config Config) *keptMap {
	t.Helper()
	keys, err := store.New(logger.Discard, filepath.Join(config.Dir, "tailscaled.state"))
	if err != nil {
		t.Fatal(err)
	}
	return newKeptMap(config, keys)
}

// lends tells whether the next start would get the kept map, and checks that it would get none otherwise.
func lends(t *testing.T, config Config) bool {
	t.Helper()
	lent, err := keptMapOf(t, config).lend()
	if err != nil {
		t.Fatal(err)
	}
	if found, _ := filepath.Glob(filepath.Join(config.Dir, "profile-data", "*", "netmap-cache", "*")); lent != (len(found) > 0) {
		t.Errorf("lent: %v, but %d files are in place", lent, len(found))
	}
	return lent
}

func TestAMapThatIsNotCertainlyOursIsNotUsed(t *testing.T) {
	network := startTailnet(t, tailnet.Options{})
	other, _ := ran(t, network, "other")
	for what, spoil := range map[string]func(c *Config) error{
		"truncated self":  func(c *Config) error { return os.Truncate(part(*c, "self"), 100) },
		"empty self":      func(c *Config) error { return os.Truncate(part(*c, "self"), 0) },
		"no self":         func(c *Config) error { return os.Remove(part(*c, "self")) },
		"self is nothing": func(c *Config) error { return os.WriteFile(part(*c, "self"), []byte(`{"Node":null}`), 0o600) },
		"peer is nothing": func(c *Config) error { return os.WriteFile(part(*c, "peer-1"), []byte(`{"Node":null}`), 0o600) },
		"user is nothing": func(c *Config) error { return os.WriteFile(part(*c, "user-1"), []byte(`{"UserProfile":null}`), 0o600) },
		"garbage filter":  func(c *Config) error { return os.WriteFile(part(*c, "filter"), []byte("\x00\xff"), 0o600) },
		"no relays":       func(c *Config) error { return os.Remove(part(*c, "derpmap")) },
		"stray file":      func(c *Config) error { return os.WriteFile(filepath.Join(c.Dir, keptMapName, "x y"), nil, 0o600) },
		"file in place of the directory": func(c *Config) error {
			dir := filepath.Join(c.Dir, keptMapName)
			if err := os.RemoveAll(dir); err != nil {
				return err
			}
			return os.WriteFile(dir, []byte("x"), 0o600)
		},
		"no seal":        func(c *Config) error { return os.Remove(sealOf(*c)) },
		"truncated seal": func(c *Config) error { return os.Truncate(sealOf(*c), 20) },
		"seal of before": func(c *Config) error { return os.WriteFile(sealOf(*c), []byte(`{}`), 0o600) },
		"of another node": func(c *Config) error {
			dir := filepath.Join(c.Dir, keptMapName)
			if err := os.RemoveAll(dir); err != nil {
				return err
			}
			if err := os.CopyFS(dir, os.DirFS(filepath.Join(other.Dir, keptMapName))); err != nil {
				return err
			}
			text, err := os.ReadFile(sealOf(other))
			if err != nil {
				return err
			}
			return os.WriteFile(sealOf(*c), text, 0o600)
		},
		"of another control server": func(c *Config) error {
			c.ControlURL = "http://127.0.0.1:1"
			return nil
		},
		"of a node that is ephemeral now": func(c *Config) error {
			c.Ephemeral = true
			return nil
		},
	} {
		t.Run(what, func(t *testing.T) {
			c, _ := ran(t, network, "web")
			spoiled := c
			if err := spoil(&spoiled); err != nil {
				t.Fatal(err)
			}
			if lends(t, spoiled) {
				t.Error("the map is lent")
			}
			await(t, start(t, c), Running)
		})
	}
}

func TestTheKeptMapIsPrivate(t *testing.T) {
	c, _ := ran(t, startTailnet(t, tailnet.Options{}), "web")
	err := filepath.WalkDir(filepath.Join(c.Dir, keptMapName), func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s is %v", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestEphemeralNodesKeepNoMap(t *testing.T) {
	c := config(t, startTailnet(t, tailnet.Options{}), "web", "")
	c.Ephemeral = true
	n := start(t, c)
	await(t, n, Running)
	n.Close()
	if partsOf(c) > 0 {
		t.Error("there is a map")
	}
}

// again starts another tailnet at the address of one that it ends: nobody there knows the nodes of before.
func again(t *testing.T, network *tailnet.Tailnet, options tailnet.Options) *tailnet.Tailnet {
	t.Helper()
	options.Listen = strings.TrimPrefix(network.ControlURL(), "http://")
	network.Close()
	return startTailnet(t, options)
}

func TestNodeThatExpiredWhileItWasStoppedNeedsALogin(t *testing.T) {
	network := startTailnet(t, tailnet.Options{})
	c, _ := ran(t, network, "web")
	if err := network.Expire("web", time.Now().Add(-time.Minute)); err != nil {
		t.Fatal(err)
	}
	n := start(t, c)
	await(t, n, NeedsLogin)
	n.Close()
	if lends(t, c) {
		t.Error("the next start would be up without a login")
	}
}

func TestNodeThatWasRemovedWhileItWasStoppedIsRefused(t *testing.T) {
	network := startTailnet(t, tailnet.Options{})
	c, _ := ran(t, network, "web")
	again(t, network, tailnet.Options{RequireAuthKey: "secret"})
	c.AuthKey = "wrong"
	n := start(t, c)
	if status := await(t, n, Refused); !strings.Contains(status.Problem, "invalid authkey") {
		t.Errorf("problem: %q", status.Problem)
	}
	n.Close()
	if lends(t, c) {
		t.Error("the next start would be up although control refuses it")
	}
}

func TestNodeThatWasRemovedWhileItWasStoppedCanLogInAgain(t *testing.T) {
	network := startTailnet(t, tailnet.Options{})
	c, _ := ran(t, network, "web")
	network = again(t, network, tailnet.Options{RequireAuth: true})
	n := start(t, c)
	waiting := await(t, n, NeedsLogin)
	if err := network.CompleteLogin(waiting.LoginURL); err != nil {
		t.Fatal(err)
	}
	await(t, n, Running)
}

func TestPeersThatAreGoneVanishWhenControlAnswers(t *testing.T) {
	network := startTailnet(t, tailnet.Options{})
	c := config(t, network, "web", "")
	n := start(t, c)
	await(t, n, Running)
	peer := start(t, config(t, network, "peer", ""))
	await(t, peer, Running)
	peers := func(n *Node) int {
		status, err := n.local.Status(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		return len(status.Peer)
	}
	eventually(t, "the peer is known", func() bool { return peers(n) == 1 })
	n.Close()
	peer.Close()
	network.Pause()
	n = start(t, c)
	await(t, n, Running)
	if peers(n) != 1 {
		t.Error("the kept map has no peer")
	}
	again(t, network, tailnet.Options{})
	eventually(t, "the peer is gone", func() bool { return peers(n) == 0 })
}
