package proxy

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/claim"
)

// secondPaths are the headers by which a request names another path that it reads or writes: WebDAV's COPY and MOVE (RFC 4918,
// section 10.3), and copies within S3 and Swift, where the slash in front may be missing.
var secondPaths = []string{"Destination", "X-Amz-Copy-Source", "X-Copy-From"}

// guarded is what rules, auth server and prefixes let through to next. A request that names a second path is judged for that one
// first, as if it asked for it: else whoever may use one path could read or write another.
func (p *Proxy) guarded(next http.Handler) http.Handler {
	guards := func(next http.Handler) http.Handler {
		next = p.matchPrefixes(next)
		if p.guard != nil {
			next = p.guard.Handler(next)
		}
		return p.checkAccess(next)
	}
	forFirst := guards(next)
	if p.rules == nil && p.guard == nil && p.prefixes == nil {
		return forFirst
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		second, err := p.secondPath(r)
		switch {
		case err != nil:
			p.config.refuseRequest(w, r, http.StatusBadRequest, err.Error())
		case second == nil:
			forFirst.ServeHTTP(w, r)
		default:
			asked := r.Clone(r.Context())
			asked.URL, asked.RequestURI = second, second.RequestURI()
			guards(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { forFirst.ServeHTTP(w, r) })).ServeHTTP(w, asked)
		}
	})
}

var errSecondPath = errors.New("a header names a path that is none of this service")

// secondPath reads the other path that a request names; nil when there is none, and an error when it is not clear which.
func (p *Proxy) secondPath(r *http.Request) (*url.URL, error) {
	var named []string
	bare := false
	for name, values := range r.Header {
		if folded := claim.Folded(name); slices.Contains(secondPaths, folded) {
			named, bare = append(named, values...), folded != "Destination"
		}
	}
	if len(named) == 0 {
		return nil, nil
	}
	text := named[0]
	if bare && !strings.HasPrefix(text, "/") {
		text = "/" + text
	}
	second, err := url.Parse(text)
	if len(named) > 1 || err != nil || second.User != nil || !strings.HasPrefix(second.Path, "/") || second.Fragment != "" {
		return nil, errSecondPath
	}
	if second.Scheme != "" || second.Host != "" {
		if _, ok := p.nameOf(r.Context(), second.Host); !ok || !slices.Contains([]string{"", "http", "https"}, second.Scheme) {
			return nil, errSecondPath
		}
	}
	return &url.URL{Path: second.Path, RawPath: second.RawPath, RawQuery: second.RawQuery, ForceQuery: second.ForceQuery}, nil
}
