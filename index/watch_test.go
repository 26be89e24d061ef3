package index_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/parfait-registry/parfait/index"
)

// A diary keeps what it is told of calls.
type diary struct {
	mu        sync.Mutex // guards all
	open      int
	calls     []string // that have ended
	faults    []error
	committed int
}

func (d *diary) Begin(ctx context.Context, _ index.CallKind, _ string) context.Context {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.open++
	return ctx
}

func (d *diary) End(_ context.Context, kind index.CallKind, call string, took time.Duration, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.open--
	if took <= 0 {
		err = errors.Join(err, errors.New("no time"))
	}
	d.calls = append(d.calls, string(kind)+" "+call)
	if err != nil {
		d.faults = append(d.faults, err)
	}
}

func (d *diary) Committed(transactions int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.committed += transactions
}

// A watcher is told of statements and transactions, and of errors only if they are the database's.
func TestWatcher(t *testing.T) {
	databases(t, func(t *testing.T, database string) {
		w := new(diary)
		db := openWith(t, index.Config{Database: database, Watch: func(string) index.Watcher { return w }})
		before := len(w.calls)
		addBlobs(t, db, "a", "hello")
		if _, err := db.Blob(t.Context(), "a", blob("none").Digest); err != index.ErrNotFound {
			t.Errorf("got %v", err)
		}
		if _, err := db.PutManifest(t.Context(), "a", manifest("m", blob("none").Digest)); err == nil {
			t.Error("got no error")
		}
		want := []string{"transaction add-blob", "statement blob", "transaction put-manifest"}
		if got := w.calls[before:]; !slices.Equal(got, want) || w.open != 0 || len(w.faults) > 0 {
			t.Errorf("got %q, %d open, %v, want %q", got, w.open, w.faults, want)
		}
		if db.Exclusive() != (w.committed > 0) {
			t.Errorf("got %d transactions that were committed together", w.committed)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := db.Empty(t.Context()); err == nil || len(w.faults) != 1 {
			t.Errorf("a closed database: got %v, and was told %v", err, w.faults)
		}
	})
}

// What is under way is counted, in memory and in the database.
func TestBacklog(t *testing.T) {
	databases(t, func(t *testing.T, database string) {
		db := openWith(t, index.Config{Database: database})
		for _, id := range []string{"1", "2"} {
			if err := db.AddSession(t.Context(), index.Session{ID: id, Repo: "a"}); err != nil {
				t.Fatal(err)
			}
		}
		if err := db.SaveSessions(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := db.AddSession(t.Context(), index.Session{ID: "3", Repo: "a"}); err != nil {
			t.Fatal(err)
		}
		addBlobs(t, db, "a", "hello", "world")
		if got, err := db.Backlog(t.Context()); got != (index.Backlog{Sessions: 3, Outbox: 2}) || err != nil {
			t.Errorf("got %+v, %v", got, err)
		}
		if p := db.Pool(); p.Most < 1 || p.Open < 1 || p.Open > p.Most || p.InUse > p.Open {
			t.Errorf("got %+v", p)
		}
	})
}
