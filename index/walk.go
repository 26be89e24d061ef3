package index

import (
	"context"
	"time"
)

// A Task is work that goes through the whole store.
type Task string

// The tasks. Their names are in the database.
const (
	Adoption     Task = "adoption"     // takes over what the store shows
	Verification Task = "verification" // compares the store with the index
)

// A Walk is how far a task has come.
type Walk struct {
	Reached  string    // the task's own word for what it has done; empty at its beginning
	Counts   string    // the task's own account of what it has found
	Finished time.Time // when it was done the last time; zero if it is under way, or never was
	UnderWay bool      // whether there is something left to do
}

// Walk looks up how far a task has come.
func (db *DB) Walk(ctx context.Context, task Task) (Walk, error) {
	return scanWalk(db.ask(ctx, "walk", task))
}

func scanWalk(row scanner) (w Walk, err error) {
	var finished *int64
	if err = row.Scan(&w.Reached, &w.Counts, &finished); err != nil {
		return Walk{}, err
	}
	w.UnderWay = finished == nil
	if finished != nil && *finished > 0 {
		w.Finished = fromMilli(*finished)
	}
	return w, nil
}

// BeginWalk has a task that is finished begin anew.
func (db *DB) BeginWalk(ctx context.Context, task Task) error {
	return db.walk(ctx, "begin-walk", task)
}

// HoldWalk makes holder, for the time ttl, the one that does a task, and returns how far that has come. ok is false if
// somebody else does it, or if it is finished.
func (db *DB) HoldWalk(ctx context.Context, task Task, holder string, ttl time.Duration) (w Walk, ok bool, err error) {
	err = db.commit(ctx, "hold-walk", mode{durable: true}, func(t *tx) error {
		w, err = scanWalk(t.ask("hold-walk", task, holder, now(), now()+ttl.Milliseconds()))
		ok = err == nil
		if err == ErrNotFound {
			return nil
		}
		return err
	})
	return w, ok, err
}

// AdvanceWalk notes how far holder has come, and makes it the one that goes on for the time ttl. The error is
// ErrConflict if somebody else does the task by now.
func (db *DB) AdvanceWalk(ctx context.Context, task Task, holder string, w Walk, ttl time.Duration) error {
	return db.walk(ctx, "advance-walk", task, holder, w.Reached, w.Counts, now()+ttl.Milliseconds())
}

// LeaveWalk lets somebody else go on with a task.
func (db *DB) LeaveWalk(ctx context.Context, task Task, holder string) error {
	err := db.walk(ctx, "leave-walk", task, holder)
	if err == ErrConflict {
		return nil
	}
	return err
}

// FinishWalk notes that a task is done, whoever has done it.
func (db *DB) FinishWalk(ctx context.Context, task Task, counts string) error {
	return db.commit(ctx, "finish-walk", mode{durable: true}, func(t *tx) error {
		t.finishWalk(task, counts)
		return nil
	})
}

func (t *tx) finishWalk(task Task, counts string) {
	t.do("finish-walk", task, counts, now())
	if task == Adoption {
		t.do("clear-adopted")
	}
}

// walk runs a statement on a task. The error is ErrConflict if that is not in the state for it.
func (db *DB) walk(ctx context.Context, query string, task Task, args ...any) error {
	return db.commit(ctx, query, mode{durable: true}, func(t *tx) error {
		n, err := t.exec(query, append([]any{task}, args...)...)
		if err == nil && n == 0 {
			return ErrConflict
		}
		return err
	})
}
