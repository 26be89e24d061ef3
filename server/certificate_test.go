package server

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"net/http/httptest"
	"testing"

	"github.com/parfait-registry/parfait/access"
	"github.com/parfait-registry/parfait/drivers/mem"
)

// TestCertificatesOfClients asks with certificates that TLS has verified and others, beside and without passwords.
func TestCertificatesOfClients(t *testing.T) {
	h := open(t, mem.New(), Config{})
	h.pushImage("alice/app", "v1", "layer")
	cfg := rules()
	cfg.Certificate = "cn"
	h.lock(cfg, "alice", "bob")
	verified := func(user string) *tls.ConnectionState {
		chain := []*x509.Certificate{{Subject: pkix.Name{CommonName: user}}}
		return &tls.ConnectionState{PeerCertificates: chain, VerifiedChains: [][]*x509.Certificate{chain}}
	}
	unverified := verified("alice")
	unverified.VerifiedChains = nil
	for _, tt := range []struct {
		name   string
		state  *tls.ConnectionState
		header []string
		want   int
	}{
		{"none", nil, nil, 401},
		{"the user's", verified("alice"), nil, 200},
		{"a user's without a password", verified("carol"), nil, 403},
		{"another user's", verified("bob"), nil, 403},
		{"nobody's", verified(""), nil, 401},
		{"one that is not verified", unverified, nil, 401},
		{"another user's, and a password", verified("bob"), as("alice"), 200},
		{"the user's, and a wrong password", verified("alice"), []string{"Authorization", basic("alice", "wrong")}, 401},
		{"the user's, and no credentials in the header", verified("alice"), []string{"Authorization", basic("", "")}, 200},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, w := httptest.NewRequest("GET", "/v2/alice/app/manifests/v1", nil), httptest.NewRecorder()
			r.TLS = tt.state
			for i := 0; i < len(tt.header); i += 2 {
				r.Header.Set(tt.header[i], tt.header[i+1])
			}
			h.server.ServeHTTP(w, r)
			if w.Code != tt.want {
				t.Errorf("got %d %s, want %d", w.Code, w.Body, tt.want)
			}
		})
	}
	h.lock(rules(), "alice") // certificates name nobody
	r, w := httptest.NewRequest("GET", "/v2/alice/app/manifests/v1", nil), httptest.NewRecorder()
	r.TLS = verified("alice")
	if h.server.ServeHTTP(w, r); w.Code != 401 {
		t.Errorf("without auth_certificate: got %d, want 401", w.Code)
	}
	h.lock(access.Config{Certificate: "cn", Tokens: true}, "alice")
	r, w = httptest.NewRequest("GET", "/token?service=parfait", nil), httptest.NewRecorder()
	r.TLS = verified("carol")
	if h.server.ServeHTTP(w, r); w.Code != 401 {
		t.Errorf("a token for who has no password: got %d %s, want 401", w.Code, w.Body)
	}
}
