package server

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"net/http/httptest"
	"strings"
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

// TestCertificatesAlone asks for things where nothing but a certificate tells who asks. Whoever is turned away is not asked
// for anything that he could send in a request.
func TestCertificatesAlone(t *testing.T) {
	h := open(t, mem.New(), Config{})
	h.pushImage("alice/app", "v1", "layer")
	h.pushImage("public/app", "v1", "layer")
	closed := rules()
	closed.Rules = closed.Rules[:1]
	for _, tt := range []struct {
		name, path, user string
		header           []string
		cfg              access.Config
		want             int
	}{
		{"the user", "/v2/alice/app/manifests/v1", "alice", nil, rules(), 200},
		{"another user", "/v2/alice/app/manifests/v1", "bob", nil, rules(), 403},
		{"nobody", "/v2/alice/app/manifests/v1", "", nil, rules(), 403},
		{"nobody, where nothing is", "/v2/alice/none/manifests/v1", "", nil, rules(), 403},
		{"nobody, with a password", "/v2/alice/app/manifests/v1", "", as("alice"), rules(), 403},
		{"nobody, with a token", "/v2/alice/app/manifests/v1", "", []string{"Authorization", "Bearer x"}, rules(), 403},
		{"nobody, for what is open", "/v2/public/app/manifests/v1", "", nil, rules(), 200},
		{"nobody, at the beginning", "/v2/", "", nil, rules(), 200},
		{"a user, at the beginning", "/v2/", "alice", nil, closed, 200},
		{"nobody, at the beginning, where nothing is open", "/v2/", "", nil, closed, 403},
		{"nobody, at the page for people", "/", "", []string{"Accept", "text/html"}, rules(), 200},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.cfg.Auth = "certificate"
			guard, err := access.Open(t.Context(), tt.cfg, nil, h.log.logger())
			if err != nil {
				t.Fatal(err)
			}
			r, w := httptest.NewRequest("GET", tt.path, nil), httptest.NewRecorder()
			if r.TLS = new(tls.ConnectionState); tt.user != "" {
				r.TLS = verified(tt.user)
			}
			for i := 0; i < len(tt.header); i += 2 {
				r.Header.Set(tt.header[i], tt.header[i+1])
			}
			h.server.With(h.server.cfg, guard).ServeHTTP(w, r)
			if w.Code != tt.want || w.Header().Get("WWW-Authenticate") != "" {
				t.Errorf("got %d, WWW-Authenticate %q, want %d and none", w.Code, w.Header().Get("WWW-Authenticate"), tt.want)
			}
			if tt.want == 403 && !strings.Contains(w.Body.String(), "DENIED") {
				t.Errorf("got %s, want DENIED", w.Body)
			}
		})
	}
}

// verified is a connection on which a client has shown the certificate of a user.
func verified(user string) *tls.ConnectionState {
	chain := []*x509.Certificate{{Subject: pkix.Name{CommonName: user}}}
	return &tls.ConnectionState{PeerCertificates: chain, VerifiedChains: [][]*x509.Certificate{chain}}
}
