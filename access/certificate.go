package access

import (
	"cmp"
	"crypto/x509"
	"fmt"
)

// openCertificates returns a guard of users who have certificates alone.
func openCertificates(cfg Config) (*Guard, error) {
	policy, err := newPolicy(cfg)
	if err != nil {
		return nil, err
	}
	name, err := certificateName(cfg.Certificate)
	return &Guard{policy: policy, certUser: name}, err
}

// certificateName returns how to tell the user of a certificate, "" being no one.
func certificateName(kind string) (func(*x509.Certificate) string, error) {
	switch cmp.Or(kind, "cn") {
	case "cn":
		return func(c *x509.Certificate) string { return c.Subject.CommonName }, nil
	case "dns":
		return func(c *x509.Certificate) string { return first(c.DNSNames) }, nil
	case "email":
		return func(c *x509.Certificate) string { return first(c.EmailAddresses) }, nil
	case "uri":
		return func(c *x509.Certificate) string {
			if len(c.URIs) == 0 {
				return ""
			}
			return c.URIs[0].String()
		}, nil
	}
	return nil, fmt.Errorf("auth_certificate: %q is none of cn, dns, email and uri", kind)
}

func first(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return names[0]
}

// Certificate returns the client that a certificate is of, which TLS has verified. The error wraps ErrCredentials if the
// certificate names nobody. Where certificates are of no interest, the client is the one that shows nothing.
func (g *Guard) Certificate(cert *x509.Certificate) (Client, error) {
	if g.certUser == nil {
		return g.Anonymous(), nil
	}
	user := g.certUser(cert)
	if user == "" || user == anonymous || user == loggedIn {
		return Client{}, fmt.Errorf("a certificate that names no user: %w", ErrCredentials)
	}
	mark, _ := g.mark(user)
	return Client{user: user, policy: g.policy, mark: mark}, nil
}
