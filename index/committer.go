package index

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
)

// A committer runs transactions on the one connection that may write. Those that wait while a commit reaches the
// disk go into the next one together, so that many pushes share an fsync.
type committer struct {
	conn    *sql.Conn
	stmts   map[string]*sql.Stmt
	queue   chan *transaction
	closing chan struct{} // closed when no more transactions are taken
	stopped chan struct{} // closed when none runs any more
	full    bool          // whether the connection syncs at commit now
}

// A transaction is what somebody waits for.
type transaction struct {
	ctx     context.Context
	do      func(*tx) error
	durable bool
	err     error
	done    chan struct{}
}

// batch bounds the transactions of one commit, so that the first of them does not wait for long.
const batch = 128

func startCommitter(ctx context.Context, db *sql.DB, queries map[string]string) (*committer, error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	c := &committer{conn: conn, stmts: make(map[string]*sql.Stmt), queue: make(chan *transaction, batch),
		closing: make(chan struct{}), stopped: make(chan struct{}), full: true}
	for name, q := range queries {
		if c.stmts[name], err = conn.PrepareContext(ctx, q); err != nil {
			conn.Close()
			return nil, fmt.Errorf("query %s: %w", name, err)
		}
	}
	go c.run(context.WithoutCancel(ctx))
	return c, nil
}

// errClosed is what those get who come too late.
var errClosed = errors.New("the index is closed")

// stop ends the committer after the transaction that runs.
func (c *committer) stop() error {
	close(c.closing)
	<-c.stopped
	return c.conn.Close()
}

// commit runs do in a transaction. Once it is queued, its end is awaited even if ctx ends, so that the caller knows.
func (c *committer) commit(ctx context.Context, durable bool, do func(*tx) error) error {
	t := &transaction{ctx: ctx, do: do, durable: durable, done: make(chan struct{})}
	select {
	case c.queue <- t:
	case <-c.closing:
		return errClosed
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-t.done:
		return t.err
	case <-c.stopped:
		return errClosed
	}
}

func (c *committer) run(ctx context.Context) {
	defer close(c.stopped)
	for {
		select {
		case t := <-c.queue:
			c.runBatch(ctx, t)
		case <-c.closing:
			return
		}
	}
}

// runBatch runs first and whatever else is queued by now in one database transaction. One that fails after it has
// written spoils the others' work: it gets its error, and they run again without it.
func (c *committer) runBatch(ctx context.Context, first *transaction) {
	ts := c.gather(first)
	for len(ts) > 0 {
		spoiler, err := c.try(ctx, ts)
		if spoiler < 0 {
			finish(err, ts...)
			return
		}
		finish(err, ts[spoiler])
		ts = slices.Delete(ts, spoiler, spoiler+1)
	}
}

// gather returns first and what waits behind it.
func (c *committer) gather(first *transaction) []*transaction {
	ts := []*transaction{first}
	for len(ts) < batch {
		select {
		case t := <-c.queue:
			ts = append(ts, t)
		default:
			return ts
		}
	}
	return ts
}

// finish tells those who wait for ts how it ended: with their own error, or with that of the whole.
func finish(err error, ts ...*transaction) {
	for _, t := range ts {
		if t.err == nil {
			t.err = err
		}
		close(t.done)
	}
}

// try runs ts in one database transaction. It returns the index of one that spoiled it, or -1, and the error of the
// transaction as a whole.
func (c *committer) try(ctx context.Context, ts []*transaction) (spoiler int, err error) {
	durable := slices.ContainsFunc(ts, func(t *transaction) bool { return t.durable })
	if err := c.sync(ctx, durable); err != nil {
		return -1, err
	}
	if _, err := c.stmts["begin"].ExecContext(ctx); err != nil {
		return -1, err
	}
	committed := false
	defer func() {
		if !committed {
			_, rollback := c.stmts["rollback"].ExecContext(ctx)
			err = errors.Join(err, rollback)
		}
	}()
	for i, t := range ts {
		x := &tx{ctx: ctx, stmts: c.stmts}
		if t.err = t.ctx.Err(); t.err == nil {
			t.err = t.do(x)
		}
		if t.err != nil && x.wrote {
			return i, nil
		}
	}
	_, err = c.stmts["commit"].ExecContext(ctx)
	committed = err == nil
	return -1, err
}

// sync sets whether the next commits reach the disk before they return.
func (c *committer) sync(ctx context.Context, full bool) error {
	if c.full == full {
		return nil
	}
	pragma := "pragma synchronous(normal)"
	if full {
		pragma = "pragma synchronous(full)"
	}
	_, err := c.conn.ExecContext(ctx, pragma)
	if err == nil {
		c.full = full
	}
	return err
}

// A tx is a running transaction. Its methods take the names of queries.
type tx struct {
	ctx   context.Context // of the committer: a transaction that has begun is not cut short
	stmts map[string]*sql.Stmt
	wrote bool
}

// exec runs a statement that changes something and returns how many rows it changed.
func (t *tx) exec(name string, args ...any) (int64, error) {
	t.wrote = true
	res, err := t.stmts[name].ExecContext(t.ctx, args...)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", name, err)
	}
	return res.RowsAffected()
}

// row runs a statement that yields one row at the most.
func (t *tx) row(name string, args ...any) scanner {
	return t.stmts[name].QueryRowContext(t.ctx, args...)
}

// insert runs a statement that adds a row and yields its number.
func (t *tx) insert(name string, args ...any) (id int64, err error) {
	t.wrote = true
	err = t.row(name, args...).Scan(&id)
	return id, err
}

// has reports whether a statement that selects a number yields a row.
func (t *tx) has(name string, args ...any) (bool, error) {
	return exists(t.row(name, args...))
}

// rows runs a statement that yields many rows.
func (t *tx) rows(name string, args ...any) (*sql.Rows, error) {
	return t.stmts[name].QueryContext(t.ctx, args...)
}
