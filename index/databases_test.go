package index_test

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/parfait-registry/parfait/index"
	"github.com/parfait-registry/parfait/integration/harness"
)

// databases runs a test on an empty database of each kind.
func databases(t *testing.T, test func(t *testing.T, database string)) {
	t.Run("sqlite", func(t *testing.T) { test(t, filepath.Join(t.TempDir(), "index.db")) })
	t.Run("postgres", func(t *testing.T) { test(t, postgres(t).NewDatabase(t)) })
}

// onEach runs a test on an empty index of each kind.
func onEach(t *testing.T, test func(t *testing.T, db *index.DB)) {
	databases(t, func(t *testing.T, database string) { test(t, open(t, database)) })
}

func open(t testing.TB, database string) *index.DB {
	t.Helper()
	return openWith(t, index.Config{Database: database})
}

func openWith(t testing.TB, cfg index.Config) *index.DB {
	t.Helper()
	db, err := index.Open(t.Context(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

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
	dir, err := os.MkdirTemp("", "parfait-index-test-")
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
