package access

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"log/slog"
	"maps"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const (
	tokenIssuer  = "auth.example.com"
	tokenService = "registry.example.com"
)

// A signer makes tokens.
type signer struct {
	t    *testing.T
	key  crypto.Signer
	alg  jose.SignatureAlgorithm
	cert *x509.Certificate // of key
	id   string
}

func newSigner(t *testing.T, key crypto.Signer, alg jose.SignatureAlgorithm) *signer {
	t.Helper()
	id, err := thumbprint(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return &signer{t: t, key: key, alg: alg, id: id}
}

func newECDSA(t *testing.T) *signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return newSigner(t, key, jose.ES256)
}

// certify gives s a certificate that ca has signed; s itself if ca is nil.
func (s *signer) certify(ca *signer, validity time.Duration) *signer {
	s.t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "a signer of tokens"}, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(validity), IsCA: ca == nil,
	}
	if ca == nil {
		ca, template.KeyUsage = s, x509.KeyUsageCertSign
		ca.cert = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, s.key.Public(), ca.key)
	if err != nil {
		s.t.Fatal(err)
	}
	if s.cert, err = x509.ParseCertificate(der); err != nil {
		s.t.Fatal(err)
	}
	return s
}

// sign makes a token of a header, which has alg unless it says otherwise, and claims.
func (s *signer) sign(header map[string]any, claims any) string {
	s.t.Helper()
	all := map[string]any{"alg": s.alg, "typ": "JWT"}
	maps.Copy(all, header)
	text := segment(s.t, all) + "." + segment(s.t, claims)
	return text + "." + base64.RawURLEncoding.EncodeToString(s.signature(text))
}

func (s *signer) signature(text string) []byte {
	s.t.Helper()
	sum := sha256.Sum256([]byte(text))
	var signature []byte
	var err error
	switch key := s.key.(type) {
	case *ecdsa.PrivateKey:
		var r, v *big.Int
		if r, v, err = ecdsa.Sign(rand.Reader, key, sum[:]); err == nil {
			signature = append(r.FillBytes(make([]byte, 32)), v.FillBytes(make([]byte, 32))...)
		}
	case *rsa.PrivateKey:
		signature, err = rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
	case ed25519.PrivateKey:
		signature = ed25519.Sign(key, []byte(text))
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return signature
}

func segment(t *testing.T, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return base64.RawURLEncoding.EncodeToString(data)
}

func (s *signer) chain(cas ...*signer) []string {
	chain := []string{base64.StdEncoding.EncodeToString(s.cert.Raw)}
	for _, ca := range cas {
		chain = append(chain, base64.StdEncoding.EncodeToString(ca.cert.Raw))
	}
	return chain
}

func (s *signer) jwk(chain ...*x509.Certificate) jose.JSONWebKey {
	return jose.JSONWebKey{Key: s.key.Public(), KeyID: "of no meaning", Certificates: chain}
}

// say returns the claims of a token that is good, but for what is changed.
func say(change map[string]any) map[string]any {
	now := time.Now()
	all := map[string]any{
		"iss": tokenIssuer, "aud": tokenService, "sub": "alice", "jti": "1",
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(5 * time.Minute).Unix(),
		"access": []Scope{Repository("team/app", Pull, Push)},
	}
	for key, value := range change {
		if all[key] = value; value == nil {
			delete(all, key)
		}
	}
	return all
}

func write(t *testing.T, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// openTokens returns a guard that trusts the certificates of some signers, and the keys of others by the id k0, k1, ….
func openTokens(t *testing.T, roots, keys []*signer, change func(*Config)) *Guard {
	t.Helper()
	cfg := Config{Auth: "token", TokenRealm: "https://auth.example.com/token", TokenService: tokenService, TokenIssuer: tokenIssuer}
	if len(roots) > 0 {
		var bundle []byte
		for _, s := range roots {
			bundle = append(bundle, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.cert.Raw})...)
		}
		cfg.TokenRootCertBundle = write(t, "bundle.pem", bundle)
	}
	if len(keys) > 0 {
		var set jose.JSONWebKeySet
		for i, s := range keys {
			set.Keys = append(set.Keys, jose.JSONWebKey{Key: s.key.Public(), KeyID: "k" + string(rune('0'+i))})
		}
		data, err := json.Marshal(set)
		if err != nil {
			t.Fatal(err)
		}
		cfg.TokenJWKS = write(t, "jwks.json", data)
	}
	if change != nil {
		change(&cfg)
	}
	g, err := Open(t.Context(), cfg, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// TestTokens are those of other servers, in all the forms that registry:2 takes.
func TestTokens(t *testing.T) {
	root := newECDSA(t).certify(nil, time.Hour)
	middle := newECDSA(t)
	middle.certify(root, time.Hour)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	self := newSigner(t, rsaKey, jose.RS256).certify(nil, time.Hour) // as openssl req -x509 makes it
	below, k0, k1 := newECDSA(t).certify(root, time.Hour), newECDSA(t), newSigner(t, edKey, jose.EdDSA)
	g := openTokens(t, []*signer{root, self}, []*signer{k0, k1}, nil)

	for name, token := range map[string]string{
		"x5c":                           below.sign(map[string]any{"x5c": below.chain()}, say(nil)),
		"x5c with its root":             below.sign(map[string]any{"x5c": below.chain(root)}, say(nil)),
		"x5c of the certificate itself": self.sign(map[string]any{"x5c": self.chain()}, say(nil)),
		"x5c before kid":                below.sign(map[string]any{"x5c": below.chain(), "kid": "k0"}, say(nil)),
		"jwk":                           k0.sign(map[string]any{"jwk": k0.jwk()}, say(nil)),
		"jwk with a chain":              below.sign(map[string]any{"jwk": below.jwk(below.cert)}, say(nil)),
		"jwk of a certificate":          self.sign(map[string]any{"jwk": self.jwk()}, say(nil)),
		"kid of a JWKS":                 k0.sign(map[string]any{"kid": "k0"}, say(nil)),
		"kid of another kind of key":    k1.sign(map[string]any{"kid": "k1"}, say(nil)),
		"kid that is the thumbprint":    k0.sign(map[string]any{"kid": k0.id}, say(nil)),
		"kid of a certificate":          self.sign(map[string]any{"kid": self.id}, say(nil)),
		"kid in the form of libtrust":   self.sign(map[string]any{"kid": libtrustID(self.cert)}, say(nil)),
		"several audiences":             k0.sign(map[string]any{"kid": "k0"}, say(map[string]any{"aud": []string{"other", tokenService}})),
		"no nbf, no iat":                k0.sign(map[string]any{"kid": "k0"}, say(map[string]any{"nbf": nil, "iat": nil})),
		"within the leeway":             k0.sign(map[string]any{"kid": "k0"}, say(map[string]any{"nbf": time.Now().Add(50 * time.Second).Unix(), "exp": time.Now().Add(-50 * time.Second).Unix()})),
	} {
		for range 2 {
			c, err := g.Token(t.Context(), token)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			if c.User() != "alice" || !c.HasToken() || !c.Known() || !c.May(Repository("team/app", Push, Pull)) || c.May(Repository("team/app", Delete)) ||
				c.May(Repository("other", Pull)) || c.May(List()) || c.Pulls()("other") || !c.Pulls()("team/app") {
				t.Errorf("%s: got %+v", name, c)
			}
		}
	}
	c, err := g.Token(t.Context(), k0.sign(map[string]any{"kid": "k0"}, say(map[string]any{"sub": "", "access": nil})))
	if err != nil || !c.Known() || c.May(Repository("team/app", Pull)) || c.May(List()) {
		t.Errorf("a token for nothing: got %+v, %v", c, err)
	}
	c, err = g.Token(t.Context(), k0.sign(map[string]any{"kid": "k0"}, say(map[string]any{"sub": "", "access": json.RawMessage("null")})))
	if err != nil || !c.Known() || !c.HasToken() {
		t.Errorf("a token for null: got %+v, %v", c, err)
	}
	c, err = g.Token(t.Context(), k0.sign(map[string]any{"kid": "k0"}, say(map[string]any{"access": []Scope{List()}})))
	if err != nil || !c.May(List()) || !c.May(Search()) || c.Sees() != nil || c.Pulls() == nil || c.Pulls()("team/app") {
		t.Errorf("a token for the catalog: got %+v, %v", c, err)
	}
	if _, err := g.Login(t.Context(), "alice", "a secret"); !errors.Is(err, ErrCredentials) {
		t.Errorf("a password: got %v, want ErrCredentials", err)
	}
	if libtrust := libtrustID(self.cert); len(libtrust) != 59 || strings.Count(libtrust, ":") != 11 {
		t.Errorf("got id %s, want 12 groups of four", libtrust)
	}
}

// TestForgedTokens: none of them is taken, and what is said of them says nothing of what is in them.
func TestForgedTokens(t *testing.T) {
	root, foreign := newECDSA(t).certify(nil, time.Hour), newECDSA(t).certify(nil, time.Hour)
	below, expired, k0, stranger := newECDSA(t).certify(root, time.Hour), newECDSA(t).certify(root, -time.Minute), newECDSA(t), newECDSA(t)
	stranger.certify(foreign, time.Hour)
	g := openTokens(t, []*signer{root}, []*signer{k0}, nil)
	kid := map[string]any{"kid": "k0"}
	good := k0.sign(kid, say(nil))
	if _, err := g.Token(t.Context(), good); err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(good, ".")
	public, err := x509.MarshalPKIXPublicKey(k0.key.Public())
	if err != nil {
		t.Fatal(err)
	}
	hs256 := func(key []byte) string {
		text := segment(t, map[string]any{"alg": "HS256", "kid": "k0"}) + "." + parts[1]
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(text))
		return text + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
	}
	unsigned := func(alg string) string {
		return segment(t, map[string]any{"alg": alg, "kid": "k0"}) + "." + parts[1] + "."
	}
	now := time.Now()
	later, before := now.Add(2*time.Minute).Unix(), now.Add(-2*time.Minute).Unix()
	private := jose.JSONWebKey{Key: stranger.key}
	privateJSON, err := private.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, token string }{
		{"nothing", ""},
		{"no token", "abc"},
		{"two parts", parts[0] + "." + parts[1]},
		{"four parts", good + "."},
		{"encrypted", good + ".a.b"},
		{"JSON", `{"payload":"` + parts[1] + `","protected":"` + parts[0] + `","signature":"` + parts[2] + `"}`},
		{"alg none", unsigned("none")},
		{"alg None", unsigned("None")},
		{"alg NONE with a signature", unsigned("NONE") + parts[2]},
		{"no alg", unsigned("")},
		{"no signature", parts[0] + "." + parts[1] + "."},
		{"HS256 with the public key in DER", hs256(public)},
		{"HS256 with the public key in PEM", hs256(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}))},
		{"HS256 with nothing", hs256(nil)},
		{"RS256 with a key that is none of RSA", segment(t, map[string]any{"alg": "RS256", "kid": "k0"}) + "." + parts[1] + "." + parts[2]},
		{"another token's signature", strings.Join(strings.Split(k0.sign(kid, say(map[string]any{"sub": "root"})), ".")[:2], ".") + "." + parts[2]},
		{"a signature of zeros", parts[0] + "." + parts[1] + "." + base64.RawURLEncoding.EncodeToString(make([]byte, 64))},
		{"a signature that is cut off", good[:len(good)-10]},
		{"signed by somebody else", stranger.sign(kid, say(nil))},
		{"wrong kid", k0.sign(map[string]any{"kid": "k1"}, say(nil))},
		{"no kid", k0.sign(nil, say(nil))},
		{"empty kid", k0.sign(map[string]any{"kid": ""}, say(nil))},
		{"a kid that is a path", k0.sign(map[string]any{"kid": "../../dev/null"}, say(nil))},
		{"a kid that is no text", k0.sign(map[string]any{"kid": 0}, say(nil))},
		{"jwk of a stranger", stranger.sign(map[string]any{"jwk": stranger.jwk()}, say(nil))},
		{"jwk of a stranger with a known kid", stranger.sign(map[string]any{"kid": "k0", "jwk": jose.JSONWebKey{Key: stranger.key.Public(), KeyID: "k0"}}, say(nil))},
		{"jwk of a known key, signed by a stranger", stranger.sign(map[string]any{"jwk": k0.jwk()}, say(nil))},
		{"jwk with a foreign chain", stranger.sign(map[string]any{"jwk": stranger.jwk(stranger.cert, foreign.cert)}, say(nil))},
		{"jwk with another one's chain", stranger.sign(map[string]any{"jwk": map[string]any{"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "x5c": below.chain()}}, say(nil))},
		{"jwk with the private key", stranger.sign(map[string]any{"jwk": json.RawMessage(privateJSON)}, say(nil))},
		{"jwk that is a secret", hsToken(t, map[string]any{"jwk": map[string]any{"kty": "oct", "k": "c2VjcmV0"}}, parts[1], []byte("secret"))},
		{"x5c of another CA", stranger.sign(map[string]any{"x5c": stranger.chain(foreign)}, say(nil))},
		{"x5c of another CA with a known kid", k0.sign(map[string]any{"kid": "k0", "x5c": stranger.chain(foreign)}, say(nil))},
		{"x5c of a trusted one, signed by a stranger", stranger.sign(map[string]any{"x5c": below.chain(root)}, say(nil))},
		{"x5c of a stranger before a trusted one", stranger.sign(map[string]any{"x5c": stranger.chain(below, root)}, say(nil))},
		{"x5c that has expired", expired.sign(map[string]any{"x5c": expired.chain()}, say(nil))},
		{"x5c that is none", k0.sign(map[string]any{"kid": "k0", "x5c": []string{"AAAA"}}, say(nil))},
		{"jku", stranger.sign(map[string]any{"jku": "http://127.0.0.1:1/jwks.json", "kid": "s"}, say(nil))},
		{"x5u", stranger.sign(map[string]any{"x5u": "http://127.0.0.1:1/cert.pem", "kid": "s"}, say(nil))},
		{"crit", k0.sign(map[string]any{"kid": "k0", "crit": []string{"exp"}, "exp": now.Unix()}, say(nil))},
		{"another issuer", k0.sign(kid, say(map[string]any{"iss": "evil.example.com"}))},
		{"no issuer", k0.sign(kid, say(map[string]any{"iss": nil}))},
		{"another audience", k0.sign(kid, say(map[string]any{"aud": "other.example.com"}))},
		{"no audience", k0.sign(kid, say(map[string]any{"aud": nil}))},
		{"an audience that is longer", k0.sign(kid, say(map[string]any{"aud": tokenService + ".evil.com"}))},
		{"expired", k0.sign(kid, say(map[string]any{"exp": before}))},
		{"without an end", k0.sign(kid, say(map[string]any{"exp": nil}))},
		{"an end that is no time", k0.sign(kid, say(map[string]any{"exp": "never"}))},
		{"an end far off the scale", k0.sign(kid, say(map[string]any{"exp": -1e300}))},
		{"not yet valid", k0.sign(kid, say(map[string]any{"nbf": later}))},
		{"of the future", k0.sign(kid, say(map[string]any{"iat": later}))},
		{"access that is no list", k0.sign(kid, say(map[string]any{"access": "all"}))},
		{"claims that are a list", k0.sign(kid, []int{1})},
		{"oversized", k0.sign(kid, say(map[string]any{"sub": strings.Repeat("x", maxToken)}))},
		{"spaces in it", parts[0] + ". " + parts[1] + "." + parts[2]},
		{"padding in it", parts[0] + "=." + parts[1] + "." + parts[2]},
	} {
		c, err := g.Token(t.Context(), tt.token)
		if !errors.Is(err, ErrCredentials) || c.Known() || c.May(Repository("team/app", Pull)) {
			t.Errorf("%s: got %+v, %v, want ErrCredentials", tt.name, c, err)
			continue
		}
		for _, part := range strings.Split(tt.token, ".") {
			if len(part) > 8 && strings.Contains(err.Error(), part[:8]) {
				t.Errorf("%s: %q tells of the token", tt.name, err)
			}
		}
		if len(err.Error()) > 200 {
			t.Errorf("%s: %q is long", tt.name, err)
		}
	}
}

func hsToken(t *testing.T, header map[string]any, payload string, key []byte) string {
	t.Helper()
	header["alg"] = "HS256"
	text := segment(t, header) + "." + payload
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(text))
	return text + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// A token that was read before is not good for longer.
func TestTokensExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k0 := newECDSA(t)
		g := openTokens(t, nil, []*signer{k0}, nil)
		token := k0.sign(map[string]any{"kid": "k0"}, say(nil))
		for range 5 {
			if _, err := g.Token(t.Context(), token); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
		}
		time.Sleep(leeway + time.Second)
		if _, err := g.Token(t.Context(), token); !errors.Is(err, ErrCredentials) {
			t.Errorf("got %v, want that the token has expired", err)
		}
	})
}

func TestTokenAlgorithms(t *testing.T) {
	k0 := newECDSA(t)
	g := openTokens(t, nil, []*signer{k0}, func(cfg *Config) { cfg.TokenSigningAlgorithms = []string{"RS256", "EdDSA"} })
	if _, err := g.Token(t.Context(), k0.sign(map[string]any{"kid": "k0"}, say(nil))); !errors.Is(err, ErrCredentials) {
		t.Errorf("got %v, want that ES256 is not accepted", err)
	}
}

func TestTokenConfig(t *testing.T) {
	full := func(change func(*Config)) Config {
		cfg := Config{Auth: "token", TokenRealm: "r", TokenService: "s", TokenIssuer: "i", TokenJWKS: "j"}
		change(&cfg)
		return cfg
	}
	key := newECDSA(t)
	secret, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: []byte("a shared secret"), KeyID: "s"}}})
	if err != nil {
		t.Fatal(err)
	}
	private, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.key, KeyID: "s"}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		cfg  Config
		want string
	}{
		{full(func(c *Config) { c.TokenRealm = "" }), "auth_token_realm"},
		{full(func(c *Config) { c.TokenService = "" }), "needs auth_token_service"},
		{full(func(c *Config) { c.TokenIssuer = "" }), "needs auth_token_issuer"},
		{full(func(c *Config) { c.TokenJWKS = "" }), "needs auth_token_rootcertbundle, or auth_token_jwks"},
		{full(func(c *Config) { c.TokenRealm = `a"b` }), "auth_token_realm: "},
		{full(func(c *Config) { c.TokenSigningAlgorithms = []string{"HS256"} }), `"HS256" is none of`},
		{full(func(c *Config) { c.TokenSigningAlgorithms = []string{"none"} }), `"none" is none of`},
		{full(func(c *Config) { c.Rules = []Rule{} }), "auth is token"},
		{Config{TokenRealm: "r"}, "needs auth_token_service"},
		{Config{TokenJWKS: "j"}, "auth_token_realm"},
		{full(func(c *Config) { c.TokenJWKS = "/nowhere" }), "auth_token_jwks: open /nowhere"},
		{full(func(c *Config) { c.TokenRootCertBundle = "/nowhere" }), "auth_token_rootcertbundle: open /nowhere"},
		{full(func(c *Config) { c.TokenRootCertBundle = write(t, "b", []byte("x")) }), "has no certificate"},
		{full(func(c *Config) {
			c.TokenRootCertBundle = write(t, "b", []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"))
		}), "auth_token_rootcertbundle: "},
		{full(func(c *Config) { c.TokenJWKS = write(t, "j", []byte("{")) }), "is no JWKS"},
		{full(func(c *Config) { c.TokenJWKS = write(t, "j", []byte("{}")) }), "has no keys"},
		{full(func(c *Config) { c.TokenJWKS = write(t, "j", secret) }), `the key "s" is secret`},
		{full(func(c *Config) { c.TokenJWKS = write(t, "j", private) }), ""}, // its public half is used
		{full(func(c *Config) { c.TokenRealm, c.TokenAutoRedirect, c.TokenJWKS = "", true, write(t, "j", private) }), ""},
	} {
		_, err := Open(t.Context(), tt.cfg, nil, slog.New(slog.DiscardHandler))
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n")) {
			t.Errorf("got %v, want %q", err, tt.want)
		}
	}
}

func FuzzToken(f *testing.F) {
	v, err := newVerifier("i", "s", []jose.SignatureAlgorithm{jose.ES256}, (&trust{roots: x509.NewCertPool()}).key)
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range []string{"", "a.b.c", "eyJhbGciOiJFUzI1NiJ9.e30.AA", "eyJhbGciOiJFUzI1NiIsIng1YyI6W119.e30.AA", "eyJhbGciOiJub25lIn0.e30."} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		if c, err := v.verify(t.Context(), raw); err == nil {
			t.Errorf("%q: got %+v", raw, c)
		}
	})
}
