package index

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
)

//go:embed migrations/*.sql
var migrations embed.FS

// migrate runs the migrations that the database has not seen, all in one transaction, so that of several processes
// that begin together one does it. A database of a newer version is refused, and one with tables of the same names
// that are not ours.
func migrate(ctx context.Context, db *sql.DB, d dialect, log *slog.Logger) error {
	// Each statement is to see what another process has done before the lock was free.
	t, err := db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelReadCommitted})
	if err != nil {
		return err
	}
	defer t.Rollback()
	if d.lock != "" {
		if _, err := t.ExecContext(ctx, d.lock); err != nil {
			return err
		}
	}
	done, err := migrated(ctx, t, d)
	if err != nil {
		return err
	}
	files, err := fs.Glob(migrations, "migrations/*.sql") // sorted
	if err != nil {
		return err
	}
	if err := checkMigrated(done, files); err != nil {
		return err
	}
	for _, file := range files[len(done):] {
		if err := runMigration(ctx, t, d, file); err != nil {
			return fmt.Errorf("migration %s: %w", file, err)
		}
		if len(done) > 0 { // and not a new database
			log.Info("index migrated", "migration", file)
		}
	}
	return t.Commit()
}

// errForeign says whose a database is.
var errForeign = errors.New("the database has tables of something else: give parfait a database, or a schema, of its own")

// migrated returns the names of the migrations that the database has seen. The table that holds them is what marks a
// database as ours.
func migrated(ctx context.Context, t *sql.Tx, d dialect) ([]string, error) {
	var n int
	if err := t.QueryRowContext(ctx, d.exists, "migrations").Scan(&n); err != nil {
		return nil, err
	}
	if n == 0 {
		_, err := t.ExecContext(ctx, "create table migrations (name text not null primary key)")
		return nil, err
	}
	r, err := t.QueryContext(ctx, "select name from migrations order by name")
	if err != nil {
		return nil, fmt.Errorf("%w: its table migrations is another one: %w", errForeign, err)
	}
	defer r.Close()
	var names []string
	for r.Next() {
		var name string
		if err := r.Scan(&name); err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	return names, r.Err()
}

// checkMigrated returns an error unless done is how files begins.
func checkMigrated(done, files []string) error {
	for i, name := range done {
		switch {
		case i < len(files) && name == files[i]:
		case i == 0:
			return fmt.Errorf("%w: its table migrations has %q", errForeign, name)
		default:
			return fmt.Errorf("the database has migration %s, which this version does not know: use a newer parfait", name)
		}
	}
	return nil
}

func runMigration(ctx context.Context, t *sql.Tx, d dialect, file string) error {
	text, err := fs.ReadFile(migrations, file)
	if err != nil {
		return err
	}
	if _, err := t.ExecContext(ctx, d.tokens.Replace(string(text))); err != nil {
		return err
	}
	_, err = t.ExecContext(ctx, "insert into migrations (name) values ($1)", file)
	return err
}
