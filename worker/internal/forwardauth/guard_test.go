package forwardauth

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/coder/websocket"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/protocol"
)

// nothingMore ends a header, and a whole answer without a body.
const nothingMore = "Content-Length: 0\r\n\r\n"

// tell asks a front's service about one request, and looks at everything that becomes of it: how it counts, that it reached
// the upstream only if it was allowed, and that neither the client nor the log learns what they should not.
func (f *front) tell(target string, header http.Header, want Outcome, status int, logs string) {
	f.Helper()
	header = maps.Clone(header)
	if header == nil {
		header = http.Header{}
	}
	header["Cookie"], header["Authorization"] = []string{"session=topsecret"}, []string{"Bearer topsecret"}
	got := f.send(target, header)
	if f.expect(want); got.StatusCode != status {
		f.Errorf("status %d, want %d", got.StatusCode, status)
	}
	if allowed := want == Allowed; allowed != (f.reached.Load() == 1) {
		f.Errorf("%d requests reached the upstream", f.reached.Load())
	}
	log := f.logged()
	if strings.Contains(log, "topsecret") || !strings.Contains(log, logs) || (log == "") != (want == Allowed) {
		f.Errorf("log: %s", log)
	}
	switch want {
	case Failed:
		if !strings.Contains(got.text, "REQUEST-1") || got.Header.Get("X-Request-Id") != "REQUEST-1" ||
			got.Header.Get("Cache-Control") != "no-store" || strings.Contains(got.text, "127.0.0.1") ||
			strings.Contains(got.text, "half") {
			f.Errorf("%v %q", got.Header, got.text)
		}
	case Denied:
		for _, field := range []string{"requestId=REQUEST-1", "client=100.64.0.7", "identity=alice@example.com", "funnel=false",
			"method=GET", "path=", fmt.Sprintf("status=%d", status)} {
			if !strings.Contains(log, field) {
				f.Errorf("no %s in the log: %s", field, log)
			}
		}
	case Allowed, Bypassed, Cached, Passed:
	}
}

func TestYesReachesTheUpstream(t *testing.T) {
	for what, answer := range map[string]string{
		"200":              "HTTP/1.1 200 OK\r\n" + nothingMore,
		"202 with a body":  "HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\nok",
		"204":              "HTTP/1.1 204 No Content\r\n\r\n",
		"103 and then 200": "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\n" + nothingMore,
	} {
		t.Run(what, func(t *testing.T) {
			serve(t, protocol.ForwardAuthSpec{URL: saying(t, answer)}, secure(false)).tell("/?topsecret", nil, Allowed, 200, "")
		})
	}
}

func TestNoIsTheAnswerToTheClient(t *testing.T) {
	for _, status := range []int{300, 301, 302, 303, 304, 307, 308, 400, 401, 403, 404, 407, 429, 499} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			answer := fmt.Sprintf("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 %d No\r\n", status) + nothingMore
			f := serve(t, protocol.ForwardAuthSpec{URL: saying(t, answer)}, secure(false))
			f.tell("/?topsecret", nil, Denied, status, fmt.Sprintf("the authorization service answered %d", status))
		})
	}
	t.Run("a redirect to a login page that answers 200", func(t *testing.T) {
		login := serving(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/login" {
				http.Redirect(w, r, "/login", http.StatusFound)
			}
		}))
		serve(t, protocol.ForwardAuthSpec{URL: login.URL}, secure(false)).tell("/?topsecret", nil, Denied, 302, "answered 302")
	})
}

func TestNoUsableAnswerReachesNobody(t *testing.T) {
	const ok, no = "HTTP/1.1 200 OK\r\n", "HTTP/1.1 403 Forbidden\r\n"
	endless := strings.Repeat("a", maxBodyBytes+1)
	for what, c := range map[string]struct{ answer, logs string }{
		"500":                              {"HTTP/1.1 500 Internal Server Error\r\n" + nothingMore, "answered 500"},
		"503":                              {"HTTP/1.1 503 Service Unavailable\r\n" + nothingMore, "answered 503"},
		"600":                              {"HTTP/1.1 600 Odd\r\n" + nothingMore, "answered 600"},
		"000":                              {"HTTP/1.1 000 Odd\r\n" + nothingMore, "answered 0"},
		"another protocol":                 {"HTTP/1.1 101 Go\r\nConnection: Upgrade\r\nUpgrade: evil\r\n\r\n", "answered 101"},
		"no HTTP, but a cookie":            {"Set-Cookie: session=topsecret\r\n\r\n", "no HTTP"},
		"a bad header line, with a cookie": {ok + "Set-Cookie session=topsecret\r\n" + nothingMore, "no HTTP"},
		"a header without end":             {ok + "A: " + endless, "more than 262144 bytes of header"},
		"a yes without end":                {ok + "\r\n" + endless, "more than 1048576 bytes"},
		"a no without end":                 {no + "\r\n" + endless, "more than 1048576 bytes"},
		"a yes that breaks off":            {ok + "Content-Length: 9\r\n\r\nhalf", "broke off"},
		"a no that breaks off":             {no + "Content-Length: 9\r\n\r\nhalf", "broke off"},
		"a header that breaks off":         {ok + "Content-Length: 0\r\n", "broke off"},
		"nothing":                          {"", "broke off"},
	} {
		t.Run(what, func(t *testing.T) {
			serve(t, protocol.ForwardAuthSpec{URL: saying(t, c.answer)}, secure(false)).tell("/?topsecret", nil, Failed, 502, c.logs)
		})
	}
	t.Run("nobody there", func(t *testing.T) {
		serve(t, protocol.ForwardAuthSpec{URL: dead(t)}, secure(false)).tell("/?topsecret", nil, Failed, 502, "connection refused")
	})
	for what, begins := range map[string]string{"silence": "", "a yes that stalls": ok + "Content-Length: 9\r\n\r\nhalf"} {
		t.Run(what, func(t *testing.T) {
			f := serve(t, protocol.ForwardAuthSpec{URL: silent(t, begins), TimeoutMs: 50}, secure(false))
			f.tell("/?topsecret", nil, Failed, 504, "did not answer within 50ms")
		})
	}
}

func TestWhatCannotBeAskedAboutReachesNobody(t *testing.T) {
	service := saying(t, "HTTP/1.1 200 OK\r\n"+nothingMore)
	for _, c := range []struct {
		what   string
		target string
		host   string
		status int
		logs   string
	}{
		{"the name of another service", "/", "other.example", 421, "no service with this name"},
		{"the name of another service, in the request line", "http://other.example/", "", 421, "no service with this name"},
		{"no path", "mailto:alice", "", 400, "the request target must be a path"},
		{"a path with ..", "/a/%2e%2E/b?topsecret", "", 400, "path=/a/%2e%2E/b"},
	} {
		t.Run(c.what, func(t *testing.T) {
			header := http.Header{}
			if c.host != "" {
				header.Set("Host", c.host)
			}
			serve(t, protocol.ForwardAuthSpec{URL: service}, secure(false)).tell(c.target, header, Denied, c.status, c.logs)
		})
	}
	t.Run("a client of no known address", func(t *testing.T) {
		f := serve(t, protocol.ForwardAuthSpec{URL: service}, secure(false))
		f.peer.Address = ""
		f.tell("/?topsecret", nil, Failed, 502, "address of the client is not known")
	})
}

func TestCertificateOfTheService(t *testing.T) {
	service := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	service.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	service.StartTLS()
	t.Cleanup(service.Close)
	f := serve(t, protocol.ForwardAuthSpec{URL: service.URL}, secure(false))
	f.tell("/?topsecret", nil, Failed, 502, "certificate signed by unknown authority")
	f = serve(t, protocol.ForwardAuthSpec{URL: service.URL, InsecureHTTPS: true}, secure(false))
	f.tell("/?topsecret", nil, Allowed, 200, "")
}

func TestDenialPassesAsItIs(t *testing.T) {
	service := saying(t, "HTTP/1.1 303 See Other\r\nLocation: ../login?rd=x\r\nSet-Cookie: a=1; Path=/\r\nSet-Cookie: b=2\r\n"+
		"Content-Type: text/html\r\nCache-Control: private\r\nConnection: close\r\nKeep-Alive: timeout=5\r\n"+
		"Transfer-Encoding: chunked\r\n\r\n6\r\n<page>\r\n0\r\n\r\n")
	f := serve(t, protocol.ForwardAuthSpec{URL: service}, secure(false))
	got := f.send("/", nil)
	if got.StatusCode != 303 || got.text != "<page>" || got.Header.Get("Location") != "../login?rd=x" ||
		got.Header.Get("Content-Type") != "text/html" || got.Header.Get("Cache-Control") != "private" ||
		!slices.Equal(got.Header["Set-Cookie"], []string{"a=1; Path=/", "b=2"}) || got.Header.Get("Keep-Alive") != "" || got.Close {
		t.Errorf("%d %v %q", got.StatusCode, got.Header, got.text)
	}
	if got := f.send("/", http.Header{"Method": {"HEAD"}}); got.StatusCode != 303 || got.text != "" {
		t.Errorf("HEAD: %d %q", got.StatusCode, got.text)
	}
}

// attentive is a service that allows all and keeps the questions.
type attentive struct {
	mu        sync.Mutex
	questions []*http.Request
}

func (a *attentive) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.questions = append(a.questions, r)
}

func (a *attentive) last() *http.Request {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.questions[len(a.questions)-1]
}

func TestQuestion(t *testing.T) {
	service := &attentive{}
	address := serving(t, service).URL
	claims := http.Header{}
	for _, name := range []string{"Forwarded", "X-Forwarded-For", "X_Forwarded_For", "X-Forwarded-Host", "X-Forwarded-Uri",
		"X-Forwarded-Method", "X-Forwarded-Proto", "X-Forwarded-User", "X-Original-Url", "X-Original-Method", "X-Real-Ip",
		"X-Tailscale-User", "X-Authelia-Url", "X-Auth-Request-Redirect", "X-Anything", "Remote-User", "Session-Username", "Origin",
		"Referer", "If-None-Match", "Range"} {
		claims[name] = []string{"evil"}
	}
	for _, https := range []secure{false, true} {
		f := serve(t, protocol.ForwardAuthSpec{URL: address + "/api/verify?rd=https://auth.example/&rd=2"}, https)
		scheme := map[secure]string{false: "http", true: "https"}[https]
		if https {
			f.peer.Address = "::ffff:100.64.0.7" // as a socket for both families has it
		}
		about := func(method, uri string) http.Header {
			return http.Header{
				"X-Forwarded-For": {"100.64.0.7"}, "X-Forwarded-Host": {f.host}, "X-Forwarded-Method": {method},
				"X-Forwarded-Proto": {scheme}, "X-Forwarded-Uri": {uri},
				"X-Original-Method": {method}, "X-Original-Url": {scheme + "://" + f.host + uri},
			}
		}
		for _, c := range []struct {
			what   string
			target string
			send   http.Header
			about  http.Header
			copied http.Header // as the client sent them
		}{
			{what: "of a client that says nothing", target: "/", send: http.Header{"User-Agent": nil}, about: about("GET", "/")},
			{what: "of a client that says what is asked about", target: "/a%2Fb/c%20d?x=1;y&rd=https://evil/",
				send: http.Header{"Method": {"PATCH"}, "Body": {"much"}},
				copied: http.Header{"Accept": {"text/html", "*/*"}, "Accept-Language": {"de"}, "Authorization": {"Bearer 1"},
					"Cookie": {"a=1", "b=2"}, "Proxy-Authorization": {"Basic 1"}, "User-Agent": {"test"},
					"X-Requested-With": {"XMLHttpRequest"}},
				about: about("PATCH", "/a%2Fb/c%20d?x=1;y&rd=https://evil/")},
			{what: "of a client that claims what it likes", target: "/", send: claims, about: about("GET", "/"),
				copied: http.Header{"User-Agent": {"test"}}},
			{what: "of a WebSocket", target: "/", about: about("GET", "/"), copied: http.Header{"User-Agent": {"test"}},
				send: http.Header{"Upgrade": {"websocket"}, "Connection": {"Upgrade"}, "Sec-Websocket-Key": {"1"}}},
			{what: "of a whole URL in the request line", target: "http://" + f.host + "/page?a", about: about("GET", "/page?a"),
				copied: http.Header{"User-Agent": {"test"}}},
		} {
			send := maps.Clone(c.send)
			if send == nil {
				send = http.Header{}
			}
			maps.Copy(send, c.copied)
			got := f.send(c.target, send)
			maps.Copy(c.about, c.copied)
			asked := service.last()
			if !reflect.DeepEqual(asked.Header, c.about) {
				t.Errorf("%s by %s:\ngot  %v\nwant %v", c.what, scheme, asked.Header, c.about)
			}
			if asked.Method != "GET" || asked.RequestURI != "/api/verify?rd=https://auth.example/&rd=2" || asked.ContentLength != 0 ||
				"http://"+asked.Host != address {
				t.Errorf("%s: %s %s of %s with %d bytes", c.what, asked.Method, asked.RequestURI, asked.Host, asked.ContentLength)
			}
			if body := c.send["Body"]; body != nil && !strings.HasSuffix(got.text, "\r\n\r\n"+body[0]) {
				t.Errorf("%s: the upstream did not get the body:\n%s", c.what, got.text)
			}
		}
	}
}

func TestBypassIsForPeopleOnTheTailnetOnly(t *testing.T) {
	deny := saying(t, "HTTP/1.1 401 Unauthorized\r\n"+nothingMore)
	for _, c := range []struct {
		what     string
		bypass   bool
		client   Client
		bypassed bool
	}{
		{"a person", true, Client{Person: true}, true},
		{"a person, when it is not asked for", false, Client{Person: true}, false},
		{"a tagged node", true, Client{}, false},
		{"a stranger behind funnel", true, Client{Funnel: true}, false},
		{"a person behind funnel", true, Client{Funnel: true, Person: true}, false},
	} {
		spec := protocol.ForwardAuthSpec{URL: deny, BypassForTailnet: c.bypass, CopyHeaders: []string{"Remote-User"}}
		f := serve(t, spec, secure(false))
		f.peer = c.client
		f.peer.Address = "100.64.0.7"
		got := f.send("/", http.Header{"Remote-User": {"root"}, "Remote_User": {"root"}})
		if !c.bypassed {
			if f.expect(Denied); got.StatusCode != 401 || f.reached.Load() != 0 {
				t.Errorf("%s: %d", c.what, got.StatusCode)
			}
			continue
		}
		if f.expect(Bypassed); got.StatusCode != 200 || strings.Contains(got.text, "root") {
			t.Errorf("%s: %d %s", c.what, got.StatusCode, got.text)
		}
	}
}

func TestCookiesOfTheServiceReachTheClient(t *testing.T) {
	service := saying(t, "HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n"+nothingMore)
	f := serve(t, protocol.ForwardAuthSpec{URL: service}, secure(false))
	want := []string{"a=1", "b=2", "upstream=1"}
	cookies := func(header http.Header) []string { return slices.Sorted(slices.Values(header["Set-Cookie"])) }
	for _, target := range []string{"/page", "/early"} {
		if got := f.send(target, nil); !slices.Equal(cookies(got.Header), want) {
			t.Errorf("%s: %q", target, got.Header["Set-Cookie"])
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	connection, response, err := websocket.Dial(ctx, f.url+"/socket", &websocket.DialOptions{HTTPClient: f.client})
	if err != nil {
		t.Fatal(err)
	}
	defer connection.CloseNow()
	if !slices.Equal(cookies(response.Header), want) {
		t.Errorf("WebSocket: %q", response.Header["Set-Cookie"])
	}
	f.expect(Allowed, Allowed, Allowed)

	recorder := httptest.NewRecorder()
	request := httptest.NewRequest("GET", f.url, nil)
	f.guard.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(nil) })).ServeHTTP(recorder, request)
	if got := recorder.Result().Header["Set-Cookie"]; !slices.Equal(got, want[:2]) {
		t.Errorf("a handler that only writes: %q", got)
	}
}

func TestClientThatLeavesIsNoFailure(t *testing.T) {
	f := serve(t, protocol.ForwardAuthSpec{URL: "http://placeholder.invalid"}, secure(false))
	ctx, leave := context.WithCancel(t.Context())
	asked := make(chan struct{})
	service := serving(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		leave()
		<-r.Context().Done() // the question is given up, too
		close(asked)
	}))
	f.guard.question.Host = strings.TrimPrefix(service.URL, "http://")
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, f.url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if response, err := f.client.Do(request); err == nil {
		response.Body.Close()
		t.Error("answered")
	}
	<-asked
	f.handling.Wait()
	if f.expect(); f.reached.Load() != 0 || f.logged() != "" {
		t.Error("reached the upstream, or was taken for a failure")
	}
}

func TestUnusableSpecsAreRefused(t *testing.T) {
	for _, c := range []struct {
		what string
		spec protocol.ForwardAuthSpec
	}{
		{"a host without a scheme", protocol.ForwardAuthSpec{URL: "127.0.0.1:9091"}},
		{"half an IPv6 address", protocol.ForwardAuthSpec{URL: "http://[::1"}},
		{"another scheme", protocol.ForwardAuthSpec{URL: "ftp://auth"}},
		{"no host", protocol.ForwardAuthSpec{URL: "http://:9091/"}},
		{"nothing", protocol.ForwardAuthSpec{}},
		{"a password", protocol.ForwardAuthSpec{URL: "http://user:topsecret@auth"}},
		{"a password in what is no URL", protocol.ForwardAuthSpec{URL: "http://user:topsecret@auth:x"}},
		{"a header of the connection", protocol.ForwardAuthSpec{URL: "http://auth", CopyHeaders: []string{"transfer_encoding"}}},
		{"no header", protocol.ForwardAuthSpec{URL: "http://auth", CopyHeaders: []string{"Remote User"}}},
		{"no path", protocol.ForwardAuthSpec{URL: "http://auth", PassPaths: []string{"oauth2"}}},
	} {
		if _, err := New(Config{Spec: c.spec}); err == nil || strings.Contains(err.Error(), "topsecret") {
			t.Errorf("%s: %v", c.what, err)
		}
	}
	guard, err := New(Config{Spec: protocol.ForwardAuthSpec{URL: "http://auth"}})
	if err != nil || guard.timeout != defaultTimeout {
		t.Errorf("%+v, %v", guard, err)
	}
}
