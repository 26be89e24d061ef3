package index

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/opencontainers/go-digest"
)

// TestDiskFull lets the database grow no further: a change that needs space says so, and the next one may work.
func TestDiskFull(t *testing.T) {
	cfg := Config{Database: filepath.Join(t.TempDir(), "index.db")}
	db, err := Open(t.Context(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	put := func(size int) error {
		payload := []byte(strings.Repeat("x", size))
		_, err := db.PutManifest(t.Context(), "repo", Manifest{Digest: digest.FromBytes(payload), Payload: payload}, fmt.Sprint(size))
		return err
	}
	limit := func(pages int) {
		t.Helper()
		if _, err := db.database.(*sqliteIndex).conn.ExecContext(t.Context(), fmt.Sprintf("pragma max_page_count(%d)", pages)); err != nil {
			t.Fatal(err)
		}
	}
	if err := put(1); err != nil {
		t.Fatal(err)
	}
	limit(1) // as many as there are
	for range 3 {
		if err := put(1 << 20); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("got %v, want ENOSPC", err)
		}
	}
	if _, err := db.Manifest(t.Context(), "repo", "1"); err != nil {
		t.Errorf("what was there: %v", err)
	}
	limit(1 << 20)
	if err := put(1 << 20); err != nil {
		t.Errorf("with space again: %v", err)
	}
}
