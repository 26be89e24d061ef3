package index

import (
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"modernc.org/sqlite" // also the database/sql driver "sqlite", in pure Go
)

// applicationID marks an SQLite file as ours, in the four bytes that its format has for that.
const applicationID = 0x50415246 // "PARF"

// claimFile makes the folder of the database at path, checks that the file is ours or not there yet, and locks it
// for this process.
func claimFile(path string) (io.Closer, error) {
	if strings.Contains(path, "://") {
		scheme, _, _ := strings.Cut(path, "://")
		return nil, fmt.Errorf("%s:// is no database that this build knows: give the path of an SQLite file", scheme)
	}
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
	return openSQLite(path, 1, fmt.Sprintf("application_id(%d)", applicationID), "journal_mode(wal)", "synchronous(full)")
}

// openReaders opens up to n connections that do not write. To open one is no write either, which would cost a sync in
// the middle of a pull, and fail on a full disk.
func openReaders(path string, n int) (*sql.DB, error) {
	return openSQLite(path, n, "query_only(1)")
}

// openSQLite opens up to n connections, and runs pragmas on each of them.
func openSQLite(path string, n int, pragmas ...string) (*sql.DB, error) {
	q := url.Values{"_pragma": append([]string{
		"busy_timeout(10000)",
		"cache_size(-1000)", // KiB for each connection; the operating system caches the file as well
	}, pragmas...)}
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	u := url.URL{Scheme: "file", OmitHost: true, Path: abs, RawQuery: q.Encode()}
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
