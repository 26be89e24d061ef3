package index_test

import (
	"maps"
	"os"
	"path/filepath"
	"testing"

	"github.com/parfait-registry/parfait/index"
)

// Keys of tokens outlive the process, and a new index of the store.
func TestSigningKeys(t *testing.T) {
	databases(t, func(t *testing.T, database string) {
		db, ctx := open(t, database), t.Context()
		for _, key := range []string{"one", "two", "one"} {
			if err := db.AddSigningKey(ctx, key, []byte("the key "+key)); err != nil {
				t.Fatal(err)
			}
		}
		if err := db.AddSigningKey(ctx, "one", []byte("another")); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := db.RemoveSigningKey(ctx, "two"); err != nil {
				t.Fatal(err)
			}
		}
		for range 2 {
			keys, err := db.SigningKeys(ctx)
			got := make(map[string]string)
			for id, key := range keys {
				got[id] = string(key)
			}
			if want := map[string]string{"one": "the key one"}; err != nil || !maps.Equal(got, want) {
				t.Errorf("got %v, %v, want %v", got, err, want)
			}
			if err := db.Rebuild(ctx, func(*index.Builder) error { return nil }); err != nil {
				t.Fatal(err)
			}
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			db = open(t, database)
		}
	})
}

// A file with keys is for nobody else, also if it was made before there were keys in it.
func TestModeOfFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "index.db")
	for range 2 {
		db := open(t, path)
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("got %v, %v, want a file for nobody else", info.Mode(), err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
