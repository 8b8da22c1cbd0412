package proxy

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"tailscale.com/client/tailscale/apitype"
	"tailscale.com/tailcfg"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/limit"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/origin"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/protocol"
)

const patience = 30 * time.Second

var discard = slog.New(slog.DiscardHandler)

// front is a proxy, served as a service's listener is.
type front struct {
	testing.TB
	over     reach
	address  net.Addr
	counters *Counters
	limits   *limit.Limits
	backends Backends
	trouble  sync.Map // error, by part
	server   *Server
	door     *Door
	url      string // by its address on loopback, else by its own name
	client   *http.Client
	log      *logText
}

// logText is a log that can be read at any time.
type logText struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// serve is a front on loopback.
func serve(t *testing.T, spec protocol.ProxySpec, whoIs origin.WhoIs) *front {
	t.Helper()
	return serveOver(t, loopback, spec, whoIs)
}

func serveOver(t testing.TB, over reach, spec protocol.ProxySpec, whoIs origin.WhoIs) *front {
	t.Helper()
	limits := limit.New()
	f := &front{TB: t, over: over, limits: limits, door: NewDoor(), log: &logText{}}
	f.backends = Backends{Upstream: NewHealth(f.troubles("upstream")), Auth: NewHealth(f.troubles("auth server"))}
	counters := NewMetrics().Add("web", limits, f.backends)
	f.counters = counters
	f.change(spec)
	listener := over.listen(t)
	config := ServerConfig{
		Spec: protocol.ListenSpec{Scheme: over.scheme, MaxHeaderBytes: 64 << 10}, Handler: f.door, Door: f.door, Counters: counters,
		Limits: limits, Log: discard,
	}
	if over.isSecure() {
		config.TLS = &tls.Config{Certificates: []tls.Certificate{selfSigned(t)}}
	}
	f.server, f.address, f.url = Serve(over.from(listener, whoIs), config), listener.Addr(), "http://"+ownName
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		f.server.Drain(ctx)
	})
	switch {
	case over.name == loopback.name:
		f.url = "http://" + listener.Addr().String()
	case over.isSecure():
		f.url = "https://" + ownName
	}
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) { return f.dialFront(ctx) }
	transport := &http.Transport{DisableCompression: true, DialContext: dial, DialTLSContext: dial}
	t.Cleanup(transport.CloseIdleConnections)
	f.client = &http.Client{Transport: transport, Timeout: patience}
	return f
}

// troubles is a Health's report that remembers what is wrong.
func (f *front) troubles(part string) func(error) {
	return func(err error) { f.trouble.Store(part, err) }
}

// change makes the front a proxy of another spec.
func (f *front) change(spec protocol.ProxySpec) {
	f.Helper()
	upstream, err := OpenUpstream(spec, hostDialer{}, limit.NewFiles().Join())
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(upstream.Close)
	f.use(spec, upstream)
}

func (f *front) use(spec protocol.ProxySpec, upstream *Upstream) {
	f.Helper()
	logger := slog.New(slog.NewTextHandler(f.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	proxy, err := New(Config{
		Service:  "web",
		Spec:     spec,
		Upstream: upstream,
		Canonical: func(_ context.Context, host string) (string, bool) {
			return ownName, slices.Contains([]string{ownName, "web", "127.0.0.1", "::1"}, host)
		},
		Counters:  f.counters,
		Limits:    f.limits,
		Backends:  f.backends,
		Log:       logger,
		AccessLog: logger,
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(proxy.Close)
	f.door.Swap(proxy)
}

// hostDialer stands for a node: it is told apart from the host's own dialer by being one.
type hostDialer struct{}

func (hostDialer) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, network, address)
}

// send makes a request with the given header lines, and returns the answer and its body.
func (f *front) send(method, target string, header http.Header) (*http.Response, string) {
	f.Helper()
	request, err := http.NewRequest(method, f.url+target, nil)
	if err != nil {
		f.Fatal(err)
	}
	for name, values := range header {
		if name == "Host" {
			request.Host = values[0]
			continue
		}
		request.Header[name] = values // as it is written, not in canonical form
	}
	response, err := f.client.Do(request)
	if err != nil {
		f.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		f.Fatal(err)
	}
	return response, string(body)
}

// echo is an upstream that answers with the request as it came in.
func echo(t *testing.T) *httptest.Server {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		dump, err := httputil.DumpRequest(r, false)
		if err != nil {
			t.Error(err)
		}
		w.Write(dump)
	}))
	t.Cleanup(server.Close)
	return server
}

// lines splits a dumped request into its request line and header lines.
func lines(dump string) []string { return strings.Split(strings.TrimSpace(dump), "\r\n") }

// forgetAll is what has happened to shared lookups after identityShared.
func (i *identities) forgetAll() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.recent = map[string]*lookup{}
}

func alice(context.Context, string) (*apitype.WhoIsResponse, error) {
	return &apitype.WhoIsResponse{
		UserProfile: &tailcfg.UserProfile{ID: 5, LoginName: "alice@example.com", DisplayName: "Alice Ä", ProfilePicURL: "https://pics/alice"},
		Node: &tailcfg.Node{ID: 3, ComputedName: "laptop", Tags: []string{"tag:a", "tag:b"},
			CapMap: tailcfg.NodeCapMap{"cap-z": nil, "cap-y": nil}},
		CapMap: tailcfg.PeerCapMap{"example.com/write": nil, "example.com/read": nil},
	}, nil
}
