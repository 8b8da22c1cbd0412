package forwardauth

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/pathcheck"
)

const maxBodyBytes = 1 << 20 // a login page; all of it is read before a byte of it goes to the client

// credentials are the headers by which a client says who it is. Authelia reads the first two by default, and the last, which
// does not go on to the upstream, when it is told to.
var credentials = []string{"Cookie", "Authorization", "Proxy-Authorization"}

// fromTheClient are the other headers of the client that a service looks at: by Accept and X-Requested-With, Authelia tells a
// browser, which it sends to its login page, from a program, which gets 401. The others are for its records and its pages.
var fromTheClient = []string{"Accept", "Accept-Language", "User-Agent", "X-Requested-With"}

// refusal is why a request cannot be asked about; the text goes to the client and into the log.
type refusal struct {
	status int
	text   string
}

func (r *refusal) Error() string { return r.text }

// trouble is what is wrong with an answer.
type trouble string

func (t trouble) Error() string { return string(t) }

// ask makes the question about a request, of which the header is all that is not always the same. The query of the client
// is in X-Forwarded-Uri only: in that of the question, Authelia takes rd and authelia_url for where to send people, and
// oauth2-proxy takes allowed_groups for whom to let in.
func (g *Guard) ask(r *http.Request, client Client) (http.Header, error) {
	question, err := g.describe(r, client)
	if err != nil {
		return nil, err
	}
	for _, name := range credentials {
		question[name] = r.Header[name]
	}
	for _, name := range fromTheClient {
		question[name] = r.Header[name] // nil keeps net/http from sending a User-Agent of its own
	}
	return question, nil
}

// describe says where a request comes from and what it wants, in the words of Traefik and Caddy and in those of nginx. It
// refuses what can be read in two ways, as the service would then decide about something else than the upstream does.
func (g *Guard) describe(r *http.Request, client Client) (http.Header, error) {
	uri := ascii(r.URL.RequestURI())
	address, err := netip.ParseAddr(client.Address)
	host, isOurs := g.config.Host(r)
	_, unclear := pathcheck.Read(r.URL)
	switch {
	case !isOurs:
		return nil, &refusal{http.StatusMisdirectedRequest, "no service with this name is available here"}
	case unclear != nil && unclear != pathcheck.EncodedSlash:
		// Authentik allows all that begins with /outpost.goauthentik.io: with /../admin after it, too.
		return nil, &refusal{http.StatusBadRequest, unclear.Error()}
	case err != nil:
		// Without it the service would take us for the client, and us it may trust.
		return nil, trouble("it was not asked, because the address of the client is not known")
	}
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	return http.Header{
		"X-Forwarded-For":    {address.Unmap().String()},
		"X-Forwarded-Host":   {host},
		"X-Forwarded-Method": {r.Method},
		"X-Forwarded-Proto":  {scheme},
		"X-Forwarded-Uri":    {uri},
		"X-Original-Method":  {r.Method},
		"X-Original-Url":     {scheme + "://" + host + uri},
	}, nil
}

// ascii spells a URI without the bytes that a client should have encoded itself: not every server takes a header with them.
func ascii(uri string) string {
	isPlain := func(c byte) bool { return c > ' ' && c <= '~' }
	for i := range len(uri) {
		if !isPlain(uri[i]) {
			escaped := []byte(uri[:i])
			for _, c := range []byte(uri[i:]) {
				if isPlain(c) {
					escaped = append(escaped, c)
				} else {
					escaped = fmt.Appendf(escaped, "%%%02X", c)
				}
			}
			return string(escaped)
		}
	}
	return uri
}

// answer is a whole answer of the service, with a status from 200 to 499.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// exchange asks the service. It is the transport and no http.Client: that would follow a redirect to the login page, which
// answers 200, and would keep cookies.
func (g *Guard) exchange(ctx context.Context, question http.Header) (*answer, error) {
	ctx, cancel := context.WithTimeout(ctx, g.timeout)
	defer cancel()
	request := &http.Request{Method: http.MethodGet, URL: g.question, Header: question}
	response, err := g.transport.RoundTrip(request.WithContext(ctx))
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode < 200 || response.StatusCode >= 500 {
		return nil, trouble(fmt.Sprintf("it answered %d", response.StatusCode))
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxBodyBytes+1))
	if err != nil {
		return nil, err
	}
	if len(body) > maxBodyBytes {
		return nil, trouble(fmt.Sprintf("its answer has more than %d bytes", maxBodyBytes))
	}
	return &answer{response.StatusCode, response.Header, body}, nil
}

func isTimeout(err error) bool {
	network, ok := errors.AsType[net.Error](err)
	return errors.Is(err, context.DeadlineExceeded) || ok && network.Timeout()
}

// explain puts an error into words. Those of net/http are used only where they cannot quote the answer, which may have
// cookies in it.
func (g *Guard) explain(err error) string {
	if ours, ok := errors.AsType[trouble](err); ok {
		return ours.Error()
	}
	if isTimeout(err) {
		return fmt.Sprintf("it did not answer within %v", g.timeout)
	}
	if network, ok := errors.AsType[*net.OpError](err); ok {
		return network.Error()
	}
	if certificate, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return certificate.Error()
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return "it broke off"
	}
	return fmt.Sprintf("what it answers is no HTTP, or has more than %d bytes of header", maxHeaderBytes)
}
