package proxy

import (
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/forwardauth"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/limit"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/protocol"
)

const highestStatus = 599

// Counters are the numbers of one service. Requests add to them without a lookup; the status of the service and the
// Prometheus text are both read from them.
type Counters struct {
	service        string
	byStatus       [highestStatus + 1]atomic.Uint64
	duration       prometheus.Histogram
	upstreamErrors atomic.Uint64 // it did not answer
	upstream5xx    atomic.Uint64
	clientAborts   atomic.Uint64
	whoisErrors    atomic.Uint64
	clientErrors   atomic.Uint64
	denied         atomic.Uint64
	misdirected    atomic.Uint64
	stalled        atomic.Uint64 // clients that took in nothing of an answer
	limits         *limit.Limits
	backends       Backends
	authOutcomes   map[forwardauth.Outcome]*atomic.Uint64 // complete from the start, so that it is only read
	authDuration   prometheus.Histogram
	bytesIn        atomic.Uint64
	bytesOut       atomic.Uint64
	open           atomic.Int64
	running        running
}

func (c *Counters) request(status int, toHeader time.Duration) {
	if status < 0 || status > highestStatus {
		status = highestStatus
	}
	c.byStatus[status].Add(1)
	c.duration.Observe(toHeader.Seconds())
}

// Snapshot gives the numbers in the shape of the protocol.
func (c *Counters) Snapshot() protocol.ServiceCounters {
	var requests uint64
	for i := range c.byStatus {
		requests += c.byStatus[i].Load()
	}
	return protocol.ServiceCounters{
		Requests:        int(requests),
		Errors:          int(c.upstreamErrors.Load() + c.upstream5xx.Load() + c.authOutcomes[forwardauth.Failed].Load()),
		BytesIn:         int(c.bytesIn.Load()),
		BytesOut:        int(c.bytesOut.Load()),
		OpenConnections: int(c.open.Load()),
	}
}

var authOutcomes = []forwardauth.Outcome{forwardauth.Allowed, forwardauth.Denied, forwardauth.Bypassed, forwardauth.Cached,
	forwardauth.Passed, forwardauth.Failed}

// Metrics is the Prometheus side of the Counters of all services. The series of a removed service are gone at once.
type Metrics struct {
	mu       sync.Mutex
	services map[string]*Counters
}

// NewMetrics makes an empty set; register it with a Prometheus registry.
func NewMetrics() *Metrics { return &Metrics{services: map[string]*Counters{}} }

// Add makes the counters of a service, which start at zero. Those of its limits, and whether the servers that it depends on
// are up, are shown beside them.
func (m *Metrics) Add(service string, limits *limit.Limits, backends Backends) *Counters {
	counters := &Counters{
		service:      service,
		limits:       limits,
		backends:     backends,
		duration:     histogram(service, "request_duration_seconds", "Time from a request to the header of its response."),
		authDuration: histogram(service, "auth_duration_seconds", "Time until the auth server answered."),
		authOutcomes: map[forwardauth.Outcome]*atomic.Uint64{},
	}
	for _, outcome := range authOutcomes {
		counters.authOutcomes[outcome] = &atomic.Uint64{}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.services[service] = counters
	return counters
}

func histogram(service, name, help string) prometheus.Histogram {
	return prometheus.NewHistogram(prometheus.HistogramOpts{
		Name:        "tsnsrv_" + name,
		Help:        help,
		ConstLabels: prometheus.Labels{"service": service},
		Buckets:     []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
	})
}

// Remove forgets a service.
func (m *Metrics) Remove(counters *Counters) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.services[counters.service] == counters {
		delete(m.services, counters.service)
	}
}

var (
	requestsDesc   = describe("requests_total", "Requests by status code of the response; 499: the client went away before.", "code")
	errorsDesc     = describe("errors_total", "Trouble by type: upstream (did not answer), upstream_5xx, auth (the auth server gave no usable answer), client_abort, client (refused as malformed or too long), denied (by a rule), misdirected (for a name that is not the service's), whois, stalled (took in nothing of an answer).", "type")
	limitedDesc    = describe("limited_total", "Connections and requests that were turned away, by the limit that was reached.", "limit")
	authDesc       = describe("auth_requests_total", "Requests to a service with forward auth, by what became of the question.", "outcome")
	openDesc       = describe("open_connections", "Connections that clients hold.")
	upstreamUpDesc = describe("upstream_up", "1 if the upstream's last answers were good, 0 if not; absent before the first.")
	authUpDesc     = describe("auth_server_up", "The same for the auth server.")
	bytesInDesc    = describe("request_bytes_total", "Bytes received from clients, headers and WebSockets included.")
	bytesOutDesc   = describe("response_bytes_total", "Bytes sent to clients, headers and WebSockets included.")
)

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("tsnsrv_"+name, help, append([]string{"service"}, labels...), nil)
}

// Describe implements prometheus.Collector. It describes nothing: the histograms come and go with the services.
func (m *Metrics) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(out chan<- prometheus.Metric) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, counters := range m.services {
		counters.collect(out)
	}
}

func (c *Counters) collect(out chan<- prometheus.Metric) {
	counter := func(desc *prometheus.Desc, value uint64, labels ...string) {
		out <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(value), append([]string{c.service}, labels...)...)
	}
	for status := range c.byStatus {
		if count := c.byStatus[status].Load(); count > 0 {
			counter(requestsDesc, count, strconv.Itoa(status))
		}
	}
	counter(errorsDesc, c.upstreamErrors.Load(), "upstream")
	counter(errorsDesc, c.upstream5xx.Load(), "upstream_5xx")
	counter(errorsDesc, c.authOutcomes[forwardauth.Failed].Load(), "auth")
	counter(errorsDesc, c.clientAborts.Load(), "client_abort")
	counter(errorsDesc, c.whoisErrors.Load(), "whois")
	counter(errorsDesc, c.clientErrors.Load(), "client")
	counter(errorsDesc, c.denied.Load(), "denied")
	counter(errorsDesc, c.misdirected.Load(), "misdirected")
	counter(errorsDesc, c.stalled.Load(), "stalled")
	for _, reached := range limit.All {
		if count := c.limits.Reached(reached); count > 0 {
			counter(limitedDesc, count, string(reached))
		}
	}
	asked := false
	for outcome, count := range c.authOutcomes {
		if count := count.Load(); count > 0 {
			asked = true
			counter(authDesc, count, string(outcome))
		}
	}
	if asked {
		c.authDuration.Collect(out)
	}
	c.collectUp(out, upstreamUpDesc, c.backends.Upstream)
	c.collectUp(out, authUpDesc, c.backends.Auth)
	counter(bytesInDesc, c.bytesIn.Load())
	counter(bytesOutDesc, c.bytesOut.Load())
	out <- prometheus.MustNewConstMetric(openDesc, prometheus.GaugeValue, float64(c.open.Load()), c.service)
	c.duration.Collect(out)
}

func (c *Counters) collectUp(out chan<- prometheus.Metric, desc *prometheus.Desc, server *Health) {
	up, known := server.Up()
	if !known {
		return
	}
	value := 0.0
	if up {
		value = 1
	}
	out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, c.service)
}
