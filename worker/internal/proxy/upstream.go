package proxy

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"time"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/protocol"
)

const (
	dialTimeout         = 10 * time.Second
	tlsHandshakeTimeout = 10 * time.Second
	idleTimeout         = 90 * time.Second
	idlePerHost         = 64
)

// Dial opens a connection; it is a node's or the host's.
type Dial func(ctx context.Context, network, address string) (net.Conn, error)

// Upstream is the pool of connections to what a service stands for. Settings that do not concern how to connect can change
// while it stays.
type Upstream struct {
	way       way
	transport *http.Transport
}

// way are the settings that make connections what they are.
type way struct {
	dialAddress, dialUnixPath       string
	useTailnetDialer, insecureHTTPS bool
}

func wayOf(spec protocol.ProxySpec) way {
	return way{spec.DialAddress, spec.DialUnixPath, spec.UseTailnetDialer, spec.InsecureHTTPS}
}

// NewUpstream makes a pool; tailnet dials through the service's node, where the spec asks for it.
func NewUpstream(spec protocol.ProxySpec, tailnet Dial) *Upstream {
	way := wayOf(spec)
	return &Upstream{way: way, transport: &http.Transport{
		Proxy:                 nil, // never by the host's http_proxy
		DialContext:           way.dialer(tailnet),
		TLSClientConfig:       &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: way.insecureHTTPS},
		TLSHandshakeTimeout:   tlsHandshakeTimeout,
		MaxIdleConnsPerHost:   idlePerHost,
		IdleConnTimeout:       idleTimeout,
		ExpectContinueTimeout: time.Second,
		DisableCompression:    true, // bodies pass as they are
		Protocols:             http1(),
	}}
}

// Fits tells whether the pool can serve a changed spec.
func (u *Upstream) Fits(spec protocol.ProxySpec) bool { return u.way == wayOf(spec) }

// Close ends idle connections; those in use end with their request.
func (u *Upstream) Close() { u.transport.CloseIdleConnections() }

func (w way) dialer(tailnet Dial) Dial {
	host := (&net.Dialer{}).DialContext
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, dialTimeout)
		defer cancel()
		if w.dialUnixPath != "" {
			return host(ctx, "unix", w.dialUnixPath)
		}
		if w.dialAddress != "" {
			address = w.dialAddress
		}
		if w.useTailnetDialer {
			return tailnet(ctx, network, address)
		}
		return host(ctx, network, address)
	}
}

// http1 is the only protocol spoken, on both sides, as with tsnsrv.
func http1() *http.Protocols {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	return &protocols
}
