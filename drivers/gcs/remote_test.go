package gcs

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/auth"

	"github.com/parfait-registry/parfait/drivers"
)

// A roundTripper answers requests in this process.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

type noToken struct{}

func (noToken) Token(context.Context) (*auth.Token, error) { return &auth.Token{Value: "token"}, nil }

// TestSignURL_Remote has credentials without a key at hand, for which Google signs. There is no emulator of that.
func TestSignURL_Remote(t *testing.T) {
	const account = "parfait@test.iam.gserviceaccount.com"
	google := roundTripper(func(r *http.Request) (*http.Response, error) {
		want := "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/" + account + ":signBlob"
		if got, err := url.PathUnescape(r.URL.Scheme + "://" + r.URL.Host + r.URL.EscapedPath()); got != want || err != nil {
			t.Errorf("got a request of %s, want %s", got, want)
		}
		if got := r.Header.Get("Authorization"); got != "Bearer token" {
			t.Errorf("got credentials %q", got)
		}
		var body struct{ Payload []byte }
		err := json.NewDecoder(r.Body).Decode(&body)
		if text := string(body.Payload); err != nil || !strings.HasPrefix(text, "GOOG4-RSA-SHA256\n") {
			t.Errorf("asked to sign %q, %v", text, err)
		}
		signed, err := json.Marshal(map[string]string{"signedBlob": base64.StdEncoding.EncodeToString([]byte("signed"))})
		if err != nil {
			t.Fatal(err)
		}
		return &http.Response{
			StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}},
			Body: io.NopCloser(strings.NewReader(string(signed))),
		}, nil
	})
	cfg := NewConfig()
	cfg.Bucket = "bucket"
	where, err := cfg.server()
	if err != nil {
		t.Fatal(err)
	}
	d, err := newDriver(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	actor := "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/" + account + ":generateAccessToken"
	data, err := json.Marshal(accountKey{Type: "impersonated_service_account", Actor: actor})
	if err != nil {
		t.Fatal(err)
	}
	creds := auth.NewCredentials(&auth.CredentialsOptions{TokenProvider: noToken{}, JSON: data})
	if err := d.connect(t.Context(), where, identity{credentials: creds, remote: true}, google); err != nil {
		t.Fatal(err)
	}
	signer, ok := drivers.As[drivers.URLSigner](d)
	if !ok {
		t.Fatal("the driver is no URLSigner")
	}
	u, err := signer.SignURL(t.Context(), http.MethodGet, "a", time.Minute)
	const start, signature = "https://storage.googleapis.com/bucket/a?", "X-Goog-Signature=7369676e6564"
	if err != nil || !strings.HasPrefix(u, start) || !strings.Contains(u, signature) {
		t.Errorf("got %q, %v, want %s and %s", u, err, start, signature)
	}
}
