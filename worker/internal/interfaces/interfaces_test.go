package interfaces

import (
	"log/slog"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"tailscale.com/net/netmon"
)

var discard = slog.New(slog.DiscardHandler)

// host is a source whose news the test makes.
type host struct {
	names        []string
	defaultRoute []string
	lists        int
	unread       []news
	news         chan error
	takeOvers    int
	takeOverErr  error
}

func (h *host) list() ([]netmon.Interface, []string, error) {
	h.lists++
	var all []netmon.Interface
	for i, name := range h.names {
		all = append(all, netmon.Interface{Interface: &net.Interface{Index: i + 1, Name: name}, AltAddrs: []net.Addr{}})
	}
	return all, h.defaultRoute, nil
}

func (h *host) drain() []news {
	unread := h.unread
	h.unread = nil
	return unread
}

func (h *host) takeOver() error {
	h.takeOvers++
	return h.takeOverErr
}

func (h *host) wait() error  { return <-h.news }
func (h *host) close() error { close(h.news); return nil }

type monitor struct{ polls atomic.Int32 }

func (m *monitor) Poll() { m.polls.Add(1) }

func names(t *testing.T, table *Table) []string {
	t.Helper()
	list, err := table.Get()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, each := range list {
		names = append(names, each.Name)
	}
	return names
}

func TestListIsKeptUntilTheKernelHasNews(t *testing.T) {
	h := &host{names: []string{"lo", "eth0"}, news: make(chan error)}
	table := newTable(h, true, 0, nil, discard)
	defer table.Close()
	for range 3 {
		names(t, table)
	}
	if h.lists != 1 {
		t.Errorf("listed %d times", h.lists)
	}
	h.names, h.unread = []string{"lo", "eth0", "eth1"}, []news{{index: 3, name: "eth1"}}
	if got := names(t, table); !slices.Contains(got, "eth1") {
		t.Errorf("news on the socket was not looked at: %v", got)
	}
}

// A node's own socket may be served before ours: it then reads the old list and must be told to read again.
func TestTooEarlyReaderIsToldOfTheChange(t *testing.T) {
	h := &host{names: []string{"lo", "eth0"}, news: make(chan error)}
	table := newTable(h, true, 0, nil, discard)
	defer table.Close()
	early := &monitor{}
	detach := table.Attach(early)
	names(t, table)
	h.news <- nil
	h.news <- nil // taken only after the first news were handled
	if early.polls.Load() != 0 {
		t.Error("told of a change that changed nothing")
	}
	table.mu.Lock()
	h.names, h.unread = []string{"lo", "eth0", "eth1"}, []news{{index: 3, name: "eth1"}}
	table.mu.Unlock()
	h.news <- nil
	h.news <- nil
	if early.polls.Load() != 1 {
		t.Errorf("told %d times", early.polls.Load())
	}
	detach()
	table.mu.Lock()
	h.names, h.unread = []string{"lo"}, []news{{index: 3, name: "eth1", gone: true}}
	table.mu.Unlock()
	h.news <- nil
	h.news <- nil
	if early.polls.Load() != 1 {
		t.Error("told after detaching")
	}
}

// Who has no subscription of its own must hear that the default route moved, although no interface is another.
func TestMovedDefaultRouteIsToldToo(t *testing.T) {
	h := &host{names: []string{"lo", "eth0", "eth1"}, defaultRoute: []string{"eth0"}, news: make(chan error)}
	table := newTable(h, true, 0, nil, discard)
	defer table.Close()
	told := &monitor{}
	defer table.Attach(told)()
	names(t, table)
	table.mu.Lock()
	h.defaultRoute, h.unread = []string{"eth1"}, []news{{}}
	table.mu.Unlock()
	h.news <- nil
	h.news <- nil
	if told.polls.Load() != 1 {
		t.Errorf("told %d times", told.polls.Load())
	}
}

func TestTakeOverIsTriedForEachMonitorUntilItFails(t *testing.T) {
	h := &host{names: []string{"lo"}, news: make(chan error)}
	table := newTable(h, true, 0, nil, discard)
	defer table.Close()
	defer table.Attach(&monitor{})()
	if h.takeOvers != 0 {
		t.Error("took over without being told to")
	}
	table.TakeOver()
	defer table.Attach(&monitor{})()
	defer table.Attach(&monitor{})()
	if h.takeOvers != 2 {
		t.Errorf("took over %d times for 2 monitors", h.takeOvers)
	}
	h.takeOverErr = unix.EPERM
	defer table.Attach(&monitor{})()
	defer table.Attach(&monitor{})()
	if h.takeOvers != 3 {
		t.Errorf("tried %d times, want 3: not again after a failure", h.takeOvers)
	}
}

func TestWithoutNewsNothingIsTakenOver(t *testing.T) {
	h := &host{names: []string{"lo"}}
	table := newTable(h, false, 0, nil, discard)
	table.TakeOver()
	defer table.Attach(&monitor{})()
	if h.takeOvers != 0 {
		t.Error("took away the only subscriptions that there are")
	}
}

// The nodes' subscriptions are gone: when ours ends too, they must still be told.
func TestMonitorsAreToldAfterTheNewsHaveEnded(t *testing.T) {
	h := &host{names: []string{"lo"}, news: make(chan error, 1)}
	table := newTable(h, true, 0, nil, discard)
	defer table.Close()
	table.TakeOver()
	told := &monitor{}
	defer table.Attach(told)()
	names(t, table)
	h.news <- unix.EBADF
	for want := range int32(2) {
		table.mu.Lock()
		h.names = append(h.names, "eth"+strconv.Itoa(int(want)))
		table.mu.Unlock()
		await(t, func() bool { return told.polls.Load() == want+1 })
	}
}

func await(t *testing.T, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("waited for 30 s")
		}
	}
}

func TestWithoutNewsTheListAges(t *testing.T) {
	h := &host{names: []string{"lo"}, news: make(chan error, 1)}
	table := newTable(h, false, 0, nil, discard)
	names(t, table)
	names(t, table)
	if h.lists != 1 {
		t.Errorf("listed %d times at once", h.lists)
	}
	table.listedAt = table.listedAt.Add(-pollInterval)
	names(t, table)
	if h.lists != 2 {
		t.Errorf("listed %d times after the interval", h.lists)
	}
}

func TestPatternsHideAllButTheDefaultRoute(t *testing.T) {
	var log strings.Builder
	h := &host{names: []string{"lo", "eth0", "br-lan", "br-1f2e", "veth12"}, defaultRoute: []string{"br-lan"}, news: make(chan error, 1)}
	table := newTable(h, false, 0, []string{"br-*", "veth*"}, slog.New(slog.NewTextHandler(&log, nil)))
	for range 2 {
		if got := names(t, table); !slices.Equal(got, []string{"lo", "eth0", "br-lan"}) {
			t.Errorf("got %v", got)
		}
		table.listedAt = time.Time{}
	}
	if strings.Count(log.String(), "br-1f2e veth12") != 1 {
		t.Errorf("want the hidden ones logged once:\n%s", &log)
	}
}

func TestNewRefusesABadPattern(t *testing.T) {
	if _, err := New([]string{"eth[0"}, discard); err == nil {
		t.Error("accepted")
	}
}

func TestDefaultRoutesAreFound(t *testing.T) {
	v4 := "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\n" +
		"br-lan\t00000000\t0101A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\neth1\t0001A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
	if got := parseRoutes(strings.NewReader(v4), defaultRoute4); !slices.Equal(got, []string{"br-lan"}) {
		t.Errorf("v4: %v", got)
	}
	zero := strings.Repeat("0", 32)
	v6 := zero + " 00 " + zero + " 00 fe800000000000000000000000000001 00000400 1 0 00000003 eth0\n" +
		zero + " 00 " + zero + " 00 " + zero + " ffffffff 1 0 00200200 lo\n"
	if got := parseRoutes(strings.NewReader(v6), defaultRoute6); !slices.Equal(got, []string{"eth0"}) {
		t.Errorf("v6: %v", got)
	}
}

// What is left out comes and goes without a dump; what may be the way to the network never does.
func TestOnlyNewsThatMatterAreLookedInto(t *testing.T) {
	h := &host{names: []string{"lo", "eth0", "veth3", "br-4"}, defaultRoute: []string{"br-4"}, news: make(chan error)}
	table := newTable(h, true, 0, []string{"veth*", "br-*"}, discard)
	defer table.Close()
	names(t, table)
	for _, c := range []struct {
		what string
		news []news
		want bool
	}{
		{"an address of a container", []news{{index: 3}}, false},
		{"a container that comes", []news{{index: 9, name: "veth9"}, {index: 9}, {index: 9, name: "veth9"}}, false},
		{"and goes", []news{{index: 9}, {index: 9, name: "veth9", gone: true}}, false},
		{"its number, used anew", []news{{index: 9}}, true},
		{"an address of an interface that counts", []news{{index: 3}, {index: 2}}, true},
		{"the way to the network, though its name fits", []news{{index: 4, name: "br-4"}}, true},
		{"a container's interface gets a name that counts", []news{{index: 3, name: "eth7"}}, true},
		{"a default route", []news{{}}, true},
		{"nothing", nil, false},
	} {
		before := h.lists
		h.unread = c.news
		names(t, table)
		if looked := h.lists > before; looked != c.want {
			t.Errorf("%s: looked is %v", c.what, looked)
		}
	}
}
