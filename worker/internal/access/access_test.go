package access

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/protocol"
)

var (
	alice    = Who{Login: "alice@example.com", Node: "laptop"}
	bob      = Who{Login: "bob@other.org", Node: "phone"}
	ops      = Who{Login: taggedDevices, Tags: []string{"tag:ci", "tag:ops"}, Node: "build"}
	nobody   = Who{}
	internet = Who{Funnel: true}
)

// rules makes settings of texts like "/admin tag:ops", "/ login:alice@example.com" or "/ anyone:".
func rules(texts ...string) []protocol.AccessRule {
	var list []protocol.AccessRule
	for _, text := range texts {
		space := strings.LastIndex(text, " ")
		kind, value, _ := strings.Cut(text[space+1:], ":")
		if kind == "tag" {
			value = "tag:" + value
		}
		list = append(list, protocol.AccessRule{Path: text[:space], Kind: protocol.AccessRuleKind(kind), Value: value})
	}
	return list
}

func mustNew(t testing.TB, texts ...string) *Rules {
	t.Helper()
	r, err := New(rules(texts...))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func parse(t testing.TB, target string) *url.URL {
	t.Helper()
	u, err := url.ParseRequestURI(target)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestWhoMatchesARule(t *testing.T) {
	person := func(login string) Who { return Who{Login: login} }
	tagged := func(login string) Who { return Who{Login: login, Tags: []string{"tag:x"}} }
	holder := Who{Capabilities: func(name string) bool { return name == "example.com/cap/wiki" }}
	for _, c := range []struct {
		what string
		rule string
		in   []Who
		out  []Who
	}{
		{"anyone is everybody", "anyone:", []Who{alice, ops, nobody, internet}, nil},
		{"a login in any case", "login:Alice@Example.com", []Who{alice, person("ALICE@EXAMPLE.COM")},
			[]Who{bob, ops, nobody, person("alice@example.com.evil"), person("xalice@example.com"),
				person("alice@example.co")}},
		{"a login that only looks alike is another", "login:mark@sik.com",
			[]Who{person("mark@sik.com")}, []Who{person("mar\u212a@sik.com"), person("mark@\u017fik.com")}},
		{"a login beyond ASCII", "login:jürgen@example.com", []Who{person("jürgen@Example.com")},
			[]Who{person("jurgen@example.com")}},
		{"a tagged node is no person", "login:alice@example.com", nil, []Who{tagged("alice@example.com")}},
		{"tagged-devices is nobody's login", "login:tagged-devices", nil,
			[]Who{ops, person("tagged-devices"), tagged("tagged-devices")}},
		{"a domain in any case", "domain:Example.com", []Who{alice, person("x@EXAMPLE.COM"), person(`"@"@example.com`)},
			[]Who{bob, nobody, ops, tagged("alice@example.com"), person("alice@example.com.evil"), person("alice@example.com@evil"),
				person("@example.com@evil"), person("alice@sub.example.com"), person("alice@notexample.com"), person("example.com"),
				person("@example.com"), person("alice@"), person("alice@example.com ")}},
		{"a domain that only looks alike is another", "domain:facebook.com", []Who{person("a@facebook.com")},
			[]Who{person("a@faceboo\u212a.com")}},
		{"tagged-devices has no domain", "domain:tagged-devices", nil, []Who{ops, person("tagged-devices")}},
		{"a tag exactly", "tag:ops", []Who{ops},
			[]Who{alice, nobody, {Tags: []string{"tag:OPS", "tag:ops2", "ops"}}, person("tag:ops")}},
		{"a node in any case", "node:Laptop", []Who{alice, {Node: "LAPTOP"}, {Node: "laptop", Tags: []string{"tag:x"}}},
			[]Who{bob, nobody, {Node: "laptop-1"}, {Node: "laptop.other.ts.net"}, {Node: "lapto"}, person("laptop")}},
		{"a capability exactly", "capability:example.com/cap/wiki", []Who{holder}, []Who{alice, nobody}},
		{"another capability", "capability:example.com/cap/Wiki", nil, []Who{holder}},
		{"no value is nobody", "login:", nil, []Who{nobody, alice}},
		{"no domain is nobody's", "domain:", nil, []Who{nobody, person("alice@")}},
		{"no node is nobody's", "node:", nil, []Who{nobody}},
		{"no capability is nobody's", "capability:", nil, []Who{{Capabilities: func(string) bool { return true }}}},
		{"an unknown kind is nobody", "planet:earth", nil, []Who{alice, ops, nobody}},
	} {
		t.Run(c.what, func(t *testing.T) {
			r := mustNew(t, "/ "+c.rule)
			for _, who := range c.in {
				if got := r.Decide(parse(t, "/x"), who); got != (Decision{Allowed: true}) {
					t.Errorf("%+v: %+v", who, got)
				}
			}
			for _, who := range c.out {
				if got := r.Decide(parse(t, "/x"), who); got.Allowed || got.Reason == "" {
					t.Errorf("%+v: %+v", who, got)
				}
			}
			for _, who := range append(c.in, c.out...) {
				who.Funnel = true
				if got := r.Decide(parse(t, "/x"), who); got.Allowed != (c.rule == "anyone:") {
					t.Errorf("%+v by funnel: %+v", who, got)
				}
			}
		})
	}
}

func TestWhichRulesDecide(t *testing.T) {
	admin := []string{"/ domain:example.com", "/admin tag:ops", "/admin login:root@example.com", "/admin/public/ anyone:"}
	for _, c := range []struct {
		what    string
		rules   []string
		target  string
		allowed []Who
		denied  []Who
	}{
		{"none lets everybody in", nil, "/a/../x", []Who{alice, internet, nobody}, nil},
		{"what no rule covers is let in", []string{"/admin tag:ops"}, "/", []Who{bob, internet}, nil},
		{"a name that goes on is another", []string{"/admin tag:ops"}, "/adminx", []Who{bob}, nil},
		{"the whole service", admin, "/", []Who{alice}, []Who{bob, ops, nobody, internet}},
		{"the empty path is the whole service", admin, "http://host", []Who{alice}, []Who{bob}},
		{"the longest path decides", admin, "/admin", []Who{ops}, []Who{alice, bob, internet}},
		{"and one of its rules is enough", admin, "/admin/x", []Who{ops, {Login: "root@example.com"}}, []Who{alice}},
		{"a still longer one may open a part", admin, "/admin/public/x", []Who{alice, ops, internet, nobody}, nil},
		{"its trailing slash makes no difference", admin, "/admin/public", []Who{internet}, nil},
		{"the order of rules makes none", []string{"/a/b anyone:", "/ tag:ops", "/a login:bob@other.org"}, "/a/b", []Who{internet},
			nil},
		{"a rule's slashes are merged", []string{"//admin//x/ tag:ops"}, "/admin/x/y", []Who{ops}, []Who{alice}},
		{"rules for the whole service read no path", []string{"/ tag:ops", "// login:bob@other.org"}, "/a/../%2f",
			[]Who{ops, bob}, []Who{alice}},
		{"characters beyond ASCII", []string{"/café tag:ops"}, "/caf%C3%A9", []Who{ops}, []Who{alice}},
		{"names that differ in case only protect each other", []string{"/Admin tag:ops", "/admin anyone:"}, "/admin", []Who{ops},
			[]Who{bob}},
		{"in either order", []string{"/admin anyone:", "/Admin tag:ops"}, "/admin", []Who{ops}, []Who{bob}},
	} {
		t.Run(c.what, func(t *testing.T) {
			r := mustNew(t, c.rules...)
			for _, who := range c.allowed {
				if got := r.Decide(parse(t, c.target), who); got != (Decision{Allowed: true}) {
					t.Errorf("%s: %+v", who, got)
				}
			}
			for _, who := range c.denied {
				if got := r.Decide(parse(t, c.target), who); got.Allowed {
					t.Errorf("%s: %+v", who, got)
				}
			}
		})
	}
}

func TestSpellingAvoidsNoRule(t *testing.T) {
	r := mustNew(t, "/admin tag:ops", "/a/b tag:ops")
	for _, target := range []string{
		"/admin", "/admin/", "/admin/x", "//admin", "///admin//x", "/admin//", "/admin;x", "/admin;x/y", "/;x/admin", "/admin;/",
		"/%61dmin", "/%2561dmin", "/admin%3Bx", "/admin%3Fx", "/admin%23x", "/admin%253Fx", "/Admin", "/ADMIN/x", "/admin.",
		"/admin%20", "/%20/admin", "/a//b", "/a/b/", "/a;x/b;y", "/A//B;x", "/a%2fb", "/a%5cb", "/x/..%2fadmin",
		"/x/%2e%2e/admin", "/x/..;/admin", "/x/../admin", "/./admin", "/%252e/admin", "/admin%00", "/%c0%ae/admin",
		"/%25252561dmin", "x:http://upstream/admin", "x:admin", "*",
	} {
		if got := r.Decide(parse(t, target), bob); got.Allowed {
			t.Errorf("%s is let in", target)
		}
	}
	for _, target := range []string{"/admin", "//admin;x", "/Admin", "/a//b", "/admin%3Fx"} {
		if got := r.Decide(parse(t, target), ops); !got.Allowed {
			t.Errorf("%s: %s", target, got.Reason)
		}
	}
}

func TestSpellingProfitsFromNoRule(t *testing.T) {
	r := mustNew(t, "/ login:alice@example.com", "/public anyone:", "/a anyone:", "/a/b login:alice@example.com",
		"/a/b/c anyone:")
	for target, want := range map[string]bool{
		"/public": true, "/public/": true, "/public/x": true, "/%70ublic/X;y//z": true, "/public//x": true, "/public/Who%3F": true,
		"/a/x": true, "/a/b/c": true, "/a/b/c/D//e;f": true,
		"/Public": false, "/PUBLIC/x": false, "/public;x/y": false, "//public": false, "/public%3Fx": false, "/public.": false,
		"/public/../x": false, "/public%2fx": false, "/a/b": false, "/a//b/c": false, "/a/b;x/c": false, "/a/B/c": false,
		"/a/b//c": false,
	} {
		if got := r.Decide(parse(t, target), bob); got.Allowed != want {
			t.Errorf("%s: %+v", target, got)
		}
		isRefused := strings.Contains(target, "..")
		if got := r.Decide(parse(t, target), alice); got.Allowed == isRefused {
			t.Errorf("%s for alice: %+v", target, got)
		}
	}
}

func TestAnEncodedSlashMattersWhereARuleDependsOnIt(t *testing.T) {
	r := mustNew(t, "/admin tag:ops", "/packages/@private login:alice@example.com", "/a/b tag:ops")
	for target, want := range map[string]Decision{
		"/packages/@scope%2fname":          {Allowed: true}, // as npm asks
		"/api/v4/projects/group%2Fproject": {Allowed: true}, // GitLab
		"/api/queues/%2f/name":             {Allowed: true}, // RabbitMQ
		"/x%252fy":                         {Allowed: true},
		"/packages/@private/x%2fy":         {Reason: "no rule of /packages/@private names bob@other.org"},
		"/admin/x%2fy":                     {Reason: "no rule of /admin names bob@other.org"},
		"/packages/@private%2fname":        {Unclear: true},
		"/packages%2f@private":             {Unclear: true},
		"/%2fadmin":                        {Unclear: true},
		"/a%2fb":                           {Unclear: true},
		"/a%252fb":                         {Unclear: true},
		"/a%2Fb/c":                         {Unclear: true},
		"/x/..%2fadmin":                    {Unclear: true},
	} {
		got := r.Decide(parse(t, target), bob)
		if got.Allowed != want.Allowed || got.Unclear != want.Unclear || want.Reason != "" && got.Reason != want.Reason {
			t.Errorf("%s: %+v", target, got)
		}
	}
}

func TestWhoIsAPersonOnTheTailnet(t *testing.T) {
	for _, c := range []struct {
		who  Who
		want bool
	}{
		{alice, true},
		{Who{Login: "alice"}, true},
		{ops, false},
		{Who{Login: "alice@example.com", Tags: []string{"tag:x"}}, false},
		{Who{Login: taggedDevices}, false},
		{Who{Login: "alice@example.com", Funnel: true}, false},
		{Who{Node: "laptop"}, false},
		{nobody, false},
	} {
		if c.who.IsPerson() != c.want {
			t.Errorf("%+v", c.who)
		}
	}
}

func TestReasonsForTheLog(t *testing.T) {
	r := mustNew(t, "/admin login:root", "/ login:root")
	for _, c := range []struct {
		target string
		who    Who
		want   string
	}{
		{"/admin/x?token=secret", alice, "no rule of /admin names alice@example.com"},
		{"/x", ops, "no rule of / names node build tag:ci tag:ops"},
		{"/x", Who{Login: taggedDevices, Tags: []string{"tag:x"}}, "no rule of / names tag:x"},
		{"/x", Who{Node: "laptop"}, "no rule of / names node laptop"},
		{"/x", nobody, "no rule of / names a client that is not known"},
		{"/x", internet, "no rule of / names a client from the internet"},
		{"/x", Who{Login: "alice@example.com", Funnel: true}, "no rule of / names a client from the internet"},
		{"/Admin/x", alice, "no rule of /admin, which some upstreams take the path for, names alice@example.com"},
		{"/x/../y", alice, "the path has a dot segment"},
		{"/admin%2fx", Who{Login: "root"}, ""},
		{"/x%2fy", alice, "no rule of / names alice@example.com"},
	} {
		if got := r.Decide(parse(t, c.target), c.who); got.Reason != c.want || got.Allowed != (c.want == "") || got.Unclear != strings.Contains(c.want, "dot") {
			t.Errorf("%s: %+v", c.target, got)
		}
	}
}

func TestARuleThatCouldProtectNothingIsAnError(t *testing.T) {
	for _, path := range []string{"/a/../admin", "/./x", "/caf%C3%A9", "/a%2fb", `/a\b`, "/a;b", "/a?b", "/a#b", "/a.", "/a /b",
		"/a\x00", "/\xff", "admin"} {
		if _, err := New([]protocol.AccessRule{{Path: path, Kind: protocol.AccessRuleKindAnyone}}); err == nil {
			t.Errorf("%q is taken", path)
		}
	}
	for _, path := range []string{"/", "//", "/.well-known", "/v1.2/", "/a b", "/100%", "/日本"} {
		if _, err := New([]protocol.AccessRule{{Path: path, Kind: protocol.AccessRuleKindAnyone}}); err != nil {
			t.Error(err)
		}
	}
}

// layers have rules that open and close by turns, so that a path that is taken for a longer or a shorter one shows.
var layers = [][]string{
	{"/a tag:ops"},
	{"/ tag:ops", "/a anyone:"},
	{"/ anyone:", "/a tag:ops", "/a/b anyone:", "/a/b/c tag:ops"},
	{"/ tag:ops", "/a anyone:", "/a/b tag:ops", "/a/b/c anyone:"},
	{"/a/b tag:ops", "/a/c anyone:", "/a/b/c anyone:", "/b tag:ops"},
	{"/ tag:ops"},
}

// FuzzAccessDecide: what an upstream makes of a path that is let in would be let in too, whatever it makes of it. And spelling
// a path in another way, by the steps of respelled, never lets in what was denied.
func FuzzAccessDecide(f *testing.F) {
	for i, target := range []string{
		"/", "/a", "/a/b", "/a/b/c", "/a/b/c/d", "/b", "/x", "//a", "/a//b", "/a;x/b", "/a/;x/b", "/A/b", "/a/B;/c.", "/a%3Fx/b",
		"/%61/%2562", "/a/%2e%2e/x", "/a/..;/x", "/a%2fb", "/a%252fb", "/a/b%20/c", "/a%5cb", "/a/.%2525", "/%20;/a", "/a/b%23/c",
		"/caf%C3%A9/%c0%af", "/%2561//b;/C%3F",
	} {
		f.Add(target, uint8(i), uint8(i*3))
	}
	f.Fuzz(func(t *testing.T, target string, how, where uint8) {
		u, err := url.ParseRequestURI(target)
		if err != nil || target[0] != '/' {
			return
		}
		again, err := url.ParseRequestURI(respelled(target, how, int(where)))
		if err != nil {
			t.Fatal(err)
		}
		for _, texts := range layers {
			r := mustNew(t, texts...)
			got := r.Decide(u, bob)
			if !got.Allowed {
				if r.Decide(again, bob).Allowed {
					t.Errorf("%v: %q is denied (%s) and %q let in", texts, target, got.Reason, again)
				}
				continue
			}
			for _, path := range readings(u.Path) {
				if !letsIn(texts, path) {
					t.Errorf("%v: %q is let in, and %q, which some upstream reads, is not", texts, target, path)
				}
			}
		}
	})
}

const unreserved = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~"

// respelled adds path parameters, a slash or a percent-encoding to a request target, one of them and somewhere.
func respelled(target string, how uint8, where int) string {
	path, query, _ := strings.Cut(target, "?")
	switch at := where % len(path); how % 4 {
	case 0:
		end := len(path)
		if next := strings.IndexByte(path[at:], '/'); next > 0 {
			end = at + next
		}
		path = path[:end] + ";x" + path[end:]
	case 1:
		slash := strings.LastIndexByte(path[:at+1], '/')
		path = path[:slash] + "/" + path[slash:]
	case 2:
		path += "/"
	case 3:
		inEscape := slices.Contains([]byte(path[max(0, at-2):at]), '%')
		if c := path[at]; !inEscape && strings.IndexByte(unreserved, c) >= 0 {
			path = fmt.Sprintf("%s%%%02X%s", path[:at], c, path[at+1:])
		}
	}
	return path + "?" + query
}

// readings are what upstreams of all habits make of a decoded path. They clean it too, last.
func readings(decoded string) []string {
	habits := []func(string) string{
		func(path string) string {
			if again, err := url.PathUnescape(path); err == nil {
				return again
			}
			return path
		},
		func(path string) string { return path[:strings.IndexAny(path+"?", "?#")] },
		eachSegment(func(segment string) string { return segment[:strings.IndexByte(segment+";", ';')] }),
		eachSegment(func(segment string) string {
			if segment == "." || segment == ".." {
				return segment
			}
			return strings.TrimRight(segment, ". ")
		}),
		func(path string) string { return strings.ReplaceAll(path, `\`, "/") },
		strings.ToLower,
		func(path string) string {
			for strings.Contains(path, "//") {
				path = strings.ReplaceAll(path, "//", "/")
			}
			return path
		},
		withoutDotSegments,
	}
	paths := []string{decoded}
	for _, habit := range habits {
		for _, path := range paths {
			if read := habit(path); !slices.Contains(paths, read) {
				paths = append(paths, read)
			}
		}
	}
	return paths
}

func eachSegment(change func(string) string) func(string) string {
	return func(path string) string {
		segments := strings.Split(path, "/")
		for i := range segments {
			segments[i] = change(segments[i])
		}
		return strings.Join(segments, "/")
	}
}

func withoutDotSegments(path string) string {
	var kept []string
	for segment := range strings.SplitSeq(path, "/") {
		switch {
		case segment == "..":
			kept = kept[:max(0, len(kept)-1)]
		case segment != ".":
			kept = append(kept, segment)
		}
	}
	return strings.Join(kept, "/")
}

// letsIn is the meaning of rules in its simplest form, for bob and a path that is taken by the letter.
func letsIn(texts []string, path string) bool {
	longest, allowed := -1, true
	for _, text := range texts {
		prefix, who, _ := strings.Cut(text, " ")
		prefix = strings.TrimSuffix(prefix, "/")
		if len(prefix) > longest && strings.HasPrefix(path+"/", prefix+"/") {
			longest, allowed = len(prefix), who == "anyone:"
		}
	}
	return allowed
}

func BenchmarkDecide(b *testing.B) {
	r := mustNew(b, "/ domain:example.com", "/admin tag:ops", "/admin login:alice@example.com", "/public anyone:",
		"/admin/audit node:build")
	for _, c := range []struct {
		what, target string
		who          Who
	}{
		{"person", "/wiki/images/2024/logo.png", alice},
		{"admin", "/admin/users/17/edit", alice},
		{"funnel", "/public/images/2024/logo.png", internet},
	} {
		b.Run(c.what, func(b *testing.B) {
			u := parse(b, c.target)
			b.ReportAllocs()
			for b.Loop() {
				if got := r.Decide(u, c.who); !got.Allowed {
					b.Fatal(got.Reason)
				}
			}
		})
	}
}
