// Package index is the metadata database: which repository has which blobs, manifests and tags, and the state of
// uploads. It knows nothing of storage drivers or HTTP.
//
// Open one with [Open] and close it. Methods that look something up are one statement on a pool of readers; methods
// that change something are one transaction. Concurrent transactions share a commit, and so an fsync. A method that
// returns nil has made its change durable, save for those on upload sessions: they survive a crash of the process but
// not a power cut, after which a client begins its upload again.
//
// Facts are also written to the store, in files that can be derived from the index. Each change of a fact leaves an
// [Entry] in the outbox, in the same transaction, which stays until [DB.Settle] says that the store shows it.
package index

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// ErrNotFound says that the index has no such thing.
var ErrNotFound = errors.New("not in the index")

// Config says where the database is.
type Config struct {
	// Database is the path of an SQLite file. It and its folder are made if absent. Empty means a file in a temporary
	// folder that goes when the index is closed, fit for a store in memory.
	Database string `yaml:"index_database"`

	// Observe, if set, is called before each statement or transaction with its name. An error is returned in the
	// place of running it: measurements and injected faults hang here.
	Observe func(ctx context.Context, call string) error `yaml:"-"`
}

// A DB is an open index. It is safe for concurrent use.
type DB struct {
	readers *sql.DB
	lookups map[string]*sql.Stmt // prepared on readers
	writer  *committer
	cache   *cache
	observe func(ctx context.Context, call string) error
	close   []func() error // the last first
}

//go:embed queries.sql
var queryFile string

//go:embed migrations/*.sql
var migrations embed.FS

// readers bounds the connections for look-ups; each costs up to about 1 MiB of page cache.
const readers = 8

// Open opens the database, makes its schema or brings it up to date, and takes the lock that keeps a second process
// off it. A file that is not an index of ours is refused and left as it is.
func Open(ctx context.Context, cfg Config, log *slog.Logger) (*DB, error) {
	db := &DB{observe: cfg.Observe}
	if db.observe == nil {
		db.observe = func(context.Context, string) error { return nil }
	}
	if err := db.open(ctx, cfg.Database, log); err != nil {
		return nil, errors.Join(fmt.Errorf("index_database: %w", err), db.Close())
	}
	return db, nil
}

func (db *DB) open(ctx context.Context, path string, log *slog.Logger) error {
	if path == "" {
		dir, err := os.MkdirTemp("", "parfait-index-")
		if err != nil {
			return err
		}
		db.close = append(db.close, func() error { return os.RemoveAll(dir) })
		path = filepath.Join(dir, "index.db")
	}
	lock, err := claimFile(path)
	if err != nil {
		return err
	}
	db.close = append(db.close, lock.Close)

	writer, err := openWriter(path)
	if err != nil {
		return err
	}
	db.close = append(db.close, writer.Close)
	if err := migrate(ctx, writer, sqliteDialect, log); err != nil {
		return err
	}
	queries, err := parseQueries(queryFile)
	if err != nil {
		return err
	}
	if db.writer, err = startCommitter(ctx, writer, queries); err != nil {
		return err
	}
	db.close = append(db.close, db.writer.stop)

	if db.readers, err = openReaders(path, readers); err != nil {
		return err
	}
	db.close = append(db.close, db.readers.Close)
	return db.prepare(ctx, queries)
}

// prepare readies the look-ups, so that none is parsed again, nor those repeated that have the same answer.
func (db *DB) prepare(ctx context.Context, queries map[string]string) error {
	var err error
	if db.cache, err = newCache(); err != nil {
		return err
	}
	db.lookups = make(map[string]*sql.Stmt)
	for name, q := range queries {
		if !strings.HasPrefix(q, "select") {
			continue
		}
		stmt, err := db.readers.PrepareContext(ctx, q)
		if err != nil {
			return fmt.Errorf("query %s: %w", name, err)
		}
		db.lookups[name] = stmt
	}
	return nil
}

// Close waits for running transactions and closes the database.
func (db *DB) Close() error {
	var errs []error
	for _, f := range slices.Backward(db.close) {
		errs = append(errs, f())
	}
	db.close = nil
	return errors.Join(errs...)
}

// Check asks the database a question, to see that it answers.
func (db *DB) Check(ctx context.Context) error {
	_, err := db.Empty(ctx)
	return err
}

// Empty reports whether the index has no repository at all, as a new one has none.
func (db *DB) Empty(ctx context.Context) (bool, error) {
	var empty bool
	err := db.row(ctx, "is-empty").Scan(&empty)
	return empty, err
}

// row runs the look-up name, which yields one row at the most.
func (db *DB) row(ctx context.Context, name string, args ...any) scanner {
	if err := db.observe(ctx, name); err != nil {
		return failed{err}
	}
	// A look-up of one row is over before anybody could cancel it; to watch for that costs more than the look-up.
	return db.lookups[name].QueryRowContext(context.WithoutCancel(ctx), args...)
}

// rows runs the look-up name.
func (db *DB) rows(ctx context.Context, name string, args ...any) (*sql.Rows, error) {
	if err := db.observe(ctx, name); err != nil {
		return nil, err
	}
	return db.lookups[name].QueryContext(ctx, args...)
}

// allRepositories stands for the name of the one that a transaction changes.
const allRepositories = ""

// update runs do, which changes a repository, in a transaction named call. It is durable when update returns nil. do
// may run more than once. The error wraps ENOSPC if there is no space left.
func (db *DB) update(ctx context.Context, call, repo string, do func(*tx) error) error {
	err := db.commit(ctx, call, true, do)
	db.cache.changed(repo)
	return err
}

// note is update for what need not survive a power cut.
func (db *DB) note(ctx context.Context, call string, do func(*tx) error) error {
	return db.commit(ctx, call, false, do)
}

func (db *DB) commit(ctx context.Context, call string, durable bool, do func(*tx) error) error {
	if err := db.observe(ctx, call); err != nil {
		return err
	}
	return diskFull(db.writer.commit(ctx, durable, do))
}

type scanner interface{ Scan(dest ...any) error }

type failed struct{ err error }

func (f failed) Scan(...any) error { return f.err }

// found turns the absence of a row into ErrNotFound.
func found(err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return ErrNotFound
	}
	return err
}

// exists reports whether a look-up of a number found a row.
func exists(row scanner) (bool, error) {
	var number int64
	err := found(row.Scan(&number))
	if err == ErrNotFound {
		return false, nil
	}
	return err == nil, err
}

// collect reads all rows with scan, which returns one item of each.
func collect[T any](rows *sql.Rows, err error, scan func(scanner) (T, error)) ([]T, error) {
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []T
	for rows.Next() {
		item, err := scan(rows)
		if err != nil {
			return nil, err
		}
		all = append(all, item)
	}
	return all, rows.Err()
}

// scanText scans a row of one text column.
func scanText(row scanner) (s string, err error) {
	err = row.Scan(&s)
	return s, err
}

// now is the time in the unit of the schema.
func now() int64 { return time.Now().UnixMilli() }

func fromMilli(ms int64) time.Time { return time.UnixMilli(ms).UTC() }

// parseQueries splits queries.sql at its lines `-- name: …`.
func parseQueries(file string) (map[string]string, error) {
	queries := make(map[string]string)
	for _, part := range strings.Split(file, "-- name: ")[1:] {
		name, text, ok := strings.Cut(part, "\n")
		if _, twice := queries[name]; !ok || twice {
			return nil, fmt.Errorf("query %q is empty or there twice", name)
		}
		queries[name] = strings.TrimSpace(text)
	}
	return queries, nil
}
