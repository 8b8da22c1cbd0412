package forwardauth

import (
	"encoding/binary"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/protocol"
)

// naming is a service that allows all, tells the user by the cookie, and counts the questions.
func naming(t *testing.T, spec protocol.ForwardAuthSpec) (*front, *atomic.Int64) {
	asked := &atomic.Int64{}
	spec.URL = serving(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		user := ""
		if cookie, err := r.Cookie("session"); err == nil {
			user = cookie.Value
		}
		switch user {
		case "stranger":
			w.WriteHeader(http.StatusForbidden)
			return
		case "renewed":
			w.Header().Set("Set-Cookie", "session=new")
		}
		w.Header().Set("Remote-User", user)
		w.Header().Set("Cache-Control", "no-store") // oauth2-proxy says so of all its answers
	})).URL
	spec.CopyHeaders = []string{"Remote-User"}
	return serve(t, spec, secure(false)), asked
}

func TestCacheOfOneUserIsNotAnothers(t *testing.T) {
	f, asked := naming(t, protocol.ForwardAuthSpec{CacheTTLMs: 60_000})
	for _, c := range []struct {
		user    string
		outcome Outcome
	}{{"alice", Allowed}, {"bob", Allowed}, {"alice", Cached}, {"bob", Cached}, {"alice", Cached}} {
		got := f.send("/", http.Header{"Cookie": {"session=" + c.user}, "Remote-User": {"root"}})
		if user := got.received()["Remote-User"]; len(user) != 1 || user[0] != c.user {
			t.Errorf("%s is %q at the upstream", c.user, user)
		}
		f.expect(c.outcome)
	}
	if asked.Load() != 2 {
		t.Errorf("asked %d times", asked.Load())
	}
}

func TestCacheIsForTheVerySameQuestion(t *testing.T) {
	f, _ := naming(t, protocol.ForwardAuthSpec{CacheTTLMs: 60_000})
	base := func() http.Header { return http.Header{"Cookie": {"a=1"}, "Authorization": {"Bearer 1"}} }
	f.send("/page", base())
	f.send("/page", base())
	f.expect(Allowed, Cached)
	for _, c := range []struct {
		what   string
		target string
		name   string
		values []string
	}{
		{"another cookie", "/page", "Cookie", []string{"a=2"}},
		{"one more cookie", "/page", "Cookie", []string{"a=1", "b=1"}},
		{"the cookie in parts", "/page", "Cookie", []string{"a", "=1"}},
		{"no cookie", "/page", "Cookie", nil},
		{"another password", "/page", "Authorization", []string{"Bearer 2"}},
		{"no password", "/page", "Authorization", nil},
		{"a password of the other kind", "/page", "Proxy-Authorization", []string{"Bearer 1"}},
		{"another method", "/page", "Method", []string{"DELETE"}},
		{"another path", "/page/", "", nil},
		{"the path in another spelling", "/p%61ge", "", nil},
		{"another query", "/page?a", "", nil},
		{"another kind of client", "/page", "X-Requested-With", []string{"XMLHttpRequest"}},
	} {
		header := base()
		header[c.name] = c.values
		if c.name == "" {
			delete(header, "")
		}
		f.send(c.target, header)
		t.Log(c.what)
		f.expect(Allowed)
	}
	f.send("/page", base())
	f.peer.Address = "100.64.0.8"
	f.send("/page", base())
	f.expect(Cached, Allowed)
}

func TestWhatIsNotCached(t *testing.T) {
	for _, c := range []struct {
		what   string
		ttl    int
		header http.Header
		want   Outcome
	}{
		{"nothing, when there is no cache", 0, http.Header{"Cookie": {"session=alice"}}, Allowed},
		{"a denial", 60_000, http.Header{"Cookie": {"session=stranger"}}, Denied},
		{"an answer with a cookie", 60_000, http.Header{"Cookie": {"session=renewed"}}, Allowed},
		{"a request without credentials", 60_000, nil, Allowed},
	} {
		f, asked := naming(t, protocol.ForwardAuthSpec{CacheTTLMs: c.ttl})
		f.send("/", c.header)
		f.send("/", c.header)
		if f.expect(c.want, c.want); asked.Load() != 2 {
			t.Errorf("%s: asked %d times", c.what, asked.Load())
		}
	}
}

func TestCacheForgetsInTime(t *testing.T) {
	f, _ := naming(t, protocol.ForwardAuthSpec{CacheTTLMs: 1000})
	now := time.Now()
	f.guard.cache.now = func() time.Time { return now }
	send := func() { f.send("/", http.Header{"Cookie": {"session=alice"}}) }
	send()
	now = now.Add(time.Second - 1)
	send()
	now = now.Add(1)
	send()
	send()
	f.expect(Allowed, Cached, Allowed, Cached)
}

func TestCacheKeyTellsApartWhatReadsAlike(t *testing.T) {
	c := newCache(time.Hour)
	for _, pair := range [][2]http.Header{
		{{"Cookie": {"a=1", "b"}}, {"Cookie": {"a=", "1b"}}},
		{{"Cookie": {"a", "Proxy-Authorization"}, "Proxy-Authorization": nil},
			{"Cookie": {"a"}, "Proxy-Authorization": {"Proxy-Authorization"}}},
	} {
		one, _ := c.key(pair[0])
		if other, _ := c.key(pair[1]); one == other {
			t.Errorf("the same key for %q and %q", pair[0], pair[1])
		}
	}
	question := http.Header{"Cookie": {"a=1"}}
	one, _ := c.key(question)
	if other, _ := newCache(time.Hour).key(question); one == other {
		t.Error("the key is no secret")
	}
}

func TestCacheIsNotChangedFromOutside(t *testing.T) {
	c := newCache(time.Hour)
	header := http.Header{"Remote-User": {"alice"}}
	c.put(cacheKey{}, header)
	for range 2 {
		header["Remote-User"][0] = "root"
		if header, _ = c.get(cacheKey{}); header.Get("Remote-User") != "alice" {
			t.Errorf("%v", header)
		}
	}
}

func TestCacheIsBounded(t *testing.T) {
	c := newCache(time.Hour)
	numbered := func(n int) (key cacheKey) {
		binary.BigEndian.PutUint64(key[:], uint64(n))
		return key
	}
	for n := range maxCached + 1 {
		c.put(numbered(n), http.Header{})
		if _, ok := c.get(numbered(0)); !ok && n < maxCached {
			t.Fatalf("what is in use was forgotten with %d others", n)
		}
	}
	if _, ok := c.get(numbered(1)); ok || c.entries.Len() != maxCached {
		t.Errorf("%d entries, the oldest is there: %v", c.entries.Len(), ok)
	}
}
