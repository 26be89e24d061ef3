package access

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"log/slog"
	"net/url"
	"strings"
	"testing"
)

// TestCertificate asks who a certificate is of, and what that user may do.
func TestCertificate(t *testing.T) {
	spiffe, err := url.Parse("spiffe://example.com/builder")
	if err != nil {
		t.Fatal(err)
	}
	cert := &x509.Certificate{Subject: pkix.Name{CommonName: "alice"}, DNSNames: []string{"ci.example.com", "second"},
		EmailAddresses: []string{"alice@example.com"}, URIs: []*url.URL{spiffe}}
	for _, tt := range []struct{ kind, want string }{
		{"", "alice"}, {"cn", "alice"}, {"dns", "ci.example.com"}, {"email", "alice@example.com"}, {"uri", "spiffe://example.com/builder"},
	} {
		g, err := Open(t.Context(), Config{Auth: "certificate", Certificate: tt.kind, Rules: []Rule{
			{Repositories: []string{"team/**"}, Users: []string{tt.want}, Actions: []string{"push"}}}}, nil, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		c, err := g.Certificate(cert)
		if err != nil || c.User() != tt.want || !c.Known() {
			t.Errorf("%q: got user %q, %v, want %q", tt.kind, c.User(), err, tt.want)
		}
		if !c.May(Repository("team/app", Pull, Push)) || c.May(Repository("other", Pull)) {
			t.Errorf("%q: the rules do not decide", tt.kind)
		}
		for _, nobody := range []*x509.Certificate{{}, {Subject: pkix.Name{CommonName: "*"}, DNSNames: []string{"anonymous"}}} {
			if c, err := g.Certificate(nobody); tt.kind != "email" && tt.kind != "uri" && !errors.Is(err, ErrCredentials) {
				t.Errorf("%q: got user %q, %v, want %v", tt.kind, c.User(), err, ErrCredentials)
			}
		}
		if _, err := g.Login(t.Context(), "alice", "guess"); !errors.Is(err, ErrCredentials) {
			t.Errorf("a password: got %v, want %v", err, ErrCredentials)
		}
	}
}

func TestCertificateMistakes(t *testing.T) {
	for _, tt := range []struct {
		cfg  Config
		want string
	}{
		{Config{Auth: "certificate", Certificate: "serial"}, `"serial"`},
		{Config{Auth: "none", Certificate: "cn"}, "auth is none"},
		{Config{Auth: "token", Certificate: "cn"}, "auth is token"},
		{Config{Auth: "certificate", Tokens: true}, "auth_tokens"},
		{Config{Auth: "certificate", Rules: []Rule{{}}}, "rule 1"},
	} {
		if err := tt.cfg.Check(); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: got %v, want %q", tt.cfg, err, tt.want)
		}
	}
	if (Config{Certificate: "cn"}).auth() != authCert {
		t.Error("auth_certificate alone is not auth: certificate")
	}
}
