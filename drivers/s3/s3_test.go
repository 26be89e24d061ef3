package s3_test

import (
	"errors"
	"io/fs"
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
			t.Parallel()
			server := start(t)
			drivertest.Run(t, func(t *testing.T) drivers.Driver { return open(t, configFor(server, server.NewBucket(t))) })
		})
	}
}

func put(t testing.TB, d drivers.Driver, key, data string) {
	t.Helper()
	if err := drivers.Put(t.Context(), d, key, []byte(data)); err != nil {
		t.Fatal(err)
	}
}

func wantAbsent(t testing.TB, d drivers.Driver, key string) {
	t.Helper()
	if r, err := d.Open(t.Context(), key, 0, -1); err == nil {
		r.Close()
		t.Errorf("object %q is there", key)
	} else if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("open %q: got error %v, want that it is absent", key, err)
	}
}
