package forwardauth

import (
	"bytes"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/protocol"
)

const patience = 30 * time.Second

// front is a guarded proxy on loopback, as a service's listener has it, with an upstream that answers with the request as
// it came in.
type front struct {
	*testing.T
	guard   *Guard
	url     string
	host    string
	client  *http.Client // follows no redirects
	peer    Client       // who the client is; set it before a request
	reached atomic.Int64 // requests at the upstream

	handling sync.WaitGroup // requests at the guard

	mu       sync.Mutex
	outcomes []Outcome
	log      bytes.Buffer
}

// secure is how a front is served. Authelia wants https.
type secure bool

func serve(t *testing.T, spec protocol.ForwardAuthSpec, https secure) *front {
	t.Helper()
	if spec.TimeoutMs == 0 {
		spec.TimeoutMs = int(patience.Milliseconds())
	}
	server := httptest.NewUnstartedServer(nil)
	f := &front{T: t, host: server.Listener.Addr().String(),
		peer: Client{Address: "100.64.0.7", Person: true, Identity: "alice@example.com"}}
	guard, err := New(Config{
		Spec:      spec,
		Client:    func(*http.Request) Client { return f.peer },
		Host:      func(r *http.Request) (string, bool) { return r.Host, r.Host == f.host },
		Observe:   f.observe,
		Trouble:   func(string) {},
		RequestID: func(*http.Request) string { return "REQUEST-1" },
		Log:       slog.New(slog.NewTextHandler(f, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(guard.Close)
	f.guard = guard
	handler := guard.Handler(f.upstream())
	server.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.handling.Add(1)
		defer f.handling.Done()
		handler.ServeHTTP(w, r)
	})
	if server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0); https {
		server.StartTLS()
	} else {
		server.Start()
	}
	t.Cleanup(server.Close)
	f.url = server.URL
	f.client = server.Client()
	f.client.Timeout = patience
	f.client.Transport.(*http.Transport).DisableCompression = true
	f.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return f
}

// upstream is what is to be protected, behind the proxy that the guard is a part of.
func (f *front) upstream() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		dump, err := httputil.DumpRequest(r, true)
		if err != nil {
			f.Error(err)
		}
		w.Header().Set("Set-Cookie", "upstream=1")
		w.Write(dump)
	})
	mux.HandleFunc("/early", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Set("Set-Cookie", "upstream=1")
		w.WriteHeader(http.StatusOK)
	})
	mux.HandleFunc("/socket", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Set-Cookie", "upstream=1")
		if connection, err := websocket.Accept(w, r, nil); err == nil {
			connection.Close(websocket.StatusNormalClosure, "")
		}
	})
	server := serving(f, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.reached.Add(1)
		if !strings.HasPrefix(r.URL.Path, "/early") && r.URL.Path != "/socket" {
			r.URL.Path = "/" // the mux would redirect what it finds untidy
		}
		mux.ServeHTTP(w, r)
	}))
	target, err := url.Parse(server.URL)
	if err != nil {
		f.Fatal(err)
	}
	transport := &http.Transport{DisableCompression: true}
	f.Cleanup(transport.CloseIdleConnections)
	return &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }, Transport: transport}
}

func (f *front) observe(outcome Outcome, took time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if asked := outcome == Allowed; asked != (took > 0) && outcome != Denied && outcome != Failed {
		f.Errorf("%s, and took %v", outcome, took)
	}
	f.outcomes = append(f.outcomes, outcome)
}

// Write is for the log.
func (f *front) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.log.Write(p)
}

// logged gives the log up to now, and forgets it.
func (f *front) logged() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	defer f.log.Reset()
	return f.log.String()
}

// expect waits for as many outcomes as are given, compares and forgets them.
func (f *front) expect(want ...Outcome) {
	f.Helper()
	var got []Outcome
	await(f, func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		got = f.outcomes
		return len(got) >= len(want)
	})
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.outcomes = nil; !slices.Equal(got, want) {
		f.Errorf("outcomes %v, want %v", got, want)
	}
}

func await(t testing.TB, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("waited in vain")
		}
	}
}

// reply is an answer to a client that has been read.
type reply struct {
	*http.Response
	text string
}

// send makes a request. Header names go as they are written; Host, Method and Body are not headers here.
func (f *front) send(target string, header http.Header) reply {
	f.Helper()
	method, body := http.MethodGet, ""
	if values, ok := header["Method"]; ok {
		method = values[0]
	}
	if values, ok := header["Body"]; ok {
		body = values[0]
	}
	request, err := http.NewRequest(method, f.url, strings.NewReader(body))
	if err != nil {
		f.Fatal(err)
	}
	if body == "" {
		request.Body = nil
	}
	request.URL.Opaque = target // as it is: no cleaning, no escaping
	for name, values := range header {
		switch name {
		case "Method", "Body":
		case "Host":
			request.Host = values[0]
		default:
			request.Header[name] = values
		}
	}
	response, err := f.client.Do(request)
	if err != nil {
		f.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		f.Fatal(err)
	}
	return reply{response, string(text)}
}

// received gives the header lines of an echoed request.
func (r reply) received() http.Header {
	header := http.Header{}
	head, _, _ := strings.Cut(r.text, "\r\n\r\n")
	for _, line := range strings.Split(head, "\r\n")[1:] {
		name, value, _ := strings.Cut(line, ": ")
		header[name] = append(header[name], value)
	}
	return header
}
