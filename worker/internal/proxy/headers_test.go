package proxy

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tailscale.com/client/tailscale/apitype"
	"tailscale.com/tailcfg"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/limit"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/origin"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/protocol"
)

func TestHeadersAtTheUpstream(t *testing.T) {
	upstream := echo(t)
	host := strings.TrimPrefix(upstream.URL, "http://")
	for _, c := range []struct {
		what    string
		spec    protocol.ProxySpec
		send    http.Header
		want    []string // header lines that must be there
		without []string // texts that must not
	}{
		{
			what: "plain: Host of the upstream, forwarded headers from the peer",
			send: http.Header{"Host": {"web.example.ts.net"}},
			want: []string{"Host: " + host, "X-Forwarded-For: 127.0.0.1", "X-Forwarded-Host: web.example.ts.net", "X-Forwarded-Proto: http"},
			without: []string{"X-Scheme", "X-Real-Ip", "X-Forwarded-Server", "X-Forwarded-Port", "Accept-Encoding",
				"X-Tailscale"},
		},
		{
			what: "recommended: Host kept",
			spec: protocol.ProxySpec{RecommendedProxyHeaders: true},
			send: http.Header{"Host": {"web.example.ts.net"}},
			want: []string{"Host: web.example.ts.net", "X-Scheme: http", "X-Real-Ip: 127.0.0.1", "X-Forwarded-Server: web.example.ts.net",
				"X-Forwarded-For: 127.0.0.1", "X-Forwarded-Proto: http"},
			without: []string{"X-Forwarded-Port"},
		},
		{
			what: "recommended: port where Host has one",
			spec: protocol.ProxySpec{RecommendedProxyHeaders: true},
			send: http.Header{"Host": {"web.example.ts.net:8080"}},
			want: []string{"X-Forwarded-Server: web.example.ts.net", "X-Forwarded-Port: 8080"},
		},
		{
			what: "what the client claims is dropped",
			send: http.Header{
				"Forwarded": {"for=6.6.6.6"}, "X-Forwarded-For": {"6.6.6.6"}, "X-Forwarded-Host": {"evil"}, "X-Forwarded-Proto": {"evil"},
				"X-Forwarded-Port": {"666"}, "X-Forwarded-Server": {"evil"}, "X-Forwarded-Prefix": {"/evil"}, "X-Real-Ip": {"6.6.6.6"},
				"X-Scheme": {"evil"}, "X-Tailscale-User": {"evil"}, "x-tailscale-user-loginname": {"evil"}, "X_Tailscale_User": {"evil"},
				"X-Tailscale_Node": {"evil"}, "X_Forwarded_For": {"6.6.6.6"}, "X_real_ip": {"6.6.6.6"}, "X-Kept": {"yes"},
				"Tailscale-User-Login": {"evil"}, "tailscale_user_name": {"evil"}, "Tailscale-App-Capabilities": {"evil"},
				"Remote-User": {"evil"}, "remote_groups": {"evil"}, "X-Webauth-User": {"evil"}, "X-Auth-Request-Email": {"evil"},
				"X-Authentik-Username": {"evil"},
			},
			want:    []string{"X-Kept: yes", "X-Forwarded-For: 127.0.0.1"},
			without: []string{"evil", "6.6.6.6", "666"},
		},
		{
			what: "a client cannot have our headers removed as hop-by-hop ones",
			spec: protocol.ProxySpec{Whois: true, WhoisTimeoutMs: 1000},
			send: http.Header{"Connection": {"X-Forwarded-For, X-Tailscale-User"}},
			want: []string{"X-Forwarded-For: 127.0.0.1", "X-Tailscale-User: userid:5"},
		},
		{
			what: "operator's headers: set, but never identity and never Host",
			spec: protocol.ProxySpec{UpstreamHeaders: protocol.ProxySpecUpstreamHeaders{
				"X-Key": "k", "host": "evil", "X-Forwarded-Proto": "https",
				"X-Tailscale-User": "evil", "x-tailscale-caps": "evil", "x_tailscale_node": "evil"}},
			send:    http.Header{"X-Key": {"spoof"}},
			want:    []string{"X-Key: k", "Host: " + host, "X-Forwarded-Proto: https"},
			without: []string{"evil", "spoof"},
		},
		{
			what: "all eleven identity headers",
			spec: protocol.ProxySpec{Whois: true, WhoisTimeoutMs: 1000},
			want: []string{
				"X-Tailscale-User: userid:5", "X-Tailscale-User-Loginname: alice@example.com",
				"X-Tailscale-User-Loginname-Localpart: alice", "X-Tailscale-User-Loginname-Domain: example.com",
				"X-Tailscale-User-Displayname: =?utf-8?q?Alice_=C3=84?=", "X-Tailscale-User-Profilepicurl: https://pics/alice",
				"X-Tailscale-Caps: example.com/read, example.com/write", "X-Tailscale-Node: nodeid:3",
				"X-Tailscale-Node-Name: laptop", "X-Tailscale-Node-Caps: cap-y, cap-z", "X-Tailscale-Node-Tags: tag:a, tag:b",
			},
		},
	} {
		t.Run(c.what, func(t *testing.T) {
			c.spec.Upstream = upstream.URL
			_, dump := serve(t, c.spec, alice).send(http.MethodGet, "/", c.send)
			for _, want := range c.want {
				if !slices.Contains(lines(dump), want) {
					t.Errorf("%q is missing", want)
				}
			}
			for _, text := range c.without {
				if strings.Contains(dump, text) {
					t.Errorf("%q is there", text)
				}
			}
			if t.Failed() {
				t.Log(dump)
			}
		})
	}
}

func TestTheUpstreamLearnsWhichPrefixWasStripped(t *testing.T) {
	upstream := echo(t)
	anywhere := func(path string) protocol.PrefixSpec {
		return protocol.PrefixSpec{From: protocol.PrefixSpecFromAny, Path: path}
	}
	for _, c := range []struct {
		what   string
		prefix string
		keep   bool
		target string
		want   string // X-Forwarded-Prefix; empty: there is none
	}{
		{what: "of a path below it", prefix: "/api", target: "/api/x?q=1", want: "/api"},
		{what: "of the path itself", prefix: "/api", target: "/api", want: "/api"},
		{what: "of the path with a slash", prefix: "/api", target: "/api/", want: "/api"},
		{what: "without the slash that it ends with", prefix: "/api/", target: "/api/x", want: "/api"},
		{what: "of two segments that come again", prefix: "/a/a", target: "/a/a/a", want: "/a/a"},
		{what: "not as the client spells it", prefix: "/api", target: "/%61pi/%61pi", want: "/api"},
		{what: "escaped, as it may be any text", prefix: "/caf\u00e9 b", target: "/caf%c3%a9%20b/x", want: "/caf%C3%A9%20b"},
		{what: "none of it all", prefix: "/", target: "/api/x"},
		{what: "none when it stays", prefix: "/api", keep: true, target: "/api/x"},
	} {
		t.Run(c.what, func(t *testing.T) {
			spec := protocol.ProxySpec{Upstream: upstream.URL, Prefixes: []protocol.PrefixSpec{anywhere(c.prefix)}, StripPrefix: !c.keep}
			// Not only the value: an upstream may take the other spelling for the same header.
			claims := http.Header{"X-Forwarded-Prefix": {"/evil"}, "x_forwarded_prefix": {"/evil"}}
			_, dump := serve(t, spec, nil).send(http.MethodGet, c.target, claims)
			var got []string
			for _, line := range lines(dump) {
				if name, value, _ := strings.Cut(line, ": "); strings.EqualFold(strings.ReplaceAll(name, "_", "-"), "X-Forwarded-Prefix") {
					got = append(got, value)
				}
			}
			if strings.Join(got, ", ") != c.want {
				t.Errorf("%q behind %s: X-Forwarded-Prefix is %q, want %q", c.target, c.prefix, got, c.want)
			}
		})
	}
}

func TestTheOperatorHasTheLastWordOnTheStrippedPrefix(t *testing.T) {
	_, dump := serve(t, protocol.ProxySpec{
		Upstream: echo(t).URL, Prefixes: []protocol.PrefixSpec{{From: protocol.PrefixSpecFromAny, Path: "/api"}}, StripPrefix: true,
		UpstreamHeaders: protocol.ProxySpecUpstreamHeaders{"X-Forwarded-Prefix": "/outer/api"},
	}, nil).send(http.MethodGet, "/api/x", nil)
	if !slices.Contains(lines(dump), "X-Forwarded-Prefix: /outer/api") || strings.Count(dump, "X-Forwarded-Prefix") != 1 {
		t.Errorf("upstreamHeaders do not win:\n%s", dump)
	}
}

func TestPathAndQueryPassAsTheyAre(t *testing.T) {
	upstream := echo(t)
	for _, c := range []struct{ base, target, want string }{
		{"", "/", "/"},
		{"", "//x", "//x"}, // a ServeMux would redirect this and the next
		{"", "/a/../b", "/a/../b"},
		{"", "/a%2Fb/%2e%2e/c", "/a%2Fb/%2e%2e/c"},
		{"/base", "/a%2Fb", "/base/a%2Fb"},
		{"/base/", "/x", "/base/x"},
		{"", "/?a;b=%zz&c", "/?a;b=%zz&c"},
		{"/base?fixed=1", "/?a=1", "/base/?fixed=1&a=1"},
	} {
		_, dump := serve(t, protocol.ProxySpec{Upstream: upstream.URL + c.base}, nil).send(http.MethodGet, c.target, nil)
		if want := "GET " + c.want + " HTTP/1.1"; lines(dump)[0] != want {
			t.Errorf("%s behind %q: the upstream saw %q, want %q", c.target, c.base, lines(dump)[0], want)
		}
	}
}

func TestIdentityIsLookedUpOncePerConnectionAndMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lookups := 0
		clients := newIdentities(Config{Spec: protocol.ProxySpec{WhoisTimeoutMs: 1000}})
		from := origin.Origin{WhoIs: func(ctx context.Context, address string) (*apitype.WhoIsResponse, error) {
			lookups++
			return alice(ctx, address)
		}}
		connection := context.WithValue(t.Context(), peerKey{}, &peer{origin: from})
		send := func() {
			t.Helper()
			in := (&http.Request{RemoteAddr: "100.64.0.1:1"}).WithContext(connection)
			if caller := clients.callerOf(in); caller.headers.Get("X-Tailscale-User") != "userid:5" {
				t.Errorf("no identity: %v", caller)
			}
		}
		send()
		time.Sleep(identityMaxAge) // of the bubble's clock, as all times here
		send()
		if lookups != 1 {
			t.Errorf("%d lookups in a minute", lookups)
		}
		time.Sleep(time.Nanosecond)
		send()
		if lookups != 2 {
			t.Errorf("%d lookups in more than a minute", lookups)
		}
	})
}

func TestIdentityIsSharedByTheConnectionsOfAnAddressForAMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lookups atomic.Int32
		var failure error
		clients := newIdentities(Config{
			Spec:     protocol.ProxySpec{WhoisTimeoutMs: 1000},
			Counters: NewMetrics().Add("web", limit.New(), noBackends()), Limits: limit.New(), Backends: noBackends(),
			Log: discard, AccessLog: discard,
		})
		from := origin.Origin{WhoIs: func(ctx context.Context, address string) (*apitype.WhoIsResponse, error) {
			lookups.Add(1)
			time.Sleep(time.Millisecond) // others come meanwhile
			if err := cmp.Or(failure, ctx.Err()); err != nil {
				return nil, err
			}
			return alice(ctx, address)
		}}
		gone, leave := context.WithCancel(t.Context())
		leave()
		look := func(addresses ...string) {
			t.Helper()
			var all sync.WaitGroup
			for _, address := range addresses {
				all.Go(func() {
					identity, err := clients.of(gone, from, address) // a client that left takes the answer away from nobody
					if !errors.Is(err, failure) || failure == nil && identity.headers.Get("X-Tailscale-User") != "userid:5" {
						t.Errorf("%s: %v, %v", address, identity, err)
					}
				})
			}
			all.Wait()
		}
		expect := func(want int32, when string) {
			t.Helper()
			if got := lookups.Load(); got != want {
				t.Errorf("%s: %d lookups, want %d", when, got, want)
			}
		}
		look("100.64.0.1:1", "100.64.0.1:2", "100.64.0.1:3")
		expect(1, "side by side")
		look("100.64.0.1:4")
		expect(1, "a moment later")
		look("100.64.0.2:1", "[fd7a::1]:1")
		expect(3, "other addresses")
		time.Sleep(identityShared)
		synctest.Wait()
		if len(clients.recent) != 0 {
			t.Errorf("kept: %v", clients.recent)
		}
		failure = errors.New("no such peer")
		look("100.64.0.1:5", "100.64.0.1:6")
		expect(4, "it is too old")
		failure = nil
		look("100.64.0.1:7")
		expect(5, "after a failure")
	})
}

func TestWithoutIdentityTheRequestGoesOn(t *testing.T) {
	slow := func(ctx context.Context, _ string) (*apitype.WhoIsResponse, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	unknown := func(context.Context, string) (*apitype.WhoIsResponse, error) { return nil, errors.New("no such peer") }
	for what, whoIs := range map[string]origin.WhoIs{"too slow": slow, "unknown": unknown} {
		f := serve(t, protocol.ProxySpec{Upstream: echo(t).URL, Whois: true, WhoisTimeoutMs: 5}, whoIs)
		response, dump := f.send(http.MethodGet, "/", http.Header{"X-Tailscale-User": {"evil"}})
		if response.StatusCode != http.StatusOK || strings.Contains(dump, "X-Tailscale") {
			t.Errorf("%s: %d\n%s", what, response.StatusCode, dump)
		}
		if f.counters.whoisErrors.Load() != 1 {
			t.Errorf("%s: not counted", what)
		}
	}
}

func TestIdentityValueThatIsNoHeaderIsLeftOut(t *testing.T) {
	who := &apitype.WhoIsResponse{
		UserProfile: &tailcfg.UserProfile{ID: 5, LoginName: "tagged-devices", DisplayName: "a\r\nX-Admin: yes"},
		Node:        &tailcfg.Node{ID: 3},
	}
	for name, values := range identityHeaders(who) {
		if strings.Contains(values[0], "Admin") || strings.Contains(name, "Localpart") {
			t.Errorf("%s: %q", name, values)
		}
	}
	if identityHeaders(&apitype.WhoIsResponse{}) != nil {
		t.Error("headers of nobody")
	}
}

func TestIdentityIsASCII(t *testing.T) {
	for name, want := range map[string]string{
		"Étienne Robert": "=?utf-8?q?=C3=89tienne_Robert?=", "Alice": "Alice", "=?utf-8?q?x?=": "=?utf-8?q?x?=", "\xff": "",
	} {
		headers := identityHeaders(&apitype.WhoIsResponse{
			UserProfile: &tailcfg.UserProfile{ID: 5, LoginName: "é@example.com", DisplayName: name},
			Node:        &tailcfg.Node{ID: 3, ComputedName: "büro", Tags: []string{"tag:ä"}},
		})
		if got := headers.Get("X-Tailscale-User-DisplayName"); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
		for name, values := range headers {
			if strings.ContainsFunc(values[0], func(c rune) bool { return c > '~' || c < ' ' }) {
				t.Errorf("%s: %q", name, values)
			}
		}
	}
}
