package forwardauth

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/pathcheck"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/protocol"
)

// outOf are ways to spell a path out of the one before: for an upstream that decodes once or twice, takes a backslash for a
// slash, cuts at ";", "?", "#" or NUL, or drops dots and spaces at the end of a segment.
var outOf = []string{
	"/../admin", "/%2e%2e/admin", "/.%2e/admin", "/..%2fadmin", "/..%5cadmin", `/..\admin`, "/..;/admin", "/..;x=1/admin", "/%2e%2e;/admin",
	"/%252e%252e/admin", "/..%252fadmin", "/%252e%252e%252fadmin", "/..%255cadmin", "/..%253b/admin", "/%25252e%25252e/admin",
	"/..%20/admin", "/..%09/admin", "/..%00/admin", "/..%0a/admin", "/..%23/admin", "/..%3f/admin", "/.../admin", "/%2e%2e./admin",
	"/..%c0%af/admin", "/%c0%ae%c0%ae/admin", "/%e0%80%ae%e0%80%ae/admin", "/./../admin", "/a/../../admin", "/%5c..%5cadmin", "/..%c1%9cadmin",
}

func TestAPathThatLeadsElsewhereIsNotAskedAbout(t *testing.T) {
	asked := 0
	service := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.Header.Get("X-Forwarded-Uri"), "/public") {
			asked++
		}
	}))
	t.Cleanup(service.Close)
	f := serve(t, protocol.ForwardAuthSpec{URL: service.URL, PassPaths: []string{"/oauth2"}}, secure(false))
	for _, rest := range outOf {
		if got := f.send("/public"+rest, nil); got.StatusCode != http.StatusBadRequest || asked != 0 {
			t.Errorf("/public%s: %d, asked %d times", rest, got.StatusCode, asked)
		}
		// Nor is it taken for a page of the auth server, which would get it unasked.
		if got := f.send("/oauth2"+rest, nil); got.StatusCode != http.StatusBadRequest {
			t.Errorf("/oauth2%s: %d", rest, got.StatusCode)
		}
	}
	if f.reached.Load() != 0 {
		t.Errorf("%d reached the upstream", f.reached.Load())
	}
	// What is usual is asked about: also an encoded slash, as in the names of packages.
	for i, path := range []string{"/public", "/public/a%20b", "/public/@scope%2fname", "/public/%E2%82%AC", "/public/a.b/..c", "/public/100%25"} {
		if got := f.send(path, nil); got.StatusCode != http.StatusOK || asked != i+1 {
			t.Errorf("%s: %d, asked %d times", path, got.StatusCode, asked)
		}
	}
}

// FuzzPassed reads what is passed unasked as an upstream may: however often it decodes, it is still below the path.
func FuzzPassed(f *testing.F) {
	guard, err := New(Config{Spec: protocol.ForwardAuthSpec{URL: "http://127.0.0.1:1", PassPaths: []string{"/oauth2"}}})
	if err != nil {
		f.Fatal(err)
	}
	for _, rest := range outOf {
		f.Add("/oauth2" + rest)
	}
	f.Add("/oauth2/start?rd=/")
	f.Fuzz(func(t *testing.T, target string) {
		u, err := url.ParseRequestURI(target)
		if err != nil || !guard.isPassed(u) {
			return
		}
		for path, rounds := u.EscapedPath(), 0; rounds < 3; rounds++ {
			path = strings.NewReplacer(`\`, "/", "\x00", "?", "#", "?").Replace(path)
			path, _, _ = strings.Cut(path, "?")
			depth := 0
			for segment := range strings.SplitSeq(strings.TrimPrefix(path, "/"), "/") {
				if bare := pathcheck.Bare(segment); bare == "" && strings.HasPrefix(segment, "..") {
					depth--
				} else {
					depth++
				}
				if depth < 1 {
					t.Fatalf("%q leads out of /oauth2 when it is decoded %d times", target, rounds)
				}
			}
			next, err := url.PathUnescape(path)
			if err != nil {
				return
			}
			path = next
		}
	})
}

func TestTheQuestionIsASCII(t *testing.T) {
	for uri, want := range map[string]string{"/a?b=c%20d": "/a?b=c%20d", "/?q=\u00e9 x\xff": "/?q=%C3%A9%20x%FF"} {
		if got := ascii(uri); got != want {
			t.Errorf("%q: %q", uri, got)
		}
	}
}
