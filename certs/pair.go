package certs

import (
	"crypto/tls"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// A pair is a certificate and its key in two files, which are read again when they have changed. They are looked at when
// a client connects, so nothing has to be stopped. Connections that are there keep what they began with.
type pair struct {
	cert, key string // files
	log       *slog.Logger
	current   atomic.Pointer[tls.Certificate]

	next atomic.Int64 // when the files are to be looked at again, in nanoseconds since 1970
	mu   sync.Mutex
	seen [2]fs.FileInfo // of the files that were read last; guarded by mu
	fuss string         // the last complaint, so that it is logged once; guarded by mu
}

const (
	lookEvery = time.Second     // how often the files are looked at, at the most
	settling  = 2 * time.Second // for how long one of two files may be new and the other one old
)

// openPair reads the files for the first time.
func openPair(cert, key string, log *slog.Logger) (*pair, error) {
	p := &pair{cert: cert, key: key, log: log}
	seen, err := p.stat()
	if err != nil {
		return nil, err
	}
	c, err := p.read()
	if err != nil {
		return nil, err
	}
	p.take(c, seen)
	return p, nil
}

// certificate is for [tls.Config].
func (p *pair) certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	now := time.Now().UnixNano()
	if next := p.next.Load(); now >= next && p.next.CompareAndSwap(next, now+int64(lookEvery)) {
		p.look()
	}
	return p.current.Load(), nil
}

// look reads the files again if one of them has changed. While they are of no use, the old pair stays.
func (p *pair) look() {
	p.mu.Lock()
	defer p.mu.Unlock()
	seen, err := p.stat()
	if err == nil && same(seen, p.seen) {
		return
	}
	var c *tls.Certificate
	if err == nil {
		c, err = p.read()
	}
	if err == nil {
		p.fuss = ""
		p.take(c, seen)
		p.log.Info("the certificate has changed", "file", p.cert, "valid_until", c.Leaf.NotAfter)
		return
	}
	if settled(seen) && err.Error() != p.fuss {
		p.fuss = err.Error()
		p.log.Error("the new certificate is of no use: the old one stays", "err", err)
	}
}

// take makes c the certificate.
func (p *pair) take(c *tls.Certificate, seen [2]fs.FileInfo) {
	p.seen = seen
	p.current.Store(c)
	if time.Now().After(c.Leaf.NotAfter) {
		p.log.Warn("the certificate has expired: clients will not connect", "file", p.cert, "valid_until", c.Leaf.NotAfter)
	}
}

func (p *pair) stat() (seen [2]fs.FileInfo, err error) {
	if seen[0], err = os.Stat(p.cert); err != nil {
		return seen, fmt.Errorf("http_tls_certificate: %w", err)
	}
	if seen[1], err = os.Stat(p.key); err != nil {
		return seen, fmt.Errorf("http_tls_key: %w", err)
	}
	return seen, nil
}

func (p *pair) read() (*tls.Certificate, error) {
	c, err := tls.LoadX509KeyPair(p.cert, p.key)
	if err != nil {
		return nil, fmt.Errorf("http_tls_certificate %s with http_tls_key %s: %w", p.cert, p.key, err)
	}
	return &c, nil
}

func same(a, b [2]fs.FileInfo) bool {
	for i := range a {
		if !os.SameFile(a[i], b[i]) || a[i].Size() != b[i].Size() || !a[i].ModTime().Equal(b[i].ModTime()) {
			return false
		}
	}
	return true
}

// settled reports whether nobody can be in the middle of writing the files.
func settled(seen [2]fs.FileInfo) bool {
	for _, info := range seen {
		if info != nil && time.Since(info.ModTime()) < settling {
			return false
		}
	}
	return true
}
