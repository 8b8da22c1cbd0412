// Package redact keeps secrets of the configuration out of the log: user name, password and query of URLs, and Tailscale
// keys. shared/secrets.ts does the same for what the supervisor says.
package redact

import (
	"log/slog"
	"regexp"
	"strings"
)

const stars = "***"

var key = regexp.MustCompile(`(tskey-(?:(?:auth|client|api|webhook|scim)-)?)[\w-]+`)

// Attr is a slog.HandlerOptions.ReplaceAttr that redacts every text and every error.
func Attr(_ []string, attr slog.Attr) slog.Attr {
	switch attr.Value.Kind() {
	case slog.KindString:
		attr.Value = slog.StringValue(Text(attr.Value.String()))
	case slog.KindAny:
		if err, ok := attr.Value.Any().(error); ok {
			attr.Value = slog.StringValue(Text(err.Error()))
		}
	}
	return attr
}

// Text is the text with stars in the place of secrets. A URL that is wrong is redacted too much rather than too little.
func Text(text string) string {
	if strings.Contains(text, "tskey-") {
		text = key.ReplaceAllString(text, "${1}"+stars)
	}
	if !strings.Contains(text, "://") {
		return text
	}
	var out strings.Builder
	for {
		before, rest, found := strings.Cut(text, "://")
		out.WriteString(before)
		if !found {
			return out.String()
		}
		out.WriteString("://")
		end := strings.IndexAny(rest, "\" \t\r\n")
		if end < 0 {
			end = len(rest)
		}
		out.WriteString(afterScheme(rest[:end]))
		text = rest[end:]
	}
}

// afterScheme redacts what stands before the last "@", and after the first "?" or "#" that follows it.
func afterScheme(url string) string {
	userInfo := ""
	if at := strings.LastIndexByte(url, '@'); at >= 0 {
		userInfo, url = stars, url[at:]
	}
	if tail := strings.IndexAny(url, "?#"); tail >= 0 && tail+1 < len(url) {
		url = url[:tail+1] + stars
	}
	return userInfo + url
}
