package cores

import (
	"runtime"
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
		{"busy", Width{Cores: 1}, 0.85, Width{Cores: 1}},
		{"full: one more", Width{Cores: 1}, 0.93, Width{Cores: 2}},
		{"full, with a system call beside it", Width{Cores: 1}, 1.2, Width{Cores: 2}},
		{"all that there are", Width{Cores: 4}, 4, Width{Cores: 4}},
		{"needs the second", Width{Cores: 2, Calm: 3}, 0.8, Width{Cores: 2}},
		{"does not need the second", Width{Cores: 2, Calm: 3}, 0.6, Width{Cores: 2, Calm: 4}},
		{"has not needed it for long", Width{Cores: 2, Calm: 4}, 0.6, Width{Cores: 1}},
		{"one fewer at a time", Width{Cores: 4, Calm: 4}, 0, Width{Cores: 3}},
	} {
		if got := c.from.Next(c.used, 4); got != c.want {
			t.Errorf("%s: got %+v, want %+v", c.what, got, c.want)
		}
	}
}

// Under a steady load the number of cores comes to rest, though the same work costs a fifth more on a second core.
func TestNextSettles(t *testing.T) {
	const most = 8
	for work := 0.0; work < 10; work += 0.05 {
		use := func(cores int) float64 {
			if cores > 1 {
				return min(1.2*work, float64(cores))
			}
			return min(work, 1)
		}
		for start := 1; start <= most; start++ {
			width := Width{Cores: start}
			for range most * calmPeriods {
				width = width.Next(use(width.Cores), most)
			}
			rest := width.Cores
			if use(rest) > fullAbove*float64(rest) && rest < most {
				t.Errorf("work %.2f from %d: rests at %d cores, which are full", work, start, rest)
			}
			for range 2 * calmPeriods {
				if width = width.Next(use(width.Cores), most); width.Cores != rest {
					t.Fatalf("work %.2f from %d: swings between %d and %d cores", work, start, rest, width.Cores)
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
	}{{0, 1}, {1, 2}, {1.95, 3}, {2.2, 3}, {0, 3}, {0, 3}, {0, 3}, {0, 3}, {0, 2}, {0, 2}, {0, 2}, {0, 2}, {0, 2}, {0, 1}, {0, 1}} {
		now, spent = now.Add(period), spent+time.Duration(step.used*float64(period))
		f.look(now, spent)
		if got := runtime.GOMAXPROCS(0); got != step.want {
			t.Fatalf("look %d: %d cores, want %d", i, got, step.want)
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
