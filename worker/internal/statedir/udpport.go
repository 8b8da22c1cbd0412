package statedir

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"tailscale.com/atomicfile"
)

const (
	portName    = "udp-port"
	portsFrom   = 10000 // below live well-known services
	portsTo     = 65535
	portChoices = 200 // random tries before giving up
)

// UDPPort gives the WireGuard port of the service: the one in its directory, or a new one, chosen once and kept there. A
// stable port lets peers find the node at once after a move, and a router forward to it. The port stays reserved in this
// process until Close. Errors are *custody.UnusableError.
func (d *Dir) UDPPort(log *slog.Logger) (uint16, error) {
	path := filepath.Join(d.path, portName)
	port, err := readPort(path)
	switch {
	case err == nil && ports.reserve(port):
		d.port = port
		return port, nil
	case err == nil:
		log.Warn("the UDP port of this service is used by another one here; choosing a new one", "path", path, "port", port)
	case errors.Is(err, fs.ErrNotExist):
	case errors.Is(err, errDamaged):
		aside := fmt.Sprintf("%s.damaged-%d", path, time.Now().UnixMilli())
		if err := os.Rename(path, aside); err != nil {
			return 0, unusable(d.path, err)
		}
		log.Warn("the file with the UDP port is damaged; moved it aside and choosing a new port", "path", path, "movedTo", aside)
	default:
		return 0, unusable(d.path, err)
	}
	port, err = ports.choose()
	if err != nil {
		return 0, unusable(d.path, err)
	}
	if err := atomicfile.WriteFile(path, fmt.Appendln(nil, port), 0o600); err != nil {
		ports.release(port)
		return 0, unusable(d.path, err)
	}
	d.port = port
	return port, nil
}

var errDamaged = errors.New("not a port number")

func readPort(path string) (uint16, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	port, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 16)
	if err != nil || port == 0 {
		return 0, errDamaged
	}
	return uint16(port), nil
}

// registry knows the ports of this process: two nodes may start at the same moment, before either socket is bound.
type registry struct {
	mu    sync.Mutex
	taken map[uint16]bool
}

var ports = registry{taken: map[uint16]bool{}}

func (r *registry) reserve(port uint16) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.taken[port] {
		return false
	}
	r.taken[port] = true
	return true
}

func (r *registry) release(port uint16) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.taken, port)
}

// choose reserves a random port that nobody has bound. It stays clear of the kernel's ephemeral range, from which any
// outgoing socket might take it while the service is down.
func (r *registry) choose() (uint16, error) {
	low, high := ephemeralRange()
	for range portChoices {
		port := portsFrom + rand.IntN(portsTo-portsFrom+1)
		if port >= low && port <= high || !isFree(port) || !r.reserve(uint16(port)) {
			continue
		}
		return uint16(port), nil
	}
	return 0, fmt.Errorf("no free UDP port found in %d-%d outside the ephemeral range %d-%d", portsFrom, portsTo, low, high)
}

// ephemeralRange reads ip_local_port_range (it holds for IPv6 too); the kernel's default where /proc is hidden.
func ephemeralRange() (low, high int) {
	text, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err == nil {
		if _, err := fmt.Sscan(string(text), &low, &high); err == nil && low > portsFrom {
			return low, high
		}
	}
	return 32768, 60999
}

// isFree binds the port for a moment on both families, as the node will. A host without IPv6 is no reason to refuse.
func isFree(port int) bool {
	for _, network := range []string{"udp4", "udp6"} {
		socket, err := net.ListenUDP(network, &net.UDPAddr{Port: port})
		if err == nil {
			socket.Close()
			continue
		}
		var errno syscall.Errno
		if errors.As(err, &errno) && (errno == unix.EAFNOSUPPORT || errno == unix.EADDRNOTAVAIL) {
			continue
		}
		return false
	}
	return true
}
