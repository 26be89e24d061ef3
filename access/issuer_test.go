package access

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A drawer keeps keys for the servers of a test.
type drawer struct {
	mu    sync.Mutex
	keys  map[string][]byte // guarded by mu
	asked int               // guarded by mu
	err   error             // what every call returns; guarded by mu
}

func (d *drawer) SigningKeys(context.Context) (map[string][]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked++
	return maps.Clone(d.keys), d.err
}

func (d *drawer) AddSigningKey(_ context.Context, id string, key []byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.keys == nil {
		d.keys = make(map[string][]byte)
	}
	if d.err == nil {
		d.keys[id] = key
	}
	return d.err
}

func (d *drawer) RemoveSigningKey(_ context.Context, id string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err == nil {
		delete(d.keys, id)
	}
	return d.err
}

func (d *drawer) breaks(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.err = err
}

// An office is a guard that gives tokens, with its files.
type office struct {
	*Guard
	t    *testing.T
	cfg  Config
	keys *drawer
}

// openOffice has the users alice, bob and root, who may do different things.
func openOffice(t *testing.T, change func(*Config)) *office {
	t.Helper()
	o := &office{t: t, keys: new(drawer), cfg: Config{
		HtpasswdPath: filepath.Join(t.TempDir(), "htpasswd"), Tokens: true, Admins: []string{"root"},
		Rules: []Rule{
			{Repositories: []string{"team/**"}, Users: []string{"alice"}, Actions: []string{"push"}},
			{Repositories: []string{"team/**"}, Users: []string{"*"}, Actions: []string{"pull"}},
			{Repositories: []string{"public/**"}, Users: []string{"anonymous"}, Actions: []string{"pull"}},
		},
	}}
	if change != nil {
		change(&o.cfg)
	}
	o.users("alice", "a secret", "bob", "another", "root", "root secret")
	o.Guard = o.replica()
	return o
}

// replica opens another guard of the same registry.
func (o *office) replica() *Guard {
	o.t.Helper()
	g, err := Open(o.t.Context(), o.cfg, o.keys, slog.New(slog.DiscardHandler))
	if err != nil {
		o.t.Fatal(err)
	}
	return g
}

// users writes the password file, as of a while ago.
func (o *office) users(pairs ...string) {
	o.t.Helper()
	var text strings.Builder
	for i := 0; i < len(pairs); i += 2 {
		text.WriteString(hashed(o.t, pairs[i], pairs[i+1]))
	}
	fresh := o.cfg.HtpasswdPath + ".new"
	if err := os.WriteFile(fresh, []byte(text.String()), 0o600); err != nil {
		o.t.Fatal(err)
	}
	at := time.Now().Add(-time.Minute)
	if err := errors.Join(os.Chtimes(fresh, at, at), os.Rename(fresh, o.cfg.HtpasswdPath)); err != nil {
		o.t.Fatal(err)
	}
}

// grant logs in and gets a token, and a refresh token.
func (o *office) grant(user, password string, scopes ...Scope) Grant {
	o.t.Helper()
	c := o.Anonymous()
	if user != "" {
		c = login(o.t, o.Guard, user, password)
	}
	g, err := o.Issue(o.t.Context(), c, scopes, true)
	if err != nil {
		o.t.Fatal(err)
	}
	return g
}

func scopes(all []Scope) string {
	var text []string
	for _, s := range all {
		text = append(text, s.String())
	}
	return strings.Join(text, " ")
}

// TestIssue: a token is for what of the scopes its user may do.
func TestIssue(t *testing.T) {
	o := openOffice(t, nil)
	passwords := map[string]string{"alice": "a secret", "bob": "another", "root": "root secret", "": ""}
	for _, tt := range []struct{ user, asked, want string }{
		{"alice", "repository:team/app:pull,push", "repository:team/app:pull,push"},
		{"alice", "repository:team/app:push,pull,delete", "repository:team/app:push,pull"},
		{"alice", "repository:team/app:*", "repository:team/app:pull,push"},
		{"alice", "repository:team/app:pull repository:team/app:push repository:other:pull", "repository:team/app:pull,push"},
		{"alice", "repository:team/a:pull repository:team/b:push", "repository:team/a:pull repository:team/b:push"},
		{"alice", "repository:team/app:burn,pull", "repository:team/app:pull"},
		{"alice", "repository:team/app: registry::pull house:team/app:pull", ""},
		{"alice", "", ""},
		{"alice", "registry:catalog:* registry:catalog:search", "registry:catalog:*,search"},
		{"bob", "repository:team/app:pull,push", "repository:team/app:pull"},
		{"bob", "repository:secret:pull", ""},
		{"root", "repository:secret:* registry:catalog:*", "repository:secret:pull,push,delete registry:catalog:*"},
		{"", "repository:public/app:pull,push repository:team/app:pull registry:catalog:*", "repository:public/app:pull"},
	} {
		var asked []Scope
		for _, text := range strings.Fields(tt.asked) {
			s, err := ParseScope(text)
			if err != nil {
				t.Fatal(err)
			}
			asked = append(asked, s)
		}
		g := o.grant(tt.user, passwords[tt.user], asked...)
		if got := scopes(g.Scopes); got != tt.want || g.Lifetime != accessFor || (g.RefreshToken == "") != (tt.user == "") {
			t.Errorf("%q asks for %s: got %s, %v, want %s", tt.user, tt.asked, got, g.Lifetime, tt.want)
		}
		c, err := o.Token(t.Context(), g.Token)
		if err != nil || c.User() != tt.user || !c.Known() || !c.HasToken() {
			t.Errorf("%q: got %+v, %v", tt.user, c, err)
		}
		for _, s := range g.Scopes {
			if !c.May(s) {
				t.Errorf("%q may not %s", tt.user, s)
			}
		}
		if c.May(Repository("team/other", Pull)) || c.Pulls()("team/other") {
			t.Errorf("%q may do what its token is not for", tt.user)
		}
	}
	c, err := o.Token(t.Context(), o.grant("bob", "another", List()).Token)
	if sees := c.Sees(); err != nil || sees == nil || !sees("team/app") || sees("secret") {
		t.Errorf("a list for bob shows other things than what he may pull: %v", err)
	}
	if _, err := o.Issue(t.Context(), o.Anonymous(), nil, true); err != nil {
		t.Errorf("nobody: %v", err)
	}
	var many, long []Scope
	for i := range maxScopes {
		many = append(many, Repository(fmt.Sprintf("team/%03d", i), Pull))
		long = append(long, Repository(fmt.Sprintf("team/%0200d", i), Pull))
	}
	alice := login(t, o.Guard, "alice", "a secret")
	if g, err := o.Issue(t.Context(), alice, many, false); err != nil || len(g.Scopes) != maxScopes {
		t.Errorf("%d scopes: got %d, %v", maxScopes, len(g.Scopes), err)
	}
	for _, scopes := range [][]Scope{append(many, List()), long} {
		if _, err := o.Issue(t.Context(), alice, scopes, false); !errors.Is(err, ErrTooMuch) {
			t.Errorf("%d scopes: got %v, want ErrTooMuch", len(scopes), err)
		}
	}
	if g, err := o.Issue(t.Context(), login(t, o.Guard, "alice", "a secret"), nil, false); err != nil || g.RefreshToken != "" {
		t.Errorf("not offline: got %+v, %v", g, err)
	}
	closed := openOffice(t, func(cfg *Config) { cfg.Rules = cfg.Rules[:2] })
	if _, err := closed.Issue(t.Context(), closed.Anonymous(), nil, false); !errors.Is(err, ErrCredentials) {
		t.Errorf("nobody, where nothing is open: got %v, want ErrCredentials", err)
	}
}

// TestTokensHoldNoSecret reads what everybody can read who sees one.
func TestTokensHoldNoSecret(t *testing.T) {
	o := openOffice(t, nil)
	file, err := os.ReadFile(o.cfg.HtpasswdPath)
	if err != nil {
		t.Fatal(err)
	}
	_, hash, _ := strings.Cut(strings.SplitN(string(file), "\n", 2)[0], ":")
	g := o.grant("alice", "a secret", Repository("team/app", Pull))
	for _, token := range []string{g.Token, g.RefreshToken} {
		for _, part := range strings.Split(token, ".")[:2] {
			data, err := base64.RawURLEncoding.DecodeString(part)
			if err != nil {
				t.Fatal(err)
			}
			for _, secret := range []string{"a secret", hash, hash[7:], hash[len(hash)-31:]} {
				if strings.Contains(string(data), secret) {
					t.Errorf("%s tells %q", data, secret)
				}
			}
		}
	}
}

// TestRefresh: a refresh token is good for as long as its user has that password.
func TestRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := openOffice(t, nil)
		alice, bob := o.grant("alice", "a secret"), o.grant("bob", "another")
		for range 3 {
			c, err := o.Refresh(t.Context(), alice.RefreshToken)
			if err != nil || c.User() != "alice" || c.HasToken() {
				t.Fatalf("got %+v, %v", c, err)
			}
			g, err := o.Issue(t.Context(), c, []Scope{Repository("team/app", Push)}, true)
			if err != nil || scopes(g.Scopes) != "repository:team/app:push" {
				t.Fatalf("got %+v, %v", g, err)
			}
			if _, err := o.Refresh(t.Context(), g.RefreshToken); err != nil {
				t.Fatal(err)
			}
			time.Sleep(24 * time.Hour)
		}
		// The one is no token of the other kind.
		if _, err := o.Token(t.Context(), alice.RefreshToken); !errors.Is(err, ErrCredentials) {
			t.Errorf("a refresh token for access: got %v", err)
		}
		if _, err := o.Refresh(t.Context(), o.grant("alice", "a secret", Repository("team/app", Push)).Token); !errors.Is(err, ErrCredentials) {
			t.Errorf("an access token for refresh: got %v", err)
		}
		fresh := o.grant("alice", "a secret")
		o.users("alice", "changed", "carol", "another")
		time.Sleep(lookEvery)
		for name, token := range map[string]string{"with the old password": fresh.RefreshToken, "of no user": bob.RefreshToken} {
			if c, err := o.Refresh(t.Context(), token); !errors.Is(err, ErrCredentials) || c.Known() {
				t.Errorf("refresh token %s: got %+v, %v", name, c, err)
			}
		}
		// Access tokens of who is no user end as well; those of a user with a new password live their five minutes.
		if _, err := o.Token(t.Context(), fresh.Token); err != nil {
			t.Errorf("access token from before the change: %v", err)
		}
		gone := o.grant("carol", "another")
		o.users("alice", "changed")
		time.Sleep(lookEvery)
		if _, err := o.Token(t.Context(), gone.Token); !errors.Is(err, ErrCredentials) {
			t.Errorf("access token of no user: got %v", err)
		}
		o.users("alice", "changed", "carol", "another") // the same password, hashed anew
		time.Sleep(lookEvery)
		if _, err := o.Refresh(t.Context(), gone.RefreshToken); !errors.Is(err, ErrCredentials) {
			t.Errorf("refresh token of who is a user again: got %v", err)
		}
		last := o.grant("alice", "changed")
		time.Sleep(refreshFor - time.Minute)
		if _, err := o.Refresh(t.Context(), last.RefreshToken); err != nil {
			t.Errorf("just before its end: %v", err)
		}
		time.Sleep(time.Minute + leeway + time.Second)
		if _, err := o.Refresh(t.Context(), last.RefreshToken); !errors.Is(err, ErrCredentials) {
			t.Errorf("after its end: got %v", err)
		}
	})
}

// A token allows nothing that the rules do not allow any more.
func TestRulesOutliveTokens(t *testing.T) {
	o := openOffice(t, nil)
	token := o.grant("alice", "a secret", Repository("team/app", Pull, Push)).Token
	o.cfg.Rules = o.cfg.Rules[1:]
	g := o.replica()
	c, err := g.Token(t.Context(), token)
	if err != nil || !c.May(Repository("team/app", Pull)) || c.May(Repository("team/app", Push)) {
		t.Errorf("got %+v, %v, want a client that may pull and not push", c, err)
	}
}

// TestReplicas: each server takes what another has given, from the first token on, and none asks the store too often.
func TestReplicas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := openOffice(t, nil)
		b, err := Open(t.Context(), a.cfg, a.keys, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		if len(a.keys.keys) != 1 {
			t.Errorf("got %d keys, want one for both", len(a.keys.keys))
		}
		given := make(map[string]time.Time)
		for range 60 { // days
			g := a.grant("alice", "a secret", Repository("team/app", Pull))
			if c, err := b.Token(t.Context(), g.Token); err != nil || !c.May(Repository("team/app", Pull)) {
				t.Fatalf("got %+v, %v", c, err)
			}
			given[g.RefreshToken] = time.Now()
			for token, at := range given {
				_, err := b.Refresh(t.Context(), token)
				switch age := time.Since(at); {
				case age <= refreshFor && err != nil:
					t.Fatalf("a refresh token of %v: %v", age, err)
				case age > refreshFor+leeway && err == nil:
					t.Fatalf("a refresh token of %v is good", age)
				}
			}
			time.Sleep(24 * time.Hour)
		}
		if n := len(a.keys.keys); n < 4 || n > 7 {
			t.Errorf("got %d keys after 60 days, want those of five weeks or so", n)
		}
		before := a.keys.asked
		stranger := newECDSA(t)
		for range 100 {
			token := stranger.sign(map[string]any{"kid": rand.Text()}, say(map[string]any{"iss": "parfait", "aud": "parfait"}))
			if _, err := b.Token(t.Context(), token); !errors.Is(err, ErrCredentials) {
				t.Fatalf("a foreign token: got %v", err)
			}
		}
		if n := a.keys.asked - before; n > 1 {
			t.Errorf("100 unknown keys at once: the store was asked %d times", n)
		}
	})
}

// TestStoreOfKeysFails: that a token cannot be checked is not the client's fault.
func TestStoreOfKeysFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := openOffice(t, nil)
		token := o.grant("alice", "a secret").Token
		ouch := errors.New("ouch")
		o.keys.breaks(ouch)
		if _, err := o.Token(t.Context(), token); err != nil {
			t.Errorf("a known key: %v", err)
		}
		time.Sleep(askAgain)
		stranger := newECDSA(t).sign(map[string]any{"kid": "x"}, say(nil))
		if _, err := o.Token(t.Context(), stranger); !errors.Is(err, ouch) || errors.Is(err, ErrCredentials) {
			t.Errorf("an unknown key: got %v", err)
		}
		time.Sleep(signsFor)
		if _, err := o.Issue(t.Context(), login(t, o.Guard, "alice", "a secret"), nil, false); !errors.Is(err, ouch) {
			t.Errorf("a new key: got %v", err)
		}
		if _, err := Open(t.Context(), o.cfg, o.keys, slog.New(slog.DiscardHandler)); !errors.Is(err, ouch) {
			t.Errorf("open: got %v", err)
		}
		o.keys.breaks(nil)
		if _, err := o.Issue(t.Context(), login(t, o.Guard, "alice", "a secret"), nil, false); err != nil {
			t.Errorf("afterwards: %v", err)
		}
		o.keys.keys["bad"] = []byte("no key")
		if _, err := Open(t.Context(), o.cfg, o.keys, slog.New(slog.DiscardHandler)); err == nil || strings.Contains(err.Error(), "no key") {
			t.Errorf("a bad key: got %v", err)
		}
	})
}

// TestForgedOwnTokens: what is taken of other servers is not taken here.
func TestForgedOwnTokens(t *testing.T) {
	o := openOffice(t, nil)
	good := o.grant("alice", "a secret", Repository("team/app", Pull, Push)).Token
	parts := strings.Split(good, ".")
	var header struct{ Kid string }
	data, err := base64.RawURLEncoding.DecodeString(parts[0])
	if err == nil {
		err = json.Unmarshal(data, &header)
	}
	if err != nil || header.Kid == "" {
		t.Fatalf("got header %s, %v", data, err)
	}
	s := newECDSA(t).certify(nil, time.Hour)
	claims := say(map[string]any{"iss": "parfait", "aud": "parfait", "sub": "root"})
	other := openOffice(t, nil).grant("root", "root secret", Repository("team/app", Pull)).Token
	for name, token := range map[string]string{
		"of another registry": other,
		"by a stranger":       s.sign(map[string]any{"kid": header.Kid}, claims),
		"jwk":                 s.sign(map[string]any{"jwk": s.jwk()}, claims),
		"jwk and kid":         s.sign(map[string]any{"jwk": s.jwk(), "kid": header.Kid}, claims),
		"x5c":                 s.sign(map[string]any{"x5c": s.chain(), "kid": header.Kid}, claims),
		"alg none":            segment(t, map[string]any{"alg": "none", "typ": "JWT", "kid": header.Kid}) + "." + segment(t, claims) + ".",
		"another payload":     parts[0] + "." + segment(t, claims) + "." + parts[2],
		"of the other kind":   segment(t, map[string]any{"alg": "ES256", "typ": "refresh+jwt", "kid": header.Kid}) + "." + parts[1] + "." + parts[2],
	} {
		if c, err := o.Token(t.Context(), token); !errors.Is(err, ErrCredentials) || c.Known() {
			t.Errorf("%s: got %+v, %v", name, c, err)
		}
		if c, err := o.Refresh(t.Context(), token); !errors.Is(err, ErrCredentials) || c.Known() {
			t.Errorf("%s, to refresh: got %+v, %v", name, c, err)
		}
	}
}

// TestKeyFile: the first key signs, all verify, and the store is not asked.
func TestKeyFile(t *testing.T) {
	var file []byte
	for i := range 2 {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		block := &pem.Block{Type: "EC PRIVATE KEY"}
		if block.Bytes, err = x509.MarshalECPrivateKey(key); i == 1 {
			block.Type = "PRIVATE KEY"
			block.Bytes, err = x509.MarshalPKCS8PrivateKey(key)
		}
		if err != nil {
			t.Fatal(err)
		}
		file = append(file, pem.EncodeToMemory(block)...)
	}
	second, rest := pem.Decode(file)
	old := pem.EncodeToMemory(second)
	o := openOffice(t, func(cfg *Config) { cfg.TokensKeyFile = write(t, "key.pem", old) })
	token := o.grant("alice", "a secret").Token
	o.cfg.TokensKeyFile = write(t, "key.pem", append(append([]byte("-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"), rest...), old...))
	g := o.replica()
	if _, err := g.Token(t.Context(), token); err != nil {
		t.Errorf("a token of the key before: %v", err)
	}
	fresh, err := g.Issue(t.Context(), login(t, g, "alice", "a secret"), nil, false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := o.Token(t.Context(), fresh.Token); !errors.Is(err, ErrCredentials) {
		t.Errorf("a token of a key that is not in the file: got %v", err)
	}
	if o.keys.asked > 0 || len(o.keys.keys) > 0 {
		t.Error("the store was asked")
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsaDER, err := x509.MarshalPKCS8PrivateKey(rsaKey)
	if err != nil {
		t.Fatal(err)
	}
	p384DER, err := x509.MarshalECPrivateKey(p384)
	if err != nil {
		t.Fatal(err)
	}
	for want, file := range map[string][]byte{
		"has no private key": []byte("nothing"),
		"that is no private": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("x")}),
		"*rsa.PrivateKey":    pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: rsaDER}),
		"the curve P-384":    pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: p384DER}),
	} {
		o.cfg.TokensKeyFile = write(t, "key.pem", file)
		_, err := Open(t.Context(), o.cfg, o.keys, slog.New(slog.DiscardHandler))
		if err == nil || !strings.HasPrefix(err.Error(), "auth_tokens_keyfile: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	o.cfg.TokensKeyFile = "/nowhere"
	if _, err := Open(t.Context(), o.cfg, o.keys, slog.New(slog.DiscardHandler)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want that there is no file", err)
	}
}

// TestPublishedKeys: whoever has them can verify tokens, and nobody can sign.
func TestPublishedKeys(t *testing.T) {
	o := openOffice(t, func(cfg *Config) { cfg.TokenIssuer, cfg.TokenService = tokenIssuer, tokenService })
	data, err := o.JWKS()
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(data), `"d"`) || !strings.Contains(string(data), `"use":"sig"`) {
		t.Errorf("got %s", data)
	}
	other, err := Open(t.Context(), Config{Auth: "token", TokenRealm: "r", TokenService: tokenService, TokenIssuer: tokenIssuer, TokenJWKS: write(t, "jwks.json", data)}, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	c, err := other.Token(t.Context(), o.grant("alice", "a secret", Repository("team/app", Pull)).Token)
	if err != nil || !c.May(Repository("team/app", Pull)) {
		t.Errorf("elsewhere: got %+v, %v", c, err)
	}
	if _, err := other.Token(t.Context(), o.grant("alice", "a secret").RefreshToken); !errors.Is(err, ErrCredentials) {
		t.Errorf("a refresh token elsewhere: got %v", err)
	}
}

func BenchmarkToken(b *testing.B) {
	path := filepath.Join(b.TempDir(), "htpasswd")
	if err := os.WriteFile(path, []byte(hashed(b, "alice", "a secret")), 0o600); err != nil {
		b.Fatal(err)
	}
	g, err := Open(b.Context(), Config{HtpasswdPath: path, Tokens: true}, new(drawer), slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	c, err := g.Login(b.Context(), "alice", "a secret")
	if err != nil {
		b.Fatal(err)
	}
	grant, err := g.Issue(b.Context(), c, []Scope{Repository("team/app", Pull)}, false)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("issue", func(b *testing.B) {
		for b.Loop() {
			if _, err := g.Issue(b.Context(), c, []Scope{Repository("team/app", Pull)}, false); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("again", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := g.Token(b.Context(), grant.Token); err != nil {
				b.Fatal(err)
			}
		}
	})
}
