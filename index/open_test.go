package index_test

import (
	"bytes"
	"database/sql"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/parfait-registry/parfait/index"
)

func TestOpenErrors(t *testing.T) {
	dir := t.TempDir()
	foreign := filepath.Join(dir, "foreign.db")
	if err := os.WriteFile(foreign, []byte(strings.Repeat("precious", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(dir, "other.db")
	header := append([]byte("SQLite format 3\x00"), make([]byte, 200)...)
	if err := os.WriteFile(other, header, 0o600); err != nil {
		t.Fatal(err)
	}
	taken := filepath.Join(dir, "taken.db")
	open(t, taken)
	for path, want := range map[string]string{
		foreign:                        "not an SQLite file",
		other:                          "no index of parfait",
		taken:                          "PostgreSQL",
		filepath.Join(foreign, "x.db"): "not a directory",
		"mysql://localhost/parfait":    "no kind of database",
	} {
		_, err := index.Open(t.Context(), index.Config{Database: path}, slog.New(slog.DiscardHandler))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("open %s: got %v, want one line with %q", path, err, want)
		}
	}
	if b, _ := os.ReadFile(foreign); !strings.HasPrefix(string(b), "precious") {
		t.Error("the foreign file was altered")
	}
}

// TestPaths opens files by what SQLAlchemy calls them, too.
func TestPaths(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	for database, want := range map[string]string{
		"a.db":                            "a.db",
		dir + "/b.db":                     "b.db",
		dir + "/a folder?#%/f.db":         "a folder?#%/f.db",
		"sqlite:///c.db":                  "c.db",
		"sqlite:////" + dir[1:] + "/d.db": "d.db",
		"sqlite:///e.db?timeout=5":        "e.db",
	} {
		if db := open(t, database); !db.Exclusive() {
			t.Errorf("%s: other processes may write to it", database)
		}
		if _, err := os.Stat(filepath.Join(dir, want)); err != nil {
			t.Errorf("%s: %v", database, err)
		}
	}
	for _, database := range []string{"", "sqlite://", "sqlite:///:memory:"} {
		open(t, database)
	}
	if files, err := filepath.Glob("*.db"); len(files) != 5 || err != nil {
		t.Errorf("got %v, %v, want no file for those that are temporary", files, err)
	}
}

// TestOldSearchDatabase is what the old registry has left in the place that its configuration names.
func TestOldSearchDatabase(t *testing.T) {
	path := filepath.Join(t.TempDir(), "docker-registry.db")
	old, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = old.Exec("create table repository (id integer primary key, name text, description text); insert into repository (name) values ('library/app')")
	if err := errors.Join(err, old.Close()); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := openError(t, "sqlite:///"+path); !strings.Contains(err, "no index of parfait") {
		t.Errorf("got %s", err)
	}
	if after, err := os.ReadFile(path); !bytes.Equal(after, before) || err != nil {
		t.Errorf("the file was altered, %v", err)
	}
}
