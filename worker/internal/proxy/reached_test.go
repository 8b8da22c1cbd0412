package proxy

import (
	"net/http"
	"strings"
	"testing"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/protocol"
)

func TestRequestsPassOverEveryReach(t *testing.T) {
	for _, over := range everyReach(t) {
		t.Run(over.name, func(t *testing.T) {
			f := serveOver(t, over, protocol.ProxySpec{Upstream: echo(t).URL, Whois: true, WhoisTimeoutMs: 1000}, over.whoIs)
			response, dump := f.send(http.MethodGet, "/path", nil)
			if response.StatusCode != http.StatusOK || response.ProtoMajor != 1 {
				t.Errorf("%s %s", response.Proto, response.Status)
			}
			isKnown := strings.Contains(dump, "X-Tailscale-User: userid:")
			if fromInternet := over.scheme == protocol.ListenSpecSchemeFunnel; isKnown == fromInternet {
				t.Errorf("the upstream saw %s", dump)
			}
			if !over.isSecure() {
				return
			}
			second, err := f.http2().Get(f.url)
			if err != nil {
				t.Fatal(err)
			}
			second.Body.Close()
			if second.StatusCode != http.StatusOK || second.ProtoMajor != 2 {
				t.Errorf("%s %s", second.Proto, second.Status)
			}
		})
	}
}
