package forwardauth

import (
	"fmt"
	"maps"
	"net/http"
	"net/textproto"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/claim"
)

// ofTheConnection are the headers that are about a connection or a message, and not about who sent it. Proxy-Authenticate
// and Proxy-Authorization are not among them: those are between the client and us, who speak for the service.
var ofTheConnection = map[string]bool{
	"Connection": true, "Keep-Alive": true, "Proxy-Connection": true, "Te": true, "Trailer": true, "Transfer-Encoding": true,
	"Upgrade": true, "Content-Length": true, "Host": true,
}

// copied are the headers that only the service may set: their names, by folded name.
type copied map[string]string

func newCopied(names []string) (copied, error) {
	c := copied{}
	for _, name := range names {
		if !httpguts.ValidHeaderFieldName(name) || ofTheConnection[claim.Folded(name)] {
			return nil, fmt.Errorf("the header %q cannot be copied from the authorization service: take it out of the list", name)
		}
		c[claim.Folded(name)] = http.CanonicalHeaderKey(name)
	}
	return c, nil
}

func (c copied) has(name string) bool {
	_, ok := c[claim.Folded(name)]
	return ok
}

// of is what the service says of them.
func (c copied) of(answer http.Header) http.Header {
	said := make(http.Header, len(c))
	for _, name := range c {
		if values, ok := answer[name]; ok {
			said[name] = values
		}
	}
	return said
}

// removedFrom leaves out what the client says of them. It may not name them in Connection either: a proxy takes the headers
// named there off the request, and with them who the service says that the client is.
func (c copied) removedFrom(header http.Header) http.Header {
	rest := make(http.Header, len(header)+len(c))
	for name, values := range header {
		if !c.has(name) {
			rest[name] = values
		}
	}
	if options, ok := rest["Connection"]; ok {
		rest["Connection"] = c.notNamedIn(options)
	}
	return rest
}

func (c copied) notNamedIn(options []string) []string {
	var rest []string
	for _, list := range options {
		for option := range strings.SplitSeq(list, ",") {
			if !c.has(textproto.TrimString(option)) {
				rest = append(rest, option)
			}
		}
	}
	return rest
}

// removeClaims takes out of header where the client says that its request comes from, or what it was.
func removeClaims(header http.Header) {
	maps.DeleteFunc(header, func(name string, _ []string) bool { return claim.Is(name) })
}
