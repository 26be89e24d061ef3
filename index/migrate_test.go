package index

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/parfait-registry/parfait/integration/harness"
)

// TestMigrate brings an index of the first version up to date.
func TestMigrate(t *testing.T) {
	t.Run("sqlite", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "index.db")
		db, err := openWriter(path)
		if err != nil {
			t.Fatal(err)
		}
		testMigrate(t, db, sqliteDialect, path)
	})
	t.Run("postgres", func(t *testing.T) {
		url := harness.PostgreSQL(t, "fsync=off").URL
		db, err := sql.Open("pgx", url)
		if err != nil {
			t.Fatal(err)
		}
		testMigrate(t, db, postgresDialect, url)
	})
}

func testMigrate(t *testing.T, db *sql.DB, d dialect, database string) {
	text, err := migrations.ReadFile("migrations/0001_facts.sql")
	if err != nil {
		t.Fatal(err)
	}
	layer, manifest, foreign := digest.FromString("layer"), digest.FromString("{}"), digest.FromString("foreign")
	for _, s := range []struct {
		sql  string
		args []any
	}{
		{"create table migrations (name text not null primary key)", nil},
		{"insert into migrations values ('migrations/0001_facts.sql')", nil},
		{d.tokens.Replace(string(text)), nil},
		{"insert into repositories (name, manifests, created_at) values ('a', 1, 0)", nil},
		{"insert into blobs (digest, size, refs, seen_at) values ($1, 5, 1, 0)", []any{pack(layer)}},
		{"insert into blobs (digest, size, refs, seen_at) values ($1, 2, 1, 0)", []any{pack(manifest)}},
		{"insert into repository_blobs values (1, $1)", []any{pack(layer)}},
		{"insert into manifests (repository_id, digest, media_type, payload, artifact_type, annotations, pushed_at) values (1, $1, '', $2, '', '', 0)",
			[]any{pack(manifest), []byte("{}")}},
		{"insert into manifest_refs values ($1, 1, $2), ($3, 1, $2)", []any{pack(layer), pack(manifest), pack(foreign)}},
		{"insert into outbox (repository, kind, ref) values ('a', 2, '" + manifest.String() + "')", nil},
	} {
		if _, err := db.ExecContext(t.Context(), s.sql, s.args...); err != nil {
			t.Fatal(s.sql, err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	checkMigratedIndex(t, database, layer, manifest, foreign)
}

// checkMigratedIndex opens the index twice: the second time there is nothing to migrate.
func checkMigratedIndex(t *testing.T, database string, layer, manifest, foreign digest.Digest) {
	for range 2 {
		index, err := Open(t.Context(), Config{Database: database}, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		defer index.Close()
		var facts []string
		for fact, err := range index.Facts(context.Background()) {
			if err != nil {
				t.Fatal(err)
			}
			facts = append(facts, fact)
		}
		for _, d := range []digest.Digest{layer, manifest, foreign} {
			if want := fmt.Sprintf("blob %s referenced 1 times", d); !slices.Contains(facts, want) {
				t.Errorf("got\n%s\nwant the line %s", strings.Join(facts, "\n"), want)
			}
		}
		left, err := index.TakeOver(t.Context(), 0, 10)
		if len(left) != 1 || err != nil {
			t.Fatalf("outbox: got %v, %v, want one entry", left, err)
		}
		if s, err := index.State(t.Context(), left[0]); s.Digest != manifest || s.Stored || err != nil {
			t.Errorf("got %v, %v, want the manifest, of which nobody knows whether it is stored", s, err)
		}
		if err := index.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
