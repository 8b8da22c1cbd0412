package forwardauth

import (
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/protocol"
)

const browser = "text/html,application/xhtml+xml,*/*;q=0.8"

func TestAuthelia(t *testing.T) {
	const right, wrong = "Basic YWxpY2U6c2VjcmV0", "Basic YWxpY2U6ZXZpbA=="
	f := serve(t, protocol.ForwardAuthSpec{
		URL:         newAuthelia(t).URL + "/api/authz/forward-auth?authelia_url=https://auth.example.com/",
		CopyHeaders: []string{"Remote-User", "Remote-Groups", "Remote-Email", "Remote-Name"},
	}, secure(true))
	portal := func(uri, method string) string {
		return "https://auth.example.com/?rd=" + url.QueryEscape(f.url+uri) + "&rm=" + method
	}
	for _, c := range []struct {
		what     string
		target   string
		send     http.Header
		status   int
		location string
		user     string // at the upstream
	}{
		{what: "a browser is sent to the portal", target: "/page?a=1;b", send: http.Header{"Accept": {browser}},
			status: 302, location: portal("/page?a=1;b", "GET")},
		{what: "a browser's form is sent to the portal with 303", target: "/form", status: 303, location: portal("/form", "POST"),
			send: http.Header{"Accept": {browser}, "Method": {"POST"}, "Body": {"a=1"}}},
		{what: "a program gets 401", target: "/", send: http.Header{"Accept": {"application/json"}},
			status: 401, location: portal("/", "GET")},
		{what: "a script in a page gets 401", target: "/", status: 401, location: portal("/", "GET"),
			send: http.Header{"Accept": {browser}, "X-Requested-With": {"XMLHttpRequest"}}},
		{what: "the client's query does not choose the portal", send: http.Header{"Accept": {browser}},
			target: "/?authelia_url=https://evil/&rd=https://evil/", status: 302,
			location: portal("/?authelia_url=https://evil/&rd=https://evil/", "GET")},
		{what: "nor does its header", target: "/", status: 302, location: portal("/", "GET"),
			send: http.Header{"Accept": {browser}, "X-Authelia-Url": {"https://evil.example/"}}},
		{what: "a session lets in", target: "/page", send: http.Header{"Cookie": {"authelia_session=bob"}}, status: 200, user: "bob"},
		{what: "a password lets in", target: "/page", send: http.Header{"Authorization": {right}}, status: 200, user: "alice"},
		{what: "a wrong password is asked for again", target: "/page", status: 401, send: http.Header{"Authorization": {wrong}}},
		{what: "a password for us alone lets in", target: "/page", send: http.Header{"Proxy-Authorization": {right}},
			status: 200, user: "alice"},
		{what: "a wrong password for us alone is asked for again", target: "/page", status: 407,
			send: http.Header{"Proxy-Authorization": {wrong}}},
		{what: "a rule keeps out", target: "/admin", send: http.Header{"Cookie": {"authelia_session=bob"}}, status: 403},
		{what: "and is not got around by the path of another", target: "/public/../admin", status: 400,
			send: http.Header{"Cookie": {"authelia_session=bob"}}},
		{what: "nor by a claim of what the path is", target: "/admin", status: 403,
			send: http.Header{"Cookie": {"authelia_session=bob"}, "X-Forwarded-Uri": {"/public"},
				"X-Original-Url": {"https://x/public"}}},
		{what: "nor by a claim of where it comes from", target: "/admin", status: 403,
			send: http.Header{"Cookie": {"authelia_session=bob"}, "X-Forwarded-For": {"10.0.0.1"}, "X-Real-Ip": {"10.0.0.1"}}},
		{what: "nor by the name of another service", target: "/admin", status: 421,
			send: http.Header{"Cookie": {"authelia_session=bob"}, "Host": {"open.example.com"}}},
		{what: "what is open is open, with nobody's name", target: "/public", status: 200,
			send: http.Header{"Remote-User": {"alice"}}},
	} {
		t.Run(c.what, func(t *testing.T) {
			before := f.reached.Load()
			got := f.send(c.target, c.send)
			if got.StatusCode != c.status || got.Header.Get("Location") != c.location {
				t.Errorf("%d to %q, want %d to %q", got.StatusCode, got.Header.Get("Location"), c.status, c.location)
			}
			if c.status != 200 {
				if f.expect(Denied); f.reached.Load() != before || got.Header.Get("Cache-Control") != "no-store" {
					t.Errorf("%d reached the upstream, Cache-Control %q", f.reached.Load()-before, got.Header.Get("Cache-Control"))
				}
				return
			}
			f.expect(Allowed)
			if user := got.received().Get("Remote-User"); user != c.user || got.received().Get("Proxy-Authorization") != "" {
				t.Errorf("at the upstream: user %q\n%s", user, got.text)
			}
		})
	}
	for sent, demanded := range map[string]string{
		"Authorization": "WWW-Authenticate", "Proxy-Authorization": "Proxy-Authenticate",
	} {
		if f.send("/page", http.Header{sent: {wrong}}).Header.Get(demanded) == "" {
			t.Errorf("a client that is to give a password in %s does not learn of it", sent)
		}
	}
}

func TestAuthentik(t *testing.T) {
	f := serve(t, protocol.ForwardAuthSpec{
		URL:         newAuthentik(t).URL + "/outpost.goauthentik.io/auth/traefik",
		CopyHeaders: []string{"X-authentik-username", "X-authentik-groups"},
		PassPaths:   []string{"/outpost.goauthentik.io"},
	}, secure(false))
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	f.client.Jar = jar

	at := "/page?a=1;b"
	var ways []string
	got := f.send(at, nil)
	for ; got.StatusCode == http.StatusFound; got = f.send(at, nil) {
		at = strings.TrimPrefix(got.Header.Get("Location"), f.url)
		if ways = append(ways, at); len(ways) == 1 && len(got.Header["Set-Cookie"]) != 2 {
			t.Errorf("cookies: %q", got.Header["Set-Cookie"])
		}
	}
	const pages = "/outpost.goauthentik.io/"
	if want := []string{pages + "start", pages + "callback?code=1;2&state=3", "/page?a=1;b"}; !slices.Equal(ways, want) {
		t.Errorf("went by %q", ways)
	}
	f.expect(Denied, Passed, Passed, Allowed)
	header := got.received()
	if header.Get("X-Authentik-Username") != "alice" || header.Get("X-Authentik-Groups") != "admins|users" {
		t.Errorf("at the upstream: %s", got.text)
	}

	f.client.Jar = nil
	before := f.reached.Load()
	for _, target := range []string{
		"/outpost.goauthentik.io/../admin", "/outpost.goauthentik.io/%2e%2e/admin", "/outpost.goauthentik.io%2f..%2fadmin",
		`/outpost.goauthentik.io\..\admin`, "/outpost.goauthentik.io/..;a=1/admin", "/outpost.goauthentik.iox/%2E./admin",
	} {
		if got := f.send(target, nil); got.StatusCode != 400 || f.reached.Load() != before {
			t.Errorf("%s: %d, and what Authentik takes for its own page reached the upstream", target, got.StatusCode)
		}
		f.expect(Denied)
	}
}

func TestOAuth2Proxy(t *testing.T) {
	f := serve(t, protocol.ForwardAuthSpec{
		URL:         newOAuth2Proxy(t).URL + "/oauth2/auth?allowed_groups=admins",
		CopyHeaders: []string{"X-Auth-Request-User", "X-Auth-Request-Email"},
		PassPaths:   []string{"/oauth2/"},
	}, secure(false))

	if got := f.send("/page", nil); got.StatusCode != 401 || !strings.Contains(got.Header.Get("Cache-Control"), "no-cache") {
		t.Errorf("without a session: %d, %v", got.StatusCode, got.Header)
	}
	f.expect(Denied)
	if got := f.send("/oauth2/sign_in?rd=/page", nil); got.StatusCode != 200 || !strings.Contains(got.text, "<form") {
		t.Errorf("the login page: %d %q", got.StatusCode, got.text)
	}
	f.expect(Passed)
	form := func(password string) http.Header {
		return http.Header{"Method": {"POST"}, "Content-Type": {"application/x-www-form-urlencoded"},
			"Body": {"username=alice&password=" + password}}
	}
	if got := f.send("/oauth2/sign_in?rd=/page", form("wrong")); got.StatusCode != 401 {
		t.Errorf("a wrong password: %d", got.StatusCode)
	}
	f.expect(Passed)
	got := f.send("/oauth2/sign_in?rd=/page", form("secret"))
	if cookies := got.Cookies(); got.StatusCode != 302 || got.Header.Get("Location") != "/page" || len(cookies) != 1 ||
		cookies[0].Value != "alice" {
		t.Errorf("the right password: %d, %v", got.StatusCode, got.Header)
	}
	f.expect(Passed)
	if f.reached.Load() != 0 {
		t.Error("reached the upstream")
	}

	got = f.send("/page", http.Header{"Cookie": {"_oauth2_proxy=alice-old"}})
	header := got.received()
	if header.Get("X-Auth-Request-User") != "alice" || header.Get("X-Auth-Request-Email") != "alice@example.com" {
		t.Errorf("at the upstream: %s", got.text)
	}
	if cookies := got.Header["Set-Cookie"]; len(cookies) != 3 || !slices.Contains(cookies, "upstream=1") {
		t.Errorf("cookies: %q", cookies)
	}
	f.expect(Allowed)
	if got := f.send("/page?allowed_groups=users", http.Header{"Cookie": {"_oauth2_proxy=bob"}}); got.StatusCode != 403 {
		t.Errorf("a group of the client's choice: %d", got.StatusCode)
	}
	f.expect(Denied)
}
