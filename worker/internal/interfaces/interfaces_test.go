package interfaces

import (
	"log/slog"
	"net"
	"os/exec"
	"runtime"
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

// The kernel's own list must be what the standard library says, address by address.
func TestKernelListsWhatTheStandardLibraryLists(t *testing.T) {
	table, err := New(nil, discard)
	if err != nil {
		t.Fatal(err)
	}
	defer table.Close()
	list, err := table.Get()
	if err != nil {
		t.Fatal(err)
	}
	want, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != len(want) {
		t.Fatalf("%d interfaces, want %d", len(list), len(want))
	}
	for i, each := range list {
		addresses, err := want[i].Addrs()
		if err != nil {
			t.Fatal(err)
		}
		own, err := each.Addrs()
		if err != nil || len(own) != len(addresses) {
			t.Fatalf("%s: %v, %v; want %v", each.Name, own, err, addresses)
		}
		for j := range own {
			if own[j].String() != addresses[j].String() {
				t.Errorf("%s: %v, want %v", each.Name, own[j], addresses[j])
			}
		}
	}
}

// In a network namespace of its own: an interface that comes is news, and on the list.
// openOwnKernel listens in a network namespace of this test, where veth1 and veth2 have just appeared.
func openOwnKernel(t *testing.T) *kernel {
	t.Helper()
	runtime.LockOSThread() // never unlocked: the thread, and the namespace with it, end with this goroutine
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Skipf("needs root to make a network namespace: %v", err)
	}
	source, err := openKernel()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { source.close() })
	source.drain()
	if len(source.drain()) > 0 {
		t.Error("news although nothing happened")
	}
	if output, err := exec.Command("ip", "link", "add", "veth1", "type", "veth", "peer", "name", "veth2").CombinedOutput(); err != nil {
		t.Skipf("needs the ip command and veth: %v %s", err, output)
	}
	return source
}

func TestKernelWakesForTheFirstOfMuchNews(t *testing.T) {
	source := openOwnKernel(t)
	woken := make(chan error, 1)
	wait := func() {
		t.Helper()
		select {
		case err := <-woken:
			if err != nil {
				t.Fatal(err)
			}
		case <-time.After(30 * time.Second):
			t.Fatal("not woken for 30 s")
		}
	}
	for range 2 { // also for news that were there before, and that nobody has taken
		go func() { woken <- source.wait() }()
		wait()
	}
	if taken := len(source.drain()); taken < 2 {
		t.Errorf("%d news of two interfaces", taken)
	}
	go func() { woken <- source.wait() }()
	if output, err := exec.Command("ip", "link", "del", "veth1").CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, output)
	}
	wait()
	source.drain()
	go func() { woken <- source.wait() }()
	if err := source.close(); err != nil {
		t.Error(err)
	}
	select {
	case err := <-woken:
		if err == nil {
			t.Error("closing counted as news")
		}
	case <-time.After(30 * time.Second):
		t.Error("still waiting 30 s after it was closed")
	}
}

func TestKernelTellsOfANewInterface(t *testing.T) {
	source := openOwnKernel(t)
	all, _, err := source.list()
	if err != nil {
		t.Fatal(err)
	}
	at := slices.IndexFunc(all, func(i netmon.Interface) bool { return i.Name == "veth1" })
	if at < 0 {
		t.Fatalf("not on the list: %v", all)
	}
	index := all[at].Index
	for _, step := range []struct {
		command string
		want    news
	}{
		{"", news{index: index, name: "veth1"}},
		{"addr add 10.9.9.1/24 dev veth1", news{index: index}},
		{"link set veth1 up", news{index: index}}, // its routes
		{"route add default dev veth1", news{}},
		{"link del veth1", news{index: index, name: "veth1", gone: true}},
	} {
		if step.command != "" {
			if output, err := exec.Command("ip", strings.Fields(step.command)...).CombinedOutput(); err != nil {
				t.Fatalf("ip %s: %v %s", step.command, err, output)
			}
		}
		if told := source.drain(); !slices.Contains(told, step.want) {
			t.Errorf("ip %s: want %+v among %+v", step.command, step.want, told)
		}
	}
}

func TestGarbledNewsConcernEverything(t *testing.T) {
	if got := parseNews([]byte("nonsense of any length")); !slices.Equal(got, []news{{}}) {
		t.Errorf("got %+v", got)
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
