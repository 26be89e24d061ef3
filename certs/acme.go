package certs

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"
)

// withACME adds certificates that an authority gives, which proves by the port of TLS itself (TLS-ALPN-01) that the host
// is this one. They are got when a client first asks for a host, and renewed a month before they end.
func withACME(conf *tls.Config, cfg Config, log *slog.Logger) (*tls.Config, error) {
	if err := os.MkdirAll(cfg.ACMECache, 0o700); err != nil {
		return nil, fmt.Errorf("http_tls_letsencrypt_cachefile: %w", err)
	}
	manager := &autocert.Manager{
		Prompt:     autocert.AcceptTOS,
		Cache:      autocert.DirCache(cfg.ACMECache),
		HostPolicy: autocert.HostWhitelist(cfg.ACMEHosts...),
		Email:      cfg.ACMEEmail,
		Client:     &acme.Client{UserAgent: "parfait"},
	}
	manager.Client.DirectoryURL = cfg.ACMEDirectory
	if cfg.ACMEDirectory == "" {
		manager.Client.DirectoryURL = autocert.DefaultACMEDirectory
	}
	conf.GetCertificate = complaining(manager, log)
	conf.NextProtos = append(conf.NextProtos, "h2", "http/1.1", acme.ALPNProto)
	if conf.ClientAuth != tls.NoClientCert { // the authority has none to show, and gets no further than the handshake
		proof := conf.Clone()
		proof.ClientAuth = tls.NoClientCert
		proof.NextProtos = []string{acme.ALPNProto}
		conf.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			if slices.Equal(hello.SupportedProtos, []string{acme.ALPNProto}) {
				return proof, nil
			}
			return nil, nil
		}
	}
	return conf, nil
}

// complaining logs why there is no certificate for a host that there is to be one for, each cause once in a row.
func complaining(manager *autocert.Manager, log *slog.Logger) func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	var mu sync.Mutex
	last := make(map[string]string) // the last complaint of each host; guarded by mu
	return func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		cert, err := manager.GetCertificate(hello)
		host := hello.ServerName
		if host == "" || manager.HostPolicy(hello.Context(), host) != nil {
			return cert, err // whoever asks for another host is no concern of the operator's
		}
		complaint := ""
		if err != nil {
			complaint = err.Error()
		}
		mu.Lock()
		defer mu.Unlock()
		if complaint != "" && complaint != last[host] {
			log.Error("the authority gives no certificate", "host", host, "err", err)
		}
		last[host] = complaint
		return cert, err
	}
}
