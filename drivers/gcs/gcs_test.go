package gcs_test

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/drivers/drivertest"
	"github.com/parfait-registry/parfait/drivers/gcs"
	"github.com/parfait-registry/parfait/drivers/metered"
	"github.com/parfait-registry/parfait/integration/harness"
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

// run has the tests trust the certificate of package httptest.
func run(m *testing.M) int {
	tls := httptest.NewTLSServer(nil)
	defer tls.Close()
	file, err := os.CreateTemp("", "*.pem")
	if err != nil {
		panic(err)
	}
	defer os.Remove(file.Name())
	if err := pem.Encode(file, &pem.Block{Type: "CERTIFICATE", Bytes: tls.Certificate().Raw}); err != nil {
		panic(err)
	}
	os.Setenv("SSL_CERT_FILE", file.Name())
	if _, err := x509.SystemCertPool(); err != nil { // which is read but once
		panic(err)
	}
	os.Unsetenv("SSL_CERT_FILE")
	return harness.Run(m)
}

// TestDriver has the server keep objects in memory: on disk it gives each a file with an escaped name, which is too
// long for some keys.
func TestDriver(t *testing.T) {
	t.Parallel()
	s := inMemory(t)
	drivertest.Run(t, func(t *testing.T) drivers.Driver { return open(t, config(t, s)) })
}

func TestDriver_Prefix(t *testing.T) {
	t.Parallel()
	s := inMemory(t)
	drivertest.Run(t, func(t *testing.T) drivers.Driver {
		cfg := config(t, s)
		cfg.Path, cfg.Keyfile = "/registry/of/mine", keyfile(t, keyOptions{})
		return metered.New(open(t, cfg))
	})
}

func BenchmarkDriver(b *testing.B) {
	s := inMemory(b)
	drivertest.Bench(b, func(b *testing.B) drivers.Driver { return open(b, config(b, s)) })
}

// inMemory starts fake-gcs-server without a disk.
func inMemory(t testing.TB) *harness.GCS {
	t.Helper()
	program := harness.Tool(t, "fake-gcs-server")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	host, port, _ := strings.Cut(addr, ":")
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, program, "-scheme", "http", "-host", host, "-port", port, "-backend", "memory",
		"-external-url", "http://"+addr, "-public-host", addr, "-log-level", "warn")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait() // it was killed
	})
	for range 500 {
		resp, err := http.Get("http://" + addr + "/_internal/healthcheck")
		if err == nil {
			resp.Body.Close()
			return &harness.GCS{Server: &harness.Server{URL: "http://" + addr, Addr: addr}}
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("fake-gcs-server does not start")
	return nil
}

// config is for a new bucket of s.
func config(t testing.TB, s *harness.GCS) gcs.Config {
	t.Helper()
	cfg := gcs.NewConfig()
	cfg.Bucket, cfg.Endpoint = s.NewBucket(t), s.URL
	cfg.PartSize = 5 << 20
	return cfg
}

func open(t testing.TB, cfg gcs.Config) *gcs.Driver {
	t.Helper()
	d, err := gcs.Open(t.Context(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return d
}
