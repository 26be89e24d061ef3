package integration

import (
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/parfait-registry/parfait/index"
	"github.com/parfait-registry/parfait/integration/harness"
	"github.com/parfait-registry/parfait/integration/scale"
)

// BenchmarkColdStart starts the program on a folder whose index has a hundred thousand repositories and a million blobs.
// It reports the median time from there to the first 200 of /readyz: after a stop in order, and after a SIGKILL.
func BenchmarkColdStart(b *testing.B) {
	storage := b.TempDir()
	path := filepath.Join(storage, "parfait", "index.db")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		b.Fatal(err)
	}
	db, err := index.Open(b.Context(), index.Config{Database: path}, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	if err := scale.Full.Fill(b.Context(), db); err != nil {
		b.Fatal(err)
	}
	if err := db.Close(); err != nil {
		b.Fatal(err)
	}
	for name, end := range map[string]syscall.Signal{"stopped": syscall.SIGTERM, "killed": syscall.SIGKILL} {
		b.Run(name, func(b *testing.B) {
			timeStart(b, storage, end) // the first one builds the program, and claims the store
			var times []time.Duration
			for b.Loop() {
				times = append(times, timeStart(b, storage, end))
			}
			slices.Sort(times)
			b.ReportMetric(0, "ns/op") // which has the end in it
			b.ReportMetric(float64(times[len(times)/2].Microseconds())/1000, "ms-to-ready")
		})
	}
}

// timeStart starts Parfait in a process of its own, and ends it once it is ready. It returns how long that took.
func timeStart(b *testing.B, storage string, end syscall.Signal) time.Duration {
	b.Helper()
	addr := freeAddr(b)
	cmd := exec.CommandContext(b.Context(), harness.Parfait(b), "serve")
	cmd.Dir = b.TempDir()
	cmd.Env = []string{"SETTINGS_FLAVOR=dev", "LOGLEVEL=warn", "STORAGE_PATH=" + storage, "REGISTRY_HTTP_ADDR=" + addr}
	cmd.Stderr = os.Stderr
	began := time.Now()
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	defer func() {
		if err := cmd.Process.Signal(end); err != nil {
			b.Error(err)
		}
		if err := cmd.Wait(); err != nil && end == syscall.SIGTERM {
			b.Errorf("parfait: %v", err)
		}
	}()
	for status(addr, "/readyz") != http.StatusOK {
		if time.Since(began) > time.Minute {
			b.Fatal("parfait is not ready after a minute")
		}
		time.Sleep(time.Millisecond)
	}
	took := time.Since(began)
	last := scale.Repository(scale.Full.Repositories - 1)
	if got := status(addr, "/v2/"+last+"/manifests/v1"); got != http.StatusOK {
		b.Errorf("%s: got %d", last, got)
	}
	return took
}

// status is what a GET is answered with; 0 while nobody listens.
func status(addr, path string) int {
	resp, err := http.Get("http://" + addr + path)
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode
}
