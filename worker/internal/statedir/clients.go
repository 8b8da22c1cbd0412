package statedir

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"tailscale.com/atomicfile"
)

const clientsName = "recent-clients"

// RecentClients gives the tailnet addresses that were last remembered, the most recent first. A missing or damaged file
// counts as none: all it costs is that sessions renew by themselves, some seconds later.
func (d *Dir) RecentClients() []netip.Addr {
	text, err := os.ReadFile(filepath.Join(d.path, clientsName))
	if err != nil {
		return nil
	}
	var clients []netip.Addr
	for line := range strings.Lines(string(text)) {
		if address, err := netip.ParseAddr(strings.TrimSpace(line)); err == nil {
			clients = append(clients, address)
		}
	}
	return clients
}

// RememberClients replaces what RecentClients gives, also after a crash.
func (d *Dir) RememberClients(clients []netip.Addr) error {
	var text strings.Builder
	for _, client := range clients {
		fmt.Fprintln(&text, client)
	}
	return atomicfile.WriteFile(filepath.Join(d.path, clientsName), []byte(text.String()), 0o600)
}
