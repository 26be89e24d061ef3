package gcs_test

import (
	"errors"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/integration/harness"
)

// TestCredentials_Default finds a key where Google's tools look for it.
func TestCredentials_Default(t *testing.T) {
	s := harness.FakeGCS(t)
	p := harness.NewGate(t, s.URL)
	cfg := google(t, p.ServeHTTP)
	cfg.Bucket = s.NewBucket(t)
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", cfg.Keyfile)
	cfg.Keyfile = ""
	signer, ok := drivers.As[drivers.URLSigner](open(t, cfg))
	if !ok {
		t.Fatal("the driver is no URLSigner")
	}
	u, err := signer.SignURL(t.Context(), http.MethodGet, "a", time.Minute)
	if err != nil || !strings.HasPrefix(u, cfg.Endpoint+"/"+cfg.Bucket+"/a?") {
		t.Errorf("sign: got %q, %v", u, err)
	}
}

// TestCredentials_Emulator has credentials at hand, which an emulator and a server without https do not get.
func TestCredentials_Emulator(t *testing.T) {
	s := harness.FakeGCS(t)
	seen := func(h http.Handler) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if got := r.Header.Get("Authorization"); got != "" {
				t.Errorf("%s %s: got credentials %q", r.Method, r.URL, got)
			}
			h.ServeHTTP(w, r)
		}
	}
	p := harness.NewGate(t, s.URL)
	plain := httptest.NewServer(seen(p.Behind))
	t.Cleanup(plain.Close)
	secure := httptest.NewTLSServer(seen(p.Behind))
	t.Cleanup(secure.Close)

	noToken := tokens(t, func(http.ResponseWriter, *http.Request) { t.Error("a token was asked for") })
	cfg := config(t, s)
	cfg.Keyfile = keyfile(t, keyOptions{tokenURL: noToken})
	plainHost := strings.TrimPrefix(plain.URL, "http://")
	for _, tt := range []struct {
		name, endpoint, variable string
		secure                   bool
	}{
		{"gcs_endpoint", plain.URL, "", true},
		{"gcs_endpoint without a scheme", plainHost, "", false},
		{"gcs_endpoint as others say it", plain.URL + "/storage/v1/", "", true},
		{"variable", "", plain.URL, true},
		{"variable without a scheme", "", plainHost, true},
		{"variable with https", "", secure.URL, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := cfg
			cfg.Endpoint, cfg.Secure = tt.endpoint, tt.secure
			t.Setenv("STORAGE_EMULATOR_HOST", tt.variable)
			d := open(t, cfg)
			put(t, d, "a", []byte("hello"))
			wantObject(t, d, "a", []byte("hello"))
		})
	}
}

// TestCredentials_Lapse has tokens that are good for a second.
func TestCredentials_Lapse(t *testing.T) {
	s := harness.FakeGCS(t)
	p := harness.NewGate(t, s.URL)
	cfg := google(t, p.ServeHTTP)
	cfg.Bucket = s.NewBucket(t)
	var give atomic.Value
	give.Store(giveToken(time.Second))
	cfg.Keyfile = keyfile(t, keyOptions{tokenURL: tokens(t, func(w http.ResponseWriter, r *http.Request) {
		give.Load().(http.HandlerFunc)(w, r)
	})})
	d := open(t, cfg)
	for _, tt := range []struct {
		name  string
		serve http.HandlerFunc
		want  error
	}{
		{"given", giveToken(time.Second), nil},
		{"refused", refuseToken(time.Now()), fs.ErrPermission},
		{"not to be had", answer(http.StatusServiceUnavailable, ""), drivers.ErrUnavailable},
		{"given again", giveToken(time.Second), nil},
	} {
		time.Sleep(1100 * time.Millisecond)
		give.Store(tt.serve)
		if err := drivers.Put(t.Context(), d, "a", []byte("hello")); !errors.Is(err, tt.want) {
			t.Errorf("%s: put: got error %v, want %v", tt.name, err, tt.want)
		}
		if _, err := d.Stat(t.Context(), "a"); !errors.Is(err, tt.want) {
			t.Errorf("%s: stat: got error %v, want %v", tt.name, err, tt.want)
		}
		if _, err := drivers.ReadAll(t.Context(), d, "a", 100); !errors.Is(err, tt.want) {
			t.Errorf("%s: open: got error %v, want %v", tt.name, err, tt.want)
		}
	}
}
