package retry

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
)

// certificate reports whether err says that the other side is not who it should be, or does not speak TLS. Asking
// again does not change that.
func certificate(err error) bool {
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return true
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return true
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return true
	}
	_, ok := errors.AsType[x509.HostnameError](err)
	return ok
}
