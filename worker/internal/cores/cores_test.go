package cores

import (
	"runtime"
	"sync"
	"testing"
	"time"
)

func TestNext(t *testing.T) {
	for _, c := range []struct {
		what string
		from Width
		used float64
		want Width
	}{
		{"idle", Width{Cores: 1}, 0.002, Width{Cores: 1}},
		{"busy", Width{Cores: 1}, 0.9, Width{Cores: 1}},
		{"full: one more", Width{Cores: 1}, 0.97, Width{Cores: 2}},
		{"full, with a system call beside it", Width{Cores: 1}, 1.2, Width{Cores: 2}},
		{"full, and one more was not worth it", Width{Cores: 1, Held: 3}, 1, Width{Cores: 1, Held: 2}},
		{"all that there are", Width{Cores: 4}, 4, Width{Cores: 4}},
		{"the second is worth it", Width{Cores: 2, Calm: 3}, 1.3, Width{Cores: 2}},
		{"the second brings nothing", Width{Cores: 2}, 1.05, Width{Cores: 1, Held: heldPeriods}},
		{"does not need the second", Width{Cores: 2, Calm: 3}, 0.6, Width{Cores: 2, Calm: 4}},
		{"has not needed it for long", Width{Cores: 2, Calm: 4}, 0.6, Width{Cores: 1}},
		{"one fewer at a time", Width{Cores: 4, Calm: 4}, 0, Width{Cores: 3}},
	} {
		if got := c.from.Next(c.used, 4); got != c.want {
			t.Errorf("%s: got %+v, want %+v", c.what, got, c.want)
		}
	}
}

// Under a steady load the number of cores comes to rest where they are enough, or at those that the host has to give; at most,
// one more is tried now and then.
func TestNextSettles(t *testing.T) {
	const most = 8
	for host := 1.05; host <= most; host *= 1.6 { // the cores that others leave to it
		for work := 0.0; work < 10; work += 0.05 { // in cores, as one core would do it
			use := func(cores int) float64 {
				if cores > 1 {
					return min(1.17*work, float64(cores), host)
				}
				return min(work, 1, host)
			}
			for start := 1; start <= most; start++ {
				width := Width{Cores: start}
				for range most * (calmPeriods + 1) {
					width = width.Next(use(width.Cores), most)
				}
				tries, least := 0, width.Cores
				for range 10 * heldPeriods {
					before := width.Cores
					if width = width.Next(use(width.Cores), most); width.Cores > before {
						tries++
					}
					least = min(least, width.Cores)
				}
				if tries > 10 {
					t.Fatalf("work %.2f, host %.2f, from %d: swings, at %d cores at last", work, host, start, width.Cores)
				}
				if enough := min(work, host/1.17, most-0.1); use(least) < enough*0.97 {
					t.Fatalf("work %.2f, host %.2f, from %d: does %.2f of it with %d cores", work, host, start, use(least), least)
				}
			}
		}
	}
}

// A life: idle, full, idle again.
func TestFollowerTellsTheRuntime(t *testing.T) {
	most := runtime.GOMAXPROCS(8)
	defer runtime.GOMAXPROCS(most)
	now, spent := time.Now(), time.Duration(0)
	f := begin(now, spent)
	for i, step := range []struct {
		used float64
		want int
	}{{0, 1}, {1, 2}, {1.95, 3}, {2.4, 3}, {0, 3}, {0, 3}, {0, 3}, {0, 3}, {0, 2}, {0, 2}, {0, 2}, {0, 2}, {0, 2}, {0, 1}, {0, 1}} {
		now, spent = now.Add(period), spent+time.Duration(step.used*float64(period))
		f.look(now, spent)
		if got := runtime.GOMAXPROCS(0); got != step.want {
			t.Fatalf("look %d: %d cores, want %d", i, got, step.want)
		}
	}
}

// A burst is over before the next look, so it is noticed by who has to wait behind it.
func TestYieldTakesACoreWhereManyWait(t *testing.T) {
	most := runtime.GOMAXPROCS(2)
	defer runtime.GOMAXPROCS(most)
	f := begin(time.Now(), 0)
	following.Store(f)
	defer following.Store(nil)
	Yield()
	if got := runtime.GOMAXPROCS(0); got != 1 {
		t.Fatalf("nobody waits: %d cores", got)
	}
	var burst sync.WaitGroup
	for range 20 {
		burst.Go(func() {
			for end := time.Now().Add(longQueue); time.Now().Before(end); {
			}
		})
	}
	Yield()
	if got := runtime.GOMAXPROCS(0); got != 2 {
		t.Errorf("20 goroutines go first for %v each: %d cores", longQueue, got)
	}
	Yield() // there is no third core
	burst.Wait()
	f.look(f.at.Add(period), f.spent)
	if f.width != (Width{Cores: 2, Calm: 1}) {
		t.Errorf("after a look at nothing: %+v", f.width)
	}
}

// A second core that brought nothing is not taken again for a while, however long somebody waits.
func TestMoreIsNotTriedWhileHeld(t *testing.T) {
	for from, want := range map[Width]Width{
		{Cores: 1}:          {Cores: 2},
		{Cores: 1, Held: 3}: {Cores: 1, Held: 3},
		{Cores: 2, Calm: 4}: {Cores: 3},
		{Cores: 3}:          {Cores: 3},
	} {
		if got := from.More(3); got != want {
			t.Errorf("%+v: got %+v, want %+v", from, got, want)
		}
	}
}

func TestCPUTimeGrows(t *testing.T) {
	before := cpuTime()
	for deadline := time.Now().Add(time.Minute); cpuTime() == before; {
		if time.Now().After(deadline) {
			t.Fatal("a minute of work took no CPU time")
		}
	}
}
