package server

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/parfait-registry/parfait/access"
	"github.com/parfait-registry/parfait/drivers/mem"
)

// A notary signs tokens as another server would, or, as its own, the registry.
type notary struct {
	t           testing.TB
	key         *ecdsa.PrivateKey
	issuer, kid string
}

func newNotary(t testing.TB) notary {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return notary{t, key, "notary.example.com", "notary"}
}

// jwks writes the file of its public key.
func (n notary) jwks() string {
	n.t.Helper()
	data, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: n.key.Public(), KeyID: "notary"}}})
	if err != nil {
		n.t.Fatal(err)
	}
	path := filepath.Join(n.t.TempDir(), "jwks.json")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		n.t.Fatal(err)
	}
	return path
}

// token signs one that is good until an end.
func (n notary) token(subject, audience string, end time.Time, scopes ...access.Scope) []string {
	n.t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: crypto.Signer(n.key), KeyID: n.kid}}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		n.t.Fatal(err)
	}
	raw, err := jwt.Signed(signer).Claims(jwt.Claims{
		Issuer: n.issuer, Audience: jwt.Audience{audience}, Subject: subject, Expiry: jwt.NewNumericDate(end),
	}).Claims(map[string]any{"access": scopes}).Serialize()
	if err != nil {
		n.t.Fatal(err)
	}
	return []string{"Authorization", "Bearer " + raw}
}

const audience = "registry.example.com"

// entrust takes the tokens of a notary from now on.
func (h *house) entrust(n notary, change func(*access.Config)) {
	h.t.Helper()
	cfg := access.Config{Auth: "token", TokenRealm: "https://auth.example.com/token", TokenService: audience, TokenIssuer: "notary.example.com", TokenJWKS: n.jwks()}
	if change != nil {
		change(&cfg)
	}
	guard, err := access.Open(h.t.Context(), cfg, nil, h.log.logger())
	if err != nil {
		h.t.Fatal(err)
	}
	h.server = New(h.server.cfg, h.server.reg, guard, h.server.log)
	h.web = httptest.NewServer(h.server)
	h.t.Cleanup(h.web.Close)
}

// bearerChallenge is that of entrust.
func bearerChallenge(s scope, repo, fault string) string {
	challenge := `Bearer realm="https://auth.example.com/token",service="` + audience + `"`
	if scope := map[scope]string{
		scopePull: "repository:" + repo + ":pull", scopePush: "repository:" + repo + ":pull,push", scopeDelete: "repository:" + repo + ":delete",
		scopeCatalog: "registry:catalog:*", scopeSearch: "registry:catalog:search",
		scopeMetrics: "registry:metrics:*",
	}[s]; scope != "" {
		challenge += `,scope="` + scope + `"`
	}
	if fault != "" {
		challenge += `,error="` + fault + `"`
	}
	return challenge
}

// everywhere are the scopes of some actions in places.
func everywhere(actions []access.Action, places ...string) (scopes []access.Scope) {
	for _, place := range places {
		scopes = append(scopes, access.Repository(place+"/app", actions...), access.Repository(place+"/not", actions...))
	}
	return scopes
}

// TestTokenMatrix has visitors with tokens of another server, which says alone what they may do: always 401, never 403,
// since another token may allow more.
func TestTokenMatrix(t *testing.T) {
	m, n, stranger := newMatrix(t), newNotary(t), newNotary(t)
	m.entrust(n, nil)
	m.challenge = bearerChallenge
	pull, push, all := []access.Action{access.Pull}, []access.Action{access.Pull, access.Push}, []access.Action{access.Pull, access.Push, access.Delete}
	soon, past := time.Now().Add(time.Hour), time.Now().Add(-time.Hour)
	alice := append(everywhere(all, "alice"), everywhere(pull, "shared", "public")...)
	may := map[string]string{"alice": "pull push delete", "shared": "pull", "public": "pull"}
	for _, who := range []visitor{
		{name: "nobody"},
		{name: "empty credentials", header: []string{"Authorization", basic("", "")}},
		{name: "a token", header: n.token("alice", audience, soon, alice...), token: true, may: may},
		{name: "a token for pushes", header: n.token("alice", audience, soon, everywhere(push, "alice")...), token: true, may: map[string]string{"alice": "pull push"}},
		{name: "a token for push without pull", header: n.token("alice", audience, soon, everywhere(push[1:], "alice")...), token: true},
		{name: "a token for deletes", header: n.token("alice", audience, soon, everywhere(all[2:], "alice")...), token: true, may: map[string]string{"alice": "delete"}},
		{name: "a token for everything there", header: n.token("alice", audience, soon, everywhere([]access.Action{"*"}, "alice")...), token: true,
			may: map[string]string{"alice": "pull push delete"}},
		{name: "a token for lists", header: n.token("", audience, soon, access.List()), token: true, lists: true},
		{name: "a token for metrics", header: n.token("", audience, soon, access.ReadMetrics()), token: true, reads: true},
		{name: "a token for nothing", header: n.token("root", audience, soon), token: true},
		{name: "a token for something else", header: n.token("alice", audience, soon, access.Scope{Type: "registry", Name: "alice/app", Actions: []string{"pull"}}), token: true},
		{name: "expired token", header: n.token("alice", audience, past, alice...), wrong: true},
		{name: "foreign token", header: stranger.token("alice", audience, soon, alice...), wrong: true},
		{name: "token for another service", header: n.token("alice", "other.example.com", soon, alice...), wrong: true},
		{name: "no token", header: []string{"Authorization", "bearer abc"}, wrong: true},
		{name: "a password", header: as("alice"), wrong: true},
		{name: "two tokens", header: append(n.token("alice", audience, soon, alice...), n.token("alice", audience, soon)...), wrong: true},
	} {
		m.visit(t, who)
	}
}

// TestTokenRealmByHost is registry:2's autoredirect.
func TestTokenRealmByHost(t *testing.T) {
	for host, want := range map[string]string{
		"":                        "https://HOST/auth/token",
		"https://r.example.com/":  "https://r.example.com/auth/token",
		"http://r.example.com:81": "http://r.example.com:81/auth/token",
		"r.example.com":           "https://r.example.com/auth/token",
	} {
		h := open(t, mem.New(), Config{HTTPHost: host})
		h.entrust(newNotary(t), func(cfg *access.Config) { cfg.TokenAutoRedirect = true })
		want = strings.ReplaceAll(want, "HOST", strings.TrimPrefix(h.web.URL, "http://"))
		a := h.want(401, "GET", "/v2/", nil)
		if got := a.header.Get("WWW-Authenticate"); got != `Bearer realm="`+want+`",service="`+audience+`"` {
			t.Errorf("http_host %q: got %s, want %s", host, got, want)
		}
	}
}

// TestChallengesOfOddNames: what cannot be a name does not get into a header.
func TestChallengesOfOddNames(t *testing.T) {
	h := open(t, mem.New(), Config{})
	h.entrust(newNotary(t), nil)
	for name, scoped := range map[string]bool{
		"a/b": true, `a",realm="http:%2F%2Fevil`: false, "a%22": true, "a b": false, "a\\b": false, "ä": false, "a%0d%0aX-Evil:1": true, "A": true,
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.URL.Path = "/v2/" + name + "/tags/list"
		w := httptest.NewRecorder()
		h.server.ServeHTTP(w, r)
		got := w.Header().Get("WWW-Authenticate")
		want := bearerChallenge(scopePull, name, "")
		if !scoped {
			want = bearerChallenge(scopeBase, "", "")
		}
		if w.Code != 401 || got != want {
			t.Errorf("%q: got %d, %s, want %s", name, w.Code, got, want)
		}
	}
}

// TestMountWithTokens: a token is for what it says, whatever else its user might do.
func TestMountWithTokens(t *testing.T) {
	h, n := open(t, mem.New(), Config{}), newNotary(t)
	blob := h.pushBlob("from", "a blob").Digest.String()
	h.entrust(n, nil)
	soon := time.Now().Add(time.Hour)
	to, from := access.Repository("to", access.Pull, access.Push), access.Repository("from", access.Pull)
	for _, tt := range []struct {
		query  string
		scopes []access.Scope
		status int
	}{
		{"mount=" + blob + "&from=from", []access.Scope{to}, 202},
		{"mount=" + blob, []access.Scope{to}, 202},
		{"mount=" + blob, []access.Scope{to, access.List()}, 202},
		{"mount=" + blob + "&from=from", []access.Scope{to, from}, 201},
		{"mount=" + blob, []access.Scope{from, to}, 201},
		{"mount=" + blob + "&from=from", []access.Scope{from}, 401},
	} {
		h.want(tt.status, "POST", "/v2/to/blobs/uploads/?"+tt.query, nil, n.token("alice", audience, soon, tt.scopes...)...)
	}
}

// TestPageWithTokens: there is no password to ask for.
func TestPageWithTokens(t *testing.T) {
	h, n := open(t, mem.New(), Config{}), newNotary(t)
	repositories(h, 1)
	h.entrust(n, nil)
	if a := h.want(200, "GET", "/", nil, "Accept", "text/html"); strings.Contains(a.body, "r/000") || a.header.Get("WWW-Authenticate") != "" {
		t.Errorf("got %v %s, want a page without the list", a.header, a.body)
	}
	a := h.want(200, "GET", "/", nil, append(n.token("", audience, time.Now().Add(time.Hour), access.List()), "Accept", "text/html")...)
	if !strings.Contains(a.body, "r/000") {
		t.Errorf("got %s, want the list", a.body)
	}
}
