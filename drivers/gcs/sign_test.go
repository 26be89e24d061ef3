package gcs_test

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/integration/harness"
)

// TestSignURL checks the signature as Google would, which fake-gcs-server does not.
func TestSignURL(t *testing.T) {
	cfg := config(t, harness.FakeGCS(t))
	cfg.Path, cfg.Keyfile = "registry", keyfile(t, keyOptions{})
	signer, ok := drivers.As[drivers.URLSigner](open(t, cfg))
	if !ok {
		t.Fatal("the driver is no URLSigner")
	}
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		text, err := signer.SignURL(t.Context(), method, "a/b-c/d_e.f", 20*time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		u, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		q := u.Query()
		if want := cfg.Endpoint + "/" + cfg.Bucket + "/registry/a/b-c/d_e.f"; !strings.HasPrefix(text, want+"?") {
			t.Errorf("got %s, want %s", text, want)
		}
		if got := q.Get("X-Goog-Expires"); got != "1200" && got != "1199" {
			t.Errorf("got %s seconds, want 1200", got)
		}
		if err := verify(method, u); err != nil {
			t.Errorf("%s %s: %v", method, text, err)
		}
		if err := verify(http.MethodDelete, u); err == nil {
			t.Error("the signature is good for DELETE")
		}
	}
	if _, err := signer.SignURL(t.Context(), http.MethodGet, "../a", time.Minute); err == nil {
		t.Error("signed what is no key")
	}
}

// verify checks the signature of a request for u by version 4 of Google's scheme.
func verify(method string, u *url.URL) error {
	key, err := testKey()
	if err != nil {
		return err
	}
	q := u.Query()
	signature, err := hex.DecodeString(q.Get("X-Goog-Signature"))
	if err != nil {
		return err
	}
	q.Del("X-Goog-Signature")
	date := q.Get("X-Goog-Date")
	if len(date) < 8 {
		return fmt.Errorf("date %q", date)
	}
	scope := date[:8] + "/auto/storage/goog4_request"
	if q.Get("X-Goog-Credential") != account+"/"+scope || q.Get("X-Goog-SignedHeaders") != "host" {
		return fmt.Errorf("credential %q, headers %q", q.Get("X-Goog-Credential"), q.Get("X-Goog-SignedHeaders"))
	}
	canonical := strings.Join([]string{
		method, u.EscapedPath(), strings.ReplaceAll(q.Encode(), "+", "%20"),
		"host:" + u.Hostname() + "\n", "host", "UNSIGNED-PAYLOAD",
	}, "\n")
	digest := sha256.Sum256([]byte(canonical))
	toSign := strings.Join([]string{"GOOG4-RSA-SHA256", date, scope, hex.EncodeToString(digest[:])}, "\n")
	sum := sha256.Sum256([]byte(toSign))
	return rsa.VerifyPKCS1v15(&key.PublicKey, crypto.SHA256, sum[:], signature)
}

func TestSignURL_Unsupported(t *testing.T) {
	d := open(t, config(t, harness.FakeGCS(t)))
	if _, ok := drivers.As[drivers.URLSigner](d); ok {
		t.Error("a driver without credentials signs URLs")
	}
	if _, ok := drivers.As[drivers.Composer](d); !ok {
		t.Error("the other capabilities are gone, too")
	}
}
