package access

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// Types of tokens, in their headers. One is never taken for the other.
const (
	typeAccess  = "JWT"
	typeRefresh = "refresh+jwt"
)

// How long tokens are good: access tokens, of which the rules still decide each time, and refresh tokens, unless the
// configuration says otherwise.
const (
	accessFor  = 5 * time.Minute
	refreshFor = 30 * 24 * time.Hour
)

// An issuer gives tokens to the users of a password file, and to those who have not logged in.
type issuer struct {
	name, service string
	refreshFor    time.Duration
	keys          *keyring
	access        *verifier
	refresh       *verifier
}

func openIssuer(ctx context.Context, name, service, keyFile string, refreshFor time.Duration, store KeyStore) (*issuer, error) {
	keys, err := openKeyring(ctx, keyFile, store, refreshFor)
	if err != nil {
		return nil, err
	}
	i := &issuer{name: name, service: service, refreshFor: refreshFor, keys: keys}
	key := func(kind string) keyFunc {
		return func(ctx context.Context, header jose.Header) (any, error) {
			if header.ExtraHeaders[jose.HeaderType] != kind {
				return nil, errors.New("it is a token for something else")
			}
			return keys.public(ctx, header.KeyID)
		}
	}
	if i.access, err = newVerifier(name, service, []jose.SignatureAlgorithm{jose.ES256}, key(typeAccess)); err != nil {
		return nil, err
	}
	i.refresh, err = newVerifier(name, i.refreshAudience(), []jose.SignatureAlgorithm{jose.ES256}, key(typeRefresh))
	return i, err
}

// refreshAudience is whom refresh tokens are for: the issuer alone.
func (i *issuer) refreshAudience() string { return i.service + " refresh" }

// A Grant is what a client gets that asks for a token.
type Grant struct {
	Token        string
	Issued       time.Time
	Lifetime     time.Duration
	Scopes       []Scope // what it is for: of what was asked for, what the client may do
	RefreshToken string  // gets further tokens without a password, as long as the user has that; empty unless asked for
}

// maxScopes bounds how many scopes are asked for at once. A copy from one repository to another asks for two.
const maxScopes = 100

// ErrTooMuch says that a token for all that was asked for would be longer than it may be.
var ErrTooMuch = fmt.Errorf("a token is for at most %d scopes, and has at most %d bytes", maxScopes, maxToken)

// issue makes a token for those of the scopes that the client may do, and a refresh token if offline.
func (i *issuer) issue(ctx context.Context, client Client, asked []Scope, offline bool) (Grant, error) {
	if len(asked) > maxScopes {
		return Grant{}, ErrTooMuch
	}
	key, err := i.keys.signing(ctx)
	if err != nil {
		return Grant{}, err
	}
	g := Grant{Issued: time.Now().UTC().Truncate(time.Second), Lifetime: accessFor, Scopes: cut(client, asked)}
	c := claims{Access: g.Scopes, Claims: i.claims(client.user, i.service, g.Issued, accessFor)}
	if g.Token, err = jwt.Signed(key.access).Claims(c).Serialize(); err != nil {
		return Grant{}, err
	}
	if len(g.Token) > maxToken {
		return Grant{}, ErrTooMuch
	}
	if offline && client.user != "" {
		c := claims{Claims: i.claims(client.user, i.refreshAudience(), g.Issued, i.refreshFor), Password: client.mark}
		g.RefreshToken, err = jwt.Signed(key.renew).Claims(c).Serialize()
	}
	return g, err
}

func (i *issuer) claims(user, audience string, now time.Time, lifetime time.Duration) jwt.Claims {
	return jwt.Claims{
		Issuer: i.name, Subject: user, Audience: jwt.Audience{audience}, ID: rand.Text(),
		IssuedAt: jwt.NewNumericDate(now), NotBefore: jwt.NewNumericDate(now), Expiry: jwt.NewNumericDate(now.Add(lifetime)),
	}
}

// cut returns what of the scopes a client may do, each resource once.
func cut(client Client, asked []Scope) []Scope {
	granted := []Scope{}
	for _, s := range asked {
		if s.Type == typeRepository && slices.Contains(s.Actions, anyAction) {
			s = Repository(s.Name, Pull, Push, Delete)
		}
		i := slices.IndexFunc(granted, func(g Scope) bool { return g.Type == s.Type && g.Name == s.Name })
		for _, action := range s.Actions {
			if !client.May(Scope{Type: s.Type, Name: s.Name, Actions: []string{action}}) {
				continue
			}
			if i < 0 {
				i = len(granted)
				granted = append(granted, Scope{Type: s.Type, Name: s.Name})
			}
			if !slices.Contains(granted[i].Actions, action) {
				granted[i].Actions = append(granted[i].Actions, action)
			}
		}
	}
	return granted
}
