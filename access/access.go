// Package access says who may do what in a registry: it checks passwords against an htpasswd file, reads and issues
// tokens, and applies the rules of the configuration. It knows nothing of HTTP, nor of what a registry stores.
//
// [Open] a [Guard]. It makes a [Client] of the credentials that a request brings along, and the client is asked whether
// it may do what the request wants: [Client.May]. Whatever no rule allows is forbidden.
package access

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
)

// Config has the keys of a flavor that this package reads. Zero means the default.
type Config struct {
	// Auth is how clients prove who they are: htpasswd, by a password, or none. Default: htpasswd if HtpasswdPath is set,
	// else none, and everybody may do everything.
	Auth string `yaml:"auth"`

	// HtpasswdPath is the file with users and their passwords, which is read again when it changes.
	HtpasswdPath string `yaml:"auth_htpasswd_path"`

	// HtpasswdRealm is what clients tell the person they ask for a password. Default: Registry.
	HtpasswdRealm string `yaml:"auth_htpasswd_realm"`

	// Rules say who may do what; whatever they do not allow is forbidden. Default: everyone who has logged in may do
	// everything.
	Rules []Rule `yaml:"access"`

	// Groups are the users of each group that rules name.
	Groups map[string][]string `yaml:"groups"`

	// Admins are the users who may do everything, whatever the rules say.
	Admins []string `yaml:"admins"`
}

const (
	authNone     = "none"
	authHtpasswd = "htpasswd"
)

// auth returns how clients prove who they are. A file that is named is meant, as in registry:2: a registry that was to
// ask for passwords must not be open because one of two variables is not set.
func (c Config) auth() string {
	switch {
	case c.Auth != "":
		return strings.ToLower(c.Auth)
	case c.HtpasswdPath != "":
		return authHtpasswd
	}
	return authNone
}

// Check returns what is wrong with c, as far as that can be told without opening anything.
func (c Config) Check() error {
	switch c.auth() {
	case authNone:
		if c.Rules != nil || len(c.Groups) > 0 || len(c.Admins) > 0 {
			return errors.New("access: there are rules, admins or groups, but auth asks nobody who he is: say auth: htpasswd")
		}
		return nil
	case authHtpasswd:
	default:
		return fmt.Errorf("auth: %q is neither htpasswd nor none", c.Auth)
	}
	if c.HtpasswdPath == "" {
		return errors.New("auth: htpasswd needs a file with users: name it in auth_htpasswd_path")
	}
	if err := checkQuoted(c.HtpasswdRealm); err != nil {
		return fmt.Errorf("auth_htpasswd_realm: %w", err)
	}
	_, err := newPolicy(c)
	return err
}

// checkQuoted returns an error unless s can stand in quotes in a header.
func checkQuoted(s string) error {
	for _, r := range s {
		if r < ' ' || r > '~' || r == '"' || r == '\\' {
			return fmt.Errorf("%q cannot stand in a header: use ASCII without quotes and backslashes", s)
		}
	}
	return nil
}

// A Guard tells clients apart. It is safe for concurrent use. A nil Guard asks nobody, and lets everybody do
// everything.
type Guard struct {
	realm     string
	passwords *passwords
	policy    *policy
}

// Open returns the guard that cfg wants, nil for none. The error is one line for the operator.
func Open(cfg Config, log *slog.Logger) (*Guard, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	if cfg.auth() == authNone {
		return nil, nil
	}
	policy, err := newPolicy(cfg)
	if err != nil {
		return nil, err
	}
	passwords, err := openPasswords(cfg.HtpasswdPath, log)
	if err != nil {
		return nil, fmt.Errorf("auth_htpasswd_path: %w", err)
	}
	g := &Guard{realm: cfg.HtpasswdRealm, passwords: passwords, policy: policy}
	if g.realm == "" {
		g.realm = "Registry"
	}
	return g, nil
}

// Realm is what clients tell the person they ask for a password.
func (g *Guard) Realm() string { return g.realm }

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
	if err := g.passwords.check(ctx, user, password); err != nil {
		return Client{}, err
	}
	return Client{user: user, policy: g.policy}, nil
}
