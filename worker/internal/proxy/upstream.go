package proxy

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/connauth"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/limit"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/protocol"
)

const idlePerHost = 64

// Dial opens a connection; it is a node's or the host's.
type Dial = limit.Dial

// Dialer is a node, for upstreams that are on the tailnet. It is compared with ==.
type Dialer interface {
	Dial(ctx context.Context, network, address string) (net.Conn, error)
}

// Upstream is the pool of connections from one service to its upstream. Services do not share them, as something of a user
// may stick to a connection.
type Upstream struct {
	way   way
	pool  *connauth.Pool
	share *limit.Share
}

// way are the settings that make connections what they are. The transport tells hosts apart by itself.
type way struct {
	dialAddress, dialUnixPath                                                   string
	tailnet                                                                     Dialer // nil: the host's network
	h2c                                                                         bool   // HTTP/2 without TLS
	insecureHTTPS, allowInsecureCiphers                                         bool
	caFile                                                                      string
	caChanged                                                                   time.Time
	dialTimeoutMs, tlsTimeoutMs, responseHeaderTimeoutMs, upstreamIdleTimeoutMs int
}

func wayOf(spec protocol.ProxySpec, tailnet Dialer) way {
	w := way{
		h2c:                     speaksH2C(spec),
		dialAddress:             spec.DialAddress,
		dialUnixPath:            spec.DialUnixPath,
		insecureHTTPS:           spec.InsecureHTTPS,
		allowInsecureCiphers:    spec.AllowInsecureCiphers,
		caFile:                  spec.CaFile,
		dialTimeoutMs:           spec.DialTimeoutMs,
		tlsTimeoutMs:            spec.TlsTimeoutMs,
		responseHeaderTimeoutMs: spec.ResponseHeaderTimeoutMs,
		upstreamIdleTimeoutMs:   spec.UpstreamIdleTimeoutMs,
	}
	if spec.UseTailnetDialer && !staysOnHost(spec) {
		w.tailnet = tailnet
	}
	if file, err := os.Stat(spec.CaFile); err == nil {
		w.caChanged = file.ModTime()
	}
	return w
}

// speaksH2C tells that the upstream takes HTTP/2 without TLS, and nothing else.
func speaksH2C(spec protocol.ProxySpec) bool {
	scheme, _, _ := strings.Cut(spec.Upstream, ":")
	return strings.EqualFold(scheme, "h2c")
}

// targetOf is the URL that requests for the upstream are made for. To net/http, h2c is a protocol of http.
func targetOf(spec protocol.ProxySpec) (*url.URL, error) {
	target, err := url.Parse(spec.Upstream)
	if err == nil && speaksH2C(spec) {
		target.Scheme = "http"
	}
	return target, err
}

// staysOnHost tells that what is dialled is this machine, whoever dials.
func staysOnHost(spec protocol.ProxySpec) bool {
	if spec.DialUnixPath != "" {
		return true
	}
	host := ""
	if spec.DialAddress != "" {
		host, _, _ = net.SplitHostPort(spec.DialAddress)
	} else if target, err := url.Parse(spec.Upstream); err == nil {
		host = target.Hostname()
	}
	address, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && address.IsLoopback()
}

// OpenUpstream makes the pool for a spec. tailnet is the service's node, which dials where the spec asks for it; share is what
// the service may open.
func OpenUpstream(spec protocol.ProxySpec, tailnet Dialer, share *limit.Share) (*Upstream, error) {
	way := wayOf(spec, tailnet)
	transport, err := way.newTransport()
	if err != nil {
		return nil, err
	}
	transport.DialContext = share.Dialer(way.dial)
	return &Upstream{way: way, pool: connauth.NewPool(transport), share: share}, nil
}

// Fits tells whether the connections are as a spec wants them, so that they can stay when other settings change.
func (u *Upstream) Fits(spec protocol.ProxySpec, tailnet Dialer) bool {
	return u.way == wayOf(spec, tailnet)
}

// Close ends idle connections; those in use end with their request.
func (u *Upstream) Close() { u.pool.Close() }

func (w way) newTransport() (*http.Transport, error) {
	secure := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: w.insecureHTTPS}
	if w.allowInsecureCiphers {
		for _, suite := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
			secure.CipherSuites = append(secure.CipherSuites, suite.ID)
		}
	}
	if w.caFile != "" {
		authorities, err := os.ReadFile(w.caFile)
		if err != nil {
			return nil, fmt.Errorf("upstreamCAFile: %w", err)
		}
		secure.RootCAs = x509.NewCertPool()
		if !secure.RootCAs.AppendCertsFromPEM(authorities) {
			return nil, fmt.Errorf("upstreamCAFile: there is no certificate in %s", w.caFile)
		}
	}
	spoken := protocols()
	if w.h2c {
		spoken = new(http.Protocols)
		spoken.SetUnencryptedHTTP2(true)
	}
	return &http.Transport{
		Proxy:                 nil, // never by the host's http_proxy
		TLSClientConfig:       secure,
		TLSHandshakeTimeout:   milliseconds(w.tlsTimeoutMs),
		ResponseHeaderTimeout: milliseconds(w.responseHeaderTimeoutMs),
		MaxIdleConnsPerHost:   idlePerHost,
		IdleConnTimeout:       milliseconds(w.upstreamIdleTimeoutMs),
		ExpectContinueTimeout: time.Second,
		DisableCompression:    true, // bodies pass as they are
		Protocols:             spoken,
	}, nil
}

func (w way) dial(ctx context.Context, network, address string) (net.Conn, error) {
	ctx, cancel := withTimeout(ctx, w.dialTimeoutMs)
	defer cancel()
	dial := (&net.Dialer{}).DialContext
	if w.tailnet != nil {
		dial = w.tailnet.Dial
	}
	switch {
	case w.dialUnixPath != "":
		network, address = "unix", w.dialUnixPath
	case w.dialAddress != "":
		address = w.dialAddress
	}
	conn, err := dial(ctx, network, address)
	if err != nil && errors.Is(context.Cause(ctx), errTimeout) {
		err = fmt.Errorf("connecting to %s: %w", address, context.DeadlineExceeded)
	}
	return conn, err
}
