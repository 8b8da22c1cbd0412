package forwardauth

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"
)

// deny gives the client what the service says instead of the upstream, such as a redirect to its login page.
func (g *Guard) deny(w http.ResponseWriter, r *http.Request, client Client, answer *answer, took time.Duration) {
	g.config.Observe(Denied, took)
	g.logDenial(r, client, answer.status, fmt.Sprintf("the authorization service answered %d", answer.status))
	header := w.Header()
	for name, values := range answer.header {
		if !ofTheConnection[name] {
			header[name] = values
		}
	}
	if answer.header.Get("Cache-Control") == "" {
		header.Set("Cache-Control", "no-store") // after the login, the same URL is another page
	}
	w.WriteHeader(answer.status)
	_, _ = w.Write(answer.body)
}

// fail answers for a request that the service did not decide about. The client learns that it failed and a number to ask
// with; what failed stays in the log.
func (g *Guard) fail(w http.ResponseWriter, r *http.Request, client Client, err error, took time.Duration) {
	if r.Context().Err() != nil {
		panic(http.ErrAbortHandler) // the client is gone: nobody to answer, and no fault of the service
	}
	id := g.config.RequestID(r)
	status, text := http.StatusBadGateway, "the authorization service failed"
	if refused, ok := errors.AsType[*refusal](err); ok {
		status, text = refused.status, refused.text
		g.config.Observe(Denied, took)
		g.logDenial(r, client, status, text)
	} else {
		if isTimeout(err) {
			status, text = http.StatusGatewayTimeout, "the authorization service did not answer in time"
		}
		why := g.explain(err)
		g.config.Observe(Failed, took)
		g.config.Trouble(why)
		g.config.Log.Warn("the authorization service did not decide; the request is not let through", "authServer", g.service.String(),
			"requestId", id, "client", client.Address, "method", r.Method, "path", r.URL.EscapedPath(), "error", why)
	}
	w.Header().Set("X-Request-Id", id)
	w.Header().Set("Cache-Control", "no-store")
	http.Error(w, fmt.Sprintf("%d %s: %s (request %s)", status, http.StatusText(status), text, id), status)
}

// logDenial writes the line of the audit, without queries and cookies, which may carry secrets.
func (g *Guard) logDenial(r *http.Request, client Client, status int, reason string) {
	g.config.Log.Info("denied by forward authentication", "requestId", g.config.RequestID(r), "client", client.Address,
		"identity", client.Identity, "funnel", client.Funnel, "method", r.Method, "path", r.URL.EscapedPath(), "status", status,
		"reason", reason)
}

// withCookies adds cookies of the service, such as a session that it renewed, to those of the upstream.
func withCookies(w http.ResponseWriter, cookies []string) http.ResponseWriter {
	if len(cookies) == 0 {
		return w
	}
	return &cookieWriter{ResponseWriter: w, cookies: cookies}
}

// cookieWriter waits with the cookies until the final response begins: after a 1xx, ReverseProxy clears the header.
type cookieWriter struct {
	http.ResponseWriter
	cookies []string // nil once added
}

func (c *cookieWriter) Unwrap() http.ResponseWriter { return c.ResponseWriter }

func (c *cookieWriter) WriteHeader(status int) {
	if status >= 200 {
		c.add()
	}
	c.ResponseWriter.WriteHeader(status)
}

func (c *cookieWriter) Write(p []byte) (int, error) {
	c.add()
	return c.ResponseWriter.Write(p)
}

// Hijack is how a WebSocket leaves HTTP; ReverseProxy then writes the header itself.
func (c *cookieWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	c.add()
	return http.NewResponseController(c.ResponseWriter).Hijack()
}

func (c *cookieWriter) add() {
	for _, cookie := range c.cookies {
		c.Header().Add("Set-Cookie", cookie)
	}
	c.cookies = nil
}
