package index

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"modernc.org/sqlite"
)

// An Inspection is what [Inspect] has found.
type Inspection struct {
	Place   string // where the database is, without a password
	File    string // the absolute path of an SQLite file; empty for PostgreSQL, and for a temporary file
	Version string // of the database

	New       bool   // there is none, or nothing in it, and Open makes it
	Pending   int    // migrations that the next Open runs
	InUse     string // who says that the SQLite file is in use; empty if nobody
	Unchecked string // why not every page of an SQLite file was looked at; empty if each was

	// The rest is of PostgreSQL alone: how far its clock is ahead, how long an answer takes, connections that there are
	// and may be, and those that this configuration may have.
	Ahead, Took             time.Duration
	Connections, Most, Pool int
}

// inspectLimit bounds the look at every page of an SQLite file. A server that runs cannot shorten its log meanwhile.
const inspectLimit = 10 * time.Second

// Inspect looks at the database that cfg names, and changes nothing: no schema is made, no lock is taken, and no server
// that uses it is disturbed. The error is what would keep Open from it, or is wrong with what is in it.
func Inspect(ctx context.Context, cfg Config, log *slog.Logger) (Inspection, error) {
	database, key := cfg.choose(ctx, log)
	at, err := locate(database)
	found := Inspection{Place: at.place()}
	switch {
	case err != nil:
	case at.url != "":
		err = found.postgres(ctx, at.url, cfg.PoolSize)
	case at.path == "":
		found.New = true
	default:
		if found.File, err = filepath.Abs(at.path); err == nil {
			err = found.sqlite(ctx)
		}
	}
	if err != nil {
		return found, fmt.Errorf("%s: %w", key, oneLine(err))
	}
	return found, nil
}

func (found *Inspection) sqlite(ctx context.Context) error {
	info, err := os.Stat(found.File)
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() == 0 {
		found.New = true
		return nil
	}
	if err == nil {
		err = checkOurs(found.File)
	}
	if err != nil {
		return err
	}
	if err := writableFile(found.File); err != nil {
		return err
	}
	holder, err := whoLocks(found.File + ".lock")
	if err != nil {
		return err
	}
	found.InUse = holder
	query := url.Values{"mode": {"ro"}, "_pragma": {"busy_timeout(1000)"}}
	log, logErr := os.Stat(found.File + "-wal")
	_, shmErr := os.Stat(found.File + "-shm")
	switch {
	case logErr != nil || log.Size() == 0:
		if holder == "" {
			query.Set("immutable", "1") // so that no files are made beside it
		}
	case shmErr != nil && holder == "":
		found.Unchecked = "the next start brings in what is in " + found.File + "-wal first"
		return nil
	}
	db, err := openURL(url.URL{Scheme: "file", OmitHost: true, Path: found.File, RawQuery: query.Encode()}, 1)
	if err != nil {
		return err
	}
	defer db.Close()
	err = found.readSQLite(ctx, db)
	if isDamage(err) {
		err = fmt.Errorf("the file is damaged: move it away, and the next start makes it again from the store: %w", err)
	}
	if err == nil || holder != "" {
		return err
	}
	if holder, _ := whoLocks(found.File + ".lock"); holder != "" {
		found.Unchecked = "a server has begun to use it meanwhile"
		return nil
	}
	return err
}

func (found *Inspection) readSQLite(ctx context.Context, db *sql.DB) error {
	if err := db.QueryRowContext(ctx, "select 'SQLite ' || sqlite_version()").Scan(&found.Version); err != nil {
		return err
	}
	if err := found.migrations(ctx, db, sqliteDialect); err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, inspectLimit)
	defer cancel()
	var verdict string
	err := db.QueryRowContext(limited, "pragma quick_check(1)").Scan(&verdict)
	switch {
	case err != nil && limited.Err() != nil:
		found.Unchecked = fmt.Sprintf("that takes longer than %v", inspectLimit)
		return ctx.Err()
	case err == nil && verdict != "ok":
		return &damage{verdict}
	}
	return err
}

// A damage is what SQLite has found wrong with a file.
type damage struct{ text string }

func (d *damage) Error() string { return d.text }

// isDamage reports whether SQLite says that a file is none of its own any more.
func isDamage(err error) bool {
	const sqliteCorrupt, sqliteNotADB = 11, 26
	if _, ok := errors.AsType[*damage](err); ok {
		return true
	}
	e, ok := errors.AsType[*sqlite.Error](err)
	return ok && (e.Code()&0xff == sqliteCorrupt || e.Code()&0xff == sqliteNotADB)
}

// migrations counts those that the database has not seen. The error is that of [migrate].
func (found *Inspection) migrations(ctx context.Context, db *sql.DB, d dialect) error {
	t, err := db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return err
	}
	defer t.Rollback()
	files, err := fs.Glob(migrations, "migrations/*.sql") // sorted
	if err != nil {
		return err
	}
	var tables int
	if err := t.QueryRowContext(ctx, d.exists, "migrations").Scan(&tables); err != nil {
		return err
	}
	if tables == 0 {
		found.New = true
		return nil
	}
	done, err := migrated(ctx, t, d)
	if err != nil {
		return err
	}
	found.Pending = max(len(files)-len(done), 0)
	return checkMigrated(done, files)
}

func (found *Inspection) postgres(ctx context.Context, address string, size int) error {
	ctx, cancel := context.WithTimeout(ctx, openLimit)
	defer cancel()
	pool, err := newPool(ctx, address, size)
	if err != nil {
		return err
	}
	defer pool.Close()
	found.Pool = int(pool.Config().MaxConns)
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return err
	}
	err = found.readPostgres(ctx, conn.Conn())
	conn.Release()
	if err != nil {
		return err
	}
	db := stdlib.OpenDBFromPool(pool)
	defer db.Close()
	if err := found.migrations(ctx, db, postgresDialect); err != nil {
		return err
	}
	return tryWrite(ctx, db, found.New)
}

// readPostgres asks the server about itself.
func (found *Inspection) readPostgres(ctx context.Context, conn *pgx.Conn) error {
	if encoding := conn.PgConn().ParameterStatus("server_encoding"); encoding != "UTF8" {
		return fmt.Errorf("the database has the encoding %s: make one with UTF8", encoding)
	}
	found.Version = "PostgreSQL " + conn.PgConn().ParameterStatus("server_version")
	var standby bool
	err := conn.QueryRow(ctx, `select pg_is_in_recovery(), current_setting('max_connections')::int,
		(select count(*) from pg_stat_activity where backend_type = 'client backend')`).Scan(&standby, &found.Most, &found.Connections)
	if err != nil {
		return err
	}
	if standby {
		return errors.New("the server is the standby of another one, and takes no changes: name the primary")
	}
	var clock time.Time
	start := time.Now()
	if err := conn.QueryRow(ctx, "select clock_timestamp()").Scan(&clock); err != nil {
		return err
	}
	found.Took = time.Since(start)
	found.Ahead = clock.Sub(start.Add(found.Took / 2))
	return nil
}

// tryWrite makes a change that is not committed.
func tryWrite(ctx context.Context, db *sql.DB, isNew bool) error {
	t, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer t.Rollback()
	if isNew {
		_, err = t.ExecContext(ctx, "create table parfait_doctor (name text)")
	} else {
		_, err = t.ExecContext(ctx, "insert into migrations (name) values ('doctor')")
	}
	if err != nil {
		return fmt.Errorf("the user of the database may not write: %w", err)
	}
	return nil
}

// writableFile returns an error unless the file at path may be written to.
func writableFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return f.Close()
}
