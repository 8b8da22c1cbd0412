package proxy

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"tailscale.com/client/tailscale/apitype"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/origin"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/protocol"
)

// guarded is a spec with everything that may stand before an upstream switched on by the caller.
func guarded(t *testing.T) protocol.ProxySpec {
	return protocol.ProxySpec{Upstream: echo(t).URL, WhoisTimeoutMs: 1000}
}

func TestPrefixesAreWhatTheServiceAnswersOn(t *testing.T) {
	spec := guarded(t)
	spec.Prefixes = []protocol.PrefixSpec{
		{From: protocol.PrefixSpecFromAny, Path: "/api"},
		{From: protocol.PrefixSpecFromFunnel, Path: "/hook"},
	}
	spec.StripPrefix = true
	f := serve(t, spec, nil)
	for target, want := range map[string]string{
		"/api":                "GET / HTTP/1.1",
		"/api/a%2Cb?c=d;e":    "GET /a%2Cb?c=d;e HTTP/1.1",
		"/apix":               "404",
		"/hook":               "404", // of the internet only
		"/api/%2e%2e/admin":   "400",
		"/api/..%2fadmin":     "400",
		"/":                   "404",
		"/api//evil.example/": "400",
	} {
		response, dump := f.send(http.MethodGet, target, nil)
		got := lines(dump)[0]
		if response.StatusCode != http.StatusOK {
			got = response.Status[:3]
		}
		if got != want {
			t.Errorf("%s: %s, want %s", target, got, want)
		}
	}
}

func TestAccessRulesTurnAwayWhomTheyDoNotName(t *testing.T) {
	spec := guarded(t)
	spec.Allow = []protocol.AccessRule{
		{Path: "/", Kind: protocol.AccessRuleKindLogin, Value: "alice@example.com"},
		{Path: "/ops", Kind: protocol.AccessRuleKindTag, Value: "tag:ops"},
		{Path: "/status", Kind: protocol.AccessRuleKindAnyone},
	}
	person := func(ctx context.Context, address string) (*apitype.WhoIsResponse, error) {
		who, err := alice(ctx, address)
		who.Node.Tags = nil
		return who, err
	}
	nobody := func(context.Context, string) (*apitype.WhoIsResponse, error) { return nil, errors.New("no such peer") }
	for _, c := range []struct {
		who    string
		whoIs  origin.WhoIs
		path   string
		status int
	}{
		{"alice", person, "/", http.StatusOK},
		{"alice", person, "/ops/x", http.StatusForbidden},
		{"a tagged node", alice, "/", http.StatusForbidden},
		{"nobody", nobody, "/", http.StatusForbidden},
		{"nobody", nobody, "/status", http.StatusOK},
	} {
		f := serve(t, spec, c.whoIs)
		response, body := f.send(http.MethodGet, c.path+"?token=secret", nil)
		if response.StatusCode != c.status {
			t.Errorf("%s at %s: %d", c.who, c.path, response.StatusCode)
		}
		if c.status != http.StatusForbidden {
			continue
		}
		id := response.Header.Get(requestIDHeader)
		if strings.Contains(body, "alice") || strings.Contains(body, "rule") || !strings.Contains(body, id) {
			t.Errorf("the client is told %q", body)
		}
		log := f.log.String()
		if !strings.Contains(log, "a request was denied") || !strings.Contains(log, id) || strings.Contains(log, "secret") {
			t.Errorf("log:\n%s", log)
		}
		if f.counters.denied.Load() != 1 {
			t.Errorf("%s at %s is not counted", c.who, c.path)
		}
	}
}

func TestEncodedSlashesPassUnlessARuleDependsOnThem(t *testing.T) {
	for _, over := range everyReach(t) {
		t.Run(over.name, func(t *testing.T) {
			spec := guarded(t)
			spec.Allow = []protocol.AccessRule{{Path: "/", Kind: protocol.AccessRuleKindAnyone}, {Path: "/admin", Kind: protocol.AccessRuleKindTag, Value: "tag:nobody"}}
			f := serveOver(t, over, spec, over.whoIs)
			if response, dump := f.send(http.MethodGet, "/@scope%2fname", nil); response.StatusCode != http.StatusOK || lines(dump)[0] != "GET /@scope%2fname HTTP/1.1" {
				t.Errorf("%s %s", response.Status, dump)
			}
			for target, want := range map[string]int{"/admin%2fx": http.StatusBadRequest, "/x/..%2fadmin": http.StatusBadRequest, "/admin/x%2fy": http.StatusForbidden} {
				if response, body := f.send(http.MethodGet, target, nil); response.StatusCode != want {
					t.Errorf("%s: %s %s", target, response.Status, body)
				}
			}
			if denied, refused := f.counters.denied.Load(), f.counters.clientErrors.Load(); denied != 1 || refused != 2 {
				t.Errorf("%d denied, %d refused", denied, refused)
			}
		})
	}
}

func TestAccessRulesDoNotNeedTheHeaders(t *testing.T) {
	spec := guarded(t)
	spec.Allow = []protocol.AccessRule{{Path: "/", Kind: protocol.AccessRuleKindTag, Value: "tag:a"}}
	response, dump := serve(t, spec, alice).send(http.MethodGet, "/", nil)
	if response.StatusCode != http.StatusOK || strings.Contains(dump, identityPrefix) {
		t.Errorf("%d\n%s", response.StatusCode, dump)
	}
}

func TestForwardAuthStandsBeforePrefixesAndTheUpstream(t *testing.T) {
	asked := make(chan *http.Request, 1)
	verdict := http.StatusNoContent
	auth := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r
		w.Header().Set("Remote-User", "alice")
		w.Header().Set("X-Forwarded-User", "alice")
		w.WriteHeader(verdict)
	}))
	t.Cleanup(auth.Close)
	spec := guarded(t)
	spec.ForwardAuth = &protocol.ForwardAuthSpec{URL: auth.URL + "/verify", TimeoutMs: 5000, CopyHeaders: []string{"Remote-User", "X-Forwarded-User"}}
	spec.Prefixes, spec.StripPrefix = []protocol.PrefixSpec{{From: protocol.PrefixSpecFromAny, Path: "/app"}}, true
	f := serve(t, spec, nil)

	response, dump := f.send(http.MethodGet, "/app/x?y=z", http.Header{"Remote-User": {"root"}, "X-Forwarded-User": {"root"}, "X_Forwarded_User": {"root"}})
	if response.StatusCode != http.StatusOK || lines(dump)[0] != "GET /x?y=z HTTP/1.1" || !strings.Contains(dump, "\r\nRemote-User: alice\r\n") ||
		!strings.Contains(dump, "\r\nX-Forwarded-User: alice\r\n") || strings.Contains(dump, "root") {
		t.Errorf("%d\n%s", response.StatusCode, dump)
	}
	if question := <-asked; question.Header.Get("X-Forwarded-Uri") != "/app/x?y=z" || question.Header.Get("Remote-User") != "" {
		t.Errorf("asked with %v", question.Header)
	}
	if response, _ := f.send(http.MethodGet, "/app/%2e%2e/admin", nil); response.StatusCode != http.StatusBadRequest || len(asked) != 0 {
		t.Errorf("a path that can be read in two ways: %d, asked %d times", response.StatusCode, len(asked))
	}
	verdict = http.StatusForbidden
	if response, _ := f.send(http.MethodGet, "/app/x", nil); response.StatusCode != http.StatusForbidden {
		t.Errorf("denied, but %d", response.StatusCode)
	}
	<-asked
	response, _ = f.send(http.MethodGet, "/app/x", http.Header{"Host": {"other.example.ts.net"}})
	if response.StatusCode == http.StatusOK || len(asked) != 0 {
		t.Errorf("under the name of another service: %d, asked %d times", response.StatusCode, len(asked))
	}
}

func TestBodyLimit(t *testing.T) {
	spec := guarded(t)
	spec.Upstream = uploads(t)
	spec.MaxRequestBodyBytes = 10
	f := serve(t, spec, nil)
	for _, c := range []struct {
		what   string
		body   io.Reader
		status int
	}{
		{"as long as allowed", strings.NewReader("0123456789"), http.StatusOK},
		{"too long by its header", strings.NewReader("0123456789a"), http.StatusRequestEntityTooLarge},
		{"too long, and only found out on the way", struct{ io.Reader }{strings.NewReader("0123456789a")}, http.StatusRequestEntityTooLarge},
	} {
		response, err := f.client.Post(f.url, "text/plain", c.body)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != c.status {
			t.Errorf("%s: %d", c.what, response.StatusCode)
		}
	}
	if got := f.counters.Snapshot(); got.Errors != 0 || f.counters.clientErrors.Load() != 2 {
		t.Errorf("upstream errors %d, client errors %d", got.Errors, f.counters.clientErrors.Load())
	}
}

// uploads is an upstream that reads the whole body before it answers.
func uploads(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			panic(http.ErrAbortHandler)
		}
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func TestRequestIDs(t *testing.T) {
	f := serve(t, guarded(t), nil)
	sent := func(header http.Header) string {
		_, dump := f.send(http.MethodGet, "/", header)
		_, rest, _ := strings.Cut(dump, "\r\n"+requestIDHeader+": ")
		id, _, _ := strings.Cut(rest, "\r\n")
		return id
	}
	first, second := sent(nil), sent(nil)
	if !isRequestID(first) || first == second {
		t.Errorf("%q and %q", first, second)
	}
	if id := sent(http.Header{requestIDHeader: {"trace-1.2/3"}}); id != "trace-1.2/3" {
		t.Errorf("the client's own became %q", id)
	}
	for _, bad := range []string{"a b", strings.Repeat("x", longestRequestID+1), "ä", ""} {
		if id := sent(http.Header{requestIDHeader: {bad}}); id == bad || !isRequestID(id) {
			t.Errorf("%q became %q", bad, id)
		}
	}
}

func TestAccessLog(t *testing.T) {
	for what, c := range map[string]struct {
		spec      *protocol.AccessLogSpec
		want, not string
	}{
		"on":             {&protocol.AccessLogSpec{Sampling: 1}, "level=INFO msg=request", "secret"},
		"with the query": {&protocol.AccessLogSpec{Sampling: 1, Query: true}, "secret", ""},
		"off":            {nil, "level=DEBUG msg=request", "level=INFO msg=request"},
		"never sampled":  {&protocol.AccessLogSpec{Sampling: 0}, "level=DEBUG msg=request", "level=INFO msg=request"},
	} {
		spec := guarded(t)
		spec.AccessLog, spec.Whois = c.spec, true
		f := serve(t, spec, alice)
		f.send(http.MethodGet, "/path?token=secret", nil)
		log := f.log.String()
		if !strings.Contains(log, c.want) || c.not != "" && strings.Contains(log, c.not) {
			t.Errorf("%s:\n%s", what, log)
		}
	}
}

func TestAccessLogHasAllTrouble(t *testing.T) {
	spec := guarded(t)
	spec.Upstream, spec.AccessLog = "http://127.0.0.1:1", &protocol.AccessLogSpec{Sampling: 0}
	f := serve(t, spec, nil)
	f.send(http.MethodGet, "/", nil)
	if log := f.log.String(); !strings.Contains(log, "level=INFO msg=request") || !strings.Contains(log, "status=502") {
		t.Errorf("log:\n%s", log)
	}
}

func TestHeadersOfTheOperator(t *testing.T) {
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Server", "secret/1.0")
		w.Header().Set("X-Frame-Options", "SAMEORIGIN")
		w.Header().Set("Seen-Cookie", r.Header.Get("Cookie"))
	}))
	t.Cleanup(upstream.Close)
	spec := protocol.ProxySpec{
		Upstream: upstream.URL, RemoveUpstreamHeaders: []string{"cookie"},
		ResponseHeaders: protocol.ProxySpecResponseHeaders{"X-Frame-Options": "DENY"}, RemoveResponseHeaders: []string{"server"},
	}
	response, _ := serve(t, spec, nil).send(http.MethodGet, "/", http.Header{"Cookie": {"a=b"}})
	if got := response.Header; got.Get("Server") != "" || got.Get("X-Frame-Options") != "DENY" || got.Get("Seen-Cookie") != "" {
		t.Errorf("%v", got)
	}
}
