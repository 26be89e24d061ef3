package index_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/parfait-registry/parfait/index"
	"github.com/parfait-registry/parfait/integration/harness"
)

// databases runs a test on an empty database of each kind.
func databases(t *testing.T, test func(t *testing.T, database string)) {
	t.Run("sqlite", func(t *testing.T) { test(t, filepath.Join(t.TempDir(), "index.db")) })
	t.Run("postgres", func(t *testing.T) { test(t, harness.SharedPostgreSQL(t).NewDatabase(t)) })
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

func TestMain(m *testing.M) { os.Exit(harness.Run(m)) }
