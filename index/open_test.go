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
	"github.com/parfait-registry/parfait/integration/harness"
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

// TestOldKey opens what a file of docker-registry names, if that can be an index.
func TestOldKey(t *testing.T) {
	dir, url := t.TempDir(), harness.SharedPostgreSQL(t).NewDatabase(t)
	t.Chdir(dir)
	search := newSearchDatabase(t)
	harness.SharedPostgreSQL(t).Query(t, url, "create table version (id serial primary key); create table repository (id serial primary key, name text, description text)")
	fallback := filepath.Join(dir, "default.db")
	_, after, _ := strings.Cut(url, "://")
	for _, tt := range []struct{ old, new, want, warning string }{
		{"", "", fallback, ""},
		{"sqlite:////tmp/docker-registry.db", "", fallback, ""},
		{"sqlite:////tmp/docker-registry.db", "other.db", filepath.Join(dir, "other.db"), ""},
		{"sqlite:////" + dir[1:] + "/abs.db", "", filepath.Join(dir, "abs.db"), ""},
		{"sqlite:////" + dir[1:] + "/abs.db", "new.db", filepath.Join(dir, "new.db"), ""},
		{"sqlite:///rel.db", "", filepath.Join(dir, "rel.db"), ""},
		{"sqlite://", "", fallback, ""},
		{"sqlite:///:memory:", "", fallback, ""},
		{"sqlite:///" + search, "", fallback, "left alone"},
		{"mysql://me:hush@db/registry", "", fallback, "kind of database"},
		{"postgresql://" + after, "", "PostgreSQL 127.0.0.1", ""},
		{"postgresql+psycopg2://" + after, "", "PostgreSQL 127.0.0.1", ""},
	} {
		var log bytes.Buffer
		var system string
		cfg := index.Config{OldDatabase: tt.old, Database: tt.new, Default: fallback, Watch: func(kind string) index.Watcher {
			system = kind
			return new(diary)
		}}
		db, err := index.Open(t.Context(), cfg, slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil {
			t.Errorf("%s: %v", tt.old, err)
			continue
		}
		if got := db.Place(); !strings.HasPrefix(got, tt.want) {
			t.Errorf("%s: got %s, want %s", tt.old, got, tt.want)
		}
		if (system == "postgresql") != strings.HasPrefix(tt.want, "PostgreSQL") {
			t.Errorf("%s: a database of %s is called %s", tt.old, tt.want, system)
		}
		if got := log.String(); !strings.Contains(got, tt.warning) || tt.warning == "" && got != "" || strings.Contains(got, "hush") {
			t.Errorf("%s: got the warning %q, want %q", tt.old, got, tt.warning)
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}
	foreign := filepath.Join(dir, "foreign.db")
	if err := os.WriteFile(foreign, []byte(strings.Repeat("precious", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := index.Open(t.Context(), index.Config{OldDatabase: "sqlite:///" + foreign, Default: fallback}, slog.New(slog.DiscardHandler))
	if err == nil || !strings.HasPrefix(err.Error(), "sqlalchemy_index_database: ") || strings.Contains(err.Error(), "\n") {
		t.Errorf("got %v, want one line that names the key", err)
	}
}

// newSearchDatabase makes what docker-registry has left for its search.
func newSearchDatabase(t *testing.T) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "docker-registry.db")
	old, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = old.Exec(`create table version (id integer not null, primary key (id)); insert into version values (1);
		create table repository (id integer not null, name varchar not null unique, description varchar, primary key (id));
		insert into repository (name) values ('library/app')`)
	if err := errors.Join(err, old.Close()); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestOldSearchDatabase is what the old registry has left in the place that its configuration names.
func TestOldSearchDatabase(t *testing.T) {
	path := newSearchDatabase(t)
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := openError(t, "sqlite:///"+path); !strings.Contains(err, "no index of parfait") {
		t.Errorf("got %s", err)
	}
	db, err := index.Open(t.Context(), index.Config{OldDatabase: "sqlite:///" + path, Default: path + ".parfait"}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Error(err)
	}
	if files, err := filepath.Glob(path + "-*"); len(files) > 0 || err != nil {
		t.Errorf("got %q beside the file, %v", files, err)
	}
	if after, err := os.ReadFile(path); !bytes.Equal(after, before) || err != nil {
		t.Errorf("the file was altered, %v", err)
	}
}
