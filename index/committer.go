package index

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// A committer runs transactions on the one connection that may write. Those that wait while a commit reaches the
// disk go into the next one together, so that many pushes share an fsync.
type committer struct {
	conn    *sql.Conn
	stmts   map[string]prepared
	queue   chan *transaction
	closing chan struct{} // closed when no more transactions are taken
	stopped chan struct{} // closed when none runs any more
	full    bool          // whether the connection syncs at commit now

	committed func(transactions int) // is told of each commit
}

// A prepared statement is nil if its query has no text, which means that there is nothing to do.
type prepared struct {
	*sql.Stmt
	changes bool // whether it changes something
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

func startCommitter(ctx context.Context, db *sql.DB, queries map[string]string, committed func(transactions int)) (*committer, error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	c := &committer{conn: conn, stmts: make(map[string]prepared), queue: make(chan *transaction, batch),
		closing: make(chan struct{}), stopped: make(chan struct{}), full: true,
		committed: committed}
	for name, q := range queries {
		var stmt prepared
		if q != "" {
			stmt.changes = !strings.HasPrefix(q, "select")
			if stmt.Stmt, err = conn.PrepareContext(ctx, q); err != nil {
				conn.Close()
				return nil, fmt.Errorf("query %s: %w", name, err)
			}
		}
		c.stmts[name] = stmt
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

// transact runs do in a transaction. Once it is queued, its end is awaited even if ctx ends, so that the caller knows.
func (c *committer) transact(ctx context.Context, m mode, do func(*tx) error) error {
	return diskFull(c.commit(&transaction{ctx: ctx, do: do, durable: m.durable, done: make(chan struct{})}))
}

func (c *committer) commit(t *transaction) error {
	select {
	case c.queue <- t:
	case <-c.closing:
		return errClosed
	case <-t.ctx.Done():
		return t.ctx.Err()
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
		wrote, err := c.do(ctx, t)
		if t.err = err; err != nil && wrote {
			return i, nil
		}
	}
	_, err = c.stmts["commit"].ExecContext(ctx)
	if committed = err == nil; committed {
		c.committed(len(ts))
	}
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

// do runs t, of which a transaction that has begun is not cut short. wrote says whether it may have changed something.
func (c *committer) do(ctx context.Context, t *transaction) (wrote bool, err error) {
	if err := t.ctx.Err(); err != nil {
		return false, err
	}
	x := &tx{send: func(statements []statement) error {
		for _, s := range statements {
			wrote = wrote || c.stmts[s.query].changes
			if err := c.send(ctx, s); err != nil {
				return fmt.Errorf("%s: %w", s.query, err)
			}
		}
		return nil
	}}
	if err := t.do(x); err != nil {
		return wrote, err
	}
	return wrote, x.flush()
}

func (c *committer) send(ctx context.Context, s statement) error {
	stmt, known := c.stmts[s.query]
	switch {
	case !known:
		return errors.New("there is no such query")
	case stmt.Stmt == nil:
		return nil
	case s.read != nil:
		return query(ctx, stmt.Stmt, s)
	}
	result, err := stmt.ExecContext(ctx, s.args...)
	if err == nil && s.count != nil {
		*s.count, err = result.RowsAffected()
	}
	return err
}
