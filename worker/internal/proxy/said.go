package proxy

import (
	"io"
	"net/http"

	"golang.org/x/net/http/httpguts"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/claim"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/protocol"
)

// said tells what of a client's headers and trailers goes on to the upstream. Names that an upstream may take for the same
// (Remote-User, remote_user, Remote.User) are treated alike.
type said struct {
	operators map[string]bool // what the operator sets or removes, by folded name
	copied    map[string]bool // what the auth server says; the client's has been taken out before
}

func newSaid(spec protocol.ProxySpec) said {
	s := said{operators: map[string]bool{}, copied: map[string]bool{}}
	for name := range spec.UpstreamHeaders {
		s.operators[claim.Folded(name)] = true
	}
	for _, name := range spec.RemoveUpstreamHeaders {
		s.operators[claim.Folded(name)] = true
	}
	if auth := spec.ForwardAuth; auth != nil {
		for _, name := range auth.CopyHeaders {
			s.copied[http.CanonicalHeaderKey(name)] = true
		}
	}
	return s
}

// headers leaves out the headers by which a proxy tells of the client, and those that are the operator's. The result has room
// for as many more as are added; growing into them would cost more than the rest of rewriter.
func (s said) headers(header http.Header, room int) http.Header {
	rest := make(http.Header, len(header)+room)
	for name, values := range header {
		folded := claim.Folded(name)
		if (!claim.IsFolded(folded) || s.copied[name]) && !s.isOperators(name, folded) {
			rest[name] = values
		}
	}
	return rest
}

func (s said) isOperators(name, folded string) bool {
	return s.operators[folded] || folded == requestIDHeader && name != requestIDHeader
}

// trailers takes out of the trailers of a request, which are there only after its body, what is not the client's to say, and
// what nobody may say after a body (RFC 9110 section 6.5.1): an upstream may merge them into the header. It gives the body to be
// read instead.
func (s said) trailers(trailer http.Header, body io.ReadCloser) io.ReadCloser {
	clean := func() {
		for name := range trailer {
			folded := claim.Folded(name)
			if claim.IsFolded(folded) || s.operators[folded] || folded == requestIDHeader || folded == "Cookie" || !httpguts.ValidTrailerHeader(folded) {
				delete(trailer, name)
			}
		}
	}
	clean() // the names that are announced
	return &beforeEnd{ReadCloser: body, do: clean}
}

// beforeEnd does something when a body has been read, before its reader hears of the end.
type beforeEnd struct {
	io.ReadCloser
	do func()
}

func (b *beforeEnd) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		b.do()
	}
	return n, err
}

// informational takes out of 1xx responses what is taken out of others: ReverseProxy passes them on as they are.
type informational struct {
	http.ResponseWriter
	remove []string
}

func (i *informational) Unwrap() http.ResponseWriter { return i.ResponseWriter }

func (i *informational) WriteHeader(status int) {
	if status < 200 {
		removeAll(i.Header(), i.remove)
	}
	i.ResponseWriter.WriteHeader(status)
}

func removeAll(header http.Header, names []string) {
	for _, name := range names {
		header.Del(name)
	}
}
