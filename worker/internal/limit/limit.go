// Package limit bounds what the clients of one service may use at once, so that no client takes everything from the others,
// and no service from its neighbours in the worker.
package limit

import (
	"math"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/protocol"
)

// Limit names what a client has reached; the label of a metric.
type Limit string

const (
	None                 Limit = "" // nothing: go on
	Connections          Limit = "connections"
	ConnectionsPerClient Limit = "connections_per_client"
	ConnectionRate       Limit = "connection_rate"
	Requests             Limit = "requests"
	RequestsPerClient    Limit = "requests_per_client"
	RequestRate          Limit = "request_rate"
	OpenFiles            Limit = "open_files" // of the worker, see Files
)

// All are the limits that there are.
var All = []Limit{Connections, ConnectionsPerClient, ConnectionRate, Requests, RequestsPerClient, RequestRate, OpenFiles}

const (
	// burstSeconds is how long a client may have saved its requests up. A page asks for all its parts at once.
	burstSeconds = 10

	// mostIdle is how many clients are remembered that have no connection, for the sake of their rate.
	mostIdle = 10_000

	// funnelBytes is what the clients of a service from the internet may be sent together in a second, in bytes, and what they may
	// have saved up. It is more than a relay carries. Without it, clients whose buffers take it all in keep the core of the worker
	// busy, and its other services wait.
	funnelBytes = 32 << 20
	funnelBurst = 1 << 20

	// funnelBits is the part of an IPv6 address that one customer of a provider has for itself.
	funnelBits = 64
)

// Client is whom the limits count as one: an address, and for IPv6 from the internet a /64.
type Client struct {
	network netip.Prefix
	funnel  bool
}

// ClientOf tells who is behind the address of a connection. Addresses that are no IP address are all one client.
func ClientOf(remote net.Addr, funnel bool) Client {
	endpoint, err := netip.ParseAddrPort(remote.String())
	if err != nil {
		return Client{funnel: funnel}
	}
	address := endpoint.Addr().Unmap().WithZone("")
	bits := address.BitLen()
	if funnel && address.Is6() {
		bits = funnelBits
	}
	network, _ := address.Prefix(bits)
	return Client{network: network, funnel: funnel}
}

// Limits are those of one service, over all its listeners. It is safe for concurrent use.
type Limits struct {
	Sending atomic.Int64 // writes that run: nearly all of them wait for a client to read

	toInternet  *rate.Limiter // bytes
	sendTimeout atomic.Int64  // nanoseconds
	reached     map[Limit]*atomic.Uint64

	mu          sync.Mutex
	spec        protocol.LimitsSpec
	clients     map[Client]*usage
	idle        int // clients without connection or request
	connections int
	requests    int
}

// usage is what one client has. A rate limiter is nil while there is no rate.
type usage struct {
	connections, requests int
	connecting, asking    *rate.Limiter
}

func (u *usage) isIdle() bool { return u.connections == 0 && u.requests == 0 }

// New makes limits that bound nothing until Set is called.
func New() *Limits {
	l := &Limits{
		clients: map[Client]*usage{}, reached: map[Limit]*atomic.Uint64{}, toInternet: rate.NewLimiter(funnelBytes, funnelBurst),
	}
	for _, limit := range All {
		l.reached[limit] = &atomic.Uint64{}
	}
	return l
}

// Set changes the limits. Who has more than the new ones allow keeps it.
func (l *Limits) Set(spec protocol.LimitsSpec) {
	l.sendTimeout.Store(int64(time.Duration(spec.SendTimeoutMs) * time.Millisecond))
	l.mu.Lock()
	defer l.mu.Unlock()
	if spec.RateLimit != l.spec.RateLimit || spec.FunnelRateLimit != l.spec.FunnelRateLimit {
		for client, used := range l.clients {
			used.connecting, used.asking = nil, nil
			l.forgetIfIdle(client, used)
		}
	}
	l.spec = spec
}

// SendTimeout is how long a client may take in nothing of what waits for it; 0 for ever.
func (l *Limits) SendTimeout() time.Duration { return time.Duration(l.sendTimeout.Load()) }

// AwaitFunnel waits until so many bytes may be sent to the internet.
func (l *Limits) AwaitFunnel(bytes int) {
	for bytes > 0 {
		part := min(bytes, funnelBurst)
		time.Sleep(l.toInternet.ReserveN(time.Now(), part).Delay())
		bytes -= part
	}
}

// Reached tells how often a limit was reached.
func (l *Limits) Reached(limit Limit) uint64 { return l.reached[limit].Load() }

// Reach counts that a limit was reached which is not looked after here.
func (l *Limits) Reach(limit Limit) { l.reached[limit].Add(1) }

// Open tells how many connections there are.
func (l *Limits) Open() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.connections
}

// Connect counts a connection of client; Disconnect ends it. Where the answer is not None, it is not counted.
func (l *Limits) Connect(client Client) Limit {
	l.mu.Lock()
	defer l.mu.Unlock()
	used := l.of(client)
	limit := None
	switch {
	case isOver(l.connections, l.spec.MaxConnections):
		limit = Connections
	case isOver(used.connections, l.spec.MaxConnectionsPerClient):
		limit = ConnectionsPerClient
	case !l.isInTime(&used.connecting, client):
		limit = ConnectionRate
	default:
		l.change(used, func() { used.connections++ })
		l.connections++
		return None
	}
	l.reached[limit].Add(1)
	l.forgetIfIdle(client, used)
	return limit
}

// Disconnect ends what Connect has counted.
func (l *Limits) Disconnect(client Client) {
	l.mu.Lock()
	defer l.mu.Unlock()
	used := l.of(client)
	l.change(used, func() { used.connections-- })
	l.connections--
	l.forgetIfIdle(client, used)
}

// Begin counts a request of client; End ends it. Where the answer is not None, it is not counted.
func (l *Limits) Begin(client Client) Limit {
	l.mu.Lock()
	defer l.mu.Unlock()
	used := l.of(client)
	limit := None
	switch {
	case !l.isInTime(&used.asking, client): // first, so that what is refused counts, too
		limit = RequestRate
	case isOver(l.requests, l.spec.MaxRequests):
		limit = Requests
	case isOver(used.requests, l.spec.MaxRequestsPerClient):
		limit = RequestsPerClient
	default:
		l.change(used, func() { used.requests++ })
		l.requests++
		return None
	}
	l.reached[limit].Add(1)
	l.forgetIfIdle(client, used)
	return limit
}

// End ends what Begin has counted.
func (l *Limits) End(client Client) {
	l.mu.Lock()
	defer l.mu.Unlock()
	used := l.of(client)
	l.change(used, func() { used.requests-- })
	l.requests--
	l.forgetIfIdle(client, used)
}

func isOver(count, most int) bool { return most > 0 && count >= most }

// of finds the usage of a client. The caller ends with forgetIfIdle, unless the client has something then.
func (l *Limits) of(client Client) *usage {
	used, ok := l.clients[client]
	if !ok {
		if l.idle >= mostIdle {
			l.forgetIdle()
		}
		used = &usage{}
		l.clients[client] = used
		l.idle++
	}
	return used
}

// change keeps count of the idle.
func (l *Limits) change(used *usage, change func()) {
	before := used.isIdle()
	change()
	switch after := used.isIdle(); {
	case before && !after:
		l.idle--
	case after && !before:
		l.idle++
	}
}

// forgetIfIdle forgets a client of whom nothing is left to know. A rate is remembered while it matters: see forgetIdle.
func (l *Limits) forgetIfIdle(client Client, used *usage) {
	if used.isIdle() && used.connecting == nil && used.asking == nil {
		delete(l.clients, client)
		l.idle--
	}
}

// forgetIdle makes room. First go those who have their whole burst again, and so lose nothing; if these are too few, all.
func (l *Limits) forgetIdle() {
	now := time.Now()
	full := func(limiter *rate.Limiter) bool {
		return limiter == nil || limiter.TokensAt(now) >= float64(limiter.Burst())
	}
	forget := func(which func(*usage) bool) {
		for client, used := range l.clients {
			if used.isIdle() && which(used) {
				delete(l.clients, client)
				l.idle--
			}
		}
	}
	forget(func(used *usage) bool { return full(used.connecting) && full(used.asking) })
	if l.idle >= mostIdle/2 {
		forget(func(*usage) bool { return true })
	}
}

// isInTime takes one from what the rate of a client allows.
func (l *Limits) isInTime(limiter **rate.Limiter, client Client) bool {
	perSecond := l.spec.RateLimit
	if client.funnel {
		perSecond = l.spec.FunnelRateLimit
	}
	if perSecond <= 0 {
		return true
	}
	if *limiter == nil {
		*limiter = rate.NewLimiter(rate.Limit(perSecond), int(math.Ceil(perSecond*burstSeconds)))
	}
	return (*limiter).Allow()
}
