package proxy

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/access"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/forwardauth"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/prefix"
)

// checkAccess lets in whom the rules name. Who is turned away learns that and no more; the reason is in the log.
func (p *Proxy) checkAccess(next http.Handler) http.Handler {
	if p.rules == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		caller := p.clients.callerOf(r)
		switch decision := p.rules.Decide(r.URL, caller.who); {
		case decision.Unclear:
			p.config.refuseRequest(w, r, http.StatusBadRequest, decision.Reason)
			return
		case !decision.Allowed:
			p.config.audit(r, caller, http.StatusForbidden, decision.Reason)
			refuse(w, r, http.StatusForbidden, "access denied")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// strippedKey is of a request's context: the prefix that was taken off its path, as the values of a header.
type strippedKey struct{}

// matchPrefixes answers only on the paths that are listed. The request that goes on has the path for the upstream.
func (p *Proxy) matchPrefixes(next http.Handler) http.Handler {
	if p.prefixes == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path, rawPath, err := p.prefixes.Match(r.URL, peerOf(r).origin.Internet)
		switch {
		case err == prefix.ErrNotFound:
			http.NotFound(w, r)
			return
		case err != nil:
			p.config.refuseRequest(w, r, http.StatusBadRequest, err.Error())
			return
		}
		if path != r.URL.Path || rawPath != r.URL.RawPath {
			// What is gone is as the operator wrote it: the paths were compared decoded.
			stripped := url.URL{Path: strings.TrimSuffix(r.URL.Path, path)}
			target := *r.URL
			target.Path, target.RawPath = path, rawPath
			r = r.WithContext(context.WithValue(r.Context(), strippedKey{}, []string{stripped.EscapedPath()}))
			r.URL = &target
		}
		next.ServeHTTP(w, r)
	})
}

// newGuard makes what asks the auth server; nil when there is none to ask.
func (p *Proxy) newGuard() (*forwardauth.Guard, error) {
	config, spec := p.config, p.config.Spec.ForwardAuth
	if spec == nil {
		return nil, nil
	}
	return forwardauth.New(forwardauth.Config{
		Spec: *spec,
		Client: func(r *http.Request) forwardauth.Client {
			client := forwardauth.Client{Funnel: peerOf(r).origin.Internet}
			client.Address, _, _ = net.SplitHostPort(r.RemoteAddr)
			if config.Spec.Whois {
				caller := p.clients.callerOf(r)
				client.Person, client.Identity = caller.who.IsPerson(), caller.who.String()
			}
			return client
		},
		Host: p.hostFor,
		Observe: func(outcome forwardauth.Outcome, took time.Duration) {
			config.Counters.auth(outcome, took)
			if took > 0 && outcome != forwardauth.Failed {
				config.Backends.Auth.Good()
			}
		},
		Trouble:   func(why string) { config.Backends.Auth.Bad(errors.New(why)) },
		Dial:      config.Upstream.share.Dialer((&net.Dialer{}).DialContext),
		RequestID: requestID,
		Log:       config.Log,
	})
}

// refuseRequest answers a request that no upstream should see.
func (c Config) refuseRequest(w http.ResponseWriter, r *http.Request, status int, why string) {
	c.Counters.clientErrors.Add(1)
	c.Log.Info("a request was refused", "requestId", requestID(r), "peer", r.RemoteAddr, "method", r.Method, "status", status, "reason", why)
	refuse(w, r, status, why)
}

// audit is the line that each denial leaves.
func (c Config) audit(r *http.Request, who caller, status int, reason string) {
	c.Counters.denied.Add(1)
	c.Log.Warn("a request was denied", "requestId", requestID(r), "peer", r.RemoteAddr, "identity", who.who.String(),
		"funnel", who.who.Funnel, "method", r.Method, "path", r.URL.EscapedPath(), "status", status, "reason", reason)
}

// auditEnd is the line of a request that was let in and is ended, as it would not be let in now.
func (p *Proxy) auditEnd(client *peer, v *visit, reason string) {
	client.mu.Lock()
	who := client.caller.who
	client.mu.Unlock()
	if client.origin.Internet {
		who = access.Who{Funnel: true}
	}
	p.config.Counters.denied.Add(1)
	p.config.Log.Warn("a request that ran was ended, with its connection", "peer", client.connection.RemoteAddr().String(), "identity", who.String(),
		"funnel", client.origin.Internet, "method", v.method, "path", v.url.EscapedPath(), "reason", reason)
}

// auth counts one request to a service with forward auth.
func (c *Counters) auth(outcome forwardauth.Outcome, took time.Duration) {
	if count, ok := c.authOutcomes[outcome]; ok {
		count.Add(1)
	}
	if took > 0 {
		c.authDuration.observe(took)
	}
}
