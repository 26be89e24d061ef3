// Package access says who may do what in a registry: it checks passwords against an htpasswd file, reads and issues
// tokens, and applies the rules of the configuration. It knows nothing of HTTP, nor of what a registry stores.
//
// [Open] a [Guard]. It makes a [Client] of the credentials that a request brings along, and the client is asked whether
// it may do what the request wants: [Client.May]. Whatever no rule allows is forbidden.
package access

import (
	"cmp"
	"context"
	"crypto/x509"
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
	passwords *passwords // nil if none are asked for
	policy    *policy    // nil if tokens say it all
	tokens    *verifier  // nil if there are none
	challenge *Challenge // nil if passwords are asked for
	issuer    *issuer    // nil if tokens are not from here

	certUser func(*x509.Certificate) string // whom a certificate is of; nil if certificates are of no interest
}

// A Challenge is where a client gets a token.
type Challenge struct {
	Realm   string // a URL
	Path    string // if there is no Realm: a path on the host that the client asks for, by https
	Service string // what it asks for there
}

// Open returns the guard that cfg wants, nil for none. The keys of tokens that it gives are kept in store. The error is
// for the operator.
func Open(ctx context.Context, cfg Config, store KeyStore, log *slog.Logger) (*Guard, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	switch cfg.auth() {
	case authHtpasswd:
		return openHtpasswd(ctx, cfg, store, log)
	case authToken:
		return openToken(cfg)
	case authCert:
		return openCertificates(cfg)
	}
	return nil, nil
}

func openHtpasswd(ctx context.Context, cfg Config, store KeyStore, log *slog.Logger) (*Guard, error) {
	policy, err := newPolicy(cfg)
	if err != nil {
		return nil, err
	}
	passwords, err := openPasswords(cfg.HtpasswdPath, log)
	if err != nil {
		return nil, fmt.Errorf("auth_htpasswd_path: %w", err)
	}
	g := &Guard{realm: cmp.Or(cfg.HtpasswdRealm, "Registry"), passwords: passwords, policy: policy}
	if cfg.Certificate != "" {
		if g.certUser, err = certificateName(cfg.Certificate); err != nil {
			return nil, err
		}
	}
	if !cfg.Tokens {
		if policy.admitsAnyone() {
			log.Warn("docker does not pull what is open to everyone without logging in unless auth_tokens is true")
		}
		return g, nil
	}
	name, service := cmp.Or(cfg.TokenIssuer, "parfait"), cmp.Or(cfg.TokenService, "parfait")
	if g.issuer, err = openIssuer(ctx, name, service, cfg.TokensKeyFile, cmp.Or(cfg.TokensRefreshTTL, refreshFor), store); err != nil {
		return nil, err
	}
	g.tokens, g.challenge = g.issuer.access, &Challenge{Realm: cfg.TokenRealm, Service: service}
	return g, nil
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
		challenge.Realm = ""
		challenge.Path = cmp.Or(cfg.TokenAutoRedirectPath, "/auth/token")
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

// Asks reports whether there are credentials that a client can show in a request: passwords or tokens.
func (g *Guard) Asks() bool { return g.passwords != nil || g.tokens != nil }

// AdmitsAnyone reports whether something may be done without credentials.
func (g *Guard) AdmitsAnyone() bool { return g.policy != nil && g.policy.admitsAnyone() }

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
		return Client{}, fmt.Errorf("a password, where none is asked for: %w", ErrCredentials)
	}
	mark, err := g.passwords.check(ctx, user, password)
	if err != nil {
		return Client{}, err
	}
	return Client{user: user, policy: g.policy, mark: mark}, nil
}

// Token returns the client that a token is of. The error wraps ErrCredentials, unless it is that the token could not be
// checked.
func (g *Guard) Token(ctx context.Context, raw string) (Client, error) {
	if g.tokens == nil {
		return Client{}, fmt.Errorf("a token, where a password is asked for: %w", ErrCredentials)
	}
	c, err := g.tokens.verify(ctx, raw)
	if err != nil {
		return Client{}, err
	}
	if _, known := g.mark(c.Subject); c.Subject != "" && g.issuer != nil && !known {
		return Client{}, fmt.Errorf("token: there is no user %.100q any more: %w", c.Subject, ErrCredentials)
	}
	return Client{user: c.Subject, policy: g.policy, token: c.Access}, nil
}

// mark returns what stands for the password that a user has now.
func (g *Guard) mark(user string) (mark string, known bool) {
	if g.passwords == nil {
		return "", false
	}
	mark, known = g.passwords.file.current().marks[user]
	return mark, known
}

// Issues reports whether this guard gives tokens to clients itself: whether [Guard.Issue] and its like may be called.
func (g *Guard) Issues() bool { return g != nil && g.issuer != nil }

// Service is what clients that ask for a token have to say that it is for.
func (g *Guard) Service() string { return g.issuer.service }

// Issue gives a client a token for those of the scopes that it may do, which may be none. With offline it is also given
// a refresh token, if it has logged in. The error wraps ErrCredentials if the client has not, and nothing is open to
// such clients; it is ErrTooMuch if the scopes are too many.
func (g *Guard) Issue(ctx context.Context, client Client, scopes []Scope, offline bool) (Grant, error) {
	if client.user == "" && !g.AdmitsAnyone() {
		return Grant{}, fmt.Errorf("no token for those who have not logged in: %w", ErrCredentials)
	}
	if client.user != "" && client.mark == "" { // of a certificate, and no token is needed beside that
		return Grant{}, fmt.Errorf("no token for user %.100q, who has no password: %w", client.user, ErrCredentials)
	}
	return g.issuer.issue(ctx, client, scopes, offline)
}

// Refresh returns the client that a refresh token is of. The error wraps ErrCredentials, also if the user has another
// password since then or is none any more, unless it is that the token could not be checked.
func (g *Guard) Refresh(ctx context.Context, raw string) (Client, error) {
	c, err := g.issuer.refresh.verify(ctx, raw)
	if err != nil {
		return Client{}, err
	}
	if mark, known := g.mark(c.Subject); !known || mark != c.Password {
		return Client{}, fmt.Errorf("refresh token: user %.100q has another password, or is none any more: %w", c.Subject, ErrCredentials)
	}
	return Client{user: c.Subject, policy: g.policy, mark: c.Password}, nil
}

// JWKS returns the public keys of those who sign the tokens that the guard gives.
func (g *Guard) JWKS() ([]byte, error) { return g.issuer.keys.jwks() }
