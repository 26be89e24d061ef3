package access

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestConfig(t *testing.T) {
	rules := []Rule{{Repositories: []string{"**"}, Users: []string{"*"}, Actions: []string{"pull"}}}
	for _, tt := range []struct {
		cfg  Config
		want string // in the error; empty if there is none
	}{
		{Config{}, ""},
		{Config{Auth: "none"}, ""},
		{Config{Auth: "none", HtpasswdPath: "f"}, ""},
		{Config{Auth: "htpasswd", HtpasswdPath: "f"}, ""},
		{Config{Auth: "HTPASSWD", HtpasswdPath: "f", HtpasswdRealm: "Registry Realm", Rules: rules}, ""},
		{Config{HtpasswdPath: "f", Rules: rules, Admins: []string{"root"}, Groups: map[string][]string{"g": {"a"}}}, ""},
		{Config{Auth: "htpasswd"}, "auth_htpasswd_path"},
		{Config{Auth: "silly"}, `"silly" is none of`},
		{Config{Auth: "htpasswd", HtpasswdPath: "f", HtpasswdRealm: `a "realm"`}, "auth_htpasswd_realm: "},
		{Config{Auth: "htpasswd", HtpasswdPath: "f", HtpasswdRealm: "a\r\nX-Evil: 1"}, "auth_htpasswd_realm: "},
		{Config{Auth: "htpasswd", HtpasswdPath: "f", Rules: []Rule{{}}}, "rule 1: it names neither"},
		{Config{Auth: "htpasswd", HtpasswdPath: "f", Tokens: true, TokensKeyFile: "k", TokenService: "s"}, ""},
		{Config{HtpasswdPath: "f", TokensKeyFile: "k"}, "unless auth_tokens is true"},
		{Config{HtpasswdPath: "f", Tokens: true, TokenService: `a"b`}, "auth_token_service: "},
		{Config{HtpasswdPath: "f", TokenJWKS: "j"}, "takes no tokens of another server"},
		{Config{Auth: "htpasswd", HtpasswdPath: "f", TokenRootCertBundle: "b"}, "takes no tokens of another server"},
		{Config{Tokens: true}, "auth_tokens: tokens are given to users of auth: htpasswd"},
		{Config{Auth: "none", HtpasswdPath: "f", TokensKeyFile: "k"}, "auth is none"},
		{Config{Auth: "token", Tokens: true}, "auth is token"},
		{Config{Rules: rules}, "auth is none"},
		{Config{Auth: "none", HtpasswdPath: "f", Rules: []Rule{}}, "auth is none"},
		{Config{Admins: []string{"root"}}, "auth is none"},
	} {
		err := tt.cfg.Check()
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%+v: got %v, want %q", tt.cfg, err, tt.want)
		}
	}
}

// openGuard returns a guard with the users alice, whose password is "a secret", and root, whose is "root secret".
func openGuard(t *testing.T, cfg Config) *Guard {
	t.Helper()
	cfg.Auth, cfg.HtpasswdPath = "htpasswd", filepath.Join(t.TempDir(), "htpasswd")
	text := hashed(t, "alice", "a secret") + hashed(t, "root", "root secret")
	if err := os.WriteFile(cfg.HtpasswdPath, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	g, err := Open(t.Context(), cfg, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func login(t *testing.T, g *Guard, user, password string) Client {
	t.Helper()
	c, err := g.Login(t.Context(), user, password)
	if err != nil {
		t.Fatal(err)
	}
	if c.User() != user || !c.Known() || c.HasToken() {
		t.Errorf("got %+v, want %s", c, user)
	}
	return c
}

func TestGuard(t *testing.T) {
	g := openGuard(t, Config{Admins: []string{"root"}, Rules: []Rule{
		{Repositories: []string{"team/**"}, Users: []string{"alice"}, Actions: []string{"push"}},
		{Repositories: []string{"public/**"}, Users: []string{"anonymous"}, Actions: []string{"pull"}},
	}})
	if _, err := g.Login(t.Context(), "alice", "guessed"); !errors.Is(err, ErrCredentials) {
		t.Errorf("got %v, want ErrCredentials", err)
	}
	alice, root, nobody := login(t, g, "alice", "a secret"), login(t, g, "root", "root secret"), g.Anonymous()
	if nobody.Known() || nobody.User() != "" {
		t.Errorf("got %+v, want nobody", nobody)
	}
	for name, want := range map[string]string{ // who may pull
		"team/app": "alice root", "public/app": "alice root nobody", "vault": "root",
	} {
		for who, c := range map[string]Client{"alice": alice, "root": root, "nobody": nobody} {
			want := strings.Contains(want, who)
			if got := c.May(Repository(name, Pull)); got != want {
				t.Errorf("%s pulls %s: got %v", who, name, got)
			}
			pulls, sees := c.Pulls(), c.Sees()
			if (pulls == nil || pulls(name)) != want || (sees == nil || sees(name)) != want {
				t.Errorf("%s in the lists of %s: want %v", name, who, want)
			}
		}
	}
	if root.Pulls() != nil || root.Sees() != nil {
		t.Error("an admin is shown part of the lists")
	}
	if !alice.May(List()) || nobody.May(List()) {
		t.Error("users may list, and nobody else")
	}
	var zero Client
	if zero.Known() || zero.May(Repository("public/app", Pull)) || zero.May(List()) || zero.Sees()("public/app") || zero.Pulls()("public/app") {
		t.Error("the zero Client may do something")
	}
}

func TestGuardOfNothing(t *testing.T) {
	g, err := Open(t.Context(), Config{}, nil, slog.New(slog.DiscardHandler))
	if g != nil || err != nil {
		t.Fatalf("got %v, %v, want no guard", g, err)
	}
	c := g.Anonymous()
	if !c.Known() || !c.May(Repository("a", Pull, Push, Delete)) || !c.May(List()) || c.Pulls() != nil || c.Sees() != nil {
		t.Error("without a guard, somebody may not do everything")
	}
	_, err = Open(t.Context(), Config{Auth: "htpasswd", HtpasswdPath: "/nowhere"}, nil, slog.New(slog.DiscardHandler))
	if err == nil || !strings.HasPrefix(err.Error(), "auth_htpasswd_path: ") || strings.Contains(err.Error(), "\n") {
		t.Errorf("got %v, want one line that names the key", err)
	}
}

func BenchmarkLogin(b *testing.B) {
	path := filepath.Join(b.TempDir(), "htpasswd")
	if err := os.WriteFile(path, []byte(hashed(b, "alice", "a secret")), 0o600); err != nil {
		b.Fatal(err)
	}
	g, err := Open(b.Context(), Config{HtpasswdPath: path}, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := g.Login(b.Context(), "alice", "a secret"); err != nil {
			b.Fatal(err)
		}
	}
}
