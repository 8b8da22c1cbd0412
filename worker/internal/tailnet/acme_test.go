package tailnet_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"net/http"
	"os"
	"strings"
	"testing"

	"tailscale.com/tsnet"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/tailnet"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/tailnet/acmetest"
)

// One test for all, as a process reads its roots once.
func TestCertificates(t *testing.T) {
	tn := startTailnet(t, tailnet.Options{})
	acme, err := tn.StartACME(t.Context(), tailnet.ACMEOptions{Program: acmetest.Program(t)}, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(acme.Close)
	t.Setenv("TS_DEBUG_ACME_DIRECTORY_URL", acme.DirectoryURL)
	t.Setenv("SSL_CERT_FILE", acme.RootFile)
	t.Cleanup(http.DefaultClient.CloseIdleConnections) // of the nodes' calls to the server
	visitor := newNode(t, tn, "visitor", "")
	bringUp(t, visitor)

	photos := newNode(t, tn, "photos", "")
	first := certificateOf(t, visitor, listenTLS(t, photos), acme)
	if len(first.DNSNames) != 1 || first.DNSNames[0] != "photos.tail-lab.ts.net" {
		t.Errorf("the certificate is for %v", first.DNSNames)
	}
	if orders := ordersAt(t, acme); len(orders) != 1 || orders[0].Names[0] != "photos.tail-lab.ts.net" || orders[0].Challenge != "dns-01" ||
		orders[0].Serial != hexadecimal(first) || orders[0].Problem != "" {
		t.Errorf("orders after the first visit: %+v", orders)
	}

	photos.Close()
	again := newNode(t, tn, "photos", "")
	again.Dir = photos.Dir
	if second := certificateOf(t, visitor, listenTLS(t, again), acme); !second.Equal(first) {
		t.Error("the node that came back has another certificate")
	}
	if orders := ordersAt(t, acme); len(orders) != 1 {
		t.Errorf("the node that came back has asked again: %+v", orders)
	}
}

func listenTLS(t *testing.T, node *tsnet.Server) *tsnet.Server {
	t.Helper()
	bringUp(t, node)
	listener, err := node.ListenTLS("tcp", ":443")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.NotFoundHandler()}
	go server.Serve(listener)
	t.Cleanup(func() { server.Close() })
	return node
}

// certificateOf is what a service shows a visitor who trusts the ACME server's root and nobody else.
func certificateOf(t *testing.T, visitor, service *tsnet.Server, acme *tailnet.ACME) *x509.Certificate {
	t.Helper()
	root, err := os.ReadFile(acme.RootFile)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(root)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	ip, _ := service.TailscaleIPs()
	conn, err := visitor.Dial(ctx, "tcp", ip.String()+":443")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	secured := tls.Client(conn, &tls.Config{RootCAs: roots, ServerName: service.CertDomains()[0]})
	if err := secured.HandshakeContext(ctx); err != nil {
		t.Fatal(err)
	}
	return secured.ConnectionState().PeerCertificates[0]
}

func ordersAt(t *testing.T, acme *tailnet.ACME) []tailnet.Order {
	t.Helper()
	orders, err := acme.Orders(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return orders
}

func hexadecimal(certificate *x509.Certificate) string {
	return hex.EncodeToString(certificate.SerialNumber.Bytes())
}

func TestACMEServerThatDoesNotStart(t *testing.T) {
	tn := startTailnet(t, tailnet.Options{})
	for _, test := range []struct {
		name    string
		options tailnet.ACMEOptions
		want    string
	}{
		{"it is not there", tailnet.ACMEOptions{Program: "/nonexistent/pebble"}, "no such file"},
		{"it refuses the lifetime", tailnet.ACMEOptions{Program: acmetest.Program(t), Lifetime: 1}, "want 2s or more"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if _, err := tn.StartACME(t.Context(), test.options, t.TempDir()); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want something about %q", err, test.want)
			}
		})
	}
}
