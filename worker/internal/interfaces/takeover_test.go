package interfaces

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"tailscale.com/net/netmon"
	"tailscale.com/util/eventbus"
)

// safeLog is what a monitor logs: a line for each route of which its own socket tells.
type safeLog struct {
	mu    sync.Mutex
	lines []string
}

func (l *safeLog) logf(format string, arguments ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, fmt.Sprintf(format, arguments...))
}

func (l *safeLog) mentions(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(strings.Join(l.lines, "\n"), text)
}

// A real monitor whose subscription was taken over: containers pass it by, and a real change of network reaches it.
func TestRealMonitorHearsOfRealChangesOnly(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	ip(t, "link set lo up", "link add eth0 type veth peer name vethpeer", "addr add 192.168.77.2/24 dev eth0",
		"link set vethpeer up", "link set eth0 up", "route add default via 192.168.77.1 dev eth0")

	table, err := New([]string{"veth*"}, discard)
	if err != nil {
		t.Fatal(err)
	}
	defer table.Close()
	table.Install()
	table.TakeOver()
	var deaf []*safeLog
	var changes []<-chan string
	for range 3 {
		log, change := startMonitor(t, table)
		deaf, changes = append(deaf, log), append(changes, change)
	}
	hearing, _ := startMonitor(t) // attached nowhere: what a monitor with its own subscription logs
	ip(t, "link add veth1 type veth peer name veth2", "addr add 10.201.1.1/24 dev veth1", "link set veth1 up", "link set veth2 up")
	await(t, func() bool { return hearing.mentions("dst=10.201.1.0/24") })
	ip(t, "link del veth1")

	for _, step := range []struct{ change, want string }{
		{"addr add 192.168.78.2/24 dev eth0", "default eth0, eth0 has 192.168.77.2/24 192.168.78.2/24"},
		{"route del default", "default , eth0 has 192.168.77.2/24 192.168.78.2/24"},
		{"route add default via 192.168.77.1 dev eth0", "default eth0, eth0 has 192.168.77.2/24 192.168.78.2/24"},
		{"link set eth0 down", "default , eth0 has 192.168.77.2/24 192.168.78.2/24"},
	} {
		ip(t, step.change)
		for i, each := range changes {
			awaitChange(t, fmt.Sprintf("monitor %d after %q", i, step.change), each, step.want)
		}
	}
	for i, log := range deaf {
		if log.mentions("10.201.1") {
			t.Errorf("monitor %d heard of a container's route: %q", i, log.lines)
		}
	}
}

// startMonitor starts a real monitor and attaches it to the tables given. It returns what it logs, and the states that it
// announces, as text.
func startMonitor(t *testing.T, tables ...*Table) (*safeLog, <-chan string) {
	t.Helper()
	bus := eventbus.New()
	t.Cleanup(bus.Close)
	log := &safeLog{}
	monitor, err := netmon.New(bus, log.logf)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { monitor.Close() })
	changes := make(chan string, 100)
	monitor.RegisterChangeCallback(func(delta *netmon.ChangeDelta) {
		state := delta.CurrentState()
		var own []string
		for _, prefix := range state.InterfaceIPs["eth0"] {
			if prefix.Addr().Is4() {
				own = append(own, prefix.String())
			}
		}
		changes <- fmt.Sprintf("default %s, eth0 has %s", state.DefaultRouteInterface, strings.Join(own, " "))
	})
	monitor.Start()
	for _, table := range tables {
		t.Cleanup(table.Attach(monitor))
	}
	return log, changes
}

func awaitChange(t *testing.T, what string, changes <-chan string, want string) {
	t.Helper()
	var last string
	for deadline := time.After(30 * time.Second); ; {
		select {
		case last = <-changes:
			if last == want {
				return
			}
		case <-deadline:
			t.Fatalf("%s: waited 30 s for %q, last was %q", what, want, last)
		}
	}
}
