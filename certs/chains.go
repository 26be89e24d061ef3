package certs

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
)

// A Certificate is one in a file.
type Certificate struct {
	*x509.Certificate
	File string
}

// Chains returns the certificates of the files that c names: that of the server, then those between it and its
// authority, then the authorities of clients.
func (c Config) Chains() (all []Certificate, err error) {
	for _, file := range append([]string{c.Certificate}, c.ClientCAs...) {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		found := len(all)
		for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
			if block.Type != "CERTIFICATE" {
				continue
			}
			cert, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", file, err)
			}
			all = append(all, Certificate{cert, file})
		}
		if len(all) == found {
			return nil, fmt.Errorf("%s has no certificate in PEM", file)
		}
	}
	return all, nil
}
