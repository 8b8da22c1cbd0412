package proxy

import (
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/forwardauth"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/limit"
)

// gatherer gives a set of metrics, and a registry that has it.
func gatherer() (*Metrics, *prometheus.Registry) {
	metrics := NewMetrics()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(metrics)
	return metrics, registry
}

func countAll(c *Counters) {
	c.request(http.StatusOK, time.Millisecond)
	c.request(http.StatusNotFound, 20*time.Millisecond)
	c.bytesIn.Add(10)
	c.upstreamErrors.Add(1)
	c.authOutcomes[forwardauth.Allowed].Add(1)
	c.authDuration.observe(time.Second)
	c.limits.Reach(limit.OpenFiles)
}

// A service that has left is still shown with what it has counted, and goes on from there when it comes back. What is true
// only of the present goes.
func TestCountersStayWhenAServiceLeaves(t *testing.T) {
	metrics, registry := gatherer()
	backends := noBackends()
	backends.Upstream.Good()
	counters := metrics.Add("web", limit.New(), backends)
	countAll(counters)
	counters.open.Add(1)
	counted := func(times string) string {
		return strings.NewReplacer("TIMES", times).Replace(`# HELP tsnsrv_limited_total Connections and requests that were turned away, by the limit that was reached.
# TYPE tsnsrv_limited_total counter
tsnsrv_limited_total{limit="open_files",service="web"} TIMES
# HELP tsnsrv_requests_total Requests by status code of the response; 499: the client went away before.
# TYPE tsnsrv_requests_total counter
tsnsrv_requests_total{code="200",service="web"} TIMES
tsnsrv_requests_total{code="404",service="web"} TIMES
`)
	}
	present := `# HELP tsnsrv_open_connections Connections that clients hold.
# TYPE tsnsrv_open_connections gauge
tsnsrv_open_connections{service="web"} 1
# HELP tsnsrv_upstream_up 1 if the upstream's last answers were good, 0 if not; absent before the first.
# TYPE tsnsrv_upstream_up gauge
tsnsrv_upstream_up{service="web"} 1
`
	expect := func(when, want string) {
		t.Helper()
		err := testutil.GatherAndCompare(registry, strings.NewReader(want), "tsnsrv_limited_total", "tsnsrv_requests_total",
			"tsnsrv_open_connections", "tsnsrv_upstream_up", "tsnsrv_auth_server_up")
		if err != nil {
			t.Errorf("%s: %v", when, err)
		}
	}
	expect("before", counted("1")+present)
	before := counters.Snapshot()
	metrics.Remove(counters)
	expect("after it has left", counted("1"))
	counters.open.Add(-1) // of a connection that ended late

	again := metrics.Add("web", limit.New(), noBackends())
	if got := again.Snapshot(); got.Requests != before.Requests || got.BytesIn != before.BytesIn || got.Errors != before.Errors {
		t.Errorf("the status begins with %+v, it was %+v", got, before)
	}
	countAll(again)
	expect("back again", counted("2")+strings.Replace(present[:strings.Index(present, "# HELP tsnsrv_upstream_up")], "} 1", "} 0", 1))
}

// Requests by status are the requests of the histogram, whenever one looks.
func TestRequestsAndDurationsAgree(t *testing.T) {
	metrics, registry := gatherer()
	counters := metrics.Add("web", limit.New(), noBackends())
	end := make(chan struct{})
	var clients sync.WaitGroup
	for i := range 4 {
		clients.Go(func() {
			for {
				select {
				case <-end:
					return
				default:
					counters.request(http.StatusOK+i, time.Duration(i)*10*time.Millisecond)
				}
			}
		})
	}
	defer clients.Wait()
	defer close(end)
	for range 300 {
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		var requests, observed, last uint64
		for _, family := range families {
			for _, metric := range family.Metric {
				switch family.GetName() {
				case "tsnsrv_requests_total":
					requests += uint64(metric.GetCounter().GetValue())
				case "tsnsrv_request_duration_seconds":
					observed = metric.GetHistogram().GetSampleCount()
					buckets := metric.GetHistogram().Bucket
					last = buckets[len(buckets)-1].GetCumulativeCount()
				}
			}
		}
		if requests != observed || last != observed {
			t.Fatalf("%d requests, %d of them with a duration, %d in the last bucket", requests, observed, last)
		}
	}
}
