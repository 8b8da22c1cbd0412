package interfaces

import (
	"net"
	"slices"
	"testing"
	"time"

	"tailscale.com/net/netmon"
)

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

// openKernelInNamespace listens where veth1 and veth2 have just appeared.
func openKernelInNamespace(t *testing.T) *kernel {
	t.Helper()
	source, err := openKernel()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { source.close() })
	source.drain()
	if len(source.drain()) > 0 {
		t.Error("news although nothing happened")
	}
	ip(t, "link add veth1 type veth peer name veth2")
	return source
}

func TestKernelWakesForTheFirstOfMuchNews(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	source := openKernelInNamespace(t)
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
	ip(t, "link del veth1")
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
	if !inNamespace(t) {
		return
	}
	source := openKernelInNamespace(t)
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
			ip(t, step.command)
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
