package collector

import (
	"math"
	"runtime"
	"runtime/debug"
	"testing"
	"time"
)

func TestMemoryLimitIsAboutWhatIsResident(t *testing.T) {
	const mib = 1 << 20
	// A shard of 20: 640 MiB of buffers that nobody has touched, and 100 MiB that are in use.
	idle := memory{mapped: 760 * mib, free: 4 * mib, objects: 690 * mib, live: 680 * mib}
	for _, c := range []struct {
		what     string
		limit    uint64
		resident uint64
		newNodes int
		want     int64
	}{
		{"far below: the rest may come", 500, 130, 0, 760 + 450 - 130},
		{"a node that starts maps its buffers on top", 500, 130, 2, 760 + 450 - 130 + 64},
		{"near it: as much as an idle process needs", 140, 130, 0, 66 + 717},
		{"above it: no less", 100, 400, 0, 66 + 717},
	} {
		got := memoryLimit(c.limit*mib, c.resident*mib, idle, c.newNodes)
		if math.Abs(float64(got/mib-c.want)) > 1 {
			t.Errorf("%s: %d MiB, want %d", c.what, got/mib, c.want)
		}
	}
}

// With the real collector: garbage that a busy process may have by its percentage does not make it outgrow the limit.
func TestLimitHoldsBusyProcess(t *testing.T) {
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(-1))
	const live = 128 << 20
	kept := make([]byte, live)
	for i := range kept {
		kept[i] = 1
	}
	tuner := begun(t)
	defer runtime.KeepAlive(kept)
	tuner.cycle.percent = relaxedPercent
	resident, ok := residentBytes()
	if !ok || resident < live {
		t.Fatalf("resident: %d, %v", resident, ok)
	}
	highest := func(limit uint64) uint64 {
		tuner.limit = limit
		debug.SetMemoryLimit(math.MaxInt64)
		debug.FreeOSMemory()
		tuner.collected(tuner.cycle.at.Add(quietAfter))
		tuner.cycle.percent = relaxedPercent
		tuner.apply()
		var most uint64
		for range 1024 {
			garbage = make([]byte, 1<<20)
			for i := 0; i < len(garbage); i += 4096 {
				garbage[i] = 1
			}
			now, _ := residentBytes()
			most = max(most, now)
		}
		garbage = nil
		return most
	}
	free := highest(0)
	limit := uint64(float64(resident+64<<20) / 0.9)
	held := highest(limit)
	t.Logf("at most %d MiB without a limit, %d MiB with one of %d MiB", free>>20, held>>20, limit>>20)
	if free < resident+96<<20 {
		t.Errorf("without a limit it came to %d MiB only: the test shows nothing", free>>20)
	}
	// The limit of the runtime is a soft one, and under the race detector each byte brings others with it.
	if held > limit*115/100 {
		t.Errorf("came to %d MiB, the limit is %d MiB", held>>20, limit>>20)
	}
}

// A process that has outgrown its limit collects as an idle one does, and not all the time.
func TestOutgrownLimitDoesNotStopTheWork(t *testing.T) {
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(-1))
	tuner := begun(t)
	tuner.limit = 1 << 20
	tuner.collected(time.Now())
	before := runtimeMemory()
	for range 160 {
		garbage = make([]byte, 1<<20)
	}
	garbage = nil
	if collections := runtimeMemory().NumGC - before.NumGC; collections > 20 {
		t.Errorf("collected %d times for 160 MiB, an idle process does so about 10 times", collections)
	}
}
