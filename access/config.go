package access

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Config has the keys of a flavor that this package reads. Zero means the default.
type Config struct {
	// Auth is how clients prove who they are: htpasswd, by a password; token, by what another server has signed;
	// certificate, by that of TLS alone; or none. Default: what the keys below are for, if some are set, else none, and everybody may do everything.
	Auth string `yaml:"auth"`

	// HtpasswdPath is the file with users and their passwords, which is read again when it changes.
	HtpasswdPath string `yaml:"auth_htpasswd_path"`

	// HtpasswdRealm is what clients tell the person they ask for a password. Default: Registry.
	HtpasswdRealm string `yaml:"auth_htpasswd_realm"`

	// Certificate is what of a client's certificate, which TLS has verified, names the user: cn, the common name, or the
	// first alternative name of a kind, dns, email or uri. With auth: htpasswd a client that shows no password is that
	// user then. Default: cn with auth: certificate, else certificates name nobody.
	Certificate string `yaml:"auth_certificate"`

	// Rules say who may do what; whatever they do not allow is forbidden. Default: everyone who has logged in may do
	// everything. With tokens of another server, that decides.
	Rules []Rule `yaml:"access"`

	// Groups are the users of each group that rules name.
	Groups map[string][]string `yaml:"groups"`

	// Admins are the users who may do everything, whatever the rules say.
	Admins []string `yaml:"admins"`

	// Tokens gives tokens to the users of the password file, which clients then show in the place of their password, and
	// without which docker cannot pull what is open to everyone. They are had at /token.
	Tokens bool `yaml:"auth_tokens"`

	// TokensKeyFile is a file with a private key of the curve P-256 in PEM, which signs tokens; if there are more, the
	// others have signed them before. Default: a key is made each week, and kept in the index.
	TokensKeyFile string `yaml:"auth_tokens_keyfile"`

	// TokensRefreshTTL is how long a client that has logged in gets tokens without the password. Default: 720h.
	TokensRefreshTTL time.Duration `yaml:"auth_tokens_refresh_ttl"`

	// TokenRealm is the URL where clients get tokens, TokenService what they ask for there, and TokenIssuer who has to
	// have issued a token. With auth: token all three are needed. With Tokens, their defaults are /token on the host that
	// the client asks for, and parfait.
	TokenRealm   string `yaml:"auth_token_realm"`
	TokenService string `yaml:"auth_token_service"`
	TokenIssuer  string `yaml:"auth_token_issuer"`

	// TokenRootCertBundle is a file of certificates in PEM, and TokenJWKS one of public keys: those that sign tokens, or
	// certificates. One of them is needed.
	TokenRootCertBundle string `yaml:"auth_token_rootcertbundle"`
	TokenJWKS           string `yaml:"auth_token_jwks"`

	// TokenSigningAlgorithms are those that are accepted. Default: EdDSA, and ES, PS and RS with 256, 384 and 512 bits.
	TokenSigningAlgorithms []string `yaml:"auth_token_signingalgorithms"`

	// TokenAutoRedirect makes the realm the path TokenAutoRedirectPath of the host that a client asks for, by https.
	// Default of the path: /auth/token.
	TokenAutoRedirect     bool   `yaml:"auth_token_autoredirect"`
	TokenAutoRedirectPath string `yaml:"auth_token_autoredirectpath"`
}

const (
	authNone     = "none"
	authHtpasswd = "htpasswd"
	authToken    = "token"
	authCert     = "certificate"
)

// auth returns how clients prove who they are. What is named is meant, as in registry:2: a registry that was to ask for
// passwords must not be open because one of several variables is not set.
func (c Config) auth() string {
	switch {
	case c.Auth != "":
		return strings.ToLower(c.Auth)
	case c.HtpasswdPath != "":
		return authHtpasswd
	case c.TokenRealm != "" || c.TokenRootCertBundle != "" || c.TokenJWKS != "":
		return authToken
	case c.Certificate != "":
		return authCert
	}
	return authNone
}

// ByCertificate reports whether certificates of clients name users.
func (c Config) ByCertificate() bool { return c.Certificate != "" || c.auth() == authCert }

// hasUsers reports whether it is known here who the users are, and so that rules can be about them.
func (c Config) hasUsers() bool { return c.auth() == authHtpasswd || c.auth() == authCert }

// Check returns what is wrong with c, as far as that can be told without opening anything.
func (c Config) Check() error {
	auth := c.auth()
	if !c.hasUsers() && (c.Rules != nil || len(c.Groups) > 0 || len(c.Admins) > 0) {
		return fmt.Errorf("access: rules, admins and groups are about users of auth: htpasswd or certificate, and auth is %s", auth)
	}
	if !c.hasUsers() && c.Certificate != "" {
		return fmt.Errorf("auth_certificate: certificates name users of auth: htpasswd or certificate, and auth is %s", auth)
	}
	if _, err := certificateName(c.Certificate); err != nil {
		return err
	}
	if auth != authHtpasswd && (c.Tokens || c.TokensKeyFile != "") {
		return fmt.Errorf("auth_tokens: tokens are given to users of auth: htpasswd, and auth is %s", auth)
	}
	switch auth {
	case authNone:
		return nil
	case authHtpasswd:
		return c.checkHtpasswd()
	case authToken:
		return c.checkToken()
	case authCert:
		_, err := newPolicy(c)
		return err
	}
	return fmt.Errorf("auth: %q is none of htpasswd, token, certificate and none", auth)
}

func (c Config) checkHtpasswd() error {
	if c.HtpasswdPath == "" {
		return errors.New("auth: htpasswd needs a file with users: name it in auth_htpasswd_path")
	}
	if c.TokenJWKS+c.TokenRootCertBundle != "" {
		return errors.New("auth: htpasswd takes no tokens of another server: auth_token_jwks and auth_token_rootcertbundle are for auth: token")
	}
	if c.TokensKeyFile != "" && !c.Tokens {
		return errors.New("auth_tokens_keyfile: no tokens are given unless auth_tokens is true")
	}
	if err := errors.Join(checkQuoted("auth_htpasswd_realm", c.HtpasswdRealm), c.checkTokenText()); err != nil {
		return err
	}
	_, err := newPolicy(c)
	return err
}

func (c Config) checkToken() error {
	if c.TokenRealm == "" && !c.TokenAutoRedirect {
		return errors.New("auth: token needs the URL where clients get one: name it in auth_token_realm")
	}
	for _, needed := range []struct{ key, value string }{
		{"auth_token_service", c.TokenService}, {"auth_token_issuer", c.TokenIssuer},
		{"auth_token_rootcertbundle, or auth_token_jwks", c.TokenRootCertBundle + c.TokenJWKS},
	} {
		if needed.value == "" {
			return fmt.Errorf("auth: token needs %s as well", needed.key)
		}
	}
	_, err := algorithms(c.TokenSigningAlgorithms)
	return errors.Join(c.checkTokenText(), err)
}

// checkTokenText checks what gets into a header.
func (c Config) checkTokenText() error {
	return errors.Join(checkQuoted("auth_token_realm", c.TokenRealm), checkQuoted("auth_token_service", c.TokenService),
		checkQuoted("auth_token_autoredirectpath", c.TokenAutoRedirectPath))
}

// checkQuoted returns an error unless the value of a key can stand in quotes in a header.
func checkQuoted(key, value string) error {
	for _, r := range value {
		if r < ' ' || r > '~' || r == '"' || r == '\\' {
			return fmt.Errorf("%s: %q cannot stand in a header: use ASCII without quotes and backslashes", key, value)
		}
	}
	return nil
}
