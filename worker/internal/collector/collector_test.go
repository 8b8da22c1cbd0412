package collector

import (
	"runtime"
	"runtime/debug"
	"testing"
	"time"
)

func TestNextPercent(t *testing.T) {
	for _, c := range []struct {
		what          string
		current, base int
		cost          float64
		want          int
	}{
		{"busy: doubled", 10, 10, 0.15, 20},
		{"busy: at most 100", 80, 10, 0.15, 100},
		{"between the thresholds: left alone", 40, 10, 0.01, 40},
		{"cheap: halved", 40, 10, 0.004, 20},
		{"cheap: not below base", 12, 10, 0.004, 10},
		{"idle: back to base at once", 100, 10, 0.0001, 10},
		{"a base above 100 is kept", 200, 200, 0.5, 200},
	} {
		if got := NextPercent(c.current, c.base, c.cost); got != c.want {
			t.Errorf("%s: got %d, want %d", c.what, got, c.want)
		}
	}
}

// Doubling the percentage halves the cost: from any load the percentage must come to rest.
func TestNextPercentSettles(t *testing.T) {
	for _, load := range []float64{0.001, 0.03, 0.1, 0.4, 1.5, 10} { // cost at 10 %
		percent := 10
		for range 10 {
			percent = NextPercent(percent, 10, load*10/float64(percent))
		}
		if again := NextPercent(percent, 10, load*10/float64(percent)); again != percent {
			t.Errorf("load %v swings between %d and %d", load, percent, again)
		}
	}
}

// A life: the burst of a start, a long load, and quiet again.
func TestAdaptFollowsTheLoad(t *testing.T) {
	start := time.Now()
	c := &cycle{base: 10, percent: 10, at: start}
	for _, step := range []struct {
		at, spent time.Duration
		settled   bool
		want      int
	}{
		{1 * time.Second, 500 * time.Millisecond, false, 10}, // starting: expensive, and no load
		{3 * time.Second, 1500 * time.Millisecond, false, 10},
		{60 * time.Second, 1600 * time.Millisecond, true, 10}, // quiet
		{61 * time.Second, 1800 * time.Millisecond, true, 20}, // load begins
		{62 * time.Second, 1900 * time.Millisecond, true, 40},
		{64 * time.Second, 2100 * time.Millisecond, false, 40}, // a service moves here
		{74 * time.Second, 2200 * time.Millisecond, true, 40},  // cheap enough now
		{200 * time.Second, 2210 * time.Millisecond, false, 10},
	} {
		if c.adapt(start.Add(step.at), step.spent, step.settled); c.percent != step.want {
			t.Errorf("after %v: %d, want %d", step.at, c.percent, step.want)
		}
	}
}

// The sentinel must be laid out anew after each collection, or the first decision would be the last.
func TestEveryCollectionIsSeen(t *testing.T) {
	seen := make(chan struct{}, 1)
	afterEachCollection(func() {
		select { // it goes on after this test, where nobody reads
		case seen <- struct{}{}:
		default:
		}
	})
	for round := range 3 {
		runtime.GC()
		select {
		case <-seen:
		case <-time.After(10 * time.Second):
			t.Fatalf("collection %d was not seen", round)
		}
	}
}

// Garbage is allowed by the byte: untouched buffers must not raise what an idle shard may pile up.
func TestGCPercentAllowsBytes(t *testing.T) {
	for _, c := range []struct {
		what              string
		percent, newNodes int
		live              uint64
		wantGarbage       uint64
	}{
		{"a shard of 20, idle: the least", 2, 0, 660 << 20, 16 << 20},
		{"one node, idle: the least", 10, 0, 40 << 20, 16 << 20},
		{"100 nodes, idle: by the percentage", 2, 0, 3300 << 20, 66 << 20},
		{"under load", 100, 0, 660 << 20, 660 << 20},
		{"a start of 20: room for all of them", 2, 20, 1 << 20, (16 + 20*32) << 20},
		{"one more joins a shard of 20", 2, 1, 660 << 20, (16 + 32) << 20},
	} {
		percent := gcPercent(c.percent, c.newNodes, c.live)
		live := max(c.live, leastHeapBytes)
		if garbage := live * uint64(percent) / 100; garbage < c.wantGarbage || garbage > c.wantGarbage+live/100 {
			t.Errorf("%s: %d %% allow %d MiB, want %d", c.what, percent, garbage>>20, c.wantGarbage>>20)
		}
	}
}

// begun is a tuner as Tune leaves it, but for the real collector's word on its cycles: the test passes that on.
func begun(t *testing.T) *tuner {
	before := debug.SetGCPercent(100)
	t.Cleanup(func() { debug.SetGCPercent(before) })
	runtime.GC()
	tuner := &tuner{}
	tuner.begin(2)
	t.Cleanup(func() { tuner.quiet.Stop() })
	return tuner
}

// The buffers of nodes that start are not garbage, and must not be collected for.
func TestBuffersOfStartingNodesAreNotCollectedFor(t *testing.T) {
	tuner := begun(t)
	before := runtimeMemory()
	var started []func()
	for range 4 {
		started = append(started, tuner.nodeStarting())
	}
	for range 4 * nodeBufferBytes >> 20 {
		garbage = make([]byte, 1<<20)
	}
	if after := runtimeMemory(); after.NumGC != before.NumGC {
		t.Errorf("collected %d times for the buffers of 4 nodes", after.NumGC-before.NumGC)
	}
	for _, tell := range started[:3] {
		tell()
	}
	runtime.GC()
	if tuner.collected(time.Now()); tuner.newNodes != 1 {
		t.Errorf("%d nodes are new after a collection, want the one that is still starting", tuner.newNodes)
	}
	started[3]()
	if tuner.collected(time.Now()); tuner.newNodes != 0 {
		t.Errorf("%d nodes are new for ever", tuner.newNodes)
	}
	if !tuner.isBusy || time.Until(tuner.settled) <= 0 {
		t.Error("what the start of a node has left is not given back, or taken for a sign of load")
	}
}

// With the real collector: an idle process holds little garbage, and a busy one gives back what it has left.
func TestGarbageIsCollectedByTheByteAndGivenBack(t *testing.T) {
	tuner := begun(t)
	before := runtimeMemory()
	for range 100 {
		garbage = make([]byte, 1<<20)
	}
	if after := runtimeMemory(); after.NumGC < before.NumGC+2 {
		t.Errorf("collected %d times in 100 MiB", after.NumGC-before.NumGC)
	}
	if tuner.collected(time.Now()); !tuner.isBusy {
		t.Error("takes a process that collects all the time for a quiet one")
	}
	garbage = nil
	tuner.cycle.percent = 64
	tuner.giveBack()
	if left := runtimeMemory(); left.HeapIdle-left.HeapReleased > 4<<20 {
		t.Errorf("keeps %d MiB of free pages", (left.HeapIdle-left.HeapReleased)>>20)
	}
	if tuner.isBusy || tuner.cycle.percent != 2 {
		t.Errorf("after a busy time: %+v", tuner)
	}
}

// What giveBack collects is no sign of being busy, or it would never end; nor is a collection now and then.
func TestIdleProcessIsNotBusy(t *testing.T) {
	tuner := begun(t)
	runtime.GC()
	if tuner.collected(time.Now()); tuner.isBusy {
		t.Error("busy after a collection that was asked for")
	}
	tuner.automatic-- // as if the runtime had collected by itself
	if tuner.collected(time.Now().Add(quietAfter)); tuner.isBusy {
		t.Error("busy after a collection in a while")
	}
	tuner.automatic--
	if tuner.collected(tuner.cycle.at.Add(quietAfter - 1)); !tuner.isBusy {
		t.Error("not busy after two collections in a row")
	}
}

// One collection in the middle of a burst is all there may be for minutes: what it found alive is garbage afterwards.
func TestBurstIsSeenByOneCollection(t *testing.T) {
	tuner := begun(t)
	garbage = make([]byte, 2*garbageBytes)
	runtime.GC()
	tuner.automatic-- // as if the runtime had collected by itself
	if tuner.collected(time.Now().Add(quietAfter)); !tuner.isBusy {
		t.Error("keeps what a burst has left")
	}
	runtime.KeepAlive(garbage)
	tuner.isBusy = false
	tuner.automatic--
	if tuner.collected(time.Now().Add(2 * quietAfter)); tuner.isBusy {
		t.Error("busy for ever, as more is alive than once")
	}
	garbage = nil
}

var garbage []byte // where the compiler cannot see that nobody reads it

func runtimeMemory() (statistics runtime.MemStats) {
	runtime.ReadMemStats(&statistics)
	return statistics
}
