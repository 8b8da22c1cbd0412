package proxy

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"sync"
	"time"
)

// certificateFresh is for how long files are not looked at again. It keeps a burst of handshakes from reading them each time.
const certificateFresh = time.Second

// CertificateFile is a certificate that somebody else puts on disk. It is read again when it changes, and the last good one
// is served while it cannot be read.
type CertificateFile struct {
	certificate, key string
	report           func(*x509.Certificate, error)

	mu      sync.Mutex
	looked  time.Time // zero: never
	stamp   fileStamp
	current *tls.Certificate
}

// fileStamp tells one state of the two files from another.
type fileStamp struct {
	certificate, key time.Time
	sizes            [2]int64
}

// OpenCertificateFile reads the files. report is told what became of it, now and after each change: a certificate, or why
// there is none.
func OpenCertificateFile(certificate, key string, report func(*x509.Certificate, error)) *CertificateFile {
	c := &CertificateFile{certificate: certificate, key: key, report: report}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refresh()
	return c
}

// Get is for tls.Config.GetCertificate.
func (c *CertificateFile) Get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.looked) >= certificateFresh {
		c.refresh()
	}
	if c.current == nil {
		return nil, fmt.Errorf("no certificate could be read from %s", c.certificate)
	}
	return c.current, nil
}

func (c *CertificateFile) refresh() {
	stamp, first := c.lookAt(), c.looked.IsZero()
	c.looked = time.Now()
	if stamp == c.stamp && !first {
		return
	}
	c.stamp = stamp
	pair, err := tls.LoadX509KeyPair(c.certificate, c.key)
	if err != nil {
		// One of two files that are being replaced may be ahead of the other; the second gives a new stamp.
		c.report(nil, fmt.Errorf("certificateFile %s and keyFile %s cannot be used: %w", c.certificate, c.key, err))
		return
	}
	c.current = &pair
	c.report(pair.Leaf, nil)
}

// lookAt gives the zero stamp when a file is missing.
func (c *CertificateFile) lookAt() fileStamp {
	certificate, err := os.Stat(c.certificate)
	if err != nil {
		return fileStamp{}
	}
	key, err := os.Stat(c.key)
	if err != nil {
		return fileStamp{}
	}
	return fileStamp{certificate.ModTime(), key.ModTime(), [2]int64{certificate.Size(), key.Size()}}
}
