package prefix

import (
	"bufio"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path"
	"regexp"
	"strings"
	"testing"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/pathcheck"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/protocol"
)

// prefixes makes settings of texts as in the configuration: /path, tailnet:/path or funnel:/path.
func prefixes(texts ...string) []protocol.PrefixSpec {
	var specs []protocol.PrefixSpec
	for _, text := range texts {
		from, path, found := strings.Cut(text, ":")
		if !found {
			from, path = string(protocol.PrefixSpecFromAny), text
		}
		specs = append(specs, protocol.PrefixSpec{From: protocol.PrefixSpecFrom(from), Path: path})
	}
	return specs
}

func parse(t testing.TB, target string) *url.URL {
	t.Helper()
	u, err := url.ParseRequestURI(target)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestWhichPathsMatch(t *testing.T) {
	for _, c := range []struct {
		what     string
		prefixes []string
		matches  []string
		not      []string
	}{
		{"whole segments", []string{"/api"}, []string{"/api", "/api/", "/api/x", "/api//x", "/api?q"},
			[]string{"/", "/apix", "/ap", "/api.x", "/api;x", "/api%3Fx", "/x/api", "http://host"}},
		{"a slash at the end asks for one", []string{"/api/"}, []string{"/api/", "/api/x"}, []string{"/api", "/apix", "/api;/x"}},
		{"a slash is everything", []string{"/"}, []string{"/", "/x", "//x", "http://host"}, nil},
		{"the decoded path", []string{"/api"}, []string{"/%61pi/x", "/ap%69"}, []string{"/%2561pi", "/api%2541"}},
		{"characters beyond ASCII", []string{"/café"}, []string{"/caf%C3%A9/x", "/caf%c3%a9"}, []string{"/caf", "/cafe"}},
		{"case counts", []string{"/api"}, nil, []string{"/API", "/Api/x"}},
		{"many slashes are not one", []string{"/admin"}, nil, []string{"//admin", "//admin/x"}},
		{"any of them", []string{"/a", "/b"}, []string{"/a/x", "/b/x"}, []string{"/c"}},
	} {
		t.Run(c.what, func(t *testing.T) {
			p := New(prefixes(c.prefixes...), false)
			for _, target := range c.matches {
				u := parse(t, target)
				if path, raw, err := p.Match(u, false); path != u.Path || raw != u.RawPath || err != nil {
					t.Errorf("%s: %q, %q, %v", target, path, raw, err)
				}
			}
			for _, target := range c.not {
				if _, _, err := p.Match(parse(t, target), false); err != ErrNotFound {
					t.Errorf("%s: %v", target, err)
				}
			}
		})
	}
}

func TestNothingListedMatchesEverythingAndRefusesNothing(t *testing.T) {
	for _, target := range []string{"/", "/x", "//x", "/a/../b", "/a%2Fb/%2e%2e/c", "/%00", "*"} {
		u := parse(t, target)
		if path, raw, err := New(nil, true).Match(u, true); path != u.Path || raw != u.RawPath || err != nil {
			t.Errorf("%s: %q, %q, %v", target, path, raw, err)
		}
	}
}

func TestPrefixesAreForWhereTheRequestCameIn(t *testing.T) {
	for _, c := range []struct {
		prefixes        []string
		tailnet, funnel bool // whether /a/x is found
	}{
		{[]string{"/a"}, true, true},
		{[]string{"tailnet:/a"}, true, false},
		{[]string{"funnel:/a"}, false, true}, // which leaves none for the tailnet, and that is not everything
		{[]string{"tailnet:/", "funnel:/b"}, true, false},
		{[]string{"tailnet:/b", "funnel:/a"}, false, true},
		{[]string{"elsewhere:/a"}, false, false},
	} {
		p := New(prefixes(c.prefixes...), false)
		for funnel, want := range map[bool]bool{false: c.tailnet, true: c.funnel} {
			if _, _, err := p.Match(parse(t, "/a/x"), funnel); (err == nil) != want || err != nil && err != ErrNotFound {
				t.Errorf("%v, funnel %v: %v", c.prefixes, funnel, err)
			}
		}
	}
}

func TestWhatIsLeftWithoutThePrefix(t *testing.T) {
	for _, c := range []struct{ prefixes, target, want string }{
		{"/api", "/api", "/"},
		{"/api", "/api/", "/"},
		{"/api", "/api/x/", "/x/"},
		{"/api/", "/api/", "/"},
		{"/api/", "/api/x", "/x"},
		{"/", "/", "/"},
		{"/", "/x", "/x"},
		{"/", "http://host", "/"},
		{"/api", "/api/x//y", "/x//y"},
		{"/a /a/b", "/a/b/c", "/b/c"}, // the first listed, not the longest
		{"/a/b /a", "/a/b/c", "/c"},
		{"funnel:/a tailnet:/a/b", "/a/b/c", "/c"},
		{"/api", "/api/a%2Cb", "/a%2Cb"},
		{"/api", "/%61pi/%7euser/a%2cb(c)!", "/%7euser/a%2cb(c)!"},
		{"/api", "/%61pi", "/"},
		{"/api", "/api/a%20b", "/a%20b"},
		{"/café", "/caf%c3%a9/%e6%97%a5", "/%e6%97%a5"},
		{"/café", "/caf%C3%A9/x", "/x"},
		{"/a,b", "/a%2Cb/*", "/*"},
		{"/api", `/%61pi/"x"%2C`, "/%22x%22,"}, // Go spells the whole path anew when part of it is no URL
		{"/api", "/api/x%3Fy", "/x%3Fy"},
		{"/api", "/api/50%2525", "/50%2525"},
	} {
		path, raw, err := New(prefixes(strings.Fields(c.prefixes)...), true).Match(parse(t, c.target), false)
		rest := url.URL{Path: path, RawPath: raw}
		if rest.EscapedPath() != c.want || err != nil {
			t.Errorf("%s without %s: %q (%q, %q), %v, want %q", c.target, c.prefixes, rest.EscapedPath(), path, raw, err, c.want)
		}
	}
}

func TestWhatIsLeftNeverBeginsLikeAHost(t *testing.T) {
	for _, c := range []struct {
		prefix, target string
		want           error // when the prefix is stripped; otherwise it passes
	}{
		{"/pub", "/pub//evil.example/x", ManySlashes},
		{"/pub", "/pub//", ManySlashes},
		{"/pub", "/%70ub//x", ManySlashes},
		{"/pub/", "/pub//evil.example/x", ManySlashes},
		{"/", "//evil.example/x", ManySlashes},
		{"/pub", "/pub/x//y", nil},
	} {
		u := parse(t, c.target)
		if _, _, err := New(prefixes(c.prefix), true).Match(u, false); err != c.want {
			t.Errorf("%s: %v", c.target, err)
		}
		if path, raw, err := New(prefixes(c.prefix), false).Match(u, false); path != u.Path || raw != u.RawPath || err != nil {
			t.Errorf("%s, not stripped: %q, %q, %v", c.target, path, raw, err)
		}
	}
}

// One of each kind; pathcheck has the rest.
func TestWhatIsReadInDifferentWaysIsRefusedBeforeItIsMatched(t *testing.T) {
	for _, target := range []string{"/pub/../x", "/pub/%2e%2e/x", "/pub/..%2fadmin", "/pub/%252e%252e/x", "/pub/..;/x",
		"/pub/%5c..", "/pub/%00", "/other/../pub", "/other/%2e", "x:http://upstream/pub", "*"} {
		for _, p := range []*Prefixes{New(prefixes("/pub"), true), New(prefixes("/pub/"), false), New(prefixes("/"), false)} {
			var refusal pathcheck.Refusal
			path, raw, err := p.Match(parse(t, target), false)
			if path != "" || raw != "" || !errors.As(err, &refusal) || errors.Is(err, ErrNotFound) {
				t.Errorf("%s: %q, %q, %v", target, path, raw, err)
			}
		}
	}
}

func TestAnEncodedSlashMattersWhereAPrefixDependsOnIt(t *testing.T) {
	p := New(prefixes("/pub/x", "/pub"), true)
	for target, want := range map[string]struct {
		path, raw string
		err       error
	}{
		"/pub/@scope%2fname":   {"/@scope/name", "/@scope%2fname", nil},
		"/pub/x/a%252fb":       {"/a%2fb", "", nil},
		"/other%2fx":           {"", "", ErrNotFound},
		"/pub%2fy":             {"", "", pathcheck.SlashDecides},
		"/pub/x%2fy":           {"", "", pathcheck.SlashDecides}, // below another prefix
		"/pub%252fy":           {"", "", pathcheck.SlashDecides},
		"/pub/%2fevil.example": {"", "", ManySlashes},
	} {
		if path, raw, err := p.Match(parse(t, target), false); path != want.path || raw != want.raw || err != want.err {
			t.Errorf("%s: %q, %q, %v", target, path, raw, err)
		}
	}
}

// A real server reads the request lines and another one the rest of the path, as a client and an upstream do.
func TestRequestLinesArriveAtTheUpstreamWithoutThePrefix(t *testing.T) {
	arrived := make(chan string, 1)
	upstream := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { arrived <- r.RequestURI }))
	defer upstream.Close()
	p := New(prefixes("/pub"), true)
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		out, err := http.NewRequest(http.MethodGet, upstream.URL, nil)
		if err != nil {
			t.Error(err)
			return
		}
		if out.URL.Path, out.URL.RawPath, err = p.Match(r.URL, false); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		response, err := upstream.Client().Do(out)
		if err != nil {
			t.Error(err)
			return
		}
		response.Body.Close()
	}))
	defer front.Close()
	for target, want := range map[string]string{
		"/pub": "/", "/pub/a%2Cb": "/a%2Cb", "/pub/%C3%A9": "/%C3%A9", "/pub/a:b": "/a:b", "http://host/pub/x": "/x",
		"/pub/*":              "/*",
		"/pub//evil.example/": "", "/pub/../x": "", `/pub/\x`: "", "x:http://evil.example/pub": "", "//pub": "",
	} {
		client, err := net.Dial("tcp", front.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := client.Write([]byte("GET " + target + " HTTP/1.1\r\nHost: host\r\nConnection: close\r\n\r\n")); err != nil {
			t.Fatal(err)
		}
		response, err := http.ReadResponse(bufio.NewReader(client), nil)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		client.Close()
		var got string
		if len(arrived) > 0 {
			got = <-arrived
		}
		if got != want || (response.StatusCode == http.StatusBadRequest) != (want == "") {
			t.Errorf("%s arrived as %q, status %d, want %q", target, got, response.StatusCode, want)
		}
	}
}

// FuzzPrefixMatch: a path that matches stays below the prefix, however often an upstream decodes it before it cleans it. And
// prefix and rest together are the path that the client sent.
func FuzzPrefixMatch(f *testing.F) {
	for _, target := range []string{
		"/pub", "/pub/", "/pub/x", "/pubx", "/pub//x", "//pub/x", "/pub/../x", "/pub/%2e%2e/x", "/pub/.%2E", "/pub/..%2fx",
		"/pub/%5c..%5cx", "/pub/%252e%252e/x", "/pub/%25252e%25252e/x", "/pub/%25%32%65./x", "/pub/..;/x", "/pub;/x", "/pub/%00",
		"/%70ub/a%2Cb", "/pub/a%2fb", "/caf%C3%A9/x", "/caf%c3%a9", "/pub/%c0%ae%c0%ae/x", "/pub//evil.example/x", `/pub/"%2C`,
		"x:/pub", "*", "http://host/pub/x",
	} {
		f.Add(target)
	}
	f.Fuzz(func(t *testing.T, target string) {
		u, err := url.ParseRequestURI(target)
		if err != nil {
			return
		}
		for _, prefix := range []string{"/pub", "/pub/", "/", "/café/a,b", "/café"} {
			whole, raw, err := New(prefixes(prefix), false).Match(u, false)
			if err == nil && (whole != u.Path || raw != u.RawPath) {
				t.Errorf("%q for %s: %q, %q", target, prefix, whole, raw)
			}
			decoded := strings.ReplaceAll(fullyDecoded(u.EscapedPath()), `\`, "/")
			for _, read := range []string{decoded, parameters.ReplaceAllString(decoded, "")} {
				if err == nil && !isBelow(prefix, path.Clean(read)) {
					t.Errorf("%q leaves %s as %q", target, prefix, read)
				}
			}
			rest, restRaw, strippedErr := New(prefixes(prefix), true).Match(u, false)
			if strippedErr != err && strippedErr != ManySlashes {
				t.Errorf("%q for %s: %v and %v", target, prefix, err, strippedErr)
			}
			if strippedErr != nil {
				continue
			}
			if bare := strings.TrimSuffix(prefix, "/"); bare+rest != u.Path && bare+strings.TrimSuffix(rest, "/") != u.Path {
				t.Errorf("%q is not %s and %q", target, prefix, rest)
			}
			escaped := (&url.URL{Path: rest, RawPath: restRaw}).EscapedPath()
			if !strings.HasSuffix(u.EscapedPath(), escaped) && escaped != "/" {
				t.Errorf("%q without %s is spelled %q", target, prefix, escaped)
			}
			again, err := url.Parse(escaped)
			if err != nil || again.Path != rest || again.Host != "" || !strings.HasPrefix(rest, "/") {
				t.Errorf("%q without %s is %q, read as %v, %v", target, prefix, rest, again, err)
			}
		}
	})
}

var parameters = regexp.MustCompile(";[^/]*")

func isBelow(prefix, path string) bool {
	prefix = strings.TrimSuffix(prefix, "/")
	return strings.HasPrefix(path+"/", prefix+"/") || prefix == "" && path == "." // the empty path
}

// fullyDecoded resolves percent-encoding until there is none.
func fullyDecoded(text string) string {
	for at := 0; at+3 <= len(text); {
		if decoded, err := url.PathUnescape(text[at : at+3]); err == nil && text[at] == '%' {
			text = text[:at] + decoded + text[at+3:]
			at = max(0, at-2) // it may complete another one
			continue
		}
		at++
	}
	return text
}

func BenchmarkMatch(b *testing.B) {
	for _, strip := range []bool{false, true} {
		b.Run(map[bool]string{false: "kept", true: "stripped"}[strip], func(b *testing.B) {
			p := New(prefixes("/api", "/static/", "funnel:/public"), strip)
			u := parse(b, "/static/images/2024/logo.png")
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := p.Match(u, false); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
