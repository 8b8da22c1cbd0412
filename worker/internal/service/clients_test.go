package service

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
