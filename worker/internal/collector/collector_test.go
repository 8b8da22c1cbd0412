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
		{"between the thresholds: left alone", 40, 10, 0.02, 40},
		{"cheap: halved", 40, 10, 0.005, 20},
		{"cheap: not below base", 12, 10, 0.005, 10},
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

// The sentinel must be armed again after each cycle: an idle process comes back to base by its next collection.
func TestTuneFollowsEachCycle(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(100))
	Tune(10)
	for round := range 3 {
		debug.SetGCPercent(77)
		before := spentCollecting()
		runtime.GC()
		if spent := spentCollecting(); spent < before {
			t.Fatalf("round %d: the collector's time went back from %v to %v", round, before, spent)
		}
	}
	c := &cycle{base: 10, percent: 80, at: time.Now().Add(-2 * time.Minute), spent: spentCollecting()}
	c.collected()
	if c.percent != 10 {
		t.Errorf("after two idle minutes the percentage is %d", c.percent)
	}
}
