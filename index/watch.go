package index

import (
	"context"
	"errors"
	"time"
)

// A Watcher is told of what is asked of the database. Its methods are called by many goroutines at the same time.
type Watcher interface {
	// Begin is called before a statement or a transaction with its name. The context that it returns takes the place of
	// ctx.
	Begin(ctx context.Context, kind CallKind, call string) context.Context

	// End is called after it, with the context of Begin. The error is nil unless it is the database that has failed.
	End(ctx context.Context, kind CallKind, call string, took time.Duration, err error)

	// Committed is called after a commit of several transactions at once, as SQLite has them. PostgreSQL has one commit
	// for each.
	Committed(transactions int)
}

// A CallKind is a kind of what is asked of the database.
type CallKind string

// The kinds.
const (
	Statement   CallKind = "statement"   // looks something up
	Transaction CallKind = "transaction" // changes something
)

// noWatcher is for an index that nobody watches.
type noWatcher struct{}

func (noWatcher) Begin(ctx context.Context, _ CallKind, _ string) context.Context { return ctx }
func (noWatcher) End(context.Context, CallKind, string, time.Duration, error)     {}
func (noWatcher) Committed(int)                                                   {}

// watched has somebody know of what do asks of the database.
func (db *DB) watched(ctx context.Context, kind CallKind, call string, do func(context.Context) error) error {
	if err := db.observe(ctx, call); err != nil {
		return err
	}
	ctx = db.watcher.Begin(ctx, kind, call)
	start := time.Now()
	err := do(ctx)
	db.watcher.End(ctx, kind, call, time.Since(start), fault(err))
	return err
}

// fault returns err if it is the database's, and nil if it is an answer, or says that the caller has gone.
func fault(err error) error {
	if err == nil {
		return nil
	}
	for _, answer := range []error{ErrNotFound, ErrAdopted, ErrClaimed, ErrStale, ErrLeased, ErrMarked, ErrConflict, context.Canceled} {
		if errors.Is(err, answer) {
			return nil
		}
	}
	if _, ok := errors.AsType[*MissingError](err); ok {
		return nil
	}
	if _, ok := errors.AsType[*NamedError](err); ok {
		return nil
	}
	return err
}
