// Package access says who may do what in a registry: it checks passwords against an htpasswd file, reads and issues
// tokens, and applies the rules of the configuration. It knows nothing of HTTP, nor of what a registry stores.
//
// [Open] a [Guard]. It makes a [Client] of the credentials that a request brings along, and the client is asked whether
// it may do what the request wants: [Client.May]. Whatever no rule allows is forbidden.
package access

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
)

// ErrCredentials says that credentials prove nothing: an unknown user, a wrong password, a token that is none. What it
// is wrapped in tells which; that is for the log alone.
var ErrCredentials = errors.New("the credentials are wrong")

// A Guard tells clients apart. It is safe for concurrent use. A nil Guard asks nobody, and lets everybody do
// everything.
type Guard struct {
	realm     string     // of passwords
	passwords *passwords // nil if those of another server are asked for
	policy    *policy    // nil if tokens say it all
	tokens    *verifier  // nil if there are none
	challenge *Challenge // nil if passwords are asked for
}

// A Challenge is where a client gets a token.
type Challenge struct {
	Realm   string // a URL; or, as URLPath, a path on the host that the client asks for, by https
	Service string // what it asks for there
	URLPath string
}

// Open returns the guard that cfg wants, nil for none. The error is for the operator.
func Open(cfg Config, log *slog.Logger) (*Guard, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	switch cfg.auth() {
	case authHtpasswd:
		return openHtpasswd(cfg, log)
	case authToken:
		return openToken(cfg)
	}
	return nil, nil
}

func openHtpasswd(cfg Config, log *slog.Logger) (*Guard, error) {
	policy, err := newPolicy(cfg)
	if err != nil {
		return nil, err
	}
	passwords, err := openPasswords(cfg.HtpasswdPath, log)
	if err != nil {
		return nil, fmt.Errorf("auth_htpasswd_path: %w", err)
	}
	return &Guard{realm: cmp.Or(cfg.HtpasswdRealm, "Registry"), passwords: passwords, policy: policy}, nil
}

func openToken(cfg Config) (*Guard, error) {
	algorithms, err := algorithms(cfg.TokenSigningAlgorithms)
	if err != nil {
		return nil, err
	}
	trust, err := readTrust(cfg.TokenRootCertBundle, cfg.TokenJWKS)
	if err != nil {
		return nil, err
	}
	tokens, err := newVerifier(cfg.TokenIssuer, cfg.TokenService, algorithms, trust.key)
	if err != nil {
		return nil, err
	}
	challenge := &Challenge{Realm: cfg.TokenRealm, Service: cfg.TokenService}
	if cfg.TokenAutoRedirect {
		challenge.URLPath = cmp.Or(cfg.TokenAutoRedirectPath, "/auth/token")
	}
	return &Guard{tokens: tokens, challenge: challenge}, nil
}

// Realm is what clients tell the person they ask for a password. ok is false if a password is of no use here.
func (g *Guard) Realm() (realm string, ok bool) {
	if g == nil || g.passwords == nil {
		return "", false
	}
	return g.realm, true
}

// Challenge returns where a client gets a token, or nil if it is to show a password.
func (g *Guard) Challenge() *Challenge { return g.challenge }

// Anonymous returns the client that shows no credentials.
func (g *Guard) Anonymous() Client {
	if g == nil {
		return Client{free: true}
	}
	return Client{policy: g.policy}
}

// Login returns the client that knows a user's password. The error wraps ErrCredentials if it is the wrong one, and is
// another one if ctx ended.
func (g *Guard) Login(ctx context.Context, user, password string) (Client, error) {
	if g.passwords == nil {
		return Client{}, fmt.Errorf("a password, where a token is asked for: %w", ErrCredentials)
	}
	if err := g.passwords.check(ctx, user, password); err != nil {
		return Client{}, err
	}
	return Client{user: user, policy: g.policy}, nil
}

// Token returns the client that a token is of. The error wraps ErrCredentials.
func (g *Guard) Token(_ context.Context, raw string) (Client, error) {
	if g.tokens == nil {
		return Client{}, fmt.Errorf("a token, where a password is asked for: %w", ErrCredentials)
	}
	c, err := g.tokens.verify(raw)
	if err != nil {
		return Client{}, err
	}
	return Client{user: c.Subject, policy: g.policy, token: append(grants{}, c.Access...)}, nil
}
