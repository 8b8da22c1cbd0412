package pathcheck

import (
	"net/url"
	"slices"
	"testing"
)

func TestReadRefusesWhatUpstreamsReadInDifferentWays(t *testing.T) {
	for _, c := range []struct {
		target string
		want   error
	}{
		{"/pub/../x", DotSegment},
		{"/..", DotSegment},
		{"/./", DotSegment},
		{"/pub/.", DotSegment},
		{"/pub/%2e%2e/x", DotSegment},
		{"/pub/.%2E", DotSegment},
		{"/pub/%2e/x", DotSegment},
		{"/pub/%252e%252e/x", DotSegment},
		{"/pub/.%252e/x", DotSegment},
		{"/pub/%25%32%65%2e/x", DotSegment},
		{"/pub/..;/x", DotSegment},
		{"/pub/..;a=b/x", DotSegment},
		{"/pub/..%3b/x", DotSegment},
		{"/pub/..%253b/x", DotSegment},
		{"/pub/.;/x", DotSegment},
		{"/pub/..%3Fx", DotSegment},
		{"/pub/..%23/x", DotSegment},
		{"/pub/..%20/x", DotSegment},
		{"/pub/.../x", DotSegment},
		{"/pub/a%2fb", EncodedSlash},
		{"/pub%2F..b", EncodedSlash},
		{"/pub/..%2Fadmin", DotSegment}, // an encoded slash hides nothing from those who put up with it
		{"/pub%2F..", DotSegment},
		{"/a%2fb/../admin", DotSegment},
		{"/a%252f..%252fadmin", DotSegment},
		{"/a%2fb%5c", Unprintable},
		{"/a%2fb/%c0%ae", NotUTF8},
		{"/a%2fb/%25252e", EncodedOften},
		{"/pub/a%252fb", EncodedSlash},
		{"/pub/a%25%32%66b", EncodedSlash},
		{"/pub%252fx", EncodedSlash},
		{"/pub/a%5cb", Unprintable},
		{"/pub/a%5Cb", Unprintable},
		{"/pub/a%255cb", Unprintable},
		{`/pub/a\b`, Unprintable},
		{"/pub/a%00", Unprintable},
		{"/pub/a%2500", Unprintable},
		{"/pub/a%0d%0aX:%20y", Unprintable},
		{"/pub/a%7f", Unprintable},
		{"/pub/a%C2%85", Unprintable},
		{"/pub/%c0%ae%c0%ae/x", NotUTF8},
		{"/pub/%c0%afx", NotUTF8},
		{"/pub/%E4", NotUTF8},
		{"/pub/%25252e/x", EncodedOften},
		{"/pub/%2525252541", EncodedOften},
		{"x:http://upstream/admin", NoPath},
		{"http:admin", NoPath},
		{"*", NoPath},
	} {
		if _, err := Read(request(t, c.target)); err != c.want {
			t.Errorf("%s: %v, want %v", c.target, err, c.want)
		}
	}
	if _, err := Read(&url.URL{Path: "/a/b", RawPath: "/a%2Fb"}); err != EncodedSlash {
		t.Error(err)
	}
}

func TestReadLetsPassWhatIsReadAlike(t *testing.T) {
	for target, want := range map[string]string{
		"/":                       "/",
		"http://host":             "",
		"http://host/a":           "/a",
		"/a/b.c/.well-known/..a/": "/a/b.c/.well-known/..a/",
		"/a...b/v1./x..":          "/a...b/v1./x..",
		"/a;v=1/b;..":             "/a;v=1/b;..",
		"//a///b":                 "//a///b",
		"/%61%2Db":                "/a-b",
		"/caf%C3%A9/日本":           "/café/日本",
		"/Who%3F/c%23":            "/Who?/c#",
		"/%231.mp3/;v=1.2/%3F.x":  "/#1.mp3/;v=1.2/?.x",
		"/100%25":                 "/100%",
		"/100%25/zz":              "/100%/zz",
		"/a%2520b":                "/a b",
		"/a%20b":                  "/a b",
		"/a%2Cb":                  "/a,b",
		"/x?q=../%2f%00":          "/x",
	} {
		if got, err := Read(request(t, target)); got != want || err != nil {
			t.Errorf("%s: %q, %v", target, got, err)
		}
	}
}

func TestBareDropsWhatSomeUpstreamsDrop(t *testing.T) {
	for segment, want := range map[string]string{
		"": "", "admin": "admin", "admin;x=1": "admin", "admin;": "admin", ";x": "", "admin?x": "admin", "admin#x": "admin",
		"admin.": "admin", "admin. .": "admin", "admin. ;x": "admin", "a.b c": "a.b c", ".hidden": ".hidden", " a": " a",
	} {
		if got := Bare(segment); got != want {
			t.Errorf("%q: %q", segment, got)
		}
	}
}

func request(t *testing.T, target string) *url.URL {
	t.Helper()
	u, err := url.ParseRequestURI(target)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestReadingsAreTheWaysToSplitAPath(t *testing.T) {
	for target, want := range map[string][]Reading{
		"/a/b%20c":   {{"/a/b c", "/a/b c"}},
		"/a%2561/b":  {{"/a%61/b", "/aa/b"}},
		"/a%2fb/c":   {{"/a\x00b/c", "/a\x00b/c"}, {"/a/b/c", "/a/b/c"}, {"/a/b/c", "/a/b/c"}},
		"/a%252fb/c": {{"/a%2fb/c", "/a\x00b/c"}, {"/a%2fb/c", "/a\x00b/c"}, {"/a/b/c", "/a/b/c"}},
		"/%2f/":      {{"/\x00/", "/\x00/"}, {"///", "///"}, {"///", "///"}},
	} {
		u, err := url.ParseRequestURI(target)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := Readings(u); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %q, %v", target, got, err)
		}
	}
	if got, err := Readings(&url.URL{Path: "/a/../b", RawPath: "/a%2f../b"}); err != DotSegment || got != nil {
		t.Errorf("%q, %v", got, err)
	}
}
