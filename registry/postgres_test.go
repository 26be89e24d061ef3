package registry_test

import (
	"context"
	"os"
	"slices"
	"sync"
	"testing"

	"github.com/parfait-registry/parfait/integration/harness"
)

// postgres is the one cluster of this process. What it has not written yet is lost with the machine, which no test needs.
func postgres(t testing.TB) *harness.Postgres {
	t.Helper()
	process.once.Do(func() { process.cluster = harness.PostgreSQL(lasting{t}, "fsync=off", "full_page_writes=off") })
	if process.cluster == nil {
		harness.Missing(t, "there is no PostgreSQL")
	}
	return process.cluster
}

// process is what lasts until the tests have run.
var process struct {
	once     sync.Once
	cluster  *harness.Postgres
	cleanups []func()
}

// A lasting test is one that goes on until all tests have run.
type lasting struct{ testing.TB }

func (lasting) Cleanup(f func())         { process.cleanups = append(process.cleanups, f) }
func (lasting) Context() context.Context { return context.Background() }
func (lasting) Failed() bool             { return false }

func (l lasting) TempDir() string {
	l.Helper()
	dir, err := os.MkdirTemp("", "parfait-registry-test-")
	if err != nil {
		l.Fatal(err)
	}
	l.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func TestMain(m *testing.M) {
	code := m.Run()
	for _, f := range slices.Backward(process.cleanups) {
		f()
	}
	os.Exit(code)
}
