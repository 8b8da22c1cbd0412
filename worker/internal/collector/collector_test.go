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
		expensiveFor  time.Duration
		want          int
	}{
		{"busy: doubled", 10, 10, 0.15, relaxAfter, 20},
		{"busy: at most 100", 80, 10, 0.15, time.Hour, 100},
		{"a burst: left alone", 10, 10, 0.15, relaxAfter - 1, 10},
		{"between the thresholds: left alone", 40, 10, 0.02, 0, 40},
		{"cheap: halved", 40, 10, 0.005, 0, 20},
		{"cheap: not below base", 12, 10, 0.005, 0, 10},
		{"idle: back to base at once", 100, 10, 0.0001, 0, 10},
		{"a base above 100 is kept", 200, 200, 0.5, time.Hour, 200},
	} {
		if got := NextPercent(c.current, c.base, c.cost, c.expensiveFor); got != c.want {
			t.Errorf("%s: got %d, want %d", c.what, got, c.want)
		}
	}
}

// Doubling the percentage halves the cost: from any load the percentage must come to rest.
func TestNextPercentSettles(t *testing.T) {
	for _, load := range []float64{0.001, 0.03, 0.1, 0.4, 1.5, 10} { // cost at 10 %
		percent := 10
		for range 10 {
			percent = NextPercent(percent, 10, load*10/float64(percent), time.Hour)
		}
		if again := NextPercent(percent, 10, load*10/float64(percent), time.Hour); again != percent {
			t.Errorf("load %v swings between %d and %d", load, percent, again)
		}
	}
}

// A life: the burst of a start, a long load, and quiet again.
func TestAdaptFollowsTheLoad(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(100))
	start := time.Now()
	c := &cycle{base: 10, percent: 10, at: start}
	for _, step := range []struct {
		at, spent time.Duration
		want      int
	}{
		{1 * time.Second, 500 * time.Millisecond, 10}, // starting: expensive, but only just
		{3 * time.Second, 1500 * time.Millisecond, 10},
		{60 * time.Second, 1600 * time.Millisecond, 10}, // quiet
		{61 * time.Second, 1800 * time.Millisecond, 10}, // load begins
		{64 * time.Second, 2400 * time.Millisecond, 10},
		{67 * time.Second, 3000 * time.Millisecond, 20},
		{70 * time.Second, 3300 * time.Millisecond, 40},
		{80 * time.Second, 3500 * time.Millisecond, 40}, // cheap enough now
		{200 * time.Second, 3510 * time.Millisecond, 10},
	} {
		if c.adapt(start.Add(step.at), step.spent); c.percent != step.want {
			t.Errorf("after %v: %d, want %d", step.at, c.percent, step.want)
		}
	}
}

// The sentinel must be laid out anew after each collection, or the first decision would be the last.
func TestEveryCollectionIsSeen(t *testing.T) {
	seen := make(chan struct{}, 100)
	afterEachCollection(func() { seen <- struct{}{} })
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
		percent, starting int
		live              uint64
		wantGarbage       uint64
	}{
		{"a shard of 20, idle: the least", 2, 0, 660 << 20, 16 << 20},
		{"one node, idle: the least", 10, 0, 40 << 20, 16 << 20},
		{"100 nodes, idle: by the percentage", 2, 0, 3300 << 20, 66 << 20},
		{"under load", 100, 0, 660 << 20, 660 << 20},
		{"a start of 20: room for all of them", 2, 20, 1 << 20, (16 + 20*48) << 20},
		{"one more joins a shard of 20", 2, 1, 660 << 20, (16 + 48) << 20},
	} {
		percent := gcPercent(c.percent, c.starting, c.live)
		live := max(c.live, leastHeapBytes)
		if garbage := live * uint64(percent) / 100; garbage < c.wantGarbage || garbage > c.wantGarbage+live/100 {
			t.Errorf("%s: %d %% allow %d MiB, want %d", c.what, percent, garbage>>20, c.wantGarbage>>20)
		}
	}
}

// The whole of it, with the real collector: no collection while nodes start, what they leave is given back, and then little
// garbage is held.
func TestStartIsNotCollectedAndItsGarbageIsReturned(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(100))
	tuner := &tuner{cycle: cycle{base: 2, percent: 2, at: time.Now(), spent: spentCollecting()}}
	tuner.settle = time.AfterFunc(time.Hour, func() {})
	defer tuner.settle.Stop()
	runtime.GC()
	for range 4 {
		tuner.nodeStarting()
	}
	before := memory()
	for range 4 * 32 {
		garbage = make([]byte, 1<<20)
	}
	if after := memory(); after.NumGC != before.NumGC {
		t.Errorf("collected %d times while nodes started", after.NumGC-before.NumGC)
	}
	if tuner.look(); tuner.starting != 4 {
		t.Error("takes a process that allocates 128 MiB for a quiet one")
	}
	garbage = nil
	if tuner.look(); tuner.starting != 0 {
		t.Error("does not see that it is quiet")
	}
	if left := memory(); left.HeapIdle-left.HeapReleased > 16<<20 || left.HeapAlloc > before.HeapAlloc+(16<<20) {
		t.Errorf("holds %d MiB of free pages and %d MiB of heap", (left.HeapIdle-left.HeapReleased)>>20, left.HeapAlloc>>20)
	}
	before = memory()
	for range 100 {
		garbage = make([]byte, 1<<20)
	}
	if after := memory(); after.NumGC < before.NumGC+2 {
		t.Errorf("collected %d times in 100 MiB when idle", after.NumGC-before.NumGC)
	}
}

// A process that has work to do never looks quiet.
func TestStartEndsInABusyProcessToo(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(100))
	tuner := &tuner{cycle: cycle{base: 2, percent: 2}}
	tuner.settle = time.AfterFunc(time.Hour, func() {})
	defer tuner.settle.Stop()
	tuner.nodeStarting()
	for look := 1; look <= maxSettles; look++ {
		garbage = make([]byte, idleGarbageBytes)
		if isOver := tuner.endStart(); isOver != (look == maxSettles) {
			t.Errorf("look %d: over is %v", look, isOver)
		}
	}
}

var garbage []byte // where the compiler cannot see that nobody reads it

func memory() (statistics runtime.MemStats) {
	runtime.ReadMemStats(&statistics)
	return statistics
}
