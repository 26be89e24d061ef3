package gocloud_test

import (
	"log/slog"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/drivers/drivertest"
	"github.com/parfait-registry/parfait/drivers/gocloud"
	"github.com/parfait-registry/parfait/drivers/metered"
	"github.com/parfait-registry/parfait/integration/harness"
)

func TestMain(m *testing.M) { os.Exit(harness.Run(m)) }

// config is the flavor of a container of its own.
func config(t testing.TB, s *harness.Azure) gocloud.AzureConfig {
	t.Helper()
	cfg := gocloud.NewAzureConfig()
	cfg.Account, cfg.Key = s.Account, s.Key
	cfg.Endpoint = s.URL
	cfg.Container = s.NewContainer(t)
	return cfg
}

func openAzure(t testing.TB, cfg gocloud.AzureConfig) *gocloud.Driver {
	t.Helper()
	d, err := gocloud.OpenAzure(t.Context(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func openURL(t testing.TB, cfg gocloud.URLConfig) *gocloud.Driver {
	t.Helper()
	d, err := gocloud.OpenURL(t.Context(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestDriver_Azure(t *testing.T) {
	s := harness.Azurite(t)
	drivertest.Run(t, func(t *testing.T) drivers.Driver {
		cfg := config(t, s)
		cfg.Path = "/registry/of/ours"
		return metered.New(openAzure(t, cfg))
	})
}

func TestDriver_Mem(t *testing.T) {
	drivertest.Run(t, func(t *testing.T) drivers.Driver { return openURL(t, gocloud.URLConfig{URL: "mem://"}) })
}

func TestDriver_S3(t *testing.T) {
	s := harness.MinIO(t)
	t.Setenv("AWS_ACCESS_KEY_ID", s.AccessKey)
	t.Setenv("AWS_SECRET_ACCESS_KEY", s.SecretKey)
	drivertest.Run(t, func(t *testing.T) drivers.Driver {
		return openURL(t, gocloud.URLConfig{URL: s3URL(s.NewBucket(t), s.URL, s.Region), Path: "registry"})
	})
}

func s3URL(bucket, endpoint, region string) string {
	query := url.Values{"endpoint": {endpoint}, "region": {region}, "use_path_style": {"true"}}
	return "s3://" + bucket + "?" + query.Encode()
}

func TestDriver_GCS(t *testing.T) {
	s := harness.FakeGCS(t)
	t.Setenv("STORAGE_EMULATOR_HOST", s.Addr) // gocloud takes no URL
	drivertest.Run(t, func(t *testing.T) drivers.Driver {
		if strings.HasSuffix(t.Name(), "long_keys") {
			t.Skip("fake-gcs-server has files with escaped names, which get too long")
		}
		return openURL(t, gocloud.URLConfig{URL: "gs://" + s.NewBucket(t), Path: "registry"})
	})
}

func BenchmarkDriver(b *testing.B) {
	s := harness.Azurite(b)
	drivertest.Bench(b, func(b *testing.B) drivers.Driver { return openAzure(b, config(b, s)) })
}
