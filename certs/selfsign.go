package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// The files that SelfSign makes. The names are those that the tutorials of registries have.
const (
	AuthorityCert = "ca.crt"
	AuthorityKey  = "ca.key"
	ServerCert    = "domain.crt"
	ServerKey     = "domain.key"
)

// Modes of files: everybody may see a certificate, and nobody else a key.
const (
	certMode = 0o644
	keyMode  = 0o600
)

// authorityLife is how long an authority of one's own is good for.
const authorityLife = 10 * 365 * 24 * time.Hour

// SelfSign makes a certificate for a server that is reached by hosts, names or IP addresses, in the folder dir, and an
// authority that signs it, unless the folder has one that does. Clients are given AuthorityCert to trust. Unless force is
// set, it is an error that wraps fs.ErrExist if the server's files are there.
func SelfSign(dir string, hosts []string, life time.Duration, force bool) error {
	template, err := newTemplate(x509.ExtKeyUsageServerAuth, hosts[0], life)
	if err != nil {
		return err
	}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	return sign(dir, ServerCert, ServerKey, template, force)
}

// SignClient makes a certificate for a user, in the folder that SelfSign has filled, or fills, with an authority: the
// files USER.crt and USER.key.
func SignClient(dir, user string, life time.Duration, force bool) error {
	template, err := newTemplate(x509.ExtKeyUsageClientAuth, user, life)
	if err != nil {
		return err
	}
	return sign(dir, user+".crt", user+".key", template, force)
}

// sign makes the files of a certificate.
func sign(dir, certFile, keyFile string, template *x509.Certificate, force bool) error {
	certFile, keyFile = filepath.Join(dir, certFile), filepath.Join(dir, keyFile)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, path := range []string{certFile, keyFile} {
		if _, err := os.Lstat(path); err == nil && !force {
			return &fs.PathError{Op: "create", Path: path, Err: fs.ErrExist}
		}
	}
	authority, authorityKey, err := openAuthority(dir)
	if err != nil {
		return err
	}
	if authority.NotAfter.Before(template.NotAfter) {
		template.NotAfter = authority.NotAfter // or clients refuse it for a reason that is hard to see
	}
	return write(certFile, keyFile, template, authority, authorityKey)
}

// openAuthority returns the authority of a folder, which it makes if there is none.
func openAuthority(dir string) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	certFile, keyFile := filepath.Join(dir, AuthorityCert), filepath.Join(dir, AuthorityKey)
	_, certErr := os.Lstat(certFile)
	_, keyErr := os.Lstat(keyFile)
	if errors.Is(certErr, fs.ErrNotExist) && errors.Is(keyErr, fs.ErrNotExist) {
		template, err := newTemplate(x509.ExtKeyUsageAny, "Parfait's own authority", authorityLife)
		if err != nil {
			return nil, nil, err
		}
		template.ExtKeyUsage = nil
		template.IsCA, template.KeyUsage = true, x509.KeyUsageCertSign|x509.KeyUsageCRLSign
		template.MaxPathLenZero = true
		if err := write(certFile, keyFile, template, nil, nil); err != nil {
			return nil, nil, err
		}
	}
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, nil, fmt.Errorf("the authority in %s: %w", dir, err)
	}
	key, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !ok || !pair.Leaf.IsCA {
		return nil, nil, fmt.Errorf("%s is not an authority that was made here: choose another folder", certFile)
	}
	return pair.Leaf, key, nil
}

// newTemplate is what certificates have in common.
func newTemplate(usage x509.ExtKeyUsage, name string, life time.Duration) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	const longest = 64 // of a common name, which a host need not have as well
	if len(name) > longest {
		name = ""
	}
	now := time.Now()
	return &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             now.Add(-time.Hour), // clocks differ
		NotAfter:              now.Add(life),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{usage},
		BasicConstraintsValid: true,
	}, nil
}

// write makes a key and its certificate, signed by an authority, or by itself if that is nil.
func write(certFile, keyFile string, template, authority *x509.Certificate, authorityKey *ecdsa.PrivateKey) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	if authority == nil {
		authority, authorityKey = template, key
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, authority, &key.PublicKey, authorityKey)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	if err := replace(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), keyMode); err != nil {
		return err
	}
	return replace(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}), certMode)
}

// replace puts a file in its place, whole: a server may read it at any time.
func replace(path string, data []byte, mode fs.FileMode) error {
	temporary, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*.tmp")
	if err != nil {
		return err
	}
	defer os.Remove(temporary.Name())
	_, err = temporary.Write(data)
	if err := errors.Join(err, temporary.Chmod(mode), temporary.Sync(), temporary.Close()); err != nil {
		return err
	}
	return os.Rename(temporary.Name(), path)
}
