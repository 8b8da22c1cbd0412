// Package prefix decides which paths a service answers on, and takes the prefix off them for the upstream.
package prefix

import (
	"errors"
	"net/url"
	"slices"
	"strings"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/pathcheck"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/protocol"
)

// ErrNotFound says that none of the prefixes matches (404).
var ErrNotFound = errors.New("the service does not answer on this path")

// ManySlashes refuses what would begin with "//" without its prefix: some upstreams read a host in that.
const ManySlashes pathcheck.Refusal = "the path has more than one slash after its prefix"

// Prefixes are what one service answers on.
type Prefixes struct {
	everything      bool
	strip           bool
	tailnet, funnel []string
}

// New makes Prefixes of what the settings list; nothing listed stands for everything. With strip, Match takes the prefix off.
func New(specs []protocol.PrefixSpec, strip bool) *Prefixes {
	p := &Prefixes{everything: len(specs) == 0, strip: strip}
	for _, spec := range specs {
		anywhere := spec.From == protocol.PrefixSpecFromAny
		if anywhere || spec.From == protocol.PrefixSpecFromTailnet {
			p.tailnet = append(p.tailnet, spec.Path)
		}
		if anywhere || spec.From == protocol.PrefixSpecFromFunnel {
			p.funnel = append(p.funnel, spec.Path)
		}
	}
	return p
}

// Match gives Path and RawPath of a URL for the upstream, whose EscapedPath is spelled as the client did. The first prefix
// listed for where the request came in decides, by whole segments of the decoded path: /api matches /api and /api/x, /api/
// only the latter. Fails with ErrNotFound (404) or a pathcheck.Refusal (400).
func (p *Prefixes) Match(u *url.URL, funnel bool) (path, rawPath string, err error) {
	if p.everything {
		return u.Path, u.RawPath, nil
	}
	readings, err := pathcheck.Readings(u)
	if err != nil {
		return "", "", err
	}
	prefixes := p.tailnet
	if funnel {
		prefixes = p.funnel
	}
	first := func(reading pathcheck.Reading) int {
		return slices.IndexFunc(prefixes, func(prefix string) bool { return covers(prefix, reading.Once) })
	}
	matched := first(readings[0])
	for _, reading := range readings[1:] {
		if first(reading) != matched {
			return "", "", pathcheck.SlashDecides
		}
	}
	switch {
	case matched < 0:
		return "", "", ErrNotFound
	case p.strip:
		return without(strings.TrimSuffix(prefixes[matched], "/"), u)
	}
	return u.Path, u.RawPath, nil
}

func covers(prefix, path string) bool {
	rest, found := strings.CutPrefix(path, prefix)
	return prefix == "/" || found && (rest == "" || rest[0] == '/' || strings.HasSuffix(prefix, "/"))
}

func without(prefix string, u *url.URL) (path, rawPath string, err error) {
	path = u.Path[len(prefix):]
	if path == "" {
		return "/", "", nil
	}
	if strings.HasPrefix(path, "//") {
		return "", "", ManySlashes
	}
	if u.RawPath != "" {
		rawPath = withoutBytes(u.EscapedPath(), len(prefix))
	}
	return path, rawPath, nil
}

// withoutBytes takes the first count bytes, as they are when decoded, off an escaped path.
func withoutBytes(escaped string, count int) string {
	for ; count > 0; count-- {
		if escaped[0] == '%' {
			escaped = escaped[len("%41"):]
		} else {
			escaped = escaped[1:]
		}
	}
	return escaped
}
