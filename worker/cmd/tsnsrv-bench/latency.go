package main

import (
	"math"
	"slices"
	"time"
)

// latencies is how long each answered request took. All of them are kept and sorted, which is exact and costs 8 bytes each:
// less than a histogram would for the runs of this benchmark.
type latencies []time.Duration

// percentile is the smallest latency that at least p percent are not above (nearest rank), in milliseconds; 0 of none. The
// receiver must be sorted.
func (l latencies) percentile(p float64) float64 {
	if len(l) == 0 {
		return 0
	}
	rank := int(math.Ceil(p / 100 * float64(len(l))))
	return milliseconds(l[max(rank, 1)-1])
}

// merge joins and sorts.
func merge(parts []latencies) latencies {
	all := slices.Concat(parts...)
	slices.Sort(all)
	return all
}

func milliseconds(d time.Duration) float64 { return math.Round(d.Seconds()*1e6) / 1e3 }
