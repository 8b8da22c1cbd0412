package node

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"
)

const (
	// overdue is the part of a certificate's life, a quarter, in which it should long have been renewed. tailscale does that on
	// being asked for the certificate, on the side: when the authority says so, or from the last third on. It does not tell when
	// it cannot.
	overdue = 4

	// The certificate is looked at again, and a renewal that failed is tried again, after a tenth of the time that it has left,
	// within these.
	longestCheck  = time.Hour
	shortestCheck = time.Second

	// certificateAgain follows a trouble that may pass, such as a tailnet that has no HTTPS yet.
	certificateAgain = time.Minute

	// orderTimeout is for one order: an account, a DNS record, and the time that it takes to spread.
	orderTimeout = 5 * time.Minute
)

// CertificateStatus is how the node's certificate stands.
type CertificateStatus struct {
	Domain   string    // empty until known
	NotAfter time.Time // zero: there is none
	Ordering bool
	Ordered  int   // orders so far, with those that failed
	Problem  error // the last trouble; nil for none
}

// Certificate keeps the TLS certificate of the node's own name: read from the node's directory, renewed while the node runs,
// and ordered only when it is told so, as Let's Encrypt has limits that all nodes of a tailnet share.
type Certificate struct {
	node    *Node
	changed func(CertificateStatus)
	order   chan struct{}
	stop    context.CancelFunc
	keeping sync.WaitGroup

	mu      sync.Mutex
	current *tls.Certificate
	arrived chan struct{} // closed with the first
}

// KeepCertificate begins as soon as the node is up. changed is told of each change, one at a time.
func (n *Node) KeepCertificate(changed func(CertificateStatus)) *Certificate {
	ctx, stop := context.WithCancel(context.Background())
	c := &Certificate{node: n, changed: changed, order: make(chan struct{}, 1), stop: stop, arrived: make(chan struct{})}
	c.keeping.Go(func() { c.keep(ctx) })
	return c
}

// Order lets one certificate be ordered, if one is missing.
func (c *Certificate) Order() {
	select {
	case c.order <- struct{}{}:
	default: // it is allowed already
	}
}

// Close stops keeping it; an order that runs is given up.
func (c *Certificate) Close() {
	c.stop()
	c.keeping.Wait()
}

// Get is for tls.Config.GetCertificate. A client that comes while the first certificate is on its way waits for it.
func (c *Certificate) Get(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	current := c.current
	c.mu.Unlock()
	if current != nil {
		return current, nil
	}
	ctx, cancel := context.WithTimeout(hello.Context(), handshakePatience)
	defer cancel()
	select {
	case <-c.arrived:
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.current, nil
	case <-ctx.Done():
		return nil, errors.New("the node has no certificate yet")
	}
}

// handshakePatience is how long a client is kept that came before the certificate.
const handshakePatience = 10 * time.Second

func (c *Certificate) keep(ctx context.Context) {
	select {
	case <-c.node.up:
	case <-ctx.Done():
	}
	var status CertificateStatus
	enter := func(next CertificateStatus) {
		if next != status && ctx.Err() == nil {
			status = next
			c.changed(status)
		}
	}
	for ctx.Err() == nil {
		enter(c.look(ctx, status))
		switch {
		case status.Domain == "":
			pause(ctx, certificateAgain)
		case status.NotAfter.IsZero():
			select {
			case <-c.order:
				ordering := status
				ordering.Ordering, ordering.Ordered, ordering.Problem = true, status.Ordered+1, nil
				enter(ordering)
				enter(c.obtain(ctx, ordering))
			case <-ctx.Done():
			}
		default:
			pause(ctx, min(longestCheck, max(shortestCheck, time.Until(status.NotAfter)/10)))
		}
	}
}

func pause(ctx context.Context, duration time.Duration) {
	select {
	case <-time.After(duration):
	case <-ctx.Done():
	}
}

// look reads what there is, and renews it if it is time. While that fails, what there is is presented on.
func (c *Certificate) look(ctx context.Context, status CertificateStatus) CertificateStatus {
	domains := c.node.server.CertDomains()
	if len(domains) == 0 {
		status.Problem = errNoHTTPS
		return status
	}
	if status.Problem == errNoHTTPS {
		status.Problem = nil
	}
	status.Domain = domains[0]
	kept := c.kept(status.Domain)
	if kept == nil {
		status.NotAfter = time.Time{}
		return status
	}
	status = c.load(ctx, status, 0)
	left := kept.NotAfter.Sub(kept.NotBefore) / overdue
	if status.Problem != nil || time.Until(status.NotAfter) > left {
		return status
	}
	ctx, cancel := context.WithTimeout(ctx, orderTimeout)
	defer cancel()
	renewed := c.load(ctx, status, left)
	if renewed.Problem != nil {
		renewed.Problem = fmt.Errorf("it ends at %s and cannot be renewed: %w", status.NotAfter.UTC().Format(time.RFC3339), renewed.Problem)
	}
	return renewed
}

var errNoHTTPS = errors.New("the tailnet has no HTTPS: switch on MagicDNS and HTTPS certificates in its admin console")

// kept gives the certificate in the directory; nil when there is none, or it has ended. Asking tailscale would order one then.
func (c *Certificate) kept(domain string) *x509.Certificate {
	path := filepath.Join(c.node.dir, "certs", domain) // where and how tailscale keeps them
	pair, err := tls.LoadX509KeyPair(path+".crt", path+".key")
	if err != nil {
		if !errors.Is(err, os.ErrNotExist) {
			c.node.log.Warn("the kept certificate is of no use; a new one is needed", "path", path+".crt", "error", err)
		}
		return nil
	}
	if time.Now().After(pair.Leaf.NotAfter) {
		return nil
	}
	return pair.Leaf
}

// obtain orders one; whether another follows when it fails is for whoever allows them.
func (c *Certificate) obtain(ctx context.Context, status CertificateStatus) CertificateStatus {
	ctx, cancel := context.WithTimeout(ctx, orderTimeout)
	defer cancel()
	status = c.load(ctx, status, 0)
	status.Ordering = false
	if status.Problem != nil {
		c.node.log.Warn("no certificate came of the order", "domain", status.Domain, "error", status.Problem)
	} else {
		c.node.log.Info("the node has a certificate", "domain", status.Domain, "notAfter", status.NotAfter)
	}
	return status
}

// load has tailscale give the certificate, and first renew it if it is not valid for so long any more.
func (c *Certificate) load(ctx context.Context, status CertificateStatus, validFor time.Duration) CertificateStatus {
	certPEM, keyPEM, err := c.node.local.CertPairWithValidity(ctx, status.Domain, validFor)
	if err != nil {
		status.Problem = fmt.Errorf("no certificate for %s: %w", status.Domain, err)
		return status
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		status.Problem = fmt.Errorf("the certificate for %s cannot be used: %w", status.Domain, err)
		return status
	}
	c.use(&pair)
	status.NotAfter, status.Problem = pair.Leaf.NotAfter, nil
	return status
}

func (c *Certificate) use(pair *tls.Certificate) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.current == nil {
		close(c.arrived)
	}
	c.current = pair
}
