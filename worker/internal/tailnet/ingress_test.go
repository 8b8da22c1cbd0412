package tailnet_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"tailscale.com/ipn"
	"tailscale.com/tsnet"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/tailnet"
)

func startIngress(t *testing.T, tn *tailnet.Tailnet) *tailnet.Ingress {
	t.Helper()
	ingress, err := tn.StartIngress(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(ingress.Close)
	return ingress
}

// fromInternet is a client without a tailnet, which knows where the ingress has the public port, and comes from an address.
func fromInternet(ingress *tailnet.Ingress, port uint16, address string, config *tls.Config) *http.Client {
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	return &http.Client{Timeout: patience, Transport: &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, network, ingress.Addresses[port])
		},
		TLSClientConfig:   config,
		DisableKeepAlives: true,
	}}
}

// funnelConn is the key of a request's connection, which says where its client is.
type funnelConn struct{}

func TestFunnelReachesTheServiceThatTheClientNames(t *testing.T) {
	tn := startTailnet(t, tailnet.Options{RequireAuthKey: "lab-key"})
	ingress := startIngress(t, tn)
	certified := httptest.NewUnstartedServer(nil)
	certified.StartTLS()
	certified.Close()
	for _, hostname := range []string{"photos", "wiki"} {
		node := newNode(t, tn, hostname, "lab-key")
		bringUp(t, node)
		// A certificate for no name of the tailnet: who asks whom for certificates is no matter here.
		listener, err := node.ListenFunnel("tcp", ":443", tsnet.FunnelTLSConfig(&tls.Config{Certificates: certified.TLS.Certificates}))
		if err != nil {
			t.Fatal(err)
		}
		server := &http.Server{
			ConnContext: func(ctx context.Context, conn net.Conn) context.Context {
				return context.WithValue(ctx, funnelConn{}, conn.(*tls.Conn).NetConn().(*ipn.FunnelConn))
			},
			Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				conn := r.Context().Value(funnelConn{}).(*ipn.FunnelConn)
				fmt.Fprintf(w, "%s: %s to %s", hostname, conn.Src.Addr(), conn.Target)
			}),
		}
		go server.Serve(listener)
		t.Cleanup(func() { server.Close() })
	}
	anyCertificate := &tls.Config{InsecureSkipVerify: true}

	for _, test := range []struct{ address, url, want string }{
		{"127.0.0.1", "https://photos.tail-lab.ts.net", "photos: 127.0.0.1 to photos.tail-lab.ts.net:443"},
		{"127.0.0.7", "https://WIKI.tail-lab.ts.net", "wiki: 127.0.0.7 to wiki.tail-lab.ts.net:443"},
	} {
		response, err := fromInternet(ingress, 443, test.address, anyCertificate).Get(test.url)
		if err != nil {
			t.Fatalf("%s: %v", test.url, err)
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil || string(body) != test.want {
			t.Errorf("%s answers %q %v, want %q", test.url, body, err, test.want)
		}
	}

	for name, refused := range map[string]struct {
		port uint16
		url  string
	}{
		"a name that no node has":                 {443, "https://nobody.tail-lab.ts.net"},
		"a port that the service does not funnel": {8443, "https://photos.tail-lab.ts.net:8443"},
		"a client that names nobody":              {443, "https://127.0.0.1"},
		"a client that speaks no TLS":             {443, "http://photos.tail-lab.ts.net"},
	} {
		if response, err := fromInternet(ingress, refused.port, "127.0.0.1", anyCertificate).Get(refused.url); err == nil {
			response.Body.Close()
			t.Errorf("%s: was answered with %s", name, response.Status)
		}
	}
}

func TestIngressReachesNothingButFunnel(t *testing.T) {
	tn := startTailnet(t, tailnet.Options{})
	ingress := startIngress(t, tn)
	photos, visitor := newNode(t, tn, "photos", ""), newNode(t, tn, "visitor", "")
	bringUp(t, photos)
	bringUp(t, visitor)
	serve(t, photos, "photo wall")
	if got := get(t, visitor, photos); got != "photo wall" {
		t.Errorf("nodes of the tailnet get %q", got)
	}
	// Not on funnel: a listener on the tailnet alone.
	if _, err := fromInternet(ingress, 443, "127.0.0.1", &tls.Config{InsecureSkipVerify: true}).Get("https://photos.tail-lab.ts.net"); err == nil {
		t.Error("a service that is not on funnel was reached from the internet")
	}

	if list := tn.Services(); len(list) != 2 || list[0].Hostname != "photos" || list[1].Hostname != "visitor" {
		t.Errorf("the ingress counts as a service: %+v", list)
	}
	local, err := photos.LocalClient()
	if err != nil {
		t.Fatal(err)
	}
	relay := tn.Nodes()[0]
	if seen, err := local.WhoIs(t.Context(), relay.Addresses[0]); err != nil || !seen.Node.UnsignedPeerAPIOnly {
		t.Errorf("%s is to other nodes one that may reach all their ports: %+v %v", relay.Hostname, seen, err)
	}
}
