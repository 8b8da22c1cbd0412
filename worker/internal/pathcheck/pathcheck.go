// Package pathcheck tells whether all upstreams would read the path of a request alike. Whoever decides by a path has to
// ask first: an upstream that reads it in another way serves something that was not decided about.
package pathcheck

import (
	"cmp"
	"encoding/hex"
	"net/url"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Refusal says why the path of a request can be read in more ways than one. The request is a bad one (400).
type Refusal string

func (r Refusal) Error() string { return string(r) }

const (
	NoPath       Refusal = "the request target must be a path"
	EncodedSlash Refusal = "the path has an encoded slash"
	EncodedOften Refusal = "the path is encoded more than twice"
	NotUTF8      Refusal = "the path is not UTF-8"
	Unprintable  Refusal = "the path has a backslash or a control character"
	DotSegment   Refusal = "the path has a dot segment"

	// SlashDecides is for who compares Readings, and finds that they are not treated alike.
	SlashDecides Refusal = "the path has an encoded slash, and for upstreams that take it for a separator another rule holds"
)

// Read gives the path of u as an upstream reads that decodes it twice, or a Refusal. It has as many slashes as u.Path. What
// it lets pass may still have empty segments and such as Bare shortens. EncodedSlash comes only when nothing else is wrong, for
// callers who put up with it.
func Read(u *url.URL) (decoded string, err error) {
	decoded = u.Path
	if u.Opaque != "" || decoded != "" && decoded[0] != '/' {
		return "", NoPath // Go sends Opaque instead of the path: x:http://upstream/admin has an empty one
	}
	if strings.Contains(decoded, "%") {
		decoded = decode(decoded)
	}
	switch {
	case escape.MatchString(decoded):
		return "", EncodedOften
	case !utf8.ValidString(decoded): // overlong forms of "/" and "." among it
		return "", NotUTF8
	case strings.ContainsFunc(decoded, isUnprintable):
		return "", Unprintable
	case hasDotSegment(decoded):
		return "", DotSegment
	case strings.Count(decoded, "/") != strings.Count(cmp.Or(u.RawPath, u.Path), "/"):
		return "", EncodedSlash
	}
	return decoded, nil
}

// Reading is a path as some upstreams split it into segments: decoded once and twice, with as many slashes. A slash that they
// do not take for a separator is notSeparator in it.
type Reading struct{ Once, Twice string }

const notSeparator = "\x00" // which no path has that Read lets pass

// Readings gives the ways to split the path of u, or a Refusal. It is one way unless the path has an encoded slash: that is a
// separator for no upstream, for those that decode the path before they split it, and for those that decode it twice.
func Readings(u *url.URL) ([]Reading, error) {
	decoded, err := Read(u)
	if err == nil {
		return []Reading{{u.Path, decoded}}, nil
	}
	if err != EncodedSlash {
		return nil, err
	}
	var kept, once, twice Reading
	for segment := range strings.SplitSeq(strings.TrimPrefix(u.EscapedPath(), "/"), "/") {
		kept.append(decode(segment), decode(decode(segment)))
	}
	for segment := range strings.SplitSeq(strings.TrimPrefix(u.Path, "/"), "/") {
		once.append(segment, decode(segment))
	}
	for segment := range strings.SplitSeq(strings.TrimPrefix(decode(u.Path), "/"), "/") {
		twice.append(segment, segment)
	}
	return []Reading{kept, once, twice}, nil
}

func (r *Reading) append(once, twice string) {
	r.Once += "/" + strings.ReplaceAll(once, "/", notSeparator)
	r.Twice += "/" + strings.ReplaceAll(twice, "/", notSeparator)
}

// Bare gives what some upstreams keep of a segment: without path parameters (Tomcat), without what follows an encoded "?" or
// "#" (who parses a decoded path again), without dots and spaces at its end (Windows).
func Bare(segment string) string {
	return strings.TrimRight(withoutParameters(segment), ". ")
}

func withoutParameters(segment string) string {
	if end := strings.IndexAny(segment, ";?#"); end >= 0 {
		return segment[:end]
	}
	return segment
}

func isUnprintable(c rune) bool { return c == '\\' || unicode.IsControl(c) }

// hasDotSegment takes every segment of dots and spaces for one: Windows does.
func hasDotSegment(path string) bool {
	for more := strings.Contains(path, "."); more; {
		var segment string
		segment, path, more = strings.Cut(path, "/")
		if segment = withoutParameters(segment); strings.Contains(segment, ".") && Bare(segment) == "" {
			return true
		}
	}
	return false
}

var escape = regexp.MustCompile("%[0-9A-Fa-f]{2}")

// decode resolves percent-encoding once, and leaves a "%" alone that encodes nothing.
func decode(text string) string {
	return escape.ReplaceAllStringFunc(text, func(escape string) string {
		value, _ := hex.DecodeString(escape[1:])
		return string(value)
	})
}
