// Package access decides who may use which paths of a service.
package access

import (
	"cmp"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/pathcheck"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/protocol"
)

// Rules are the access rules of one service.
type Rules struct {
	groups []group // those with the longest paths first
	byPath bool    // some rule is not for the whole service
}

// group is all rules of one path.
type group struct {
	path     string
	segments []string // of path; none for the whole service
	rules    []protocol.AccessRule
}

// Decision is whether a request may pass, and for one that may not the reason, for the log.
type Decision struct {
	Allowed bool
	Unclear bool // not allowed because of its path, whoever asks: the request is a bad one
	Reason  string
}

// New makes Rules of what the settings list; nothing listed lets everybody in. It fails on a path that no request could be
// compared with, as a rule for it would protect nothing.
func New(rules []protocol.AccessRule) (*Rules, error) {
	r := &Rules{}
	for _, rule := range rules {
		segments, err := segmentsOf(rule.Path)
		if err != nil {
			return nil, err
		}
		r.byPath = r.byPath || len(segments) > 0
		at := slices.IndexFunc(r.groups, func(g group) bool { return slices.Equal(g.segments, segments) })
		if at < 0 {
			at = len(r.groups)
			r.groups = append(r.groups, group{path: "/" + strings.Join(segments, "/"), segments: segments})
		}
		r.groups[at].rules = append(r.groups[at].rules, rule)
	}
	slices.SortStableFunc(r.groups, func(a, b group) int { return cmp.Compare(len(b.segments), len(a.segments)) })
	return r, nil
}

func segmentsOf(path string) (segments []string, err error) {
	decoded, err := pathcheck.Read(&url.URL{Path: path})
	if err != nil || decoded != path {
		return nil, unclear(path)
	}
	for segment := range strings.SplitSeq(path, "/") {
		if pathcheck.Bare(segment) != segment {
			return nil, unclear(path)
		}
		if segment != "" {
			segments = append(segments, segment)
		}
	}
	return segments, nil
}

func unclear(path string) error {
	return fmt.Errorf("access rule for the path %q: upstreams differ in how they read it; write it without percent-encoding, "+
		`backslash, ";", "?" and "#", dot segments, and dots or spaces at the end of a segment`, path)
}

// Decide tells whether who may ask for u, the URL of the request as it came in, with nothing stripped. Of all rules whose path
// covers it those with the longest path decide: one of them has to match. What none covers is let in.
//
// Upstreams differ in whether they ignore case, merge slashes and drop path parameters. So a path that is not spelled as in
// a rule, but that some upstream would take for it, needs both: that rule, and what decides if no upstream does. Neither can
// /Admin avoid a rule for /admin, nor /PUBLIC/x profit from one for /public. Unicode normalization is not looked at. They differ
// in encoded slashes as well; with one in it, a path is unclear if who may ask for it depends on that.
func (r *Rules) Decide(u *url.URL, who Who) Decision {
	if !r.byPath {
		return r.decide(pathcheck.Reading{}, who)
	}
	readings, err := pathcheck.Readings(u)
	if err != nil {
		return Decision{Unclear: true, Reason: err.Error()}
	}
	decision := r.decide(readings[0], who)
	for _, reading := range readings[1:] {
		if r.decide(reading, who).Allowed != decision.Allowed {
			return Decision{Unclear: true, Reason: pathcheck.SlashDecides.Error()}
		}
	}
	return decision
}

func (r *Rules) decide(path pathcheck.Reading, who Who) Decision {
	least := 0 // how many segments the rules that decide have at least
	for i := range r.groups {
		g := &r.groups[i]
		if len(g.segments) < least {
			break
		}
		covered := g.covers(path.Once, path.Twice)
		if covered == uncovered {
			continue
		}
		if !slices.ContainsFunc(g.rules, who.matches) {
			return Decision{Reason: g.reason(covered, who)}
		}
		if covered == surely {
			least = len(g.segments)
		}
	}
	return Decision{Allowed: true}
}

type coverage int

const (
	uncovered coverage = iota
	perhaps            // to some upstreams
	surely
)

// covers compares segment by segment. The path is given twice, decoded once and twice, with the same number of slashes.
func (g *group) covers(once, twice string) coverage {
	covered, more := surely, true
	once, twice = strings.TrimPrefix(once, "/"), strings.TrimPrefix(twice, "/")
	for _, want := range g.segments {
		var literal, bare string
		for bare == "" { // a segment that is empty goes when slashes are merged
			if !more {
				return uncovered
			}
			literal, once, more = strings.Cut(once, "/")
			bare, twice, _ = strings.Cut(twice, "/")
			bare = pathcheck.Bare(bare)
			if literal != want {
				covered = perhaps
			}
		}
		if !strings.EqualFold(bare, want) {
			return uncovered
		}
	}
	return covered
}

func (g *group) reason(covered coverage, who Who) string {
	if covered == perhaps {
		return fmt.Sprintf("no rule of %s, which some upstreams take the path for, names %s", g.path, who)
	}
	return fmt.Sprintf("no rule of %s names %s", g.path, who)
}
