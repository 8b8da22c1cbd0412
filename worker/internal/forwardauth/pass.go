package forwardauth

import (
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/pathcheck"
)

// isPassed tells whether a request is for a page that the service has on the name of the upstream. A path that not all
// servers read alike is none.
func (g *Guard) isPassed(u *url.URL) bool {
	if _, err := pathcheck.Read(u); err != nil || strings.Contains(u.Path, "//") {
		return false
	}
	for _, path := range g.passPaths {
		if u.Path == path || strings.HasPrefix(u.Path, path+"/") {
			return true
		}
	}
	return false
}

// removeUpgrade takes out of header what asks for another protocol: what a client says after that, nobody looks at.
func removeUpgrade(header http.Header) {
	header.Del("Upgrade")
	header.Del("Http2-Settings")
	header.Del("Connection") // as ReverseProxy set it, for Upgrade
}

// pass lets the service answer instead of the upstream. Nobody is asked: it is how people log in. No page of it needs an
// upgrade.
func (g *Guard) pass(w http.ResponseWriter, r *http.Request, client Client) {
	description, err := g.describe(r, client)
	if err != nil {
		g.fail(w, r, client, err, 0)
		return
	}
	failed := false
	(&httputil.ReverseProxy{
		Rewrite: func(request *httputil.ProxyRequest) {
			request.Out.URL.RawQuery = request.In.URL.RawQuery // ReverseProxy drops what Go cannot parse, such as a;b
			request.SetURL(g.service)
			request.Out.Host = description.Get("X-Forwarded-Host") // its redirects and cookies are for that name
			removeClaims(request.Out.Header)
			removeUpgrade(request.Out.Header)
			maps.Copy(request.Out.Header, description)
		},
		ModifyResponse: func(response *http.Response) error {
			if response.StatusCode == http.StatusSwitchingProtocols {
				return trouble("it switches protocols (101), which it was not asked to do")
			}
			return nil
		},
		Transport: g.transport,
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			failed = true
			g.fail(w, r, client, err, 0)
		},
		ErrorLog: log.New(io.Discard, "", 0), // aborted copies
	}).ServeHTTP(w, r)
	if !failed {
		g.config.Observe(Passed, 0)
	}
}
