package harness

import (
	"net/http"
	"testing"
)

// A GCS is fake-gcs-server. Its URL is a value for STORAGE_EMULATOR_HOST.
//
// It is kinder than Google: deletions and reads pay no heed to ifGenerationMatch, and any signature on a URL will do.
type GCS struct{ *Server }

// FakeGCS starts fake-gcs-server, which is up at once.
func FakeGCS(t testing.TB) *GCS {
	t.Helper()
	program := Tool(t, "fake-gcs-server")
	storage := t.TempDir()
	s := start(t, command{
		name: "fake-gcs-server",
		args: func(addr string) []string {
			return []string{
				program, "-scheme", "http", "-host", "127.0.0.1", "-port", port(addr), "-backend", "filesystem", "-filesystem-root", storage,
				"-external-url", "http://" + addr, "-public-host", addr, "-log-level", "warn",
			}
		},
		ready: answers("/_internal/healthcheck"),
	}, "")
	s.Storage = storage
	return &GCS{s}
}

// NewBucket makes a bucket that no other test has, and returns its name.
func (g *GCS) NewBucket(t testing.TB) string {
	t.Helper()
	name := fresh()
	body := `{"name": "` + name + `"}`
	_, _, err := ask(t.Context(), http.MethodPost, g.URL+"/storage/v1/b?project=test", nil, body)
	if err != nil {
		t.Fatal(err)
	}
	return name
}
