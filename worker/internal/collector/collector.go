// Package collector tunes Go's garbage collector for a process that is mostly idle and sometimes busy.
//
// Each node holds 32 MiB of receive buffers, nearly all never touched: they are no memory until somebody writes to them. Go
// counts them as live heap, and that misleads it twice. A percentage of that heap is a lot of garbage: with GOGC=100 a shard
// of 20 nodes may pile up 640 MB. And a buffer that is laid where garbage was is zeroed first, and so becomes memory for as
// long as the node lives. So here garbage is allowed by the byte, and none is collected while nodes start: their buffers then
// come to lie in fresh memory.
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

	// idleGarbageBytes is collected by an idle shard at no measurable cost.
	idleGarbageBytes = 16 << 20

	// startingNodeBytes is what a node takes while it starts: 32 MiB of buffers, and the garbage of joining.
	startingNodeBytes = 48 << 20

	// A start is over when, within settleTime, less was allocated than an idle shard may keep as garbage; or, for a process
	// that has work to do by then, after maxSettles times as long.
	settleTime = 15 * time.Second
	maxSettles = 8

	// leastHeapBytes is the heap below which Go applies the percentage to this.
	leastHeapBytes = 4 << 20

	// What collecting costs, as a share of one core over the time between two cycles.
	relaxAbove   = 0.04
	tightenBelow = 0.01
	idleBelow    = 0.002

	// relaxAfter keeps short bursts, above all the start of the nodes, from growing the heap for good.
	relaxAfter = 5 * time.Second
)

// NextPercent decides the GC percentage for the next cycle: doubled while collecting has been expensive for a while, halved
// when it costs little, back to base when the process is idle. cost is the CPU time of the collector divided by the wall
// time since the last cycle; expensiveFor is how long it has been above relaxAbove without a break. The gap between the
// thresholds keeps it from swinging: doubling halves the cost, which is still well above tightenBelow.
func NextPercent(current, base int, cost float64, expensiveFor time.Duration) int {
	switch {
	case cost > relaxAbove && expensiveFor >= relaxAfter:
		current *= 2
	case cost < idleBelow:
		current = base
	case cost < tightenBelow:
		current /= 2
	}
	return max(base, min(current, max(base, relaxedPercent)))
}

// gcPercent is the value for debug.SetGCPercent that allows as much garbage as percent of the live heap, but at least
// idleGarbageBytes, and the memory of nodes that are starting on top.
func gcPercent(percent, starting int, liveBytes uint64) int {
	live := max(liveBytes, leastHeapBytes)
	garbage := max(live*uint64(percent)/100, idleGarbageBytes) + uint64(starting)*startingNodeBytes
	return int((garbage*100 + live - 1) / live)
}

// tuner holds the collector to the policy. There is one, as a process has one collector.
type tuner struct {
	mu       sync.Mutex
	cycle    cycle
	starting int         // nodes, since the last time that it was quiet
	settle   *time.Timer // nil until Tune; runs while starting > 0
	settles  int         // how often it has run since the last node started
	heaped   uint64      // bytes allocated, ever, when it last began to run
	set      int         // what debug.SetGCPercent was last told
}

var process tuner

// Tune sets the percentage to base and follows the load from then on. An idle process is looked at once per collection, of
// which there is one every two minutes anyway. Call it once, before the first node starts.
func Tune(base int) {
	t := &process
	t.mu.Lock()
	defer t.mu.Unlock()
	t.cycle = cycle{base: base, percent: base, at: time.Now(), spent: spentCollecting()}
	t.settle = time.AfterFunc(settleTime, t.look)
	t.settle.Stop()
	t.apply()
	afterEachCollection(t.collected)
}

// NodeStarting says that a node is about to start. It does nothing in a process that is not tuned.
func NodeStarting() { process.nodeStarting() }

func (t *tuner) nodeStarting() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.settle == nil {
		return
	}
	t.starting++
	t.settles, t.heaped = 0, allocatedBytes()
	t.settle.Reset(settleTime)
	t.apply()
}

// look ends the start if it is over, and gives back what it has left.
func (t *tuner) look() {
	if t.endStart() {
		runtime.GC() // pools keep what they hold for one more collection
		debug.FreeOSMemory()
	}
}

// endStart ends the start if it is over, or has it looked at again.
func (t *tuner) endStart() (isOver bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	before := t.heaped
	t.settles++
	t.heaped = allocatedBytes()
	if t.heaped-before >= idleGarbageBytes && t.settles < maxSettles {
		t.settle.Reset(settleTime)
		return false
	}
	t.starting = 0
	t.apply()
	return true
}

func (t *tuner) collected() {
	t.mu.Lock()
	isIdleAgain := t.cycle.adapt(time.Now(), spentCollecting())
	t.apply()
	t.mu.Unlock()
	if isIdleAgain {
		// The garbage of the busy time lies in pages that the runtime would keep: it takes the untouched receive buffers
		// for a heap that large.
		debug.FreeOSMemory()
	}
}

// apply tells the runtime. The caller holds mu.
func (t *tuner) apply() {
	if percent := gcPercent(t.cycle.percent, t.starting, liveHeapBytes()); percent != t.set {
		t.set = percent
		debug.SetGCPercent(percent)
	}
}

// sentinel is garbage by the time the collector looks: its cleanup is how we hear of a cycle.
type sentinel struct{ _ [32]byte } // too large for the tiny allocator, which would keep it alive with its neighbours

func afterEachCollection(act func()) {
	runtime.AddCleanup(&sentinel{}, func(act func()) {
		act()
		afterEachCollection(act)
	}, act)
}

// cycle is the state between two collections.
type cycle struct {
	base, percent  int
	at             time.Time
	spent          time.Duration
	expensiveSince time.Time // zero: the last cycle was not
}

// adapt takes the decision for the time since the last cycle, and tells whether a busy time has ended with it.
func (c *cycle) adapt(now time.Time, spent time.Duration) (isIdleAgain bool) {
	cost := float64(spent-c.spent) / float64(max(now.Sub(c.at), time.Microsecond))
	if cost <= relaxAbove {
		c.expensiveSince = time.Time{}
	} else if c.expensiveSince.IsZero() {
		c.expensiveSince = c.at
	}
	var expensiveFor time.Duration
	if !c.expensiveSince.IsZero() {
		expensiveFor = now.Sub(c.expensiveSince)
	}
	before := c.percent
	c.percent = NextPercent(before, c.base, cost, expensiveFor)
	c.at, c.spent = now, spent
	return c.percent < before && c.percent == c.base
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

// allocatedBytes is what the process has ever allocated on its heap.
func allocatedBytes() uint64 { return readUint64("/gc/heap/allocs:bytes") }

// liveHeapBytes is what the last collection found alive.
func liveHeapBytes() uint64 {
	return readUint64("/gc/heap/live:bytes")
}

func readUint64(name string) uint64 {
	samples := []metrics.Sample{{Name: name}}
	metrics.Read(samples)
	return samples[0].Value.Uint64()
}
