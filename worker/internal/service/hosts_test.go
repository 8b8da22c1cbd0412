package service

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/protocol"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/tailnet"
)

func TestAServiceAnswersForItsOwnNames(t *testing.T) {
	h := newHarness(t, tailnet.Options{RequireAuthKey: labKey, MagicDNSDomain: "example.ts.net"}, 0)
	path := filepath.Join(t.TempDir(), "wiki")
	writeCertificate(t, path, "wiki.example.com")
	spec := h.spec("web", h.upstream(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Header.Get("X-Forwarded-Host")) }))
	spec.Listeners = []protocol.ListenSpec{
		{Address: ":80", Scheme: protocol.ListenSpecSchemeHttp},
		{Address: ":81", Scheme: protocol.ListenSpecSchemeRedirect},
		{Address: ":443", Scheme: protocol.ListenSpecSchemeHttps, CertificateFile: path + ".crt", KeyFile: path + ".key"},
	}
	h.put(spec)
	status := h.awaitPhase("web", ready)
	client := h.visitor()
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	ask := func(port int, host string) *http.Response {
		t.Helper()
		request, err := http.NewRequest(http.MethodGet, fmt.Sprintf("http://%s:%d/", status.Identity.Addresses[0], port), nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Host = host
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		return response
	}
	own := []string{"web", "WEB.Example.TS.net.", "web.example.ts.net:8080", status.Identity.Addresses[0], "[" + strings.ToUpper(status.Identity.Addresses[1]) + "]:80",
		"wiki.example.com", "Wiki.Example.com.:8443"}
	foreign := []string{"evil.example", "other.example.ts.net", "100.64.0.99", "[fd7a::99]", "localhost", "photos.example.org", "wiki.example.com.evil.example"}
	expect := func(hosts []string, served bool) {
		t.Helper()
		for _, host := range hosts {
			for port, want := range map[int]int{80: http.StatusOK, 81: http.StatusPermanentRedirect} {
				if !served {
					want = http.StatusMisdirectedRequest
				}
				if response := ask(port, host); response.StatusCode != want {
					t.Errorf("port %d for %s: %s", port, host, response.Status)
				}
			}
		}
	}
	expect(own, true)
	expect(foreign, false)

	spec.SpecHash, spec.Proxy.Hostnames = "2", []string{"photos.example.org"}
	h.put(spec)
	h.await("web", "changed", func(s protocol.ServiceStatus) bool { return s.SpecHash == "2" })
	expect([]string{"photos.example.org"}, true)

	// Without the certificate, its name is nobody's.
	spec.SpecHash, spec.Listeners = "3", spec.Listeners[:2]
	h.put(spec)
	h.await("web", "changed", func(s protocol.ServiceStatus) bool { return s.SpecHash == "3" })
	expect([]string{"wiki.example.com"}, false)
}

// A kept network map brings the name along.
func TestAServiceKnowsItsNamesWithoutControl(t *testing.T) {
	h := newHarness(t, tailnet.Options{RequireAuthKey: labKey, CacheNetworkMaps: true}, 0)
	spec := h.spec("web", h.text("served"))
	h.put(spec)
	status := h.awaitPhase("web", ready)
	client := h.visitor()
	h.get(client, status)
	h.set.Delete("web", patience)
	h.awaitRemoved("web")
	h.network.Pause()
	h.put(spec)
	request, err := http.NewRequest(http.MethodGet, "http://"+status.Identity.Addresses[0]+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Host = "web"
	client.Transport.(*http.Transport).CloseIdleConnections()
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Error(response.Status)
	}
}

// writeCertificate makes a self-signed certificate for a name, and its key: path.crt and path.key.
func writeCertificate(t *testing.T, path, name string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{".crt": {Type: "CERTIFICATE", Bytes: certificate}, ".key": {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(path+name, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
