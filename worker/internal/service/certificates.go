package service

import (
	"crypto/tls"
	"crypto/x509"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/exposure"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/node"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/protocol"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/proxy"
)

// certificates are those that the listeners of one service present: the node's own, and files.
type certificates struct {
	exposure exposure.Exposure
	tell     teller

	mu    sync.Mutex
	own   *node.Certificate // nil while no listener presents it
	files map[pair]*file
}

// ownPart is how the status calls the node's own certificate.
const ownPart = "certificate"

// pair names the two files of a certificate; empty for the node's own.
type pair struct{ certificate, key string }

type file struct {
	*proxy.CertificateFile
	leaf atomic.Pointer[x509.Certificate] // nil while none could be read
}

func newCertificates(exposed exposure.Exposure, tell teller) *certificates {
	return &certificates{exposure: exposed, tell: tell, files: map[pair]*file{}}
}

// use lets go of what none of these listeners presents.
func (c *certificates) use(listeners []protocol.ListenSpec) {
	var wanted []pair
	for _, listen := range listeners {
		if speaksTLS(listen) {
			wanted = append(wanted, pairOf(listen))
		}
	}
	c.mu.Lock()
	var unused *node.Certificate
	if !slices.Contains(wanted, pair{}) {
		unused, c.own = c.own, nil
	}
	for key := range c.files {
		if !slices.Contains(wanted, key) {
			delete(c.files, key)
			c.tell.problem(key.part(), nil)
		}
	}
	c.mu.Unlock()
	if unused != nil {
		unused.Close()
		c.tell.problem(ownPart, nil)
	}
	if len(wanted) == 0 {
		c.tell.certificate(nil)
	}
}

// config is how a listener does TLS.
func (c *certificates) config(listen protocol.ListenSpec) *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: c.source(pairOf(listen))}
}

func (c *certificates) source(key pair) func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if key == (pair{}) {
		if c.own == nil {
			c.own = c.exposure.KeepCertificate(c.ownChanged)
		}
		return c.own.Get
	}
	known, ok := c.files[key]
	if !ok {
		known = &file{}
		c.files[key] = known
		known.CertificateFile = proxy.OpenCertificateFile(key.certificate, key.key, func(leaf *x509.Certificate, err error) {
			c.fileChanged(key, known, leaf, err)
		})
	}
	return known.Get
}

// order lets the node's own certificate be ordered.
func (c *certificates) order() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.own != nil {
		c.own.Order()
	}
}

// covers tells whether a certificate file is for this name.
func (c *certificates) covers(host string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, known := range c.files {
		if leaf := known.leaf.Load(); leaf != nil && leaf.VerifyHostname(host) == nil {
			return true
		}
	}
	return false
}

func (c *certificates) close() { c.use(nil) }

func (c *certificates) ownChanged(status node.CertificateStatus) {
	c.tell.problem(ownPart, status.Problem)
	if status.Domain == "" {
		return
	}
	told := &protocol.CertificateStatus{
		Phase: protocol.CertificateStatusPhaseMissing, Domain: status.Domain, Ordered: status.Ordered,
	}
	switch {
	case status.Ordering:
		told.Phase = protocol.CertificateStatusPhaseOrdering
	case !status.NotAfter.IsZero():
		told.Phase, told.NotAfter = protocol.CertificateStatusPhaseValid, int(status.NotAfter.UnixMilli())
	}
	c.tell.certificate(told)
}

func (c *certificates) fileChanged(key pair, known *file, leaf *x509.Certificate, err error) {
	c.tell.problem(key.part(), err)
	if err != nil {
		return
	}
	known.leaf.Store(leaf)
	domain := leaf.Subject.CommonName
	if len(leaf.DNSNames) > 0 {
		domain = leaf.DNSNames[0]
	}
	c.tell.certificate(&protocol.CertificateStatus{
		Phase: protocol.CertificateStatusPhaseValid, Domain: domain, NotAfter: int(leaf.NotAfter.UnixMilli()),
	})
}

func (p pair) part() string { return ownPart + " " + p.certificate }

func pairOf(listen protocol.ListenSpec) pair { return pair{listen.CertificateFile, listen.KeyFile} }

func speaksTLS(listen protocol.ListenSpec) bool {
	return listen.Scheme == protocol.ListenSpecSchemeHttps || listen.Scheme == protocol.ListenSpecSchemeFunnel
}
