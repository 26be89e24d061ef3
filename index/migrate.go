package index

import (
	"context"
	"database/sql"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"
)

// A dialect is what a database calls the things that the migrations leave open.
type dialect *strings.Replacer

var sqliteDialect dialect = strings.NewReplacer(
	"{id}", "integer primary key",
	"{bytes}", "blob",
	"{without rowid}", "without rowid",
)

// migrate runs the migrations that the database has not seen, each in a transaction. A database from a newer version
// is refused.
func migrate(ctx context.Context, db *sql.DB, d dialect, log *slog.Logger) error {
	if _, err := db.ExecContext(ctx, "create table if not exists migrations (name text not null primary key)"); err != nil {
		return err
	}
	rows, err := db.QueryContext(ctx, "select name from migrations order by name")
	done, err := collect(rows, err, scanText)
	if err != nil {
		return err
	}
	files, err := fs.Glob(migrations, "migrations/*.sql") // sorted
	if err != nil {
		return err
	}
	if len(done) > len(files) {
		return fmt.Errorf("the database has migration %s, which this version does not know: use a newer parfait", done[len(files)])
	}
	for _, file := range files[len(done):] {
		text, err := fs.ReadFile(migrations, file)
		if err != nil {
			return err
		}
		if err := runMigration(ctx, db, file, (*strings.Replacer)(d).Replace(string(text))); err != nil {
			return fmt.Errorf("migration %s: %w", file, err)
		}
		if len(done) > 0 { // and not a new database
			log.Info("index migrated", "migration", file)
		}
	}
	return nil
}

func runMigration(ctx context.Context, db *sql.DB, name, text string) error {
	t, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer t.Rollback()
	if _, err := t.ExecContext(ctx, text); err != nil {
		return err
	}
	if _, err := t.ExecContext(ctx, "insert into migrations (name) values ($1)", name); err != nil {
		return err
	}
	return t.Commit()
}
