// Command pebble is the ACME server of the lab: Pebble, Let's Encrypt's own test server, on a loopback port that the system
// chooses. It validates challenges for real, by the lab's name server.
//
// It prints one JSON line on stdout when it answers (see ready), logs to stderr, forgets everything when it ends, and ends
// when its stdin does, so that it cannot outlive the lab.
package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/letsencrypt/pebble/v2/ca"
	"github.com/letsencrypt/pebble/v2/db"
	"github.com/letsencrypt/pebble/v2/va"
	"github.com/letsencrypt/pebble/v2/wfe"
)

// ready tells the lab where everything is.
type ready struct {
	DirectoryURL string `json:"directoryURL"`
	// OrdersURL is for tests: see order.
	OrdersURL string `json:"ordersURL"`
	// RootPEM is what to trust: the certificates that are issued and this server's own all come from it.
	RootPEM string `json:"rootPEM"`
}

// settings make Pebble reliable where it is made to annoy its clients on purpose. It reads them from its environment only.
var settings = map[string]string{
	"PEBBLE_VA_NOSLEEP":      "1", // no pause before a challenge is validated
	"PEBBLE_WFE_NONCEREJECT": "0", // no good request refused at random
	"PEBBLE_AUTHZREUSE":      "0", // each order has challenges of its own
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintf(os.Stderr, "pebble: %v\n", err)
		os.Exit(1)
	}
}

func run() error {
	nameServer := flag.String("name-server", "", "`address` (UDP) that is asked for challenges and for where names are")
	tlsPort := flag.Int("tls-port", 443, "`port` where tls-alpn-01 challenges are validated")
	lifetime := flag.Duration("lifetime", 90*24*time.Hour, "`duration` for which certificates are valid, in whole seconds")
	flag.Parse()
	switch {
	case flag.NArg() > 0 || *nameServer == "":
		return fmt.Errorf("usage: pebble -name-server <address> [-tls-port <port>] [-lifetime <duration>]")
	case *lifetime < 2*time.Second:
		return fmt.Errorf("-lifetime is %v: want 2s or more", *lifetime)
	}
	for name, value := range settings {
		if err := os.Setenv(name, value); err != nil {
			return err
		}
	}

	logger := log.New(os.Stderr, "", 0)
	store := db.NewMemoryStore()
	const noOCSP, noAlternateRoots, oneIntermediate = "", 0, 1
	issuer := ca.New(logger, store, noOCSP, noAlternateRoots, oneIntermediate, uint64(lifetime.Seconds()))
	const httpPort, strict = 0, false // nothing asks for http-01
	validator := va.New(logger, httpPort, *tlsPort, strict, *nameServer, store)
	const noAccountBinding, pollAtOnce = false, 0
	frontEnd := wfe.New(logger, store, validator, issuer, strict, noAccountBinding, pollAtOnce, pollAtOnce)

	certificate, err := ownCertificate(issuer)
	if err != nil {
		return fmt.Errorf("making a certificate for the directory: %w", err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	go func() {
		// A read error ends it as well: the lab is gone either way.
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	url := "https://" + listener.Addr().String()
	line := ready{
		DirectoryURL: url + wfe.DirectoryPath,
		OrdersURL:    url + ordersPath,
		RootPEM:      string(issuer.GetRootCert(0).PEM()),
	}
	if err := json.NewEncoder(os.Stdout).Encode(line); err != nil {
		return fmt.Errorf("telling the lab that the server is ready: %w", err)
	}
	server := &http.Server{
		Handler:   &frontDoor{pebble: frontEnd.Handler(), store: store},
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate}},
		ErrorLog:  logger,
	}
	return server.ServeTLS(listener, "", "")
}

// ownCertificate is one for this server itself, from the root that it issues from: whoever trusts one trusts the other.
func ownCertificate(issuer *ca.CAImpl) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()),
		Subject:      pkix.Name{CommonName: "the lab's ACME server"},
		NotBefore:    time.Now().Add(-time.Minute),
		NotAfter:     time.Now().AddDate(1, 0, 0),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	intermediate := issuer.GetIntermediateCert(0)
	der, err := x509.CreateCertificate(rand.Reader, template, intermediate.Cert, key.Public(), issuer.GetIntermediateKey(0))
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{der, intermediate.DER}, PrivateKey: key}, nil
}
