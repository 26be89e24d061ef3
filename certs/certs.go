// Package certs holds what a server needs to speak TLS: its certificate, which is read again when the files change or
// is got from an ACME authority such as Let's Encrypt, and the authorities whose clients it lets in. It also makes
// certificates for a network of one's own: [SelfSign].
//
// [Open] makes a [tls.Config] of the keys of a flavor. It offers TLS 1.2 and 1.3 with forward secrecy and authenticated
// encryption alone.
package certs

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
)

// Config has the keys of a flavor that this package reads. Zero means the default.
type Config struct {
	// Certificate is the file, in PEM, with the certificate of the server and those between it and its authority. Key is
	// the file with its private key. Both are read again when they change. Default: no TLS.
	Certificate string `yaml:"http_tls_certificate"`
	Key         string `yaml:"http_tls_key"`

	// MinimumTLS is the oldest version that is spoken: tls1.2 or tls1.3. Default: tls1.2.
	MinimumTLS string `yaml:"http_tls_minimumtls"`

	// CipherSuites are those of TLS 1.2, by the names that they have there. Default: those with forward secrecy and
	// authenticated encryption. TLS 1.3 has no others.
	CipherSuites []string `yaml:"http_tls_ciphersuites" flavor:"texts"`

	// ClientCAs are files, in PEM, with the authorities that sign certificates of clients. Default: clients are asked for
	// none.
	ClientCAs []string `yaml:"http_tls_clientcas" flavor:"texts"`

	// ClientAuth is what is asked of clients if there are ClientCAs: require-and-verify-client-cert,
	// verify-client-cert-if-given, require-any-client-cert or request-client-cert. Only certificates that are verified
	// tell a user. Default: require-and-verify-client-cert.
	ClientAuth string `yaml:"http_tls_clientauth"`

	// ACMECache is a folder for the certificates, and the account, that an ACME authority gives; it turns ACME on.
	// Servers behind one name share it. The authority has to reach this server at port 443 of each host.
	ACMECache string `yaml:"http_tls_letsencrypt_cachefile"`

	// ACMEHosts are the names to get certificates for. ACMEEmail is where the authority writes to; it may be empty.
	ACMEHosts []string `yaml:"http_tls_letsencrypt_hosts" flavor:"texts"`
	ACMEEmail string   `yaml:"http_tls_letsencrypt_email"`

	// ACMEDirectory is the URL of the authority. Default: Let's Encrypt.
	ACMEDirectory string `yaml:"http_tls_letsencrypt_directoryurl"`
}

// Enabled reports whether the server speaks TLS.
func (c Config) Enabled() bool { return c.Certificate != "" || c.ACMECache != "" }

// VerifiesClients reports whether clients may show who they are by a certificate.
func (c Config) VerifiesClients() bool {
	auth, err := c.clientAuth()
	return err == nil && auth >= tls.VerifyClientCertIfGiven
}

// Check returns what is wrong with c, as far as that can be told without opening anything.
func (c Config) Check() error {
	switch {
	case (c.Certificate == "") != (c.Key == ""):
		return errors.New("http_tls_certificate and http_tls_key: one is set without the other")
	case c.Certificate != "" && c.ACMECache != "":
		return errors.New("http_tls_certificate and http_tls_letsencrypt_cachefile are both set: keep one")
	case c.ACMECache != "" && len(c.ACMEHosts) == 0:
		return errors.New("http_tls_letsencrypt_hosts: name the hosts to get certificates for, such as [registry.example.com]")
	case c.ACMECache == "" && (len(c.ACMEHosts) > 0 || c.ACMEDirectory != ""):
		return errors.New("http_tls_letsencrypt_cachefile: name a folder for the certificates that the authority gives")
	case !c.Enabled() && len(c.ClientCAs) > 0:
		return errors.New("http_tls_clientcas: clients show certificates by TLS alone: name the server's own in http_tls_certificate")
	}
	_, versionErr := c.minimum()
	_, suitesErr := c.suites()
	_, authErr := c.clientAuth()
	return errors.Join(versionErr, suitesErr, authErr)
}

// Open returns how to speak TLS, or nil if the server is not to. The error is for the operator.
func Open(cfg Config, log *slog.Logger) (*tls.Config, error) {
	if err := cfg.Check(); err != nil || !cfg.Enabled() {
		return nil, err
	}
	conf := new(tls.Config)
	var err error
	if conf.MinVersion, err = cfg.minimum(); err != nil {
		return nil, err
	}
	if conf.CipherSuites, err = cfg.suites(); err != nil {
		return nil, err
	}
	if conf.ClientAuth, err = cfg.clientAuth(); err != nil {
		return nil, err
	}
	if conf.ClientCAs, err = authorities(cfg.ClientCAs); err != nil {
		return nil, fmt.Errorf("http_tls_clientcas: %w", err)
	}
	if cfg.ACMECache != "" {
		return withACME(conf, cfg, log)
	}
	p, err := openPair(cfg.Certificate, cfg.Key, log)
	if err != nil {
		return nil, err
	}
	conf.GetCertificate = p.certificate
	return conf, nil
}

func (c Config) minimum() (uint16, error) {
	switch strings.ToLower(c.MinimumTLS) {
	case "", "tls1.2":
		return tls.VersionTLS12, nil
	case "tls1.3":
		return tls.VersionTLS13, nil
	}
	return 0, fmt.Errorf("http_tls_minimumtls: %q is neither tls1.2 nor tls1.3", c.MinimumTLS)
}

// modern are the suites of TLS 1.2 that are offered unless others are named.
var modern = []uint16{
	tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
}

func (c Config) suites() (ids []uint16, err error) {
	if len(c.CipherSuites) == 0 {
		return slices.Clone(modern), nil
	}
	known := tls.CipherSuites()
	for _, name := range c.CipherSuites {
		i := slices.IndexFunc(known, func(s *tls.CipherSuite) bool { return s.Name == name })
		if i < 0 {
			return nil, fmt.Errorf("http_tls_ciphersuites: %q is none that is safe; there are, for example, %s and %s",
				name, tls.CipherSuiteName(modern[0]), tls.CipherSuiteName(modern[1]))
		}
		ids = append(ids, known[i].ID)
	}
	return ids, nil
}

func (c Config) clientAuth() (tls.ClientAuthType, error) {
	if len(c.ClientCAs) == 0 {
		if c.ClientAuth != "" {
			return 0, errors.New("http_tls_clientauth: name those who sign certificates of clients in http_tls_clientcas")
		}
		return tls.NoClientCert, nil
	}
	switch c.ClientAuth {
	case "", "require-and-verify-client-cert":
		return tls.RequireAndVerifyClientCert, nil
	case "verify-client-cert-if-given":
		return tls.VerifyClientCertIfGiven, nil
	case "require-any-client-cert":
		return tls.RequireAnyClientCert, nil
	case "request-client-cert":
		return tls.RequestClientCert, nil
	}
	return 0, fmt.Errorf("http_tls_clientauth: %q is none of require-and-verify-client-cert, verify-client-cert-if-given, "+
		"require-any-client-cert and request-client-cert", c.ClientAuth)
}

// authorities reads files of certificates.
func authorities(files []string) (*x509.CertPool, error) {
	if len(files) == 0 {
		return nil, nil
	}
	pool := x509.NewCertPool()
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		if !pool.AppendCertsFromPEM(data) {
			return nil, fmt.Errorf("%s has no certificate in PEM", file)
		}
	}
	return pool, nil
}
