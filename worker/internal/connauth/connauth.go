// Package connauth keeps logins that belong to a connection with the client whose they are.
//
// By NTLM, Negotiate and Kerberos a client logs in once, and the server takes everything that follows on the connection for
// that client's. A proxy that lends such a connection to another client lends the login with it. So a client connection that
// logs in this way gets connections of its own, and they end with it.
package connauth

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// schemes are the ways to log in that servers take for the connection's, in lower case.
var schemes = []string{"ntlm", "negotiate", "kerberos", "nego2", "pku2u", "credssp"}

// Per client connection. With HTTP/1.1 it has one request at a time, and needs one connection.
const (
	mostIdle    = 4
	idleTimeout = 90 * time.Second
)

// Pool sends requests over connections that all clients share, but those that log in. The zero value is not usable.
type Pool struct {
	mu     sync.Mutex // of changes
	shared atomic.Pointer[http.Transport]
}

// NewPool makes a Pool whose shared connections are those of transport, which is its own from then on.
func NewPool(transport *http.Transport) *Pool {
	p := &Pool{}
	p.shared.Store(transport)
	return p
}

// Close ends idle connections; those in use end with their request. Those of clients end with these, or when they are idle.
func (p *Pool) Close() { p.shared.Load().CloseIdleConnections() }

// KeepIdle has connections kept without a request for no longer than this. A longer time than before changes nothing.
func (p *Pool) KeepIdle(most time.Duration) {
	if isKept(p.shared.Load(), most) {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	last := p.shared.Load()
	if isKept(last, most) {
		return
	}
	next := last.Clone()
	next.IdleConnTimeout = most
	p.shared.Store(next)
	last.CloseIdleConnections() // and no request begins on it any more
}

func isKept(transport *http.Transport, most time.Duration) bool {
	return transport.IdleConnTimeout > 0 && transport.IdleConnTimeout <= most
}

// RoundTrip implements http.RoundTripper. The client is taken from the request's context, see With.
func (p *Pool) RoundTrip(request *http.Request) (*http.Response, error) {
	client := of(request.Context())
	if own := client.transport(p, logsIn(request.Header["Authorization"])); own != nil {
		return own.RoundTrip(request)
	}
	response, err := p.shared.Load().RoundTrip(request)
	if err == nil && logsIn(response.Header["Www-Authenticate"]) {
		client.transport(p, true) // the server asks for it: the next request may be part of a login in any form
	}
	return response, err
}

// logsIn tells whether one of the values names a scheme that logs a connection in.
func logsIn(values []string) bool {
	return slices.ContainsFunc(values, func(value string) bool {
		for part := range strings.SplitSeq(value, ",") {
			name, _, _ := strings.Cut(strings.TrimLeft(part, " \t"), " ")
			if name, _, _ = strings.Cut(name, "\t"); slices.Contains(schemes, strings.ToLower(name)) {
				return true
			}
		}
		return false
	})
}

// ownTransport is like shared, without its connections. Where there is a choice it speaks HTTP/1.1: in HTTP/2 a connection is
// nobody's.
func (p *Pool) ownTransport() *http.Transport {
	own := p.shared.Load().Clone()
	if own.Protocols == nil || own.Protocols.HTTP1() {
		own.Protocols = new(http.Protocols)
		own.Protocols.SetHTTP1(true)
		own.ForceAttemptHTTP2, own.TLSNextProto = false, nil
		if own.TLSClientConfig != nil {
			own.TLSClientConfig.NextProtos = nil // HTTP/2 is offered in those of the one that it is a copy of
		}
	}
	own.MaxIdleConnsPerHost = mostIdle
	if own.IdleConnTimeout == 0 {
		own.IdleConnTimeout = idleTimeout
	}
	return own
}

// Client is one client connection. The zero value is one that has not logged in.
type Client struct {
	mu    sync.Mutex
	own   map[*Pool]*http.Transport // by where it has logged in
	ended bool
}

// transport is the client's own for the pool; nil as long as it has none and does not log in.
func (c *Client) transport(pool *Pool, logsIn bool) *http.Transport {
	c.mu.Lock()
	defer c.mu.Unlock()
	own := c.own[pool]
	if own != nil || !logsIn {
		return own
	}
	own = pool.ownTransport()
	if c.ended {
		own.DisableKeepAlives = true
		return own
	}
	if c.own == nil {
		c.own = map[*Pool]*http.Transport{}
	}
	c.own[pool] = own
	return own
}

// Close ends the client's own connections; those in use end with their request.
func (c *Client) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, own := range c.own {
		own.CloseIdleConnections()
	}
	c.own, c.ended = nil, true
}

type clientKey struct{}

// With gives a context for the requests of a client.
func With(ctx context.Context, client *Client) context.Context {
	return context.WithValue(ctx, clientKey{}, client)
}

// of is the client whose request it is. Of one that is not known nothing is kept.
func of(ctx context.Context) *Client {
	if client, ok := ctx.Value(clientKey{}).(*Client); ok {
		return client
	}
	return &Client{ended: true}
}
