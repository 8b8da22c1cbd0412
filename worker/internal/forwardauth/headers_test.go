package forwardauth

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/protocol"
)

func TestCopiedHeadersAtTheUpstream(t *testing.T) {
	spoofed := http.Header{
		"Remote-User": {"root"}, "remote-user": {"root"}, "Remote_User": {"root"}, "REMOTE_USER": {"root"}, "Remote.User": {"root"},
		"Remote-Groups": {"root", "root"}, "Remote_Groups": {"root"}, "X-Other": {"kept"},
	}
	for _, c := range []struct {
		what string
		says string // of the service
		send http.Header
		user []string
	}{
		{"what the service says", "Remote-User: alice\r\n", spoofed, []string{"alice"}},
		{"all that it says", "Remote-User: alice\r\nRemote-User: \r\nRemote-User: bob\r\n", spoofed, []string{"alice", "", "bob"}},
		{"nothing that it does not say", "", spoofed, nil},
		{"what the client takes for a matter of the connection", "Remote-User: alice\r\n",
			http.Header{"Connection": {"keep-alive, remote-user ,X-Gone", "Remote_User"}, "X-Gone": {"root"}, "X-Other": {"kept"}},
			[]string{"alice"}},
	} {
		f := serve(t, protocol.ForwardAuthSpec{URL: saying(t, "HTTP/1.1 200 OK\r\n"+c.says+nothingMore),
			CopyHeaders: []string{"remote-user", "Remote-Groups"}}, secure(false))
		got := f.send("/", c.send)
		f.expect(Allowed)
		if users := got.received()["Remote-User"]; !slices.Equal(users, c.user) || strings.Contains(got.text, "root") ||
			got.received().Get("X-Other") != "kept" {
			t.Errorf("%s: %q\n%s", c.what, users, got.text)
		}
	}
}

func TestAuthorizationOfTheServiceReplacesTheClients(t *testing.T) {
	service := &attentive{}
	f := serve(t, protocol.ForwardAuthSpec{URL: serving(t, service).URL, CopyHeaders: []string{"Authorization"}}, secure(false))
	got := f.send("/", http.Header{"Authorization": {"Bearer client"}})
	if asked := service.last().Header.Get("Authorization"); asked != "Bearer client" || strings.Contains(got.text, "Bearer") {
		t.Errorf("asked with %q, and at the upstream: %s", asked, got.text)
	}
}

// FuzzCopyHeadersNeverFromClient looks at the request in the place of the upstream: of the headers to copy, under any name
// that CGI makes the same of, there is what the service said and nothing else.
func FuzzCopyHeadersNeverFromClient(f *testing.F) {
	said := map[string][]string{"REMOTE_USER": {"alice"}, "REMOTE_GROUPS": {"a", "b"}}
	service := serving(f, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/says" {
			w.Header()["Remote-User"], w.Header()["Remote-Groups"] = said["REMOTE_USER"], said["REMOTE_GROUPS"]
		}
	}))
	asCGI := func(name string) string {
		return strings.Map(func(r rune) rune {
			if strings.ContainsRune("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", r) {
				return r
			}
			return '_'
		}, strings.ToUpper(name))
	}
	guard := func(path string, bypass bool) *Guard {
		guard, err := New(Config{
			Spec: protocol.ForwardAuthSpec{URL: service.URL + path, CopyHeaders: []string{"Remote-User", "remote-groups"},
				BypassForTailnet: bypass, CacheTTLMs: 1000, TimeoutMs: int(patience.Milliseconds())},
			Client:    func(*http.Request) Client { return Client{Address: "100.64.0.7", Person: true} },
			Host:      func(r *http.Request) (string, bool) { return r.Host, true },
			Observe:   func(Outcome, time.Duration) {},
			Trouble:   func(string) {},
			RequestID: func(*http.Request) string { return "" },
			Log:       slog.New(slog.NewTextHandler(io.Discard, nil)),
		})
		if err != nil {
			f.Fatal(err)
		}
		f.Cleanup(guard.Close)
		return guard
	}
	cases := []struct {
		guard *Guard
		says  bool
	}{{guard("/says", false), true}, {guard("/silent", false), false}, {guard("/silent", true), false}}

	f.Add("Remote-User", "root", "Connection", "Remote-User")
	f.Add("remote_user", "root", "REMOTE.GROUPS", "root")
	f.Add("Cookie", "session=1", "Remote-Users", "root")
	f.Add("X-Remote-User", "", "remote user", "\x00")
	f.Fuzz(func(t *testing.T, name, value, otherName, otherValue string) {
		for _, c := range cases {
			for range 2 { // the second is from the cache, if there is a cookie
				request := httptest.NewRequest("GET", "/", nil)
				request.Header = http.Header{name: {value}}
				request.Header[otherName] = append(request.Header[otherName], otherValue)
				request.Trailer = http.Header{name: {value}}
				sent := fmt.Sprint(request.Header)
				c.guard.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
					seen := map[string][]string{}
					for name, values := range r.Header {
						if cgi := asCGI(name); said[cgi] != nil {
							seen[cgi] = append(seen[cgi], values...)
						}
					}
					for _, options := range r.Header["Connection"] {
						for option := range strings.SplitSeq(options, ",") {
							delete(seen, asCGI(strings.TrimSpace(option)))
						}
					}
					for cgi := range said {
						if want := map[bool][]string{true: said[cgi]}[c.says]; !slices.Equal(seen[cgi], want) {
							t.Errorf("%s: %q, want %q", cgi, seen[cgi], want)
						}
					}
					if len(r.Trailer) > 0 {
						t.Errorf("trailer: %v", r.Trailer)
					}
				})).ServeHTTP(httptest.NewRecorder(), request)
				if fmt.Sprint(request.Header) != sent {
					t.Errorf("the request of the caller was changed: %v", request.Header)
				}
			}
		}
	})
}
