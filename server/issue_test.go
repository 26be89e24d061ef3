package server

import (
	"crypto"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/parfait-registry/parfait/access"
	"github.com/parfait-registry/parfait/drivers/mem"
)

// issuing are the rules of most tests, with tokens.
func issuing() access.Config {
	cfg := rules()
	cfg.Tokens = true
	return cfg
}

// A given token is what /token answers.
type given struct {
	Token        string    `json:"token"`
	AccessToken  string    `json:"access_token"`
	TokenType    string    `json:"token_type"`
	ExpiresIn    int       `json:"expires_in"`
	IssuedAt     time.Time `json:"issued_at"`
	Scope        string    `json:"scope"`
	RefreshToken string    `json:"refresh_token"`
}

// header is that of a request with the token.
func (g given) header() []string { return []string{"Authorization", "Bearer " + g.Token} }

func (h *house) given(a answer) given {
	h.t.Helper()
	var g given
	if err := json.Unmarshal([]byte(a.body), &g); err != nil {
		h.t.Fatal(err)
	}
	if g.Token == "" || g.Token != g.AccessToken || g.TokenType != "Bearer" || g.ExpiresIn != 300 || time.Since(g.IssuedAt) > time.Minute || a.header.Get("Cache-Control") != "no-store" {
		h.t.Errorf("got %s", a.body)
	}
	return g
}

// get asks for a token as docker does.
func (h *house) get(user, query string) given {
	h.t.Helper()
	return h.given(h.want(200, "GET", "/token?"+query, nil, as(user)...))
}

// form asks for a token as containerd does.
func (h *house) form(status int, pairs ...string) answer {
	h.t.Helper()
	form := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		form.Add(pairs[i], pairs[i+1])
	}
	return h.want(status, "POST", "/token", strings.NewReader(form.Encode()), "Content-Type", "application/x-www-form-urlencoded")
}

func TestTokensByGet(t *testing.T) {
	h := open(t, mem.New(), Config{})
	h.lock(issuing(), "alice", "bob", "root")
	for _, tt := range []struct{ user, query, scope string }{
		{"alice", "service=parfait&scope=repository:alice/app:pull,push", "repository:alice/app:pull,push"},
		{"alice", "scope=repository:alice/app:pull&scope=repository:shared/app:pull,push&client_id=x&account=alice", "repository:alice/app:pull repository:shared/app:pull"},
		{"alice", "scope=repository:alice/app:*+repository:secret/app:pull", "repository:alice/app:pull,push,delete"},
		{"alice", "scope=registry:catalog:*", "registry:catalog:*"},
		{"alice", "scope=registry::pull&scope=&scope=nonsense", ""},
		{"alice", "", ""},
		{"bob", "scope=repository:alice/app:pull", ""},
		{"", "scope=repository:public/app:pull,push", "repository:public/app:pull"},
	} {
		g := h.get(tt.user, tt.query)
		if g.Scope != tt.scope || g.RefreshToken != "" {
			t.Errorf("%q, %s: got %+v, want scope %s", tt.user, tt.query, g, tt.scope)
		}
		h.want(200, "GET", "/v2/", nil, g.header()...)
		if lists := tt.scope == "registry:catalog:*"; lists {
			h.want(200, "GET", "/v2/_catalog", nil, g.header()...)
		} else {
			h.want(401, "GET", "/v2/_catalog", nil, g.header()...)
		}
	}
	g := h.get("alice", "offline_token=true")
	if g.RefreshToken == "" {
		t.Errorf("got %+v, want a refresh token", g)
	}
	if g := h.get("", "offline_token=true"); g.RefreshToken != "" {
		t.Errorf("got %+v, want no refresh token for nobody", g)
	}
	for name, header := range map[string][]string{
		"wrong password":  {"Authorization", basic("alice", "guessed")},
		"unknown user":    {"Authorization", basic("eve", "guessed")},
		"a token":         g.header(),
		"a refresh token": {"Authorization", "Bearer " + g.RefreshToken},
	} {
		a := h.want(401, "GET", "/token", nil, header...)
		if a.header.Get("WWW-Authenticate") != `Basic realm="`+realm+`"` || strings.Join(a.codes(), "") != "UNAUTHORIZED" {
			t.Errorf("%s: got %v, %s", name, a.header, a.body)
		}
	}
	if a := h.want(400, "GET", "/token?service=other", nil, as("alice")...); !strings.Contains(a.body, `"error":"invalid_request"`) {
		t.Errorf("another service: got %s", a.body)
	}
	closed := open(t, mem.New(), Config{})
	closed.lock(access.Config{Tokens: true}, "alice")
	closed.want(401, "GET", "/token", nil)
	closed.get("alice", "")
}

func TestTokensByPost(t *testing.T) {
	h := open(t, mem.New(), Config{})
	h.lock(issuing(), "alice", "bob")
	password := []string{"grant_type", "password", "client_id", "containerd-client", "username", "alice", "password", "alice's secret"}
	g := h.given(h.form(200, append(password, "service", "parfait", "scope", "repository:alice/app:pull,push repository:shared/app:pull")...))
	if g.Scope != "repository:alice/app:pull,push repository:shared/app:pull" || g.RefreshToken != "" {
		t.Errorf("got %+v", g)
	}
	h.want(202, "POST", "/v2/alice/app/blobs/uploads/", nil, g.header()...)
	h.want(401, "POST", "/v2/shared/app/blobs/uploads/", nil, g.header()...)
	g = h.given(h.form(200, append(password, "access_type", "offline")...))
	for _, access := range []string{"online", "offline"} {
		again := h.given(h.form(200, "grant_type", "refresh_token", "refresh_token", g.RefreshToken, "scope", "repository:alice/app:push", "access_type", access))
		if again.Scope != "repository:alice/app:push" || (again.RefreshToken == g.RefreshToken) != (access == "offline") {
			t.Errorf("%s: got %+v", access, again)
		}
		h.want(200, "GET", "/v2/", nil, again.header()...)
	}
	for name, tt := range map[string]struct {
		status int
		form   []string
		code   string
	}{
		"wrong password":          {401, []string{"grant_type", "password", "username", "alice", "password", "guessed"}, "invalid_grant"},
		"no password":             {401, []string{"grant_type", "password"}, "invalid_grant"},
		"no refresh token":        {401, []string{"grant_type", "refresh_token"}, "invalid_grant"},
		"an access token":         {401, []string{"grant_type", "refresh_token", "refresh_token", g.Token}, "invalid_grant"},
		"another grant":           {400, []string{"grant_type", "client_credentials"}, "unsupported_grant_type"},
		"nothing":                 {400, nil, "unsupported_grant_type"},
		"another service":         {400, append(slices.Clone(password), "service", "other"), "invalid_request"},
		"a form that is too long": {400, append(slices.Clone(password), "scope", strings.Repeat("x", maxTokenForm)), "invalid_request"},
	} {
		a := h.form(tt.status, tt.form...)
		var body struct {
			Error, ErrorDescription string
		}
		if err := json.Unmarshal([]byte(a.body), &body); err != nil || body.Error != tt.code || len(a.codes()) != 1 || a.header.Get("Cache-Control") != "no-store" || strings.Contains(a.body, "guessed") {
			t.Errorf("%s: got %v, %s", name, a.header, a.body)
		}
	}
	long := slices.Clone(password)
	for i := range 200 {
		long = append(long, "scope", "repository:alice/"+strings.Repeat("x", i)+"y:pull,push,delete")
	}
	if a := h.form(400, long...); !strings.Contains(a.body, "invalid_scope") {
		t.Errorf("a token that is too long: got %s", a.body)
	}
	h.want(400, "POST", "/token", strings.NewReader(`{"grant_type":"password"}`), "Content-Type", "application/json")
	h.want(405, "PUT", "/token", nil)
}

// TestIssuerChallenge names the place where tokens are had.
func TestIssuerChallenge(t *testing.T) {
	for host, want := range map[string]string{"": "http://HOST/token", "https://r.example.com": "https://r.example.com/token"} {
		h := open(t, mem.New(), Config{HTTPHost: host, HTTPRelativeURLs: true})
		h.lock(issuing(), "alice")
		want = `Bearer realm="` + strings.ReplaceAll(want, "HOST", strings.TrimPrefix(h.web.URL, "http://")) + `",service="parfait"`
		if got := h.want(401, "GET", "/v2/", nil).header.Get("WWW-Authenticate"); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		if got := h.want(401, "GET", "/", nil, "Accept", "text/html").header.Get("WWW-Authenticate"); got != `Basic realm="`+realm+`"` {
			t.Errorf("a browser: got %s", got)
		}
	}
	h := open(t, mem.New(), Config{})
	cfg := issuing()
	cfg.TokenRealm, cfg.TokenService = "https://r.example.com/auth", audience
	h.lock(cfg, "alice")
	if got, want := h.want(401, "GET", "/v2/", nil).header.Get("WWW-Authenticate"), `Bearer realm="https://r.example.com/auth",service="`+audience+`"`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestJWKS(t *testing.T) {
	h := open(t, mem.New(), Config{})
	h.want(404, "GET", "/token/jwks.json", nil)
	h.want(404, "GET", "/token", nil)
	h.lock(issuing(), "alice")
	a := h.want(200, "GET", "/token/jwks.json", nil)
	var set jose.JSONWebKeySet
	if err := json.Unmarshal([]byte(a.body), &set); err != nil || len(set.Keys) != 1 || !set.Keys[0].IsPublic() || a.header.Get("Content-Type") != "application/jwk-set+json" {
		t.Errorf("got %v %s, %v", a.header, a.body, err)
	}
	h.server.Drain()
	h.want(200, "GET", "/token", nil, as("alice")...) // for what is to be finished
}

// TestIssuedTokenMatrix has visitors with tokens that the registry has given, or is said to have given.
func TestIssuedTokenMatrix(t *testing.T) {
	m, n, stranger := newMatrix(t), newNotary(t), newNotary(t)
	der, err := x509.MarshalECPrivateKey(n.key)
	if err != nil {
		t.Fatal(err)
	}
	cfg := issuing()
	cfg.TokenService, cfg.TokenIssuer, cfg.TokenRealm = audience, "parfait", "https://auth.example.com/token"
	cfg.TokensKeyFile = filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(cfg.TokensKeyFile, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	sum, err := (&jose.JSONWebKey{Key: n.key.Public()}).Thumbprint(crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	n.issuer, n.kid = "parfait", base64.RawURLEncoding.EncodeToString(sum)
	stranger.issuer, stranger.kid = n.issuer, n.kid
	m.lock(cfg, "alice", "bob", "root")
	m.challenge = bearerChallenge

	all := []access.Action{access.Pull, access.Push, access.Delete}
	soon, past := time.Now().Add(time.Hour), time.Now().Add(-time.Hour)
	ask := func(user string, scopes ...access.Scope) []string {
		query := url.Values{}
		for _, s := range scopes {
			query.Add("scope", s.String())
		}
		return m.get(user, query.Encode()).header()
	}
	everything := append(everywhere(all, "alice", "shared", "public", "secret"), access.List(), access.ReadMetrics())
	for _, who := range []visitor{
		{name: "nobody", may: map[string]string{"public": "pull"}},
		{name: "nobody with a token", header: ask("", everything...), token: true, may: map[string]string{"public": "pull"}},
		{name: "nobody with a token for nothing", header: ask(""), token: true},
		{name: "alice", header: ask("alice", everything...), token: true, lists: true,
			may: map[string]string{"alice": "pull push delete", "shared": "pull", "public": "pull"}},
		{name: "alice with a token for one place", header: ask("alice", everywhere(all[:1], "alice")...), token: true, may: map[string]string{"alice": "pull"}},
		{name: "bob", header: ask("bob", everything...), token: true, lists: true, may: map[string]string{"shared": "pull", "public": "pull"}},
		{name: "root", header: ask("root", everything...), token: true, lists: true, reads: true, may: map[string]string{
			"alice": "pull push delete", "shared": "pull push delete", "public": "pull push delete", "secret": "pull push delete"}},
		{name: "alice with her password", header: as("alice"), user: true, lists: true,
			may: map[string]string{"alice": "pull push delete", "shared": "pull", "public": "pull"}},
		{name: "wrong password", header: []string{"Authorization", basic("alice", "guessed")}, wrong: true},
		{name: "a token with more than the rules", header: n.token("bob", audience, soon, everything...), token: true, lists: true,
			may: map[string]string{"shared": "pull", "public": "pull"}},
		{name: "expired token", header: n.token("alice", audience, past, everything...), wrong: true},
		{name: "foreign token", header: stranger.token("root", audience, soon, everything...), wrong: true},
		{name: "token of no user", header: n.token("eve", audience, soon, everything...), wrong: true},
		{name: "refresh token", header: []string{"Authorization", "Bearer " + m.get("alice", "offline_token=true").RefreshToken}, wrong: true},
	} {
		m.visit(t, who)
	}
}

// TestListsWithTokens: the list is of what its user may pull, whatever else the token is for.
func TestListsWithTokens(t *testing.T) {
	h := open(t, mem.New(), Config{})
	for _, repo := range []string{"alice/app", "secret/app", "shared/app"} {
		h.pushImage(repo, "v1", "layer")
	}
	h.lock(issuing(), "alice", "root")
	if got, want := h.followCatalog(1, h.get("alice", "scope=registry:catalog:*").header()...), []string{"alice/app", "shared/app"}; !slices.Equal(got, want) {
		t.Errorf("alice: got %q, want %q", got, want)
	}
	if got := h.followCatalog(5, h.get("root", "scope=registry:catalog:*").header()...); len(got) != 3 {
		t.Errorf("root: got %q", got)
	}
}
