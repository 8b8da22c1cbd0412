package proxy

import (
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"strings"
)

// wrongScheme says what an upstream speaks that did not answer because it is spoken to by another protocol, and the remedy; nil
// when it is not that, or cannot be told.
func wrongScheme(config Config, r *http.Request, err error) error {
	text := err.Error()
	var record tls.RecordHeaderError
	switch {
	case strings.Contains(text, `malformed HTTP response "\x00\x00`): // a frame, as its length comes first
		return errors.New("it speaks HTTP/2 without TLS: let upstream: begin with h2c://")
	case strings.Contains(text, `malformed HTTP response "\x15\x03`): // a TLS alert
		return errors.New("it wants TLS: let upstream: begin with https://")
	case errors.As(err, &record), strings.Contains(text, "frame header looked like an HTTP/1.1 header"):
		return errors.New("it speaks HTTP/1.1 without TLS: let upstream: begin with http://")
	case strings.HasPrefix(config.Spec.Upstream, "h2c://") && strings.Contains(text, "http2: client conn could not be established"):
		return errors.New("it hangs up on HTTP/2 without TLS: let upstream: begin with http://")
	case isGRPC(r) && strings.HasPrefix(config.Spec.Upstream, "http://") && hungUp(err):
		return errors.New("it hangs up on gRPC, which takes HTTP/2: let upstream: begin with h2c://")
	}
	return nil
}

// isGRPC tells that a request cannot be made by HTTP/1.1, as one of gRPC-Web can.
func isGRPC(r *http.Request) bool {
	kind := r.Header.Get("Content-Type")
	return kind == "application/grpc" || strings.HasPrefix(kind, "application/grpc+")
}

// hungUp tells that a server was reached and ended the connection. What it had said is lost if the request was still being sent.
func hungUp(err error) bool {
	var operation *net.OpError
	return !isTimeout(err) && !(errors.As(err, &operation) && operation.Op == "dial")
}
