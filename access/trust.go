package access

import (
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base32"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// trust is whose signatures count: those of keys that are known by an id, and of certificates below known roots.
type trust struct {
	keys  map[string]any // public keys, by each id that a token may call them by
	roots *x509.CertPool
}

// readTrust reads a bundle of certificates in PEM and a JWKS, either of which may be "".
func readTrust(bundle, jwks string) (*trust, error) {
	t := &trust{keys: make(map[string]any), roots: x509.NewCertPool()} // never nil, which would be those of the system
	if bundle != "" {
		if err := t.readBundle(bundle); err != nil {
			return nil, fmt.Errorf("auth_token_rootcertbundle: %w", err)
		}
	}
	if jwks != "" {
		if err := t.readJWKS(jwks); err != nil {
			return nil, fmt.Errorf("auth_token_jwks: %w", err)
		}
	}
	return t, nil
}

func (t *trust) readBundle(path string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	n := 0
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		t.roots.AddCert(cert)
		if err := t.add("", cert.PublicKey); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		t.keys[libtrustID(cert)] = cert.PublicKey
		n++
	}
	if n == 0 {
		return fmt.Errorf("%s has no certificate in PEM", path)
	}
	return nil
}

func (t *trust) readJWKS(path string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(data, &set); err != nil {
		return fmt.Errorf("%s is no JWKS", path) // the library may quote a key
	}
	for _, key := range set.Keys {
		public := key.Public()
		if !public.Valid() {
			return fmt.Errorf("%s: the key %q is secret to both sides, or none: a public key is wanted", path, key.KeyID)
		}
		if err := t.add(key.KeyID, public.Key); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	if len(set.Keys) == 0 {
		return fmt.Errorf("%s has no keys", path)
	}
	return nil
}

// add trusts a public key, under its id and its thumbprint.
func (t *trust) add(id string, public crypto.PublicKey) error {
	print, err := thumbprint(public)
	if err != nil {
		return err
	}
	t.keys[print] = public
	if id != "" {
		t.keys[id] = public
	}
	return nil
}

// thumbprint is the id of a key by RFC 7638.
func thumbprint(public crypto.PublicKey) (string, error) {
	sum, err := (&jose.JSONWebKey{Key: public}).Thumbprint(crypto.SHA256)
	return base64.RawURLEncoding.EncodeToString(sum), err
}

// libtrustID is the id of a certificate's key as token servers for registry:2 before its version 3 write it: 240 bits in
// base 32, in groups of four.
func libtrustID(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.RawSubjectPublicKeyInfo)
	text := base32.StdEncoding.EncodeToString(sum[:30])
	var groups []string
	for group := range slices.Chunk([]byte(text), 4) {
		groups = append(groups, string(group))
	}
	return strings.Join(groups, ":")
}

// key returns the public key that has to have signed a token with such a header: that of the certificate in it, or one
// that is trusted by itself, which the header has as a whole or by its id. Addresses in a header are not followed.
func (t *trust) key(_ context.Context, header jose.Header) (any, error) {
	chains, err := header.Certificates(t.verifyOptions())
	switch {
	case err == nil:
		return chains[0][0].PublicKey, nil
	case !errors.Is(err, jose.ErrMissingX5cHeader):
		return nil, errors.New("its certificate is not below those that are trusted")
	case header.JSONWebKey != nil:
		return t.embedded(*header.JSONWebKey)
	}
	if key, ok := t.keys[header.KeyID]; ok {
		return key, nil
	}
	return nil, errors.New("its key is unknown")
}

// embedded returns the public key of a header that has it as a whole.
func (t *trust) embedded(key jose.JSONWebKey) (any, error) {
	if len(key.Certificates) > 0 { // the library has seen that the first one is of this key
		opts := t.verifyOptions()
		opts.Intermediates = x509.NewCertPool()
		for _, cert := range key.Certificates[1:] {
			opts.Intermediates.AddCert(cert)
		}
		if _, err := key.Certificates[0].Verify(opts); err != nil {
			return nil, errors.New("the certificate of its key is not below those that are trusted")
		}
		return key.Certificates[0].PublicKey, nil
	}
	print, err := thumbprint(key.Key)
	if err != nil {
		return nil, errors.New("its key is none")
	}
	if known, ok := t.keys[print]; ok {
		return known, nil
	}
	return nil, errors.New("its key is unknown")
}

func (t *trust) verifyOptions() x509.VerifyOptions {
	return x509.VerifyOptions{Roots: t.roots, CurrentTime: time.Now(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}
}

// algorithms returns those that are accepted: names, or all if there are none. None of them takes a public key for a
// shared secret.
func algorithms(names []string) ([]jose.SignatureAlgorithm, error) {
	all := []jose.SignatureAlgorithm{jose.EdDSA, jose.ES256, jose.ES384, jose.ES512, jose.PS256, jose.PS384, jose.PS512,
		jose.RS256, jose.RS384, jose.RS512}
	if len(names) == 0 {
		return all, nil
	}
	var chosen []jose.SignatureAlgorithm
	for _, name := range names {
		if !slices.Contains(all, jose.SignatureAlgorithm(name)) {
			return nil, fmt.Errorf("auth_token_signingalgorithms: %q is none of %v", name, all)
		}
		chosen = append(chosen, jose.SignatureAlgorithm(name))
	}
	return chosen, nil
}
