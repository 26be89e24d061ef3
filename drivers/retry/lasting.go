package retry

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
)

// lasting reports whether err looks like one of a connection but says that something is set wrong: an address that is
// none, a certificate that is not trusted, TLS on one side only, or a handshake that the other side refused. Asking
// again does not change that.
func lasting(err error) bool {
	if e, ok := errors.AsType[*net.OpError](err); ok && e.Op == "remote error" { // an alert of TLS
		return true
	}
	return errors.Is(err, http.ErrSchemeMismatch) ||
		is[*tls.CertificateVerificationError](err) ||
		is[tls.RecordHeaderError](err) ||
		is[x509.UnknownAuthorityError](err) ||
		is[x509.HostnameError](err) ||
		is[*net.AddrError](err)
}

func is[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}
