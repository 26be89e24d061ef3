package main

import (
	"crypto/x509"
	"os"
	"sync"

	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// trustRoots lets the process know the certificate authorities that browsers trust, where the system names none: an
// image that holds nothing but this program does not.
var trustRoots = sync.OnceFunc(func() {
	if _, err := os.Stat("/etc/ssl/certs"); err == nil || os.Getenv("SSL_CERT_FILE") != "" || os.Getenv("SSL_CERT_DIR") != "" {
		return
	}
	pool := x509.NewCertPool()
	for root := range bundle.Roots() {
		cert, err := x509.ParseCertificate(root.Certificate)
		switch {
		case err != nil: // of a kind that this version of Go does not know
		case root.Constraint == nil:
			pool.AddCert(cert)
		default:
			pool.AddCertWithConstraint(cert, root.Constraint)
		}
	}
	x509.SetFallbackRoots(pool) // has no effect if the system has some elsewhere
})
