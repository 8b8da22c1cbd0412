// Package cores has a process use no more cores than its load needs, and one while it can.
//
// A request passes through a dozen goroutines. With a second core at hand, Go's scheduler wakes a thread there for nearly
// each of these steps, which costs more than most of them do: a futex call, an interrupt to the other core, cold caches. With
// one core the next goroutine is simply the next. Shards are how a host's cores come into use, each worker on its own.
package cores

import (
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// period is how often the load is looked at: for so long, at least, a full core holds up who waits for it.
	period = 2 * time.Second

	// fullAbove is the share of its cores above which a process wants one more.
	fullAbove = 0.95

	// worthFrom is the share of the last core that must be used for it to be kept: the same work takes a good sixth more on two
	// cores than on one, so what two do with 1.15 of one, one can do. It shows a host, too, that has no more cores to give.
	worthFrom = 0.15
	// heldPeriods is for how many looks a core that was not worth it is not tried again.
	heldPeriods = 15

	// calmPeriods is for how many looks in a row a core is kept that is not needed any more.
	calmPeriods = 5

	// longQueue is how long a goroutine that can run may wait for its turn. While others can run, a full core looks at its
	// sockets only every 10 ms (runtime.sysmon), so a request that comes behind a burst waits several times as long.
	longQueue = 2 * time.Millisecond
)

// Width is how many cores a process uses, and what is needed to decide that anew.
type Width struct {
	Cores int
	// Held is for how many looks yet no more cores are tried.
	Held int
	// Calm counts the looks in a row at which one core fewer would have been enough.
	Calm int
}

// Next decides for a process that may use up to most cores, and since the last look has used that many of them (CPU time by
// wall time).
func (w Width) Next(used float64, most int) Width {
	all, fewer := float64(w.Cores), float64(w.Cores-1)
	held := max(w.Held-1, 0)
	switch {
	case used > fullAbove*all && w.Held == 0:
		return Width{Cores: min(w.Cores+1, most)}
	case used >= fewer+worthFrom || w.Cores == 1:
		return Width{Cores: w.Cores, Held: held}
	case used > fullAbove*fewer:
		return Width{Cores: w.Cores - 1, Held: heldPeriods}
	case w.Calm+1 < calmPeriods:
		return Width{Cores: w.Cores, Held: held, Calm: w.Calm + 1}
	default:
		return Width{Cores: w.Cores - 1, Held: held}
	}
}

// More is one core more at once, where it may be tried.
func (w Width) More(most int) Width {
	if w.Held > 0 {
		return w
	}
	return Width{Cores: min(w.Cores+1, most)}
}

// following is what FollowLoad has begun; nil before, and where there is one core alone.
var following atomic.Pointer[follower]

// Yield lets goroutines that wait for a core run first, as runtime.Gosched does. When they are many, the process takes one more
// core at once: a burst fills a core for less than a period, and what comes behind it would wait meanwhile. It is for the
// beginning of a request, and costs next to nothing while nobody waits.
func Yield() {
	if f := following.Load(); f != nil && !f.isFixed.Load() {
		began := time.Now()
		runtime.Gosched()
		if time.Since(began) > longQueue {
			f.widen()
		}
	}
}

// FollowLoad holds the process to Next from then on, within what GOMAXPROCS allows at the call: the affinity mask, a quota of
// CPU, or the environment. Call it once. It wakes the process every two seconds.
func FollowLoad() {
	follower := begin(time.Now(), cpuTime())
	if follower.most == 1 {
		return
	}
	following.Store(follower)
	var timer *time.Timer
	timer = time.AfterFunc(period, func() {
		follower.look(time.Now(), cpuTime())
		timer.Reset(period)
	})
}

// follower is what one look hands on to the next.
type follower struct {
	most    int
	isFixed atomic.Bool // no more cores may be tried now

	mu    sync.Mutex
	width Width
	at    time.Time
	spent time.Duration
}

func begin(now time.Time, spent time.Duration) *follower {
	return &follower{width: Width{Cores: 1}, most: runtime.GOMAXPROCS(1), at: now, spent: spent}
}

// look decides by the CPU time that the process has spent since it started.
func (f *follower) look(now time.Time, spent time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	used := float64(spent-f.spent) / float64(now.Sub(f.at))
	f.at, f.spent = now, spent
	f.use(f.width.Next(used, f.most))
}

func (f *follower) widen() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.use(f.width.More(f.most))
}

func (f *follower) use(next Width) {
	if next.Cores != f.width.Cores {
		runtime.GOMAXPROCS(next.Cores) // which stops the world for a moment
	}
	f.width = next
	f.isFixed.Store(next == next.More(f.most))
}

// cpuTime is what the process has used since it started.
func cpuTime() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
