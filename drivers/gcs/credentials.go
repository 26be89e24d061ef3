package gcs

import (
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"

	"cloud.google.com/go/auth"
	"cloud.google.com/go/auth/credentials"
	"cloud.google.com/go/storage"

	"github.com/parfait-registry/parfait/drivers/retry"
)

// An identity is who the driver is to the server.
type identity struct {
	credentials *auth.Credentials // nil: nobody

	account string                       // of the key below
	sign    func([]byte) ([]byte, error) // nil: there is no key at hand
	remote  bool                         // Google signs in the name of the credentials, if it is asked and they may
}

// An accountKey is the file that a service account's key comes in, as far as it is read here.
type accountKey struct {
	Type       string `json:"type"`
	Account    string `json:"client_email"`
	PrivateKey string `json:"private_key"`
	Actor      string `json:"service_account_impersonation_url"`
}

// findCredentials finds out who to be, and that there is a token to be had. Credentials never go to a server that is
// not trusted with them; a key file serves to sign URLs then.
func findCredentials(ctx context.Context, cfg Config, where server, transport http.RoundTripper) (identity, error) {
	options := &credentials.DetectOptions{
		Scopes: []string{storage.ScopeReadWrite},
		Client: &http.Client{Transport: transport},
	}
	var who identity
	var err error
	switch {
	case cfg.Keyfile != "":
		who, err = readKeyfile(cfg.Keyfile, options)
	case where.trusted():
		who, err = detectCredentials(options)
	}
	if err != nil {
		return identity{}, fmt.Errorf("gcs_keyfile: %w", err)
	}
	if !where.trusted() {
		who.credentials = nil
	}
	if who.credentials == nil {
		return who, nil
	}
	err = retry.Do(ctx, transient, func() error {
		_, err := who.credentials.Token(ctx)
		return err
	})
	if err != nil {
		return identity{}, explainToken(err)
	}
	return who, nil
}

// readKeyfile reads a service account's key.
func readKeyfile(path string, options *credentials.DetectOptions) (identity, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return identity{}, err
	}
	var key accountKey
	if err := json.Unmarshal(data, &key); err != nil {
		return identity{}, fmt.Errorf("%s is no JSON: %w", path, err)
	}
	if key.Type != string(credentials.ServiceAccount) || key.Account == "" {
		return identity{}, fmt.Errorf("%s is no key of a service account, but of type %q", path, key.Type)
	}
	sign, err := newSign(key.PrivateKey)
	if err != nil {
		return identity{}, fmt.Errorf("%s: private_key: %w", path, err)
	}
	creds, err := credentials.NewCredentialsFromJSON(credentials.ServiceAccount, data, options)
	if err != nil {
		return identity{}, fmt.Errorf("%s: %w", path, brief(err))
	}
	return identity{credentials: creds, account: key.Account, sign: sign}, nil
}

// detectCredentials finds the application default credentials.
func detectCredentials(options *credentials.DetectOptions) (identity, error) {
	options.Scopes = append(options.Scopes, "https://www.googleapis.com/auth/cloud-platform") // to have URLs signed
	creds, err := credentials.DetectDefault(options)
	if err != nil {
		return identity{}, fmt.Errorf("it names no file, and there are no default credentials: %w", brief(err))
	}
	who := identity{credentials: creds}
	var key accountKey
	if data := creds.JSON(); len(data) == 0 {
		who.remote = true // those of a machine at Google
	} else if err := json.Unmarshal(data, &key); err != nil {
		return identity{}, brief(err)
	}
	who.remote = who.remote || key.Actor != ""
	if key.Type == string(credentials.ServiceAccount) {
		if who.sign, err = newSign(key.PrivateKey); err != nil {
			return identity{}, fmt.Errorf("it names no file, and the private_key of the default credentials: %w", err)
		}
		who.account = key.Account
	}
	return who, nil
}

// newSign returns a function that signs with a private key in PEM.
func newSign(text string) (func([]byte) ([]byte, error), error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil, errors.New("it is not in PEM")
	}
	var key *rsa.PrivateKey
	if parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes); err == nil {
		key, _ = parsed.(*rsa.PrivateKey)
	} else if key, err = x509.ParsePKCS1PrivateKey(block.Bytes); err != nil {
		return nil, errors.New("it cannot be parsed")
	}
	if key == nil {
		return nil, errors.New("it is no RSA key")
	}
	return func(data []byte) ([]byte, error) {
		sum := sha256.Sum256(data)
		return rsa.SignPKCS1v15(nil, key, crypto.SHA256, sum[:])
	}, nil
}

// maxSkew is how far this machine's clock may be from Google's.
const maxSkew = 5 * time.Minute

// explainToken says why there was no token.
func explainToken(err error) error {
	e, ok := errors.AsType[*auth.Error](err)
	if !ok || e.Response == nil || transient(err) {
		return fmt.Errorf("gcs_keyfile: no token for the credentials: %w", brief(err))
	}
	if skew := skewOf(e.Response); skew.Abs() > maxSkew {
		return fmt.Errorf("gcs_keyfile: the credentials were refused, and this machine's clock is %v off: set it right",
			skew.Round(time.Second))
	}
	return fmt.Errorf("gcs_keyfile: the credentials were refused: %w", brief(err))
}

// skewOf is how far this machine's clock is ahead of the one that resp was made by.
func skewOf(resp *http.Response) time.Duration {
	date, err := http.ParseTime(resp.Header.Get("Date"))
	if err != nil {
		return 0
	}
	return time.Since(date)
}
