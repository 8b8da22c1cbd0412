// Package collector tunes Go's garbage collector for a process that is mostly idle and sometimes busy.
//
// Each node holds 32 MiB of receive buffers, nearly all never touched. Go counts them as live heap, so that with the
// default GOGC=100 a shard of 20 nodes may pile up 640 MB of garbage before it collects. A low percentage keeps an idle
// process small at almost no cost (the buffers hold no pointers); under load the same percentage would collect too often.
package collector

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	relaxedPercent = 100

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

// Tune sets the percentage to base and follows the load from then on. There is no timer: the decision is made once per
// collection, which an idle process does every two minutes anyway.
func Tune(base int) {
	debug.SetGCPercent(base)
	state := &cycle{base: base, percent: base, at: time.Now(), spent: spentCollecting()}
	afterEachCollection(func() { state.adapt(time.Now(), spentCollecting()) })
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

// adapt takes the decision for the time since the last cycle.
func (c *cycle) adapt(now time.Time, spent time.Duration) {
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
	if c.percent != before {
		debug.SetGCPercent(c.percent)
	}
	if c.percent < before && c.percent == c.base {
		// The garbage of the busy time lies in pages that the runtime would keep: it takes the untouched receive buffers
		// for a heap that large.
		debug.FreeOSMemory()
	}
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
