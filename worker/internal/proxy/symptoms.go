package proxy

import (
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
)

// symptom is what an upstream answers that was told another Host or scheme than suits it. By default it is sent the host of its
// own URL, as tsnsrv does, and some applications check, compare, sign or repeat what they are sent.
type symptom struct {
	words, remedy string
	// concerns tells that the upstream could have this symptom in its answer to such a request.
	concerns func(told) bool
	// shown tells that the answer has it, as far as its status and header say.
	shown func(*http.Response, told) bool
	// says is what the body has to say as well; nil for anything.
	says *regexp.Regexp
	// provenBelow is the status below which an answer proves that the upstream is well; 0 for none.
	provenBelow int
}

const (
	tellHost = "set recommendedProxyHeaders: true, by which it is told the name that clients ask for"
	seeTable = "; docs/applications.md says what else applications need"
)

// hostRefused is how Django, Starlette, Rails, Vite, webpack, Nextcloud, Transmission and Syncthing say it.
var hostRefused = regexp.MustCompile(`(?i)<h1>bad request \(400\)</h1>|disallowedhost|invalid host header|blocked hosts?:|` +
	`this host \(.{1,260}\) is not allowed|untrusted domain|hostname was unrecognized|host check error`)

// symptoms are those that are worth a line in the log: an application that works has none of them.
var symptoms = [...]symptom{
	{
		words:       "the upstream refuses the name that it is sent in Host",
		remedy:      tellHost + seeTable,
		concerns:    told.otherHost,
		shown:       hasStatus(http.StatusBadRequest, http.StatusForbidden, http.StatusMisdirectedRequest),
		says:        hostRefused,
		provenBelow: 400,
	},
	{
		words:       "the upstream refuses the name that clients ask for",
		remedy:      "allow the name in the application, or remove recommendedProxyHeaders: so that it is sent the host of upstream:" + seeTable,
		concerns:    func(t told) bool { return !t.otherHost() },
		shown:       hasStatus(http.StatusBadRequest, http.StatusForbidden, http.StatusMisdirectedRequest),
		says:        hostRefused,
		provenBelow: 400,
	},
	{
		words:    "the upstream redirects clients to its own address",
		remedy:   tellHost + seeTable,
		concerns: told.otherHost,
		shown: func(r *http.Response, t told) bool {
			return redirectsTo(r, "http", t.host) || redirectsTo(r, "https", t.host)
		},
	},
	{
		words:    "the upstream redirects clients of https to http",
		remedy:   "have the application believe X-Forwarded-Proto" + seeTable,
		concerns: func(t told) bool { return t.scheme == "https" },
		shown:    func(r *http.Response, t told) bool { return redirectsTo(r, "http", t.asked) },
	},
	{
		words:       "the upstream refuses a WebSocket of its own pages, maybe as another site's",
		remedy:      tellHost + seeTable,
		concerns:    func(t told) bool { return t.isWebSocket() && t.fromOwnPage() },
		shown:       hasStatus(http.StatusForbidden),
		provenBelow: 200,
	},
	{
		words:       "the upstream refuses a form of its own pages as another site's",
		remedy:      tellHost + seeTable,
		concerns:    func(t told) bool { return !isSafe(t.request.Method) && t.fromOwnPage() },
		shown:       hasStatus(http.StatusForbidden),
		says:        regexp.MustCompile(`(?i)csrf verification failed|cross.?(site|origin)|\borigin\b`), // Django; SvelteKit, Go; Grafana
		provenBelow: 400,
	},
	{
		words:       "the upstream refuses signatures, which cover the name that clients ask for",
		remedy:      tellHost,
		concerns:    func(t told) bool { return t.isSigned() && t.otherHost() },
		shown:       hasStatus(http.StatusForbidden, http.StatusBadRequest),
		says:        regexp.MustCompile(`SignatureDoesNotMatch`),
		provenBelow: 400,
	},
	{
		words:    "the upstream wants TLS",
		remedy:   "let upstream: begin with https://",
		concerns: func(t told) bool { return t.request.URL.Scheme == "http" },
		shown:    hasStatus(http.StatusBadRequest),
		// Go, nginx, Apache.
		says:        regexp.MustCompile(`HTTP request to an HTTPS server|HTTP request was sent to HTTPS port|speaking plain HTTP to an SSL-enabled`),
		provenBelow: 400,
	},
}

// told is a request as the upstream was told of it, beside what its client asked for.
type told struct {
	request       *http.Request
	host          string // in Host
	asked, scheme string // of the client, in X-Forwarded-*
}

func toldBy(request *http.Request) told {
	t := told{request: request, host: request.Host, asked: request.Header.Get("X-Forwarded-Host"), scheme: request.Header.Get("X-Forwarded-Proto")}
	if t.host == "" {
		t.host = request.URL.Host
	}
	return t
}

func (t told) otherHost() bool { return t.asked != "" && !strings.EqualFold(t.host, t.asked) }

// fromOwnPage tells that a page of the service has sent the request, and that an upstream that goes by Host cannot see it.
func (t told) fromOwnPage() bool {
	origin := t.request.Header.Get("Origin")
	return origin != "" && t.otherHost() && strings.EqualFold(origin, t.scheme+"://"+t.asked)
}

func (t told) isWebSocket() bool {
	return strings.EqualFold(t.request.Header.Get("Upgrade"), websocketProtocol)
}

// isSigned tells that a signature of AWS, version 4, is in the header or the query. It always covers Host.
func (t told) isSigned() bool {
	return strings.HasPrefix(t.request.Header.Get("Authorization"), "AWS4-") ||
		strings.Contains(t.request.URL.RawQuery, "X-Amz-Signature=")
}

func isSafe(method string) bool {
	return method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions || method == http.MethodTrace
}

func hasStatus(any ...int) func(*http.Response, told) bool {
	return func(response *http.Response, _ told) bool { return slices.Contains(any, response.StatusCode) }
}

func redirectsTo(response *http.Response, scheme, host string) bool {
	if response.StatusCode < 300 || response.StatusCode > 399 {
		return false
	}
	location, err := url.Parse(response.Header.Get("Location"))
	return err == nil && location.Scheme == scheme && strings.EqualFold(location.Host, host)
}

// diagnosis is which symptoms are looked for no more in the answers of an upstream.
type diagnosis struct{ settled [len(symptoms)]atomic.Bool }

// diagnose looks for symptoms in an answer, and in the beginning of its body as that passes.
func (p *Proxy) diagnose(response *http.Response) {
	t := toldBy(response.Request)
	for i := range symptoms {
		s := &symptoms[i]
		switch {
		case p.diagnosis.settled[i].Load() || !s.concerns(t):
		case !s.shown(response, t):
			if response.StatusCode < s.provenBelow {
				p.diagnosis.settled[i].Store(true)
			}
		case s.says == nil:
			p.name(i, t, response.StatusCode)
		default:
			p.listenFor(i, t, response)
		}
	}
}

func (p *Proxy) listenFor(i int, t told, response *http.Response) {
	response.Body = &overheard{ReadCloser: response.Body, end: func(text []byte) {
		if symptoms[i].says.Match(text) {
			p.name(i, t, response.StatusCode)
		}
	}}
}

// name writes the line about a symptom, once.
func (p *Proxy) name(i int, t told, status int) {
	if p.diagnosis.settled[i].CompareAndSwap(false, true) {
		p.config.Log.Warn(symptoms[i].words, "upstream", p.config.Spec.Upstream, "host", t.host, "asked", t.scheme+"://"+t.asked,
			"path", t.request.URL.EscapedPath(), "status", status, "remedy", symptoms[i].remedy)
	}
}

// longestOverheard is how much of a body is looked at. What is looked for is the point of a page, and stands at its beginning.
const longestOverheard = 8 << 10

// overheard is a body of which the beginning is looked at once it has passed.
type overheard struct {
	io.ReadCloser
	text []byte
	end  func([]byte) // nil once it was called
}

func (o *overheard) Read(p []byte) (int, error) {
	n, err := o.ReadCloser.Read(p)
	if o.end != nil {
		o.text = append(o.text, p[:min(n, longestOverheard-len(o.text))]...)
		if err != nil || len(o.text) == longestOverheard {
			o.end(o.text)
			o.text, o.end = nil, nil
		}
	}
	return n, err
}
