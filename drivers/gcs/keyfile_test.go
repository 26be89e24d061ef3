package gcs_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

const account = "parfait@test.iam.gserviceaccount.com"

// testKey is the key of all service accounts here.
var testKey = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

type keyOptions struct {
	tokenURL string
	kind     string // instead of service_account
	pem      string // instead of the key
}

// keyfile writes the file that Google would give out for a service account.
func keyfile(t testing.TB, o keyOptions) string {
	t.Helper()
	if o.pem == "" {
		key, err := testKey()
		if err != nil {
			t.Fatal(err)
		}
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		o.pem = string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	}
	if o.kind == "" {
		o.kind = "service_account"
	}
	data, err := json.Marshal(map[string]string{
		"type": o.kind, "project_id": "test", "private_key_id": "0123", "private_key": o.pem,
		"client_email": account, "client_id": "1", "token_uri": o.tokenURL,
	})
	if err != nil {
		t.Fatal(err)
	}
	return writeFile(t, string(data))
}

func writeFile(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key.json")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
