// Package collector tunes Go's garbage collector for a process that is mostly idle and sometimes busy.
//
// Each node holds 32 MiB of receive buffers, nearly all never touched: they are no memory until somebody writes to them. Go
// counts them as live heap, and a percentage of that heap is a lot of garbage: with GOGC=100 a shard of 20 nodes may pile up
// 640 MB, and what lives lies scattered over all of it for good. So here garbage is allowed by the byte, also while nodes
// start, and what a busy time has left is given back to the system.
package collector

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"time"
)

const (
	relaxedPercent = 100

	// garbageBytes is collected by an idle shard every minute or two, and by one that starts twenty nodes about twenty times.
	garbageBytes = 16 << 20

	// nodeBufferBytes come into being when a node starts: 4 queues of 128 buffers of 64 KiB.
	nodeBufferBytes = 32 << 20

	// leastHeapBytes is the heap below which Go applies the percentage to this.
	leastHeapBytes = 4 << 20

	// quietAfter is how long there must have been no collection for a process to be no longer busy.
	quietAfter = 15 * time.Second

	// settling is how long a node makes garbage that is of its start and no sign of load: it joins, and hears of all others. What
	// it keeps comes into being meanwhile, and would lie scattered over a heap that is allowed to grow.
	settling = 5 * time.Second

	// What collecting costs, as a share of one core over the time between two cycles.
	relaxAbove   = 0.02
	tightenBelow = 0.005
	idleBelow    = 0.002
)

// NextPercent decides the GC percentage for the next cycle: doubled while collecting is expensive, halved when it costs little,
// back to base when the process is idle. cost is the CPU time of the collector divided by the wall time since the last cycle. The
// gap between the thresholds keeps it from swinging: doubling halves the cost, which is still well above tightenBelow.
func NextPercent(current, base int, cost float64) int {
	switch {
	case cost > relaxAbove:
		current *= 2
	case cost < idleBelow:
		current = base
	case cost < tightenBelow:
		current /= 2
	}
	return max(base, min(current, max(base, relaxedPercent)))
}

// gcPercent is the value for debug.SetGCPercent that allows as much garbage as percent of the live heap, but at least
// garbageBytes, and on top the buffers of nodes that are not in liveBytes yet.
func gcPercent(percent, newNodes int, liveBytes uint64) int {
	live := max(liveBytes, leastHeapBytes)
	garbage := max(live*uint64(percent)/100, garbageBytes) + uint64(newNodes)*nodeBufferBytes
	return int((garbage*100 + live - 1) / live)
}

// tuner holds the collector to the policy. There is one, as a process has one collector.
type tuner struct {
	mu        sync.Mutex
	quiet     *time.Timer // nil until Tune; runs while isBusy
	cycle     cycle
	automatic uint64    // cycles that nobody asked for, when it last looked
	live      uint64    // bytes of the heap that the last collection found alive
	isBusy    bool      // it has collected twice within quietAfter, keeps much more than before, or started a node
	starting  int       // nodes whose buffers are still to come
	settled   time.Time // when the nodes that have started will have
	newNodes  int       // nodes whose buffers no collection has seen, those that are starting included
	set       int       // what debug.SetGCPercent was last told
	limit     uint64    // of the resident set; 0 for none
}

var process tuner

// Tune sets the percentage to base and follows the load from then on. An idle process is looked at once per collection, of
// which there is one every two minutes anyway. Garbage is saved where the resident set comes near limit; 0 for no limit. Call
// it once, before the first node starts.
func Tune(base int, limit uint64) {
	process.limit = limit
	process.begin(base)
	afterEachCollection(func() { process.collected(time.Now()) })
}

func (t *tuner) begin(base int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.cycle = cycle{base: base, percent: base, at: time.Now(), spent: spentCollecting()}
	t.live = liveHeapBytes()
	t.automatic = automaticCycles()
	t.quiet = time.AfterFunc(quietAfter, t.giveBack)
	t.quiet.Stop()
	t.apply()
}

// NodeStarting says that a node is about to start; call what it returns when the node has its buffers, or has failed. Both
// do nothing in a process that is not tuned.
func NodeStarting() (started func()) { return process.nodeStarting() }

func (t *tuner) nodeStarting() (started func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.starting++
	t.newNodes++
	t.apply()
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.starting--
		t.settled = time.Now().Add(settling)
		if t.quiet != nil {
			t.isBusy = true
			t.quiet.Reset(quietAfter)
		}
	}
}

// collected follows a collection, unless it was one of giveBack's.
func (t *tuner) collected(now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.newNodes = t.starting
	live := liveHeapBytes()
	if automatic := automaticCycles(); automatic != t.automatic {
		t.automatic = automatic
		// One collection amid a burst finds all that the burst holds alive, and allows as much garbage again: the next one by
		// itself may come minutes after the burst.
		t.isBusy = t.isBusy || now.Sub(t.cycle.at) < quietAfter || live > t.live+garbageBytes
		t.cycle.adapt(now, spentCollecting(), t.starting == 0 && now.After(t.settled))
	}
	t.live = live
	if t.isBusy {
		t.quiet.Reset(quietAfter)
	}
	t.apply()
}

// giveBack follows a busy time: its garbage lies in pages that the runtime would keep, as it takes the untouched buffers for
// a heap that large.
func (t *tuner) giveBack() {
	t.mu.Lock()
	t.isBusy = false
	t.cycle.percent = t.cycle.base
	t.apply()
	t.mu.Unlock()
	runtime.GC() // pools keep what they hold for one more collection
	debug.FreeOSMemory()
}

// apply tells the runtime. The caller holds mu.
func (t *tuner) apply() {
	if t.quiet == nil {
		return
	}
	if percent := gcPercent(t.cycle.percent, t.newNodes, liveHeapBytes()); percent != t.set {
		t.set = percent
		debug.SetGCPercent(percent)
	}
	t.applyLimit()
}

// sentinel is garbage by the time the collector looks: its cleanup is how we hear of a cycle.
type sentinel struct{ _ [32]byte } // too large for the tiny allocator, which would keep it alive with its neighbours

func afterEachCollection(act func()) {
	runtime.AddCleanup(&sentinel{}, func(act func()) {
		afterEachCollection(act) // first, or a collection that begins meanwhile would be missed
		act()
	}, act)
}

// cycle is the state between two collections.
type cycle struct {
	base, percent int
	at            time.Time
	spent         time.Duration
}

// adapt takes the decision for the time since the last cycle; mayRelax is whether its cost is one of load.
func (c *cycle) adapt(now time.Time, spent time.Duration, mayRelax bool) {
	cost := float64(spent-c.spent) / float64(max(now.Sub(c.at), time.Microsecond))
	if next := NextPercent(c.percent, c.base, cost); mayRelax || next < c.percent {
		c.percent = next
	}
	c.at, c.spent = now, spent
}

// spentCollecting is the CPU time that the collector has taken from the program, without what it did on idle cores.
func spentCollecting() time.Duration {
	samples := []metrics.Sample{
		{Name: "/cpu/classes/gc/total:cpu-seconds"},
		{Name: "/cpu/classes/gc/mark/idle:cpu-seconds"},
	}
	metrics.Read(samples)
	return time.Duration((samples[0].Value.Float64() - samples[1].Value.Float64()) * float64(time.Second))
}

// automaticCycles counts the collections that the runtime has begun by itself, by size or by time.
func automaticCycles() uint64 { return readUint64("/gc/cycles/automatic:gc-cycles") }

// liveHeapBytes is what the last collection found alive.
func liveHeapBytes() uint64 { return readUint64("/gc/heap/live:bytes") }

func readUint64(name string) uint64 {
	samples := []metrics.Sample{{Name: name}}
	metrics.Read(samples)
	return samples[0].Value.Uint64()
}
