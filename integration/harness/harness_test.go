package harness_test

import (
	"archive/tar"
	"bytes"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/parfait-registry/parfait/integration/harness"
)

func TestMain(m *testing.M) { os.Exit(harness.Run(m)) }

func TestTools(t *testing.T) {
	for name, args := range map[string]string{
		"crane": "version", "oras": "version", "regbot": "version", "regctl": "version", "regsync": "version",
		"pebble":   "-version",
		"registry": "--version", "fake-gcs-server": "-help", "minio": "--version", "toxiproxy": "-version",
		"versitygw": "--version", "docker-compose": "version",
	} {
		t.Run(name, func(t *testing.T) {
			path := harness.Tool(t, name)
			if out, err := exec.Command(path, args).CombinedOutput(); err != nil {
				t.Errorf("%s %s: %v\n%s", name, args, err, out)
			}
			if again := harness.Tool(t, name); again != path {
				t.Errorf("got %s, then %s", path, again)
			}
		})
	}
}

func TestCommand(t *testing.T) {
	for _, name := range []string{"skopeo", "podman", "buildah", "strace"} {
		t.Run(name, func(t *testing.T) {
			path := harness.Command(t, name)
			if out, err := exec.Command(path, "--version").CombinedOutput(); err != nil {
				t.Errorf("%s --version: %v\n%s", name, err, out)
			}
		})
	}
}

func TestDistribution(t *testing.T) {
	crane := harness.Tool(t, "crane")
	s := harness.StartDistribution(t, "")
	run := func(args ...string) string {
		t.Helper()
		out, err := exec.Command(crane, append(args, "--insecure")...).CombinedOutput()
		if err != nil {
			t.Fatalf("crane %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return strings.TrimSpace(string(out))
	}
	run("append", "--oci-empty-base", "-f", layer(t), "-t", s.Addr+"/t/a:v1")
	digest := run("digest", s.Addr+"/t/a:v1")

	// A second server on the same folder serves what the first one stored.
	s.Stop()
	if _, err := http.Get(s.URL + "/v2/"); err == nil {
		t.Error("the server serves after Stop")
	}
	s = harness.StartDistribution(t, s.Storage)
	if got := run("digest", s.Addr+"/t/a:v1"); got != digest {
		t.Errorf("got %s, want %s", got, digest)
	}
	s.Kill()
	if status := s.Stop(); status != -1 {
		t.Errorf("got exit status %d after SIGKILL, want -1", status)
	}
}

func TestParfait(t *testing.T) {
	s := harness.StartParfait(t, harness.Options{})
	if status := s.Stop(); status != 0 {
		t.Errorf("got exit status %d after SIGTERM, want 0", status)
	}
	if _, err := http.Get(s.URL + "/readyz"); err == nil {
		t.Error("the server serves after Stop")
	}

	// The same folder and address serve again, after SIGTERM and after SIGKILL.
	for range 2 {
		again := harness.StartParfait(t, harness.Options{Storage: s.Storage, Addr: s.Addr})
		if again.URL != s.URL || again.PID == s.PID {
			t.Errorf("got %s as %d, after %s as %d", again.URL, again.PID, s.URL, s.PID)
		}
		again.Kill()
	}
}

// Layer is a file with a tar archive of one file.
func layer(t *testing.T) string {
	t.Helper()
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	if err := w.WriteHeader(&tar.Header{Name: "hello", Mode: 0o644, Size: 5}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, "hello"); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "layer.tar")
	if err := os.WriteFile(path, archive.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}
