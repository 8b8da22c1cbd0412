package forwardauth

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"tailscale.com/util/lru"
)

// maxCached bounds the decisions that are remembered, of about 1 KB each: those of a browser that loads a page with some
// hundred parts, for a dozen people at once.
const maxCached = 2048

// cache remembers for a while what was allowed. What the service says there of caching is not heeded: that is for browsers,
// and oauth2-proxy forbids it for every answer.
type cache struct {
	ttl    time.Duration
	now    func() time.Time
	secret []byte

	mu      sync.Mutex
	entries lru.Cache[cacheKey, decision]
}

// cacheKey stands for a question. It is keyed with a secret, so that memory holds nothing to guess a password from.
type cacheKey [sha256.Size]byte

type decision struct {
	header http.Header
	until  time.Time
}

func newCache(ttl time.Duration) *cache {
	secret := make([]byte, sha256.Size)
	rand.Read(secret) // never fails
	return &cache{ttl: ttl, now: time.Now, secret: secret, entries: lru.Cache[cacheKey, decision]{MaxEntries: maxCached}}
}

// key tells whether the answer to a question can be cached, and as what. The key is of all that the question says, as the
// service may decide by any of it. Without credentials nothing is cached: it would be of use for public pages only, and
// anybody could fill the cache.
func (c *cache) key(question http.Header) (key cacheKey, ok bool) {
	if c == nil || !slices.ContainsFunc(credentials, func(name string) bool { return len(question[name]) > 0 }) {
		return key, false
	}
	var text []byte
	add := func(part string) { text = append(binary.AppendUvarint(text, uint64(len(part))), part...) }
	for _, name := range slices.Sorted(maps.Keys(question)) {
		add(name)
		text = binary.AppendUvarint(text, uint64(len(question[name])))
		for _, value := range question[name] {
			add(value)
		}
	}
	hash := hmac.New(sha256.New, c.secret)
	hash.Write(text)
	hash.Sum(key[:0])
	return key, true
}

// get gives the headers that came with what was allowed; they are the caller's.
func (c *cache) get(key cacheKey) (http.Header, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	known, ok := c.entries.GetOk(key)
	if !ok || !c.now().Before(known.until) {
		return nil, false
	}
	return known.header.Clone(), true
}

func (c *cache) put(key cacheKey, header http.Header) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.entries.Set(key, decision{header.Clone(), c.now().Add(c.ttl)})
}
