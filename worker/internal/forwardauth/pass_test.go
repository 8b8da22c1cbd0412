package forwardauth

import (
	"fmt"
	"net/http"
	"net/http/httputil"
	"strings"
	"testing"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/protocol"
)

// pages is a service that denies all, and answers with the request as it came in for pages of its own.
func pages(t *testing.T) string {
	return serving(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/auth" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		dump, err := httputil.DumpRequest(r, true)
		if err != nil {
			t.Error(err)
		}
		fmt.Fprintf(w, "%s", dump)
	})).URL + "/auth"
}

// Here the client need not be asked about: what is not passed reaches the upstream, however it is spelled.
func TestPassPaths(t *testing.T) {
	f := serve(t, protocol.ForwardAuthSpec{URL: pages(t), PassPaths: []string{"/oauth2", "/outpost.goauthentik.io/"},
		BypassForTailnet: true}, secure(false))
	for _, c := range []struct {
		target string
		passed bool
	}{
		{"/oauth2", true}, {"/oauth2?rd=/", true}, {"/oauth2/", true}, {"/oauth2/a/b%20c?x=1;y", true}, {"/%6fauth2/a", true},
		{"/outpost.goauthentik.io", true}, {"/outpost.goauthentik.io/start", true},
		{"/", false}, {"/oauth", false}, {"/oauth2x", false}, {"/OAuth2", false}, {"/a/oauth2", false}, {"/oauth2;a=1", false},
		{"/oauth2%2Fa", false}, {"/oauth2/a%2fb", false}, {"/oauth2//a", false}, {"/a//oauth2", false},
		{`/oauth2\a`, false}, {"/oauth2/a%5Cb", false}, {`/oauth2/a\b`, false},
		{"/oauth2/../page", false}, {"/oauth2/./a", false}, {"/oauth2/%2e%2e/page", false}, {"/page/../oauth2", false},
		{"/oauth2/..;/page", false},
	} {
		before := f.reached.Load()
		got := f.send(c.target, nil)
		f.expect(map[bool]Outcome{true: Passed, false: Bypassed}[c.passed])
		line := "GET " + strings.ReplaceAll(c.target, `\`, "%5C") + " HTTP/1.1\r\n" // net/url spells it so
		if passed := f.reached.Load() == before; passed != c.passed || !strings.HasPrefix(got.text, line) {
			t.Errorf("%s: passed is %v: %d %s", c.target, passed, got.StatusCode, got.text)
		}
	}
}

func TestPagesOfTheServiceBelieveNoClaims(t *testing.T) {
	spec := protocol.ForwardAuthSpec{URL: pages(t), PassPaths: []string{"/oauth2"}, CopyHeaders: []string{"Remote-User"}}
	f := serve(t, spec, secure(false))
	send := http.Header{"Method": {"POST"}, "Body": {"password=1"}, "Cookie": {"a=1"}, "Content-Type": {"text/plain"},
		"X-Csrf": {"2"}, "Connection": {"X-Forwarded-For"}}
	for _, name := range []string{"Forwarded", "X-Forwarded-For", "X_Forwarded_For", "X-Forwarded-User", "X-Real-Ip", "x_real_ip",
		"X-Original-Url", "X_Original_URI", "X-Tailscale-User", "Tailscale-User-Login", "X-Scheme", "Remote-User", "remote_user"} {
		send[name] = []string{"evil"}
	}
	got := f.send("/oauth2/sign_in?rd=/;x", send)
	f.expect(Passed)
	if !strings.HasPrefix(got.text, "POST /oauth2/sign_in?rd=/;x HTTP/1.1\r\nHost: "+f.host+"\r\n") ||
		!strings.HasSuffix(got.text, "\r\n\r\npassword=1") || strings.Contains(got.text, "evil") {
		t.Error(got.text)
	}
	for name, want := range map[string]string{
		"Cookie": "a=1", "Content-Type": "text/plain", "X-Csrf": "2", "X-Forwarded-For": "100.64.0.7", "X-Forwarded-Host": f.host,
		"X-Forwarded-Proto": "http", "X-Forwarded-Method": "POST", "X-Forwarded-Uri": "/oauth2/sign_in?rd=/;x",
		"X-Original-Url": "http://" + f.host + "/oauth2/sign_in?rd=/;x",
	} {
		if got := got.received().Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

func TestPagesOfAServiceThatFails(t *testing.T) {
	for _, c := range []struct {
		what   string
		spec   protocol.ForwardAuthSpec
		host   string
		peer   string
		status int
		want   Outcome
	}{
		{what: "dead", spec: protocol.ForwardAuthSpec{URL: dead(t)}, status: 502, want: Failed},
		{what: "silent", spec: protocol.ForwardAuthSpec{URL: silent(t, ""), TimeoutMs: 50}, status: 504, want: Failed},
		{what: "no HTTP", spec: protocol.ForwardAuthSpec{URL: saying(t, "Set-Cookie: topsecret\r\n")}, status: 502, want: Failed},
		{what: "asked for by another name", spec: protocol.ForwardAuthSpec{URL: pages(t)}, host: "other.example",
			status: 421, want: Denied},
		{what: "asked for by nobody known", spec: protocol.ForwardAuthSpec{URL: pages(t)}, peer: "?", status: 502, want: Failed},
	} {
		c.spec.PassPaths = []string{"/oauth2"}
		f := serve(t, c.spec, secure(false))
		header := http.Header{}
		if c.host != "" {
			header.Set("Host", c.host)
		}
		if c.peer != "" {
			f.peer.Address = c.peer
		}
		got := f.send("/oauth2?topsecret", header)
		if f.expect(c.want); got.StatusCode != c.status || f.reached.Load() != 0 || !strings.Contains(got.text, "REQUEST-1") {
			t.Errorf("%s: %d %s", c.what, got.StatusCode, got.text)
		}
		if log := f.logged(); log == "" || strings.Contains(log, "topsecret") {
			t.Errorf("%s: log: %s", c.what, log)
		}
	}
}
