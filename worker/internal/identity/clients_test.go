package identity

import (
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/statedir"
)

func TestClientsAreRememberedAcrossRuns(t *testing.T) {
	path := t.TempDir()
	run := func(use func(*clients)) []netip.Addr {
		dir, err := statedir.Open(path, "test")
		if err != nil {
			t.Fatal(err)
		}
		defer dir.Close()
		c := recallClients(dir, slog.New(slog.DiscardHandler))
		use(c)
		c.settle()
		return c.list()
	}
	client := func(i int) *net.TCPAddr { return &net.TCPAddr{IP: net.IPv4(100, 64, 1, byte(i)), Port: 1000 + i} }
	run(func(c *clients) {
		for i := range mostClients + 3 {
			c.seen(client(i))
		}
	})
	recalled := run(func(*clients) {})
	if len(recalled) != mostClients {
		t.Fatalf("recalled %d clients, want %d", len(recalled), mostClients)
	}
	for i, want := range map[int]bool{0: false, 2: false, 3: true, mostClients + 2: true} {
		if slices.Contains(recalled, client(i).AddrPort().Addr().Unmap()) != want {
			t.Errorf("client %d is recalled: %v, want %v", i, !want, want)
		}
	}
}

// Those of the last run first, then whoever comes, each once.
func TestEachClientIsCalledOnce(t *testing.T) {
	dir, err := statedir.Open(t.TempDir(), "test")
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	address := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{100, 64, 1, byte(i)}) }
	come := func(c *clients, i int) (isNews bool) {
		c.seen(net.TCPAddrFromAddrPort(netip.AddrPortFrom(address(i), 1000)))
		select {
		case <-c.came:
			return true
		default:
			return false
		}
	}
	c := recallClients(dir, slog.New(slog.DiscardHandler))
	defer c.settle()
	if !come(c, 1) || !come(c, 2) {
		t.Error("nobody hears of a new client")
	}
	if got, want := c.uncalled(), []netip.Addr{address(2), address(1)}; !slices.Equal(got, want) {
		t.Errorf("to call: %v, want %v", got, want)
	}
	if come(c, 1) {
		t.Error("a client that was called is called again")
	}
	if !come(c, 3) {
		t.Error("nobody hears of one who comes later")
	}
	if got, want := c.uncalled(), []netip.Addr{address(3)}; !slices.Equal(got, want) {
		t.Errorf("to call: %v, want %v", got, want)
	}
}
