package index

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"modernc.org/sqlite" // also the database/sql driver "sqlite", in pure Go
)

// applicationID marks an SQLite file as ours, in the four bytes that its format has for that.
const applicationID = 0x50415246 // "PARF"

// readers bounds the connections for look-ups; each costs up to about 1 MiB of page cache.
const readers = 8

// A sqliteIndex is an index in a file that is locked for this process. It has a pool of connections that look up, and
// one that writes, on which concurrent transactions share a commit, and so an fsync.
type sqliteIndex struct {
	readers *sql.DB
	lookups map[string]*sql.Stmt // prepared on readers
	*committer
	closers []func() error // the last first
}

// openSQLite opens the file at path, or a temporary one if that is empty. committed is told how many transactions each
// commit had.
func openSQLite(ctx context.Context, path string, committed func(transactions int), log *slog.Logger) (_ database, err error) {
	x := new(sqliteIndex)
	defer func() {
		if err != nil {
			err = errors.Join(err, x.close())
		}
	}()
	if path == "" {
		dir, err := os.MkdirTemp("", "parfait-index-")
		if err != nil {
			return nil, err
		}
		x.onClose(func() error { return os.RemoveAll(dir) })
		path = filepath.Join(dir, "index.db")
	}
	lock, err := claimFile(path)
	if err != nil {
		return nil, err
	}
	x.onClose(lock.Close)
	writer, err := openWriter(path)
	if err != nil {
		return nil, err
	}
	x.onClose(writer.Close)
	if err := migrate(ctx, writer, sqliteDialect, log); err != nil {
		return nil, err
	}
	queries, err := parseQueries(queryFile, sqliteDialect)
	if err != nil {
		return nil, err
	}
	if x.committer, err = startCommitter(ctx, writer, queries, committed); err != nil {
		return nil, err
	}
	x.onClose(x.stop)
	return x, x.prepare(ctx, path, queries)
}

func (x *sqliteIndex) onClose(f func() error) { x.closers = append(x.closers, f) }

func (x *sqliteIndex) close() error {
	var errs []error
	for _, f := range slices.Backward(x.closers) {
		errs = append(errs, f())
	}
	x.closers = nil
	return errors.Join(errs...)
}

// prepare readies the look-ups, so that none is parsed again.
func (x *sqliteIndex) prepare(ctx context.Context, path string, queries map[string]string) (err error) {
	if x.readers, err = openReaders(path, readers); err != nil {
		return err
	}
	x.onClose(x.readers.Close)
	x.lookups = make(map[string]*sql.Stmt)
	for name, q := range queries {
		if !strings.HasPrefix(q, "select") {
			continue
		}
		if x.lookups[name], err = x.readers.PrepareContext(ctx, q); err != nil {
			return fmt.Errorf("query %s: %w", name, err)
		}
	}
	return nil
}

func (x *sqliteIndex) lookUp(ctx context.Context, statements ...statement) error {
	for _, s := range statements {
		if err := query(ctx, x.lookups[s.query], s); err != nil {
			return err
		}
	}
	return nil
}

// query runs s, which has somebody to read the answer.
func query(ctx context.Context, stmt *sql.Stmt, s statement) error {
	if s.one {
		// A look-up of one row is over before anybody could cancel it; to watch for that costs more than the look-up.
		ctx = context.WithoutCancel(ctx)
	}
	r, err := stmt.QueryContext(ctx, s.args...)
	if err != nil {
		return err
	}
	defer r.Close()
	if err := s.read(r); err != nil {
		return err
	}
	return r.Err()
}

// claimFile makes the folder of the database at path, checks that the file is ours or not there yet, and locks it
// for this process.
func claimFile(path string) (io.Closer, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return nil, err
	}
	if err := checkOurs(path); err != nil {
		return nil, err
	}
	if err := hide(path); err != nil {
		return nil, err
	}
	return lockFile(path + ".lock")
}

// hide makes the file, if it is not there, and keeps it from others: it has the keys that sign tokens. The files that
// SQLite puts beside it have its mode.
func hide(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err == nil && info.Mode().Perm()&0o077 != 0 {
		_ = f.Chmod(0o600) // which only its owner may do
	}
	return err
}

// checkOurs reads the header of an existing file. It must not be opened as a database for that: to open is to alter.
func checkOurs(path string) error {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	header := make([]byte, 100)
	n, err := io.ReadFull(f, header)
	switch {
	case n == 0 && err == io.EOF:
		return nil
	case err != nil || string(header[:16]) != "SQLite format 3\x00":
		return fmt.Errorf("%s is not an SQLite file: name another one, or move it away", path)
	case binary.BigEndian.Uint32(header[68:]) != applicationID:
		return fmt.Errorf("%s is an SQLite file, but no index of parfait: name another one, or move it away", path)
	}
	return nil
}

// openWriter opens the connection that may write, and marks a new file as ours before it becomes one with a
// write-ahead log: the mark would be in the log alone for long, and checkOurs reads the file.
func openWriter(path string) (*sql.DB, error) {
	return connect(path, 1, fmt.Sprintf("application_id(%d)", applicationID), "journal_mode(wal)", "synchronous(full)")
}

// openReaders opens up to n connections that do not write. To open one is no write either, which would cost a sync in
// the middle of a pull, and fail on a full disk.
func openReaders(path string, n int) (*sql.DB, error) {
	return connect(path, n, "query_only(1)")
}

// connect opens up to n connections, and runs pragmas on each of them.
func connect(path string, n int, pragmas ...string) (*sql.DB, error) {
	q := url.Values{"_pragma": append([]string{
		"busy_timeout(10000)",
		"cache_size(-1000)", // KiB for each connection; the operating system caches the file as well
	}, pragmas...)}
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	return openURL(url.URL{Scheme: "file", OmitHost: true, Path: abs, RawQuery: q.Encode()}, n)
}

// openURL opens up to n connections.
func openURL(u url.URL, n int) (*sql.DB, error) {
	db, err := sql.Open("sqlite", u.String())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(n)
	db.SetMaxIdleConns(n)
	return db, nil
}

// diskFull makes an error that wraps ENOSPC of one with which SQLite says the same in its own way.
func diskFull(err error) error {
	const sqliteFull = 13
	if e, ok := errors.AsType[*sqlite.Error](err); ok && e.Code() == sqliteFull {
		return fmt.Errorf("%w: %w", syscall.ENOSPC, err)
	}
	return err
}
