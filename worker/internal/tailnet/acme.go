package tailnet

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

const (
	acmeStartTimeout = 30 * time.Second
	acmeEndTimeout   = 5 * time.Second
)

// ACMEOptions say from whom nodes get certificates, and which.
type ACMEOptions struct {
	// Program is the path of the ACME server: what is built of test/pebble.
	Program string
	// Lifetime is how long a certificate is valid; zero is 90 days. Nodes renew after two thirds of it.
	Lifetime time.Duration
	// Ingress, when set, is where the server validates tls-alpn-01 challenges, which nodes prefer when they renew for a name
	// that is on Funnel. Without one such a challenge fails.
	Ingress *Ingress
}

// ACME is a certificate authority for the nodes of this tailnet. It validates their challenges for real: by the texts that
// they have control publish, and by the ingress.
type ACME struct {
	// DirectoryURL is what the process of a node needs as TS_DEBUG_ACME_DIRECTORY_URL.
	DirectoryURL string
	// RootFile is what it needs as SSL_CERT_FILE, and what clients verify a service by: the root, in PEM, of all
	// certificates that are issued and of the server's own.
	RootFile string

	names     net.PacketConn
	program   *exec.Cmd
	cancel    context.CancelFunc
	ordersURL string
	calls     *http.Transport
}

// Order is one that a node placed for a certificate, whatever became of it.
type Order struct {
	Names []string `json:"names"`
	// Challenge is the type of the challenge that was tried, such as "dns-01"; empty before any was.
	Challenge string `json:"challenge"`
	// Problem is why the order failed; empty if it did not.
	Problem string `json:"problem"`
	// Serial and NotAfter are of the certificate, in hexadecimal and RFC 3339; empty while none is issued.
	Serial   string `json:"serial"`
	NotAfter string `json:"notAfter"`
}

// StartACME runs the server until the result is closed, and writes its root into the directory.
func (t *Tailnet) StartACME(ctx context.Context, options ACMEOptions, directory string) (*ACME, error) {
	names, err := net.ListenPacket("udp4", net.JoinHostPort(loopback, "0"))
	if err != nil {
		return nil, fmt.Errorf("starting the name server of the ACME server: %w", err)
	}
	go t.records.serve(names)
	running, cancel := context.WithCancel(context.Background())
	log := &lineLog{logf: t.control.Logf}
	program := exec.CommandContext(running, options.Program, options.arguments(names.LocalAddr())...)
	program.Stderr = log
	a := &ACME{names: names, program: program, cancel: cancel, RootFile: filepath.Join(directory, "acme-root.pem")}
	if err := a.start(ctx); err != nil {
		a.Close()
		return nil, fmt.Errorf("starting the ACME server %s: %w (it said last: %q)", options.Program, err, log.last)
	}
	return a, nil
}

func (o ACMEOptions) arguments(nameServer net.Addr) []string {
	tlsPort := "0" // where nobody listens
	if o.Ingress != nil {
		_, tlsPort, _ = net.SplitHostPort(o.Ingress.Addresses[443])
	}
	arguments := []string{"-name-server", nameServer.String(), "-tls-port", tlsPort}
	if o.Lifetime != 0 {
		arguments = append(arguments, "-lifetime", o.Lifetime.String())
	}
	return arguments
}

// start waits until the server has said where it is.
func (a *ACME) start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, acmeStartTimeout)
	defer cancel()
	stdin, err := a.program.StdinPipe()
	if err != nil {
		return err
	}
	// It ends with its stdin, also when this process dies.
	a.program.Cancel = stdin.Close
	a.program.WaitDelay = acmeEndTimeout
	stdout, err := a.program.StdoutPipe()
	if err != nil {
		return err
	}
	if err := a.program.Start(); err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { stdout.Close() })()
	var ready struct{ DirectoryURL, OrdersURL, RootPEM string }
	if err := json.NewDecoder(stdout).Decode(&ready); err != nil {
		return fmt.Errorf("reading where it is: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(ready.RootPEM)) {
		return fmt.Errorf("reading its root: there is no certificate in %q", ready.RootPEM)
	}
	a.DirectoryURL, a.ordersURL = ready.DirectoryURL, ready.OrdersURL
	a.calls = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	return os.WriteFile(a.RootFile, []byte(ready.RootPEM), 0o644)
}

// Orders lists all that nodes have asked for, oldest first. A node that finds its certificate in its directory asks nothing.
func (a *ACME) Orders(ctx context.Context) ([]Order, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, a.ordersURL, nil)
	if err != nil {
		return nil, err
	}
	response, err := a.calls.RoundTrip(request)
	if err != nil {
		return nil, fmt.Errorf("asking the ACME server for its orders: %w", err)
	}
	defer response.Body.Close()
	var orders []Order
	if err := json.NewDecoder(response.Body).Decode(&orders); err != nil {
		return nil, fmt.Errorf("reading the orders of the ACME server: %w", err)
	}
	return orders, nil
}

// Close ends the server. The file with its root stays.
func (a *ACME) Close() {
	if a.calls != nil {
		a.calls.CloseIdleConnections()
	}
	a.cancel()
	if a.program.Process != nil {
		// An error says that it was ended, which is the purpose.
		_ = a.program.Wait()
	}
	a.names.Close()
}

// lineLog passes on what a program logs, and keeps the last line of it.
type lineLog struct {
	logf func(string, ...any)
	last string
}

func (l *lineLog) Write(p []byte) (int, error) {
	lines := bufio.NewScanner(bytes.NewReader(p))
	for lines.Scan() {
		l.last = lines.Text()
		l.logf("ACME: %s", l.last)
	}
	return len(p), nil
}
