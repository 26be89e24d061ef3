package swift_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/parfait-registry/parfait/drivers/swift"
	"github.com/parfait-registry/parfait/integration/harness"
)

// fetch gets what is at a URL without any credentials.
func fetch(t *testing.T, method, url string) (status int, body []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, body
}

// wantSigned checks that URLs of d let their bearer read what they are for, and nothing else.
func wantSigned(t *testing.T, d *swift.Driver, signature string) {
	t.Helper()
	data := content(1, part+1)
	put(t, d, "large", data)
	u, err := d.SignURL(t.Context(), http.MethodGet, "large", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := url.Parse(u)
	if err != nil {
		t.Fatal(err)
	}
	sig := parsed.Query().Get("temp_url_sig")
	if n := map[string]int{"sha1": 40, "sha256": 64}[signature]; len(sig) != n {
		t.Errorf("the signature %q is none of %s", sig, signature)
	}
	if code, body := fetch(t, http.MethodGet, u); code != http.StatusOK || !bytes.Equal(body, data) {
		t.Errorf("got status %d and %d bytes, or others, want 200 and %d", code, len(body), len(data))
	}
	for _, wrong := range []struct{ method, url string }{
		{http.MethodPut, u},
		{http.MethodGet, strings.Replace(u, "large", "other", 1)},
		{http.MethodGet, strings.Replace(u, sig, strings.Repeat("0", len(sig)), 1)},
	} {
		if code, _ := fetch(t, wrong.method, wrong.url); code != http.StatusUnauthorized {
			t.Errorf("%s %s: got status %d, want 401", wrong.method, wrong.url, code)
		}
	}
	u, err = d.SignURL(t.Context(), http.MethodGet, "large", -time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if code, _ := fetch(t, http.MethodGet, u); code != http.StatusUnauthorized {
		t.Errorf("after its time: got status %d, want 401", code)
	}
}

// testSign signs with keys from each place where one may be.
func testSign(t *testing.T, s *harness.Swift) {
	setKey := func(t *testing.T, name, header, key string) {
		raw(t, s, http.MethodPost, name, http.Header{header: {key}}, "")
	}
	keyOf := func(t *testing.T, cfg swift.Config) string {
		header, _ := raw(t, s, http.MethodHead, cfg.Container, nil, "")
		return header.Get("X-Container-Meta-Temp-Url-Key")
	}
	t.Run("without any key", func(t *testing.T) {
		cfg := config(t, s)
		cfg.PartSize = part
		wantSigned(t, open(t, cfg), "sha256")
		key := keyOf(t, cfg)
		if len(key) != 64 {
			t.Errorf("the container got the key %q", key)
		}
		wantSigned(t, open(t, cfg), "sha256")
		if again := keyOf(t, cfg); again != key {
			t.Error("the next process changed the key")
		}
	})
	t.Run("key of the flavor", func(t *testing.T) {
		cfg := config(t, s)
		cfg.PartSize, cfg.TempURLKey = part, "of the flavor"
		setKey(t, cfg.Container, "X-Container-Meta-Temp-Url-Key", "another one")
		setKey(t, cfg.Container, "X-Container-Meta-Temp-Url-Key-2", cfg.TempURLKey)
		wantSigned(t, open(t, cfg), "sha256")
	})
	t.Run("key of the container", func(t *testing.T) {
		e, cfg := watch(t, s)
		cfg.PartSize = part
		setKey(t, cfg.Container, "X-Container-Meta-Temp-Url-Key", "its own")
		d := open(t, cfg)
		wantSigned(t, d, "sha256")
		e.direct(nil)
		if _, err := d.SignURL(t.Context(), http.MethodGet, "a", time.Minute); err != nil {
			t.Error(err)
		}
		if got := e.requests(); len(got) != 0 {
			t.Errorf("signing once more: got requests %q, want none", got)
		}
	})
	t.Run("key of the account", func(t *testing.T) {
		setKey(t, "", "X-Account-Meta-Temp-Url-Key", "of all")
		defer setKey(t, "", "X-Account-Meta-Temp-Url-Key", "")
		cfg := config(t, s)
		cfg.PartSize = part
		wantSigned(t, open(t, cfg), "sha256")
		if key := keyOf(t, cfg); key != "" {
			t.Errorf("the container got the key %q", key)
		}
	})
	t.Run("no permission to set one", func(t *testing.T) {
		e, cfg := watch(t, s)
		d := open(t, cfg)
		e.direct(deny(http.MethodPost))
		_, err := d.SignURL(t.Context(), http.MethodGet, "a", time.Minute)
		if err == nil || !strings.Contains(err.Error(), "swift_temp_url_key") {
			t.Errorf("got error %v, want one that names swift_temp_url_key", err)
		}
	})
	for name, tt := range map[string]struct{ old, now, signature string }{
		"old cluster":      {`["sha1", "sha256", "sha512"]`, `["sha1"]`, "sha1"},
		"no signed URLs":   {`"tempurl"`, `"else"`, ""},
		"hidden abilities": {`{"swift"`, `not JSON`, "sha1"},
	} {
		t.Run(name, func(t *testing.T) {
			e, cfg := watch(t, s)
			cfg.PartSize = part
			e.edit = func(r *http.Request, body []byte) []byte {
				if r.URL.Path == "/info" {
					return bytes.Replace(body, []byte(tt.old), []byte(tt.now), 1)
				}
				return body
			}
			d := open(t, cfg)
			if tt.signature != "" {
				wantSigned(t, d, tt.signature)
				return
			}
			if _, err := d.SignURL(t.Context(), http.MethodGet, "a", time.Minute); !errors.Is(err, errors.ErrUnsupported) {
				t.Errorf("got error %v, want that it is not supported", err)
			}
		})
	}
}
