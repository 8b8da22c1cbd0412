package interfaces

import (
	"bufio"
	"io"
	"os"
	"slices"
	"strings"

	"tailscale.com/net/netmon"
)

// maxRouteLines bounds what is read of a routing table: default routes come first in both files, and a router may carry a
// million others.
const maxRouteLines = 10_000

// defaultRouteInterfaces names the interfaces with a default route, IPv4 or IPv6.
func defaultRouteInterfaces() []string {
	names := slices.Concat(scanRoutes("/proc/net/route", defaultRoute4), scanRoutes("/proc/net/ipv6_route", defaultRoute6))
	if len(names) == 0 {
		// Some routers keep it in another table, which netmon finds by netlink.
		if name, err := netmon.DefaultRouteInterface(); err == nil {
			names = append(names, name)
		}
	}
	return names
}

func scanRoutes(path string, defaultRoute func(fields []string) (name string, ok bool)) []string {
	file, err := os.Open(path)
	if err != nil {
		return nil // no such family on this host
	}
	defer file.Close()
	return parseRoutes(file, defaultRoute)
}

func parseRoutes(table io.Reader, defaultRoute func(fields []string) (name string, ok bool)) []string {
	var names []string
	lines := bufio.NewScanner(table)
	for count := 0; count < maxRouteLines && lines.Scan(); count++ {
		if name, ok := defaultRoute(strings.Fields(lines.Text())); ok && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// defaultRoute4 reads a line of /proc/net/route: Iface Destination Gateway Flags RefCnt Use Metric Mask ...
func defaultRoute4(fields []string) (string, bool) {
	const zero = "00000000"
	if len(fields) < 8 || fields[1] != zero || fields[7] != zero {
		return "", false
	}
	return fields[0], true
}

// defaultRoute6 reads a line of /proc/net/ipv6_route: destination, its prefix length, ..., device. The kernel lists "no
// route" entries for the default destination on lo; those are no way out.
func defaultRoute6(fields []string) (string, bool) {
	const zero = "00000000000000000000000000000000"
	if len(fields) < 10 || fields[0] != zero || fields[1] != "00" || fields[9] == "lo" {
		return "", false
	}
	return fields[9], true
}
