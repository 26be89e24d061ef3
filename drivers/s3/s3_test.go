package s3_test

import (
	"log/slog"
	"os"
	"testing"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/drivers/drivertest"
	"github.com/parfait-registry/parfait/drivers/s3"
	"github.com/parfait-registry/parfait/integration/harness"
)

func TestMain(m *testing.M) { os.Exit(harness.Run(m)) }

// configFor is how a flavor would name a bucket of server.
func configFor(server *harness.S3, bucket string) s3.Config {
	cfg := s3.NewConfig()
	cfg.Bucket, cfg.Endpoint, cfg.Region = bucket, server.URL, server.Region
	cfg.AccessKey, cfg.SecretKey = server.AccessKey, server.SecretKey
	cfg.Path = "/registry"
	return cfg
}

func open(t testing.TB, cfg s3.Config) *s3.Driver {
	t.Helper()
	d, err := s3.Open(t.Context(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

// servers are the real ones that everything is to work on.
func servers() map[string]func(testing.TB) *harness.S3 {
	return map[string]func(testing.TB) *harness.S3{"MinIO": harness.MinIO, "VersityGW": harness.VersityGW}
}

func TestDriver(t *testing.T) {
	for name, start := range servers() {
		t.Run(name, func(t *testing.T) {
			server := start(t)
			drivertest.Run(t, func(t *testing.T) drivers.Driver { return open(t, configFor(server, server.NewBucket(t))) })
		})
	}
}
