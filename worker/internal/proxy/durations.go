package proxy

import (
	"sort"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// bounds are the upper ends of the buckets, in seconds; one more bucket is for what takes longer.
var bounds = [...]float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}

// durations is a histogram that is read at once: the one of the Prometheus library is read only after it was collected, when
// what it is to agree with has gone on. Its zero value is ready.
type durations struct {
	buckets     [len(bounds) + 1]atomic.Uint64
	nanoseconds atomic.Int64
}

func (d *durations) observe(took time.Duration) {
	d.buckets[sort.SearchFloat64s(bounds[:], took.Seconds())].Add(1)
	d.nanoseconds.Add(int64(took))
}

// metric gives it as it is now.
func (d *durations) metric(desc *prometheus.Desc, labels ...string) prometheus.Metric {
	var count uint64
	upTo := make(map[float64]uint64, len(bounds))
	for i := range d.buckets {
		count += d.buckets[i].Load()
		if i < len(bounds) {
			upTo[bounds[i]] = count
		}
	}
	return prometheus.MustNewConstHistogram(desc, count, time.Duration(d.nanoseconds.Load()).Seconds(), upTo, labels...)
}
