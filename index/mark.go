package index

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"
)

// ErrMarked says that another process has changed the marks meanwhile.
var ErrMarked = errors.New("another process has changed the marks")

// A Mark was left in a store with this index, or is about to be.
type Mark struct {
	Mark  string
	Store string // the name that the store goes by
}

// Marks returns the marks that the index remembers, in a fixed order.
func (db *DB) Marks(ctx context.Context) ([]Mark, error) {
	return collect(db.ask(ctx, "marks"), scanMark)
}

func scanMark(row scanner) (m Mark, err error) {
	err = row.Scan(&m.Mark, &m.Store)
	return m, err
}

// AddMark remembers a mark beside the others.
func (db *DB) AddMark(ctx context.Context, m Mark) error {
	return db.commit(ctx, "add-mark", mode{durable: true}, func(t *tx) error {
		t.do("insert-mark", m.Mark, m.Store)
		return nil
	})
}

// KeepMark forgets all marks but one.
func (db *DB) KeepMark(ctx context.Context, mark string) error {
	return db.commit(ctx, "keep-mark", mode{durable: true}, func(t *tx) error {
		t.do("delete-other-marks", mark)
		return nil
	})
}

// Clear forgets all facts, all marks, and the outbox, if these are still the marks. Upload sessions and signing keys are
// kept. The error is ErrMarked if they are others.
func (db *DB) Clear(ctx context.Context, marks []Mark) error {
	return db.alone(ctx, "clear", func(t *tx) error {
		now, err := collect(t.ask("marks"), scanMark)
		if err != nil {
			return err
		}
		if !slices.Equal(now, marks) {
			return ErrMarked
		}
		t.clear()
		t.do("delete-other-marks", "")
		t.do("clear-outbox")
		return nil
	})
}

// Place says where the database is, for people: a path, or the host and name of a PostgreSQL database.
func (db *DB) Place() string { return db.place }

// Fence has each change of a fact ask first whether it may be made. An error of ask is returned in the place of making
// it. It is called before the index is used by more than one goroutine.
func (db *DB) Fence(ask func() error) { db.fence = ask }

// place returns what Place says of a location.
func (l location) place() string {
	if l.url == "" && l.path == "" {
		return "a temporary file"
	}
	if l.url == "" {
		if abs, err := filepath.Abs(l.path); err == nil {
			return abs
		}
		return l.path
	}
	rest := l.url[strings.LastIndexByte(l.url, '@')+1:] // without user and password
	rest, _, _ = strings.Cut(strings.TrimPrefix(rest, "postgres://"), "?")
	return "PostgreSQL " + rest
}
