// Package forwardauth lets another server decide about each request, as Authelia, Authentik and oauth2-proxy expect to be
// asked: a GET that describes the request, answered by a 2xx or by what the client is to get instead.
//
// It fails closed. A request goes on only after a whole 2xx, within the time allowed, to a question that takes no word of
// the client's for where it is, what it wants and who says so.
package forwardauth

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/connauth"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/limit"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/protocol"
)

// Outcome is what became of a request; the label of a metric.
type Outcome string

const (
	Allowed  Outcome = "allowed"
	Denied   Outcome = "denied" // by the service, or a request that cannot be asked about
	Bypassed Outcome = "bypass" // a person on the tailnet, not asked about
	Cached   Outcome = "cached" // allowed a moment ago
	Passed   Outcome = "passed" // a page of the service itself
	Failed   Outcome = "error"  // the service gave no usable answer
)

// Client is what is known of who sent a request.
type Client struct {
	Address  string // IP address of the tailnet peer, or of the real client behind funnel
	Funnel   bool   // came from the internet
	Person   bool   // a user of the tailnet: identified, and no tagged node
	Identity string // for the log: login name, tags or name of the node; "" when not known
}

// Config is what a Guard is made of. All of it is needed, unless it says otherwise.
type Config struct {
	Spec   protocol.ForwardAuthSpec
	Client func(*http.Request) Client

	// Host gives the host that a request is for, as the service is told of it: a name of this service's, in one spelling, with
	// the port unless that goes without saying. Not ok: it is none of them. Whose rules apply is decided by that name: a client
	// could name another service, to which it is welcome.
	Host func(*http.Request) (host string, ok bool)

	// Observe is called once for each request, with how long it waited for the service; 0 when that was not asked. It is not
	// called for a client that left before there was an answer.
	Observe func(Outcome, time.Duration)

	// Trouble is called when the service gave no usable answer, with the reason in words.
	Trouble func(why string)

	// Dial connects to the service. Nil: over the host's network.
	Dial limit.Dial

	RequestID func(*http.Request) string
	Log       *slog.Logger
}

const (
	defaultTimeout = 5 * time.Second // tsnsrv's
	idleTimeout    = 90 * time.Second
	idlePerHost    = 64
	maxHeaderBytes = 256 << 10 // room for a token and a thousand groups
)

// Guard stands before one upstream.
type Guard struct {
	config    Config
	question  *url.URL // what is asked
	service   *url.URL // scheme and host of it
	timeout   time.Duration
	transport *connauth.Pool
	copied    copied
	passPaths []string
	cache     *cache // nil: nothing is cached
}

// New makes a Guard. A Spec.TimeoutMs of 0 stands for 5 seconds: nobody is to wait for ever.
func New(config Config) (*Guard, error) {
	spec := config.Spec
	question, err := url.Parse(spec.URL)
	if err != nil || question.Scheme != "http" && question.Scheme != "https" || question.Hostname() == "" || question.User != nil {
		return nil, errors.New("the URL to ask for authorization cannot be used: it has to be http or https, with a host and" +
			" without user and password") // it is not quoted, for the sake of that password
	}
	copied, err := newCopied(spec.CopyHeaders)
	if err != nil {
		return nil, err
	}
	g := &Guard{
		config:   config,
		question: question,
		service:  &url.URL{Scheme: question.Scheme, Host: question.Host},
		timeout:  milliseconds(spec.TimeoutMs),
		copied:   copied,
	}
	if g.timeout == 0 {
		g.timeout = defaultTimeout
	}
	for _, path := range spec.PassPaths {
		if !strings.HasPrefix(path, "/") {
			return nil, fmt.Errorf("the path %q cannot be passed to the authorization service: it has to begin with /", path)
		}
		g.passPaths = append(g.passPaths, strings.TrimRight(path, "/"))
	}
	if spec.CacheTTLMs > 0 {
		g.cache = newCache(milliseconds(spec.CacheTTLMs))
	}
	if config.Dial == nil {
		config.Dial = (&net.Dialer{}).DialContext
	}
	g.transport = connauth.NewPool(newTransport(g.timeout, spec.InsecureHTTPS, config.Dial))
	return g, nil
}

func milliseconds(n int) time.Duration { return time.Duration(n) * time.Millisecond }

func newTransport(timeout time.Duration, insecureHTTPS bool, dial limit.Dial) *http.Transport {
	var http1 http.Protocols
	http1.SetHTTP1(true)
	return &http.Transport{
		Proxy: nil, // never by the host's http_proxy
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			ctx, cancel := context.WithTimeout(ctx, timeout)
			defer cancel()
			return dial(ctx, network, address)
		},
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: insecureHTTPS},
		TLSHandshakeTimeout:    timeout,
		ResponseHeaderTimeout:  timeout,
		MaxResponseHeaderBytes: maxHeaderBytes,
		MaxIdleConnsPerHost:    idlePerHost,
		IdleConnTimeout:        idleTimeout,
		DisableCompression:     true, // bodies pass as they are
		Protocols:              &http1,
	}
}

// Close ends idle connections; those in use end with their request.
func (g *Guard) Close() { g.transport.Close() }

// Handler lets through to next what is allowed.
func (g *Guard) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		request, client := g.withoutCopied(r), g.config.Client(r)
		switch {
		case g.isPassed(r.URL):
			g.pass(w, request, client)
		case g.config.Spec.BypassForTailnet && client.Person && !client.Funnel:
			g.config.Observe(Bypassed, 0)
			next.ServeHTTP(w, request)
		default:
			if granted, ok := g.judge(w, r, client); ok {
				maps.Copy(request.Header, granted.header)
				next.ServeHTTP(withCookies(w, granted.cookies), request)
			}
		}
	})
}

// withoutCopied is the request as the client may send it on. Trailers do not go on at all: they come after the service was
// asked, and some upstreams take them for headers.
func (g *Guard) withoutCopied(r *http.Request) *http.Request {
	request := r.WithContext(r.Context())
	request.Header, request.Trailer = g.copied.removedFrom(r.Header), nil
	return request
}

// grant is what an allowed request takes along.
type grant struct {
	header  http.Header // into the request
	cookies []string    // into the response
}

// judge finds out whether a request is allowed. If not, it has answered the client.
func (g *Guard) judge(w http.ResponseWriter, r *http.Request, client Client) (grant, bool) {
	question, err := g.ask(r, client)
	if err != nil {
		g.fail(w, r, client, err, 0)
		return grant{}, false
	}
	key, cacheable := g.cache.key(question)
	if cacheable {
		if header, ok := g.cache.get(key); ok {
			g.config.Observe(Cached, 0)
			return grant{header: header}, true
		}
	}
	start := time.Now()
	answer, err := g.exchange(r.Context(), question)
	took := time.Since(start)
	if err != nil {
		g.fail(w, r, client, err, took)
		return grant{}, false
	}
	if answer.status >= 300 {
		g.deny(w, r, client, answer, took)
		return grant{}, false
	}
	granted := grant{header: g.copied.of(answer.header), cookies: answer.header["Set-Cookie"]}
	if cacheable && len(granted.cookies) == 0 {
		g.cache.put(key, granted.header)
	}
	g.config.Observe(Allowed, took)
	return granted, true
}
