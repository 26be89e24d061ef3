package gcs_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/parfait-registry/parfait/drivers/gcs"
	"github.com/parfait-registry/parfait/integration/harness"
)

// wantOpenError checks that Open fails in time, in one line with the words in want and without a secret.
func wantOpenError(t *testing.T, cfg gcs.Config, want ...string) {
	t.Helper()
	start := time.Now()
	_, err := gcs.Open(t.Context(), cfg, slog.New(slog.DiscardHandler))
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
	if err == nil {
		t.Fatal("got no error")
	}
	for _, word := range want {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("got error %q, want one with %q", err, word)
		}
	}
	if strings.ContainsAny(err.Error(), "\n\r") || strings.Contains(err.Error(), "PRIVATE") || len(err.Error()) > 500 {
		t.Errorf("got error %q, want one line without secrets", err)
	}
}

func TestOpen_BadConfig(t *testing.T) {
	t.Setenv("HOME", t.TempDir())
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", "")
	t.Setenv("NO_GCE_CHECK", "true")
	missing := t.TempDir() + "/none.json"
	for _, tt := range []struct {
		name   string
		change func(*gcs.Config)
		want   []string
	}{
		{"no bucket", func(c *gcs.Config) { c.Bucket = "" }, []string{"gcs_bucket"}},
		{"two buckets", func(c *gcs.Config) { c.BotoBucket = "b2" }, []string{"gcs_bucket", "boto_bucket", "b2"}},
		{"bad prefix", func(c *gcs.Config) { c.Path = "a b" }, []string{"storage_path"}},
		{"small parts", func(c *gcs.Config) { c.PartSize = 1 }, []string{"storage_part_size"}},
		{"few buffers", func(c *gcs.Config) { c.Buffers = 1 << 20 }, []string{"storage_buffers"}},
		{"bad endpoint", func(c *gcs.Config) { c.Endpoint = "ftp://host" }, []string{"gcs_endpoint", "ftp://host"}},
		{"endpoint with a path", func(c *gcs.Config) { c.Endpoint = "http://host/bucket" }, []string{"gcs_endpoint", "path"}},
		{"not secure", func(c *gcs.Config) { c.Secure = false }, []string{"gs_secure"}},
		{"no credentials", func(*gcs.Config) {}, []string{"gcs_keyfile", "no default credentials"}},
		{"no key file", func(c *gcs.Config) { c.Keyfile = missing }, []string{"gcs_keyfile", missing}},
		{"key file of something", func(c *gcs.Config) { c.Keyfile = writeFile(t, "PRIVATE") }, []string{"gcs_keyfile", "JSON"}},
		{"key file of a person", func(c *gcs.Config) { c.Keyfile = keyfile(t, keyOptions{kind: "authorized_user"}) },
			[]string{"gcs_keyfile", "authorized_user"}},
		{"key that is none", func(c *gcs.Config) { c.Keyfile = keyfile(t, keyOptions{pem: "PRIVATE"}) },
			[]string{"gcs_keyfile", "private_key"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := gcs.NewConfig()
			cfg.Bucket = "b"
			tt.change(&cfg)
			wantOpenError(t, cfg, tt.want...)
		})
	}
	t.Run("bad emulator", func(t *testing.T) {
		t.Setenv("STORAGE_EMULATOR_HOST", "http://host/path")
		wantOpenError(t, gcs.Config{Bucket: "b"}, "STORAGE_EMULATOR_HOST")
	})
	t.Run("default credentials that are none", func(t *testing.T) {
		t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", missing)
		wantOpenError(t, gcs.Config{Bucket: "b", Secure: true}, "gcs_keyfile", missing)
	})
}

// google is a server with a certificate that is trusted, and tokens for all.
func google(t *testing.T, h http.HandlerFunc) gcs.Config {
	t.Helper()
	s := httptest.NewTLSServer(h)
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	t.Cleanup(s.Close)
	cfg := gcs.NewConfig()
	cfg.Bucket, cfg.Endpoint = "bucket", s.URL
	cfg.Keyfile = keyfile(t, keyOptions{tokenURL: tokens(t, giveToken(time.Hour))})
	return cfg
}

// tokens starts a server that gives out tokens, and returns its URL.
func tokens(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

const token = "the-token"

func giveToken(life time.Duration) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"access_token": %q, "token_type": "Bearer", "expires_in": %d}`, token, int(life.Seconds()))
	}
}

func refuseToken(date time.Time) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Date", date.UTC().Format(http.TimeFormat))
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, `{"error": "invalid_grant", "error_description": "Invalid JWT Signature."}`)
	}
}

// refuse answers requests of a method, with what is in their query, by a status.
func refuse(next http.Handler, method, query string, code int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Method == method && strings.Contains(r.URL.RawQuery, query) {
			answer(code, "caller does not have access")(w, r)
			return
		}
		next.ServeHTTP(w, r)
	}
}

func TestOpen_Refused(t *testing.T) {
	s := harness.FakeGCS(t)
	p := harness.NewGate(t, s.URL)
	p.Fail(harness.Fault{})
	ok := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+token {
			t.Errorf("%s %s: got credentials %q", r.Method, r.URL, r.Header.Get("Authorization"))
		}
		p.Behind.ServeHTTP(w, r)
	})
	bucket := s.NewBucket(t)
	for _, tt := range []struct {
		name    string
		handler http.HandlerFunc
		want    []string
	}{
		{"the credentials", answer(http.StatusUnauthorized, "Invalid Credentials"),
			[]string{"gcs_keyfile", "Invalid Credentials"}},
		{"list", refuse(ok, http.MethodGet, "prefix=", http.StatusForbidden), []string{"gcs_keyfile", "may not list"}},
		{"write", refuse(ok, http.MethodPost, "", http.StatusForbidden), []string{"gcs_keyfile", "may not write"}},
		{"read", refuse(ok, http.MethodGet, "alt=media", http.StatusForbidden), []string{"gcs_keyfile", "may not read"}},
		{"delete", refuse(ok, http.MethodDelete, "", http.StatusForbidden), []string{"gcs_keyfile", "may not delete"}},
		{"a name", answer(http.StatusBadRequest, "Invalid bucket name"), []string{"gcs_bucket", "Invalid bucket name"}},
		{"no such bucket", answer(http.StatusNotFound, "The specified bucket does not exist."),
			[]string{"gcs_bucket", bucket}},
		{"trouble", answer(http.StatusServiceUnavailable, "backendError"), []string{"gcs_endpoint", "503"}},
		{"no storage", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>Hello!\n") },
			[]string{"gcs_endpoint", "no Google Cloud Storage"}},
		{"elsewhere", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://evil.example/", http.StatusFound)
		},
			[]string{"gcs_endpoint", "302"}},
		{"nothing", ok, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := google(t, tt.handler)
			cfg.Bucket = bucket
			if tt.want == nil {
				put(t, open(t, cfg), "a", []byte("hello"))
				return
			}
			wantOpenError(t, cfg, tt.want...)
		})
	}
}

func TestOpen_OlderName(t *testing.T) {
	s := harness.FakeGCS(t)
	cfg := config(t, s)
	cfg.Bucket, cfg.BotoBucket = "", cfg.Bucket
	put(t, open(t, cfg), "a", []byte("hello"))
	cfg.BotoBucket = "none"
	wantOpenError(t, cfg, "boto_bucket", `"none"`)
}

func TestOpen_Token(t *testing.T) {
	for _, tt := range []struct {
		name string
		url  string
		want []string
	}{
		{"refused", tokens(t, refuseToken(time.Now())), []string{"gcs_keyfile", "Invalid JWT Signature"}},
		{"refused for the clock", tokens(t, refuseToken(time.Now().Add(-time.Hour))), []string{"gcs_keyfile", "clock is 1h0m"}},
		{"unreachable", "http://" + closedPort(t), []string{"gcs_keyfile", "connection refused"}},
		{"trouble", tokens(t, answer(http.StatusServiceUnavailable, "")), []string{"gcs_keyfile", "503"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			cfg := google(t, func(http.ResponseWriter, *http.Request) { t.Error("there was a request without a token") })
			cfg.Keyfile = keyfile(t, keyOptions{tokenURL: tt.url})
			wantOpenError(t, cfg, tt.want...)
		})
	}
}

// closedPort is an address where nobody listens.
func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	return l.Addr().String()
}

func TestOpen_Unreachable(t *testing.T) {
	mute, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { mute.Close() })
	plain := tokens(t, func(http.ResponseWriter, *http.Request) {})
	secure := httptest.NewTLSServer(nil)
	t.Cleanup(secure.Close)
	secure.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	for _, tt := range []struct {
		name, endpoint string
		want           []string
	}{
		{"refused", "http://" + closedPort(t), []string{"gcs_endpoint", "connection refused"}},
		{"mute", "http://" + mute.Addr().String(), []string{"gcs_endpoint", "no answer"}},
		{"http for https", strings.Replace(plain, "http:", "https:", 1), []string{"gs_secure", "http, not https"}},
		{"https for http", strings.Replace(secure.URL, "https:", "http:", 1), []string{"gcs_endpoint", "400"}},
		{"a certificate of nobody's", unknownCertificate(t), []string{"gcs_endpoint", "certificate"}},
		{"a name of nobody's", "http://nobody.invalid", []string{"gcs_endpoint", "nobody.invalid"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			cfg := google(t, nil)
			cfg.Endpoint = tt.endpoint
			wantOpenError(t, cfg, tt.want...)
		})
	}
}

// unknownCertificate is the URL of a server whose certificate nobody trusts.
func unknownCertificate(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(nil)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.URL
}
