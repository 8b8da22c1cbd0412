package proxy

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/protocol"
)

// A path in a header is judged like the path of the request, by each guard, and never instead of it.
func TestASecondPathIsJudgedToo(t *testing.T) {
	var asked []string
	auth := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Header.Get("X-Original-URL")+r.Header.Get("X-Forwarded-Uri"))
		if strings.Contains(r.Header.Get("X-Original-URL")+r.Header.Get("X-Forwarded-Uri"), "/admin") {
			w.WriteHeader(http.StatusForbidden)
		}
	}))
	t.Cleanup(auth.Close)
	guards := map[string]func(*protocol.ProxySpec){
		"allow": func(s *protocol.ProxySpec) {
			s.Allow = []protocol.AccessRule{
				{Path: "/", Kind: protocol.AccessRuleKindTag, Value: "tag:a"}, {Path: "/admin", Kind: protocol.AccessRuleKindTag, Value: "tag:none"},
			}
		},
		"prefixes": func(s *protocol.ProxySpec) {
			s.Prefixes = []protocol.PrefixSpec{{From: protocol.PrefixSpecFromAny, Path: "/public"}}
		},
		"forward auth": func(s *protocol.ProxySpec) {
			s.ForwardAuth = &protocol.ForwardAuthSpec{URL: auth.URL, TimeoutMs: 5000, CopyHeaders: []string{}}
		},
	}
	const refused = 400
	for guard, set := range guards {
		spec := guarded(t)
		set(&spec)
		f := serve(t, spec, alice)
		for _, c := range []struct {
			path   string
			header http.Header
			ok     bool
		}{
			{"/public/x", http.Header{"Destination": {"/public/y"}}, true},
			{"/public/x", http.Header{"Destination": {"https://" + ownName + "/public/y"}}, true},
			{"/public/x", http.Header{"X-Amz-Copy-Source": {"public/y?versionId=1"}}, true},
			{"/public/x", nil, true},
			{"/admin/x", http.Header{"Destination": {"/public/y"}}, false},
			{"/public/x", http.Header{"Destination": {"/admin/y"}}, false},
			{"/public/x", http.Header{"destination": {"/admin/y"}}, false},
			{"/public/x", http.Header{"Destination": {"https://" + ownName + "/admin/y"}}, false},
			{"/public/x", http.Header{"Destination": {"//" + ownName + "/admin/y"}}, false},
			{"/public/x", http.Header{"Destination": {"https://evil.example/public/y"}}, false},
			{"/public/x", http.Header{"Destination": {"/public/../admin/y"}}, false},
			{"/public/x", http.Header{"Destination": {"/public/%2e%2e/admin/y"}}, false},
			{"/public/x", http.Header{"Destination": {"/public/y", "/admin/y"}}, false},
			{"/public/x", http.Header{"Destination": {"public/y"}}, false},
			{"/public/x", http.Header{"Destination": {"ftp://" + ownName + "/public/y"}}, false},
			{"/public/x", http.Header{"Destination": {"file:/admin"}}, false},
			{"/public/x", http.Header{"X-Amz-Copy-Source": {"admin/y"}}, false},
			{"/public/x", http.Header{"x_amz_copy_source": {"/admin/y"}}, false},
			{"/public/x", http.Header{"X-Copy-From": {"/admin/y"}}, false},
			{"/public/x", http.Header{"X-Copy-From": {"/public/y"}, "Destination": {"/public/z"}}, false},
		} {
			response, _ := f.send("MOVE", c.path, c.header)
			if got := response.StatusCode < refused; got != c.ok {
				t.Errorf("%s: %s with %v: %s", guard, c.path, c.header, response.Status)
			}
		}
	}
	if len(asked) == 0 {
		t.Error("the auth server was not asked")
	}
	// Where nobody decides by a path, the header is the upstream's alone.
	f := serve(t, guarded(t), alice)
	if response, dump := f.send("MOVE", "/x", http.Header{"Destination": {"https://elsewhere.example/y"}}); response.StatusCode != http.StatusOK || !strings.Contains(dump, "elsewhere") {
		t.Errorf("%s\n%s", response.Status, dump)
	}
}
