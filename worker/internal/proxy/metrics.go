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
	service  string
	counting sync.RWMutex // held for reading by a request that is counted, and for writing by a look at all of them
	byStatus [highestStatus + 1]atomic.Uint64
	duration durations

	upstreamErrors atomic.Uint64 // it did not answer
	upstream5xx    atomic.Uint64
	clientAborts   atomic.Uint64
	whoisErrors    atomic.Uint64
	clientErrors   atomic.Uint64
	denied         atomic.Uint64
	misdirected    atomic.Uint64
	stalled        atomic.Uint64          // clients that took in nothing of an answer
	limited        map[limit.Limit]uint64 // what earlier limits have counted; belongs to Metrics
	limits         *limit.Limits          // nil while the service is not here; belongs to Metrics, as backends do
	backends       Backends
	authOutcomes   map[forwardauth.Outcome]*atomic.Uint64 // complete from the start, so that it is only read
	authDuration   durations
	bytesIn        atomic.Uint64
	bytesOut       atomic.Uint64
	open           atomic.Int64
	running        running
}

func (c *Counters) request(status int, toHeader time.Duration) {
	if status < 0 || status > highestStatus {
		status = highestStatus
	}
	c.counting.RLock()
	defer c.counting.RUnlock()
	c.byStatus[status].Add(1)
	c.duration.observe(toHeader)
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

// Metrics is the Prometheus side of the Counters of all services. What a service has counted stays when it leaves, and goes
// on when it comes back: the sum over all workers never falls.
type Metrics struct {
	mu       sync.Mutex
	services map[string]*Counters
}

// NewMetrics makes an empty set; register it with a Prometheus registry.
func NewMetrics() *Metrics { return &Metrics{services: map[string]*Counters{}} }

// Add gives the counters of a service: those that it had here before, or new ones. Those of its limits, and whether the
// servers that it depends on are up, are shown beside them until Remove.
func (m *Metrics) Add(service string, limits *limit.Limits, backends Backends) *Counters {
	m.mu.Lock()
	defer m.mu.Unlock()
	counters, ok := m.services[service]
	if !ok {
		counters = newCounters(service)
		m.services[service] = counters
	}
	counters.limits, counters.backends = limits, backends
	return counters
}

func newCounters(service string) *Counters {
	counters := &Counters{
		service:      service,
		limited:      map[limit.Limit]uint64{},
		authOutcomes: map[forwardauth.Outcome]*atomic.Uint64{},
	}
	for _, outcome := range authOutcomes {
		counters.authOutcomes[outcome] = &atomic.Uint64{}
	}
	return counters
}

// Remove ends what is shown of the present of a service. Its counters stay.
func (m *Metrics) Remove(counters *Counters) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, reached := range limit.All {
		counters.limited[reached] += counters.limits.Reached(reached)
	}
	counters.limits, counters.backends = nil, Backends{}
}

var (
	requestsDesc     = describe("requests_total", "Requests by status code of the response; 499: the client went away before.", "code")
	errorsDesc       = describe("errors_total", "Trouble by type: upstream (did not answer), upstream_5xx, auth (the auth server gave no usable answer), client_abort, client (refused as malformed or too long), denied (by a rule), misdirected (for a name that is not the service's), whois, stalled (took in nothing of an answer).", "type")
	limitedDesc      = describe("limited_total", "Connections and requests that were turned away, by the limit that was reached.", "limit")
	authDesc         = describe("auth_requests_total", "Requests to a service with forward auth, by what became of the question.", "outcome")
	openDesc         = describe("open_connections", "Connections that clients hold.")
	upstreamUpDesc   = describe("upstream_up", "1 if the upstream's last answers were good, 0 if not; absent before the first.")
	authUpDesc       = describe("auth_server_up", "The same for the auth server.")
	bytesInDesc      = describe("request_bytes_total", "Bytes received from clients, headers and WebSockets included.")
	durationDesc     = describe("request_duration_seconds", "Time from a request to the header of its response.")
	authDurationDesc = describe("auth_duration_seconds", "Time until the auth server answered.")
	bytesOutDesc     = describe("response_bytes_total", "Bytes sent to clients, headers and WebSockets included.")
)

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("tsnsrv_"+name, help, append([]string{"service"}, labels...), nil)
}

// Describe implements prometheus.Collector. It describes nothing: the series come with the services.
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
	byStatus, duration := c.counted()
	for status, count := range byStatus {
		if count > 0 {
			counter(requestsDesc, count, strconv.Itoa(status))
		}
	}
	out <- duration
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
		if count := c.reached(reached); count > 0 {
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
		out <- c.authDuration.metric(authDurationDesc, c.service)
	}
	counter(bytesInDesc, c.bytesIn.Load())
	counter(bytesOutDesc, c.bytesOut.Load())
	if c.limits == nil {
		return
	}
	c.collectUp(out, upstreamUpDesc, c.backends.Upstream)
	c.collectUp(out, authUpDesc, c.backends.Auth)
	out <- prometheus.MustNewConstMetric(openDesc, prometheus.GaugeValue, float64(c.open.Load()), c.service)
}

// counted gives the requests by status and their durations as of one moment: they are the same requests.
func (c *Counters) counted() ([highestStatus + 1]uint64, prometheus.Metric) {
	c.counting.Lock()
	defer c.counting.Unlock()
	var byStatus [highestStatus + 1]uint64
	for status := range c.byStatus {
		byStatus[status] = c.byStatus[status].Load()
	}
	return byStatus, c.duration.metric(durationDesc, c.service)
}

// reached tells how often a limit was reached, by this stay of the service and those before.
func (c *Counters) reached(which limit.Limit) uint64 {
	count := c.limited[which]
	if c.limits != nil {
		count += c.limits.Reached(which)
	}
	return count
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
