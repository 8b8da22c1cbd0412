// Package claim knows the headers by which an upstream learns who the client is, or where its request comes from. What the
// client itself says there is never believed.
package claim

import (
	"net/http"
	"slices"
	"strings"
)

// prefixes begin the names of such headers: from us, from "tailscale serve", from the auth servers that docs/forward-auth
// speaks of, and from Grafana's auth proxy.
var prefixes = []string{
	"X-Forwarded-", "X-Original-", "X-Tailscale-", "Tailscale-", "Remote-", "X-Webauth-", "X-Auth-Request-", "X-Authentik-",
}

// Is tells whether a header of this name is such a one, in whichever spelling.
func Is(name string) bool { return IsFolded(Folded(name)) }

// IsFolded is Is for a name that Folded gave.
func IsFolded(name string) bool {
	return name == "Forwarded" || name == "X-Real-Ip" || name == "X-Scheme" || name == "X-Rewrite-Url" ||
		slices.ContainsFunc(prefixes, func(prefix string) bool { return strings.HasPrefix(name, prefix) })
}

// Folded makes one of the names that an upstream may take for the same: behind CGI and what came after it, Remote-User,
// remote_user and Remote.User are all HTTP_REMOTE_USER. It looks once at a name that is folded already, as nearly all are.
func Folded(name string) string {
	if isFolded(name) {
		return name
	}
	return http.CanonicalHeaderKey(strings.Map(func(c rune) rune {
		if c != '-' && (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			return '-'
		}
		return c
	}, name))
}

// isFolded tells whether a name has only letters, digits and dashes, and capitals where a word begins.
func isFolded(name string) bool {
	first := true
	for i := range len(name) {
		switch c := name[i]; {
		case c == '-':
			first = true
			continue
		case '0' <= c && c <= '9':
		case 'A' <= c && c <= 'Z' && first:
		case 'a' <= c && c <= 'z' && !first:
		default:
			return false
		}
		first = false
	}
	return true
}
