package gocloud_test

import (
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/sas"

	"github.com/parfait-registry/parfait/drivers/gocloud"
	"github.com/parfait-registry/parfait/integration/harness"
)

// wantProblem checks that err is one line with these words, and has no secret in it.
func wantProblem(t *testing.T, err error, secrets []string, words ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("got no error, want one about %q", words)
	}
	text := err.Error()
	t.Log(text)
	for _, word := range words {
		if !strings.Contains(text, word) {
			t.Errorf("got error %q, want one with %q", text, word)
		}
	}
	if strings.Contains(text, "\n") || len(text) > 500 {
		t.Errorf("got an error of %d bytes, want one line:\n%s", len(text), text)
	}
	for _, secret := range secrets {
		if secret != "" && strings.Contains(text, secret) {
			t.Errorf("got error %q, with a secret in it", text)
		}
	}
}

func TestOpenAzure_Errors(t *testing.T) {
	s := harness.Azurite(t)
	skewed := harness.NewGate(t, s.URL)
	skewed.Fail(harness.Instead(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Date", time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat))
		answer(http.StatusForbidden, "AuthenticationFailed")(w, r)
	}))
	plain := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(plain.Close)
	secure := httptest.NewUnstartedServer(http.NotFoundHandler())
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	t.Cleanup(secure.Close)
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { silent.Close() })

	for _, name := range []string{"PATH", "AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET"} {
		t.Setenv(name, "") // or else there are credentials
	}

	type flavor = gocloud.AzureConfig
	for _, tt := range []struct {
		name  string
		set   func(c *flavor)
		words []string
	}{
		{"no account", func(c *flavor) { c.Account = "" }, []string{"azure_storage_account_name"}},
		{"account with a domain", func(c *flavor) { c.Account = "a.example" }, []string{"azure_storage_account_name", "a.example"}},
		{"another account", func(c *flavor) { c.Account = "another" }, []string{"azure_storage_account_name", "another"}},
		{"bad container", func(c *flavor) { c.Container = "No_Good" }, []string{"azure_storage_container", "No_Good"}},
		{"key not in base64", func(c *flavor) { c.Key = "secret!" }, []string{"azure_storage_account_key"}},
		{"another key", func(c *flavor) { c.Key = "c2VjcmV0" }, []string{"azure_storage_account_key", "403", "list"}},
		{"key and token", func(c *flavor) { c.SAS = "sig=secret" }, []string{"azure_storage_account_key", "azure_storage_sas_token"}},
		{"bad token", func(c *flavor) { c.Key, c.SAS = "", "a secret" }, []string{"azure_storage_sas_token"}},
		{"another token", func(c *flavor) { c.Key, c.SAS = "", "sv=2020-10-02&sp=rwdl&sr=c&se=2100-01-01T00:00:00Z&sig=c2VjcmV0" },
			[]string{"azure_storage_sas_token", "403"}},
		{"token to read", func(c *flavor) {
			c.Key, c.SAS = "", token(t, s, c.Container, sas.ContainerPermissions{Read: true, List: true})
		}, []string{"azure_storage_sas_token", "write", "403"}},
		{"token not to delete", func(c *flavor) {
			c.Key, c.SAS = "", token(t, s, c.Container, sas.ContainerPermissions{Read: true, List: true, Write: true})
		}, []string{"azure_storage_sas_token", "delete", "403"}},
		{"token, no container", func(c *flavor) {
			c.Container, c.Key = "absent", ""
			c.SAS = token(t, s, c.Container, sas.ContainerPermissions{Read: true, List: true, Write: true, Delete: true})
		}, []string{"azure_storage_container", "absent", "azure_storage_sas_token"}},
		{"no key over http", func(c *flavor) { c.Key = "" }, []string{"azure_use_https", "azure_storage_account_key"}},
		{"no credentials", func(c *flavor) { c.Key, c.Endpoint = "", secure.URL }, []string{"azure_storage_account_key", "credentials: Default"}},
		{"no URL", func(c *flavor) { c.Endpoint = "ftp://x" }, []string{"azure_endpoint"}},
		{"nobody there", func(c *flavor) { c.Endpoint = "http://127.0.0.1:1" }, []string{"azure_endpoint", "127.0.0.1:1", "refused"}},
		{"nobody answers", func(c *flavor) { c.Endpoint = "http://" + silent.Addr().String() },
			[]string{"azure_endpoint", silent.Addr().String(), "8s"}},
		{"no such host", func(c *flavor) { c.Endpoint = "blobs.invalid" }, []string{"azure_endpoint", "devstoreaccount1.blobs.invalid"}},
		{"no such account", func(c *flavor) { c.Endpoint = "" }, []string{"azure_storage_account_name", "devstoreaccount1.blob.core.windows.net"}},
		{"https to who speaks http", func(c *flavor) { c.Endpoint = plain.Listener.Addr().String() }, []string{"azure_use_https"}},
		{"http to who speaks https", func(c *flavor) { c.Endpoint, c.HTTPS = secure.Listener.Addr().String(), false }, []string{"azure_use_https"}},
		{"unknown certificate", func(c *flavor) { c.Endpoint = secure.URL }, []string{"azure_endpoint", "certificate"}},
		{"clock", func(c *flavor) { c.Endpoint = skewed.URL }, []string{"clock", "1h0m"}},
		{"no server of Azure's", func(c *flavor) { c.Endpoint = plain.URL }, []string{"azure_endpoint", "404"}},
		{"bad prefix", func(c *flavor) { c.Path = "a b" }, []string{"storage_path"}},
		{"small parts", func(c *flavor) { c.PartSize = 1 }, []string{"storage_part_size"}},
		{"few buffers", func(c *flavor) { c.Buffers = 1 }, []string{"storage_buffers"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := config(t, s)
			tt.set(&cfg)
			start := time.Now()
			_, err := gocloud.OpenAzure(t.Context(), cfg, slog.New(slog.DiscardHandler))
			if took := time.Since(start); took > 10*time.Second {
				t.Errorf("it took %v", took)
			}
			wantProblem(t, err, []string{cfg.Key, cfg.SAS, "c2VjcmV0"}, tt.words...)
		})
	}
}

func TestOpenURL_Errors(t *testing.T) {
	minio, google, azurite := harness.MinIO(t), harness.FakeGCS(t), harness.Azurite(t)
	t.Setenv("AWS_ACCESS_KEY_ID", minio.AccessKey)
	t.Setenv("AWS_SECRET_ACCESS_KEY", "another secret")
	t.Setenv("STORAGE_EMULATOR_HOST", google.Addr)
	t.Setenv("AZURE_STORAGE_ACCOUNT", azurite.Account)
	t.Setenv("AZURE_STORAGE_KEY", "c2VjcmV0")
	for _, tt := range []struct {
		name, url string
		words     []string
	}{
		{"none", "", []string{"blob_url", "azblob://, gs://, mem://, s3://"}},
		{"no URL", "bucket", []string{"azblob://, gs://, mem://, s3://"}},
		{"bad URL", "s3://%zz", []string{"azblob://, gs://, mem://, s3://"}},
		{"unknown scheme", "ftp://bucket", []string{"ftp://", "azblob://, gs://, mem://, s3://"}},
		{"folder", "file:///tmp", []string{"storage: local"}},
		{"no bucket", "s3://", []string{"s3://"}},
		{"unknown parameter", "s3://bucket?colour=red", []string{"s3://bucket", "colour"}},
		{"wrong key", s3URL(minio.NewBucket(t), minio.URL, minio.Region), []string{"s3://", "SignatureDoesNotMatch"}},
		{"nobody there", s3URL("bucket", "http://127.0.0.1:1", "x"), []string{"s3://bucket", "refused"}},
		{"no bucket of Google's", "gs://absent", []string{"gs://absent", "404"}},
		{"wrong key of Azure's", "azblob://container?protocol=http&domain=" + azurite.Addr, []string{"azblob://container", "403"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			start := time.Now()
			_, err := gocloud.OpenURL(t.Context(), gocloud.URLConfig{URL: tt.url}, slog.New(slog.DiscardHandler))
			if took := time.Since(start); took > 10*time.Second {
				t.Errorf("it took %v", took)
			}
			wantProblem(t, err, []string{"another secret", "c2VjcmV0"}, append(tt.words, "blob_url")...)
		})
	}
}
