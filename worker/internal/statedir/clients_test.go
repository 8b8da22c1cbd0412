package statedir

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestRecentClients(t *testing.T) {
	path := t.TempDir()
	open := func() *Dir {
		dir, err := Open(path, "test")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { dir.Close() })
		return dir
	}
	dir := open()
	if got := dir.RecentClients(); got != nil {
		t.Errorf("a new directory remembers %v", got)
	}
	want := []netip.Addr{netip.MustParseAddr("100.64.0.7"), netip.MustParseAddr("fd7a:115c:a1e0::7")}
	if err := dir.RememberClients(want); err != nil {
		t.Fatal(err)
	}
	if got := dir.RecentClients(); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	dir.Close()
	if err := os.WriteFile(filepath.Join(path, clientsName), []byte("100.64.0.9\nhalf a li"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := open().RecentClients(); !slices.Equal(got, []netip.Addr{netip.MustParseAddr("100.64.0.9")}) {
		t.Errorf("of a damaged file: %v", got)
	}
}
