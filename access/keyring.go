package access

import (
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// A KeyStore keeps the keys that sign tokens where all servers of a registry find them. A key is bytes under an id.
type KeyStore interface {
	SigningKeys(ctx context.Context) (map[string][]byte, error)
	AddSigningKey(ctx context.Context, id string, key []byte) error // durable when it returns
	RemoveSigningKey(ctx context.Context, id string) error          // that there is none is no error
}

const (
	signsFor = 7 * 24 * time.Hour // how long a key signs
	askAgain = time.Second        // how often the store is asked for a key that is not known
)

// errKeys says that a token could not be checked, which is not the client's fault.
var errKeys = errors.New("the keys of tokens cannot be had")

// A keyring has the keys that sign and have signed the tokens of this registry. They come from a file, or are made here
// and kept in a store: a new one each week, while the ones before it verify until the last of their tokens has expired.
type keyring struct {
	store KeyStore      // nil if the keys are from a file
	keep  time.Duration // how long a key verifies after it has signed

	keys  atomic.Pointer[[]*signingKey] // the first one signs
	mu    sync.Mutex                    // held while the store is asked
	asked time.Time                     // when that was; guarded by mu
}

// A signingKey is one key of a keyring. It does not change.
type signingKey struct {
	id     string // its thumbprint
	made   time.Time
	key    *ecdsa.PrivateKey
	access jose.Signer // of access tokens
	renew  jose.Signer // of refresh tokens
}

// openKeyring makes the first key, if there is none. keyFile may be "".
func openKeyring(ctx context.Context, keyFile string, store KeyStore, keep time.Duration) (*keyring, error) {
	r := &keyring{store: store, keep: keep}
	r.keys.Store(new([]*signingKey))
	if keyFile == "" {
		_, err := r.signing(ctx)
		return r, err
	}
	r.store = nil
	data, err := os.ReadFile(keyFile)
	if err != nil {
		return nil, fmt.Errorf("auth_tokens_keyfile: %w", err)
	}
	var keys []*signingKey
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "EC PARAMETERS" {
			continue // which openssl puts before the key
		}
		k, err := readKey(block)
		if err != nil {
			return nil, fmt.Errorf("auth_tokens_keyfile: %s: %w", keyFile, err)
		}
		keys = append(keys, k)
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("auth_tokens_keyfile: %s has no private key in PEM", keyFile)
	}
	r.keys.Store(&keys)
	return r, nil
}

// signing returns the key that signs, a new one if the last one has done so for long enough.
func (r *keyring) signing(ctx context.Context) (*signingKey, error) {
	if k := r.current(); k != nil {
		return k, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.load(ctx); err != nil { // another server may have made one
		return nil, err
	}
	if k := r.current(); k != nil {
		return k, nil
	}
	k, err := makeKey()
	if err != nil {
		return nil, err
	}
	if err := r.add(ctx, k); err != nil {
		return nil, err
	}
	return k, r.removeOld(ctx)
}

// current returns the newest key, unless it is too old to sign.
func (r *keyring) current() *signingKey {
	keys := *r.keys.Load()
	if len(keys) == 0 || r.store != nil && time.Since(keys[0].made) >= signsFor {
		return nil
	}
	return keys[0]
}

// public returns the key with an id, for a token that claims to be signed by it. The error wraps errKeys if the store
// does not answer.
func (r *keyring) public(ctx context.Context, id string) (any, error) {
	k := r.find(id)
	if k == nil && r.store != nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		if time.Since(r.asked) >= askAgain {
			if err := r.load(ctx); err != nil {
				return nil, err
			}
		}
		k = r.find(id)
	}
	if k == nil {
		return nil, errors.New("its key is unknown")
	}
	return k.key.Public(), nil
}

func (r *keyring) find(id string) *signingKey {
	for _, k := range *r.keys.Load() {
		if k.id == id && (r.store == nil || !r.expired(k)) {
			return k
		}
	}
	return nil
}

// expired reports whether no token that a key has signed is good any more.
func (r *keyring) expired(k *signingKey) bool {
	return time.Since(k.made) > signsFor+r.keep+leeway
}

// load takes over what is in the store. mu is held.
func (r *keyring) load(ctx context.Context) error {
	stored, err := r.store.SigningKeys(ctx)
	if err != nil {
		return fmt.Errorf("%w: %w", errKeys, err)
	}
	var keys []*signingKey
	for id, data := range stored {
		block, _ := pem.Decode(data)
		if block == nil {
			return fmt.Errorf("%w: key %s is not PEM", errKeys, id)
		}
		k, err := readKey(block)
		if err != nil {
			return fmt.Errorf("%w: key %s: %w", errKeys, id, err)
		}
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b *signingKey) int { return cmp.Or(b.made.Compare(a.made), cmp.Compare(a.id, b.id)) })
	r.keys.Store(&keys)
	r.asked = time.Now()
	return nil
}

// add makes k the key that signs. mu is held.
func (r *keyring) add(ctx context.Context, k *signingKey) error {
	data, err := k.encode()
	if err != nil {
		return err
	}
	if err := r.store.AddSigningKey(ctx, k.id, data); err != nil {
		return fmt.Errorf("%w: %w", errKeys, err)
	}
	keys := slices.Insert(slices.Clone(*r.keys.Load()), 0, k)
	r.keys.Store(&keys)
	return nil
}

// removeOld forgets the keys that verify nothing any more. mu is held.
func (r *keyring) removeOld(ctx context.Context) error {
	var keys []*signingKey
	for _, k := range *r.keys.Load() {
		if !r.expired(k) {
			keys = append(keys, k)
			continue
		}
		if err := r.store.RemoveSigningKey(ctx, k.id); err != nil {
			return fmt.Errorf("%w: %w", errKeys, err)
		}
	}
	r.keys.Store(&keys)
	return nil
}

// jwks returns the public keys.
func (r *keyring) jwks() ([]byte, error) {
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}}
	for _, k := range *r.keys.Load() {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: k.key.Public(), KeyID: k.id, Algorithm: string(jose.ES256), Use: "sig"})
	}
	return json.Marshal(set)
}

// madeHeader says in PEM when a key was made.
const madeHeader = "Made"

func makeKey() (*signingKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	return newKey(key, time.Now().UTC().Truncate(time.Second))
}

// newKey readies a key to sign.
func newKey(key *ecdsa.PrivateKey, made time.Time) (*signingKey, error) {
	if key.Curve != elliptic.P256() {
		return nil, fmt.Errorf("a key of the curve %s, where P-256 is wanted", key.Params().Name)
	}
	id, err := thumbprint(key.Public())
	if err != nil {
		return nil, err
	}
	k := &signingKey{id: id, made: made, key: key}
	with := jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: id}}
	if k.access, err = jose.NewSigner(with, (&jose.SignerOptions{}).WithType(typeAccess)); err != nil {
		return nil, err
	}
	k.renew, err = jose.NewSigner(with, (&jose.SignerOptions{}).WithType(typeRefresh))
	return k, err
}

func (k *signingKey) encode() ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(k.key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der,
		Headers: map[string]string{madeHeader: k.made.Format(time.RFC3339)}}), nil
}

// readKey reads a private key, which may be of PKCS#8 or SEC 1. The time when it was made is zero if it is not told.
func readKey(block *pem.Block) (*signingKey, error) {
	made, _ := time.Parse(time.RFC3339, block.Headers[madeHeader])
	key, err := x509.ParseECPrivateKey(block.Bytes)
	if err != nil {
		any, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("a block %q that is no private key", block.Type)
		}
		var ok bool
		if key, ok = any.(*ecdsa.PrivateKey); !ok {
			return nil, fmt.Errorf("a key of the type %T, where one of the curve P-256 is wanted", any)
		}
	}
	return newKey(key, made)
}
