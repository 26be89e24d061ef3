// Package harness starts real servers and finds real clients for tests:
//
//	func TestPull(t *testing.T) {
//		s := harness.StartParfait(t, harness.Options{})
//		crane := harness.Tool(t, "crane")
//		…
//	}
//
// Programs written in Go are built at pinned versions and kept in the user's cache, so only the first test that needs
// one pays for it. Programs of the system are used as they are. A test whose program cannot be had is skipped, or fails
// when the environment has CI=true. A package that starts Parfait, or shares a server, hands its TestMain to Run.
//
// # Storage servers
//
// MinIO, VersityGW, FakeGCS, Azurite, OpenStackSwift and PostgreSQL start a server for the test that they are given, each
// on a free port and with a new folder. Tests that share one, for Swift is slow to start, are subtests of the test that
// has started it, each with a bucket of its own:
//
//	func TestS3(t *testing.T) {
//		s := harness.MinIO(t)
//		t.Run("put", func(t *testing.T) { bucket := s.NewBucket(t); … })
//		t.Run("list", func(t *testing.T) { bucket := s.NewBucket(t); … })
//	}
//
// Stop, Kill and Start of a Server let a test see what becomes of its subject while the storage is away. A Toxiproxy
// before the server lets it see slow and broken connections.
package harness

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Command finds a program of the system, such as skopeo, podman, buildah or strace.
func Command(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		missing(t, "%s is not installed: %v", name, err)
	}
	return path
}

// Missing skips the test for want of something, or fails it under CI=true, where everything has to run.
func Missing(t testing.TB, format string, args ...any) {
	t.Helper()
	missing(t, format, args...)
}

func missing(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// Root is the top folder of this module.
func Root(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			t.Fatal("no go.mod above the working directory")
		}
		dir = parent
	}
}
