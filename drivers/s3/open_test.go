package s3_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/parfait-registry/parfait/drivers/s3"
	"github.com/parfait-registry/parfait/integration/harness"
)

// newGate is a gate with a fault from the start.
func newGate(t testing.TB, server *harness.S3, f harness.Fault) *harness.Gate {
	t.Helper()
	g := harness.NewGate(t, server.URL)
	g.Fail(f)
	return g
}

// refuse answers as S3 does when something is wrong.
func refuse(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	io.WriteString(w, `<?xml version="1.0" encoding="UTF-8"?><Error><Code>`+code+`</Code><Message>about `+code+
		`</Message><RequestId>4442587FB7D0A2F9</RequestId><HostId>host</HostId></Error>`)
}

// silent is the address of a listener that never answers.
func silent(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.Addr().String()
}

func TestOpen_Errors(t *testing.T) {
	server := harness.MinIO(t)
	bucket := server.NewBucket(t)
	secure := httptest.NewUnstartedServer(harness.NewGate(t, server.URL).Behind)
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	t.Cleanup(secure.Close)
	page := httptest.NewServer(http.FileServer(http.Dir(t.TempDir())))
	t.Cleanup(page.Close)
	behind := func(verb string, status int, code string) func(*s3.Config) {
		url := newGate(t, server, first(always, method(verb), answering(status, code))).URL
		return func(c *s3.Config) { c.Endpoint = url }
	}
	skewed := newGate(t, server, harness.Instead(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Date", time.Now().Add(-20*time.Minute).UTC().Format(http.TimeFormat))
		refuse(w, http.StatusForbidden, "RequestTimeTooSkewed")
	}))
	moved := newGate(t, server, harness.Instead(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Amz-Bucket-Region", "ap-south-1")
		refuse(w, http.StatusMovedPermanently, "PermanentRedirect")
	}))
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()

	for _, tt := range []struct {
		name   string
		change func(*s3.Config)
		want   []string // in the error
	}{
		{"wrong key", func(c *s3.Config) { c.AccessKey = "nobody" }, []string{"s3_access_key: not known to " + server.URL}},
		{"wrong secret", func(c *s3.Config) { c.SecretKey = "secret-guess" }, []string{"s3_secret_key: it does not fit"}},
		{"no bucket", func(c *s3.Config) { c.Bucket = "none" }, []string{`s3_bucket: there is no bucket "none" at ` + server.URL}},
		{"no bucket, by its older name", func(c *s3.Config) { c.Bucket, c.BotoBucket = "", "none" }, []string{`boto_bucket: there is no bucket "none"`}},
		{"impossible bucket", func(c *s3.Config) { c.Bucket = "No_Bucket" }, []string{"s3_bucket: "}},
		{"wrong region", func(c *s3.Config) { c.Region = "eu-west-1" }, []string{"s3_region: the bucket is in us-east-1, not in eu-west-1"}},
		{"wrong region, by a redirect", behind(http.MethodGet, http.StatusMovedPermanently, "PermanentRedirect"), []string{"s3_region: the bucket is not in us-east-1", "PermanentRedirect"}},
		{"wrong region, by a redirect that names the right one", func(c *s3.Config) { c.Endpoint = moved.URL }, []string{"s3_region: the bucket is in ap-south-1, not in us-east-1"}},
		{"nobody there", func(c *s3.Config) { c.Endpoint = "http://" + closed.Addr().String() }, []string{"s3_endpoint: http://" + closed.Addr().String(), "connection refused"}},
		{"nobody there, by older keys", func(c *s3.Config) {
			c.Endpoint, c.Secure = "", false
			c.BotoHost, c.BotoPort, _ = strings.Cut(closed.Addr().String(), ":")
		}, []string{"boto_host: http://" + closed.Addr().String(), "connection refused"}},
		{"silence", func(c *s3.Config) { c.Endpoint = "http://" + silent(t) }, []string{"s3_endpoint: ", "does not answer within 7s"}},
		{"no host", func(c *s3.Config) { c.Endpoint = "http://s3.invalid" }, []string{"s3_endpoint: there is no host s3.invalid"}},
		{"https to http", func(c *s3.Config) { c.Endpoint = strings.Replace(server.URL, "http:", "https:", 1) }, []string{"s3_endpoint: ", "does not speak https", "begin with http://"}},
		{"https to http, by older keys", func(c *s3.Config) { c.Endpoint, c.BotoHost = "", server.Addr }, []string{"s3_secure: ", "set it to false"}},
		{"http to https", func(c *s3.Config) { c.Endpoint = strings.Replace(secure.URL, "https:", "http:", 1) }, []string{"s3_endpoint: ", "speaks https", "begin with https://"}},
		{"http to https, by older keys", func(c *s3.Config) {
			c.Endpoint, c.Secure, c.BotoHost = "", false, strings.TrimPrefix(secure.URL, "https://")
		}, []string{"s3_secure: ", "set it to true"}},
		{"untrusted", func(c *s3.Config) { c.Endpoint = secure.URL }, []string{"s3_endpoint: the certificate of " + secure.URL + " is not trusted: x509: "}},
		{"a web server", func(c *s3.Config) { c.Endpoint = page.URL }, []string{"s3_endpoint: what answers at " + page.URL + " does not speak S3"}},
		{"clock", func(c *s3.Config) { c.Endpoint = skewed.URL }, []string{"the clock of this machine is wrong: it is 20m", " ahead of the server's"}},
		{"may not list", behind(http.MethodGet, http.StatusForbidden, "AccessDenied"), []string{"s3_access_key: may not list in bucket", "AccessDenied"}},
		{"may not write", behind(http.MethodPut, http.StatusForbidden, "AccessDenied"), []string{"s3_access_key: may not write in bucket", "AccessDenied"}},
		{"may not delete", behind(http.MethodDelete, http.StatusForbidden, "AccessDenied"), []string{"s3_access_key: may not delete in bucket", "AccessDenied"}},
		{"busy", behind(http.MethodGet, http.StatusServiceUnavailable, "SlowDown"), []string{"s3_endpoint: ", "SlowDown"}},
		{"no such class", func(c *s3.Config) { c.StorageClass = "HEAP" }, []string{`s3_storage_class: there is no class "HEAP"`}},
		{"cannot encrypt", func(c *s3.Config) { c.Encrypt = "true" }, []string{"s3_encrypt: the server does not encrypt (NotImplemented", "auto would store without"}},
		{"cannot encrypt with a key", func(c *s3.Config) { c.KMSKey = "my-key" }, []string{"s3_kms_key: the server does not encrypt with it: "}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			cfg := configFor(server, bucket)
			tt.change(&cfg)
			start := time.Now()
			d, err := s3.Open(t.Context(), cfg, slog.New(slog.DiscardHandler))
			if took := time.Since(start); took > 9*time.Second {
				t.Errorf("took %v", took)
			}
			if err == nil {
				d.Close()
				t.Fatal("got no error")
			}
			t.Log(err)
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got %q, want %q in it", err, want)
				}
			}
			for _, not := range []string{"\n", cfg.SecretKey, cfg.AccessKey + " ", "4442587FB7D0A2F9", "operation error", "https response error"} {
				if strings.Contains(err.Error(), not) {
					t.Errorf("got %q with %q in it", err, not)
				}
			}
		})
	}
}

func TestOpen_Cancelled(t *testing.T) {
	cfg := configFor(&harness.S3{Server: &harness.Server{URL: "http://" + silent(t)}, AccessKey: "a", SecretKey: "b", Region: "r"}, "bucket")
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := s3.Open(ctx, cfg, slog.New(slog.DiscardHandler)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got error %v, want the context's", err)
	}
}

// A region that nobody names is the one that the server does. The gate moves the bucket once it is known.
func TestOpen_FindsRegion(t *testing.T) {
	server := harness.MinIO(t)
	cfg := configFor(server, server.NewBucket(t))
	cfg.Region = ""
	t.Setenv("AWS_CONFIG_FILE", "/dev/null")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
	t.Setenv("AWS_REGION", "")
	t.Setenv("AWS_DEFAULT_REGION", "")
	put(t, open(t, cfg), "a", "us-east-1 is the first guess")

	var wrong atomic.Int32
	cfg.Endpoint = newGate(t, server, harness.Instead(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.Header.Get("Authorization"), "/eu-north-1/s3/") {
			w.WriteHeader(http.StatusTeapot)
			return
		}
		wrong.Add(1)
		w.Header().Set("X-Amz-Bucket-Region", "eu-north-1")
		refuse(w, http.StatusBadRequest, "AuthorizationHeaderMalformed")
	})).URL
	_, err := s3.Open(t.Context(), cfg, slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), "teapot") || wrong.Load() != 1 {
		t.Errorf("got error %v after %d requests in the wrong region, want one there and then one in the right one", err, wrong.Load())
	}

	t.Setenv("AWS_REGION", "eu-west-1")
	cfg.Endpoint = server.URL
	if _, err := s3.Open(t.Context(), cfg, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "s3_region: the bucket is in us-east-1, not in eu-west-1") {
		t.Errorf("region of the environment: got error %v", err)
	}
}

// Without keys in the flavor, those of the environment are used, and errors name them.
func TestOpen_Environment(t *testing.T) {
	server := harness.MinIO(t)
	cfg := configFor(server, server.NewBucket(t))
	cfg.AccessKey, cfg.SecretKey = "", ""
	for name, value := range map[string]string{"AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
		"AWS_EC2_METADATA_DISABLED": "true", "AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_PROFILE": ""} {
		t.Setenv(name, value)
	}
	_, err := s3.Open(t.Context(), cfg, slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), "s3_access_key is empty, and there are no credentials where") {
		t.Errorf("no credentials at all: got error %v", err)
	}
	t.Setenv("AWS_ACCESS_KEY_ID", server.AccessKey)
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret-guess")
	_, err = s3.Open(t.Context(), cfg, slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), "the credentials from EnvConfigCredentials: the secret does not fit the key") {
		t.Errorf("wrong secret in the environment: got error %v", err)
	}
	t.Setenv("AWS_SECRET_ACCESS_KEY", server.SecretKey)
	put(t, open(t, cfg), "a", "hello")

	t.Setenv("AWS_PROFILE", "none")
	cfg.Region = ""
	_, err = s3.Open(t.Context(), cfg, slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), "what Amazon's tools are set to cannot be read") {
		t.Errorf("a profile that is not there: got error %v", err)
	}
}

// What the server does to encrypt is found out at the start, and asked for with each write.
func TestOpen_Encrypt(t *testing.T) {
	server := harness.VersityGW(t) // which pays no heed to the request
	bucket := server.NewBucket(t)
	var mu sync.Mutex
	var asked []string // by method and what it asks to encrypt with
	encrypting := newGate(t, server, harness.Fault{Do: func(w http.ResponseWriter, r *http.Request, server http.Handler) {
		if (r.Method == http.MethodPut || r.Method == http.MethodPost) && !r.URL.Query().Has("uploadId") {
			mu.Lock()
			asked = append(asked, r.Method+" "+r.Header.Get("X-Amz-Server-Side-Encryption")+r.Header.Get("X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id"))
			mu.Unlock()
		}
		if kind := r.Header.Get("X-Amz-Server-Side-Encryption"); kind != "" {
			w.Header().Set("X-Amz-Server-Side-Encryption", kind)
		}
		server.ServeHTTP(w, r)
	}})
	write := func(cfg s3.Config) (log string, err error) {
		asked = nil
		logger, out := logged(slog.LevelInfo)
		d, err := s3.Open(t.Context(), cfg, logger)
		if err != nil {
			return out.String(), err
		}
		defer d.Close()
		asked = nil
		put(t, d, "a", "small")
		put(t, d, "b", strings.Repeat("large", 4<<20))
		return out.String(), d.Compose(t.Context(), "c", "a")
	}
	for _, tt := range []struct {
		encrypt, key, endpoint string
		asked                  string // of each write
		warn                   bool
		err                    string
	}{
		{"auto", "", encrypting.URL, "AES256", false, ""},
		{"true", "", encrypting.URL, "AES256", false, ""},
		{"YES", "", encrypting.URL, "AES256", false, ""},
		{"false", "", encrypting.URL, "", false, ""},
		{"auto", "my-key", encrypting.URL, "aws:kmsmy-key", false, ""},
		{"auto", "", server.URL, "", true, ""},
		{"false", "", server.URL, "", false, ""},
		{"true", "", server.URL, "", false, "s3_encrypt: the server does not encrypt (it ignores the request to encrypt); auto would store without"},
		{"auto", "my-key", server.URL, "", false, "s3_kms_key: the server does not encrypt with it"},
	} {
		cfg := configFor(server, bucket)
		cfg.Encrypt, cfg.KMSKey, cfg.Endpoint = tt.encrypt, tt.key, tt.endpoint
		log, err := write(cfg)
		switch {
		case tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)), tt.err == "" && err != nil:
			t.Errorf("%+v: got error %v", tt, err)
		case strings.Contains(log, "level=WARN msg=\"s3_encrypt: ") != tt.warn || strings.Count(log, "\n") > 1:
			t.Errorf("%+v: got log %q", tt, log)
		}
		want := []string{"PUT " + tt.asked, "POST " + tt.asked, "PUT " + tt.asked}
		if tt.endpoint == encrypting.URL && !slices.Equal(asked, want) {
			t.Errorf("%+v: got requests %q, want %q", tt, asked, want)
		}
	}
	for o := range open(t, configFor(server, bucket)).List(t.Context(), "parfait/", "") {
		t.Errorf("%s is left", o.Key)
	}
}

func logged(level slog.Level) (*slog.Logger, *bytes.Buffer) {
	var out bytes.Buffer
	return slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: level})), &out
}
