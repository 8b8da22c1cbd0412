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
