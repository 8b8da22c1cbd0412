package proxy

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/limit"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/protocol"
)

// writeCertificate makes a self-signed certificate with this serial number.
func writeCertificate(t testing.TB, path string, serial int64) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "wiki.example.com"}, DNSNames: []string{"wiki.example.com"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{".crt": {Type: "CERTIFICATE", Bytes: der}, ".key": {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(path+name, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func selfSigned(t testing.TB) tls.Certificate {
	t.Helper()
	path := filepath.Join(t.TempDir(), "own")
	writeCertificate(t, path, 1)
	pair, err := tls.LoadX509KeyPair(path+".crt", path+".key")
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

func TestCertificateFileIsReadAgainWhenItChanges(t *testing.T) {
	path := filepath.Join(t.TempDir(), "wiki")
	var told []error
	file := OpenCertificateFile(path+".crt", path+".key", func(_ *x509.Certificate, err error) { told = append(told, err) })
	if _, err := file.Get(nil); err == nil || len(told) != 1 || told[0] == nil {
		t.Fatalf("no file: %v, told %v", err, told)
	}
	serial := func() int64 {
		t.Helper()
		file.looked = file.looked.Add(-certificateFresh) // as if it had been a while ago
		pair, err := file.Get(nil)
		if err != nil {
			t.Fatal(err)
		}
		return pair.Leaf.SerialNumber.Int64()
	}
	writeCertificate(t, path, 1)
	if got := serial(); got != 1 || len(told) != 2 || told[1] != nil {
		t.Errorf("serial %d, told %v", got, told)
	}
	if got := serial(); got != 1 || len(told) != 2 {
		t.Errorf("unchanged: serial %d, told %v", got, told)
	}
	if err := os.WriteFile(path+".crt", []byte("half of it"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := serial(); got != 1 || len(told) != 3 || told[2] == nil {
		t.Errorf("damaged: serial %d, told %v", got, told)
	}
	writeCertificate(t, path, 2)
	if got := serial(); got != 2 || len(told) != 4 || told[3] != nil {
		t.Errorf("replaced: serial %d, told %v", got, told)
	}
}

func TestHTTPSSpeaksBothVersionsOfHTTP(t *testing.T) {
	path := filepath.Join(t.TempDir(), "wiki")
	writeCertificate(t, path, 1)
	file := OpenCertificateFile(path+".crt", path+".key", func(_ *x509.Certificate, err error) {
		if err != nil {
			t.Error(err)
		}
	})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := Serve(loopback.from(listener, nil), ServerConfig{
		Spec: protocol.ListenSpec{Scheme: protocol.ListenSpecSchemeHttps}, TLS: &tls.Config{GetCertificate: file.Get},
		Counters: NewMetrics().Add("wiki", limit.New(), noBackends()), Limits: limit.New(),
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Version", r.Proto)
			if r.TLS == nil {
				t.Error("the handler does not see TLS")
			}
		}),
	})
	t.Cleanup(func() { server.Drain(context.Background()) })
	for version, http2 := range map[string]bool{"HTTP/1.1": false, "HTTP/2.0": true} {
		transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: http2}
		response, err := (&http.Client{Transport: transport, Timeout: patience}).Get("https://" + listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		transport.CloseIdleConnections()
		if got := response.Header.Get("Version"); got != version {
			t.Errorf("got %s, want %s", got, version)
		}
	}
}

func TestRedirectGoesToTheServicesOwnName(t *testing.T) {
	name := ""
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := Serve(loopback.from(listener, nil), ServerConfig{
		Handler: RedirectToHTTPS(func() string { return name }), Counters: NewMetrics().Add("wiki", limit.New(), noBackends()), Limits: limit.New(),
	})
	t.Cleanup(func() { server.Drain(context.Background()) })
	client := &http.Client{Timeout: patience, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	t.Cleanup(client.CloseIdleConnections)
	get := func(target string) (int, string) {
		t.Helper()
		request, err := http.NewRequest(http.MethodPost, "http://"+listener.Addr().String()+target, nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Host = "evil.example"
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		return response.StatusCode, response.Header.Get("Location")
	}
	if status, _ := get("/"); status != http.StatusServiceUnavailable {
		t.Errorf("without a name: %d", status)
	}
	name = "wiki.example.ts.net:8443"
	if status, location := get("//x/a%2Fb?c=d;e"); status != http.StatusPermanentRedirect || location != "https://wiki.example.ts.net:8443//x/a%2Fb?c=d;e" {
		t.Errorf("%d %s", status, location)
	}
}
