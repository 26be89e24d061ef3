package access

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	lru "github.com/hashicorp/golang-lru/v2"
)

// claims is what a token says. It does not change.
type claims struct {
	jwt.Claims
	Access   grants `json:"access,omitempty"`
	Password string `json:"pwd,omitempty"` // of refresh tokens
}

// A keyFunc returns the public key that has to have signed a token with such a header. Its error wraps errKeys if that
// cannot be told.
type keyFunc func(ctx context.Context, header jose.Header) (any, error)

// A verifier reads signed tokens that are meant for one service.
type verifier struct {
	issuer, service string
	algorithms      []jose.SignatureAlgorithm
	key             keyFunc

	read *lru.Cache[[sha256.Size]byte, *claims] // tokens whose signatures were right
}

const (
	maxToken = 16 << 10         // bytes of a token; with the longest chain of certificates it has half of that
	leeway   = 60 * time.Second // by which clocks may differ
	readMost = 4096             // how many tokens need not be verified again
)

func newVerifier(issuer, service string, algorithms []jose.SignatureAlgorithm, key keyFunc) (*verifier, error) {
	read, err := lru.New[[sha256.Size]byte, *claims](readMost)
	return &verifier{issuer: issuer, service: service, algorithms: algorithms, key: key, read: read}, err
}

// verify returns what a token says, if it is one, and for this service, and now. The error wraps ErrCredentials, and
// tells nothing of the token itself; or it wraps errKeys.
func (v *verifier) verify(ctx context.Context, raw string) (*claims, error) {
	sum := sha256.Sum256([]byte(raw))
	c, ok := v.read.Get(sum)
	if !ok {
		var err error
		if c, err = v.parse(ctx, raw); errors.Is(err, errKeys) {
			return nil, err
		} else if err != nil {
			return nil, refused(err)
		}
	}
	if err := v.check(c); err != nil {
		return nil, refused(err)
	}
	if !ok {
		v.read.Add(sum, c)
	}
	return c, nil
}

// parse checks the signature.
func (v *verifier) parse(ctx context.Context, raw string) (*claims, error) {
	if len(raw) > maxToken {
		return nil, fmt.Errorf("it has %d bytes, of which %d are allowed", len(raw), maxToken)
	}
	// The library's own errors are kept back: some of them quote the token.
	token, err := jwt.ParseSigned(raw, v.algorithms)
	if err != nil || len(token.Headers) != 1 {
		return nil, errors.New("it is not signed, or not by an algorithm that is accepted")
	}
	key, err := v.key(ctx, token.Headers[0])
	if err != nil {
		return nil, err
	}
	c := new(claims)
	if err := token.Claims(key, c); err != nil {
		return nil, errors.New("its signature is not that of its key, or it says what no token does")
	}
	if c.Access == nil { // or else the client would have no token
		c.Access = grants{}
	}
	return c, nil
}

// check holds what a token says against the time, which goes by, and against whom it is of and for.
func (v *verifier) check(c *claims) error {
	if c.Expiry == nil {
		return errors.New("it never expires")
	}
	return c.ValidateWithLeeway(jwt.Expected{Issuer: v.issuer, AnyAudience: jwt.Audience{v.service}, Time: time.Now()}, leeway)
}

func refused(err error) error { return fmt.Errorf("token: %w: %w", err, ErrCredentials) }
