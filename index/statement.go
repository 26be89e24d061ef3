package index

import "context"

// rows are the rows of an answer, as the drivers of both databases give them.
type rows interface {
	Next() bool
	Scan(dest ...any) error
	Err() error
}

// A statement is a query with its arguments, and what becomes of the answer.
type statement struct {
	query string // its name
	args  []any
	read  func(rows) error // reads the rows; nil if nobody wants them
	count *int64           // receives how many rows were changed; may be nil
	one   bool             // whether there is one row at the most
}

// A database runs statements. Its methods are safe for concurrent use, and their errors wrap ErrUnavailable if it is
// the database that does not answer, and ENOSPC if it has no space left. Errors of functions that they call come back
// as they are.
type database interface {
	// lookUp runs statements that change nothing. What reads the rows may be called again if that fails.
	lookUp(ctx context.Context, statements ...statement) error

	// transact runs do in a transaction. do may run more than once.
	transact(ctx context.Context, m mode, do func(*tx) error) error

	connections() Pool

	close() error
}

// A mode is how a transaction runs.
type mode struct {
	durable bool // whether it has to survive a power cut
	alone   bool // whether it changes everything, and may take its time
}

// A question is a statement that waits for somebody to read the answer.
type question func(read func(rows) error, one bool) error

// Scan reads the only row. The error is ErrNotFound if there is none.
func (ask question) Scan(dest ...any) error {
	return ask(func(r rows) error { return scanOne(r, dest...) }, true)
}

func scanOne(r rows, dest ...any) error {
	if r.Next() {
		return r.Scan(dest...)
	}
	if err := r.Err(); err != nil {
		return err
	}
	return ErrNotFound
}

// exists reports whether there is a row.
func (ask question) exists() (bool, error) {
	var number int64
	err := ask.Scan(&number)
	if err == ErrNotFound {
		return false, nil
	}
	return err == nil, err
}

type scanner interface{ Scan(dest ...any) error }

// collect reads all rows with scan, which returns one item of each.
func collect[T any](ask question, scan func(scanner) (T, error)) (all []T, err error) {
	err = ask(func(r rows) (err error) {
		all, err = readAll(r, scan)
		return err
	}, false)
	return all, err
}

func readAll[T any](r rows, scan func(scanner) (T, error)) ([]T, error) {
	var all []T
	for r.Next() {
		item, err := scan(r)
		if err != nil {
			return nil, err
		}
		all = append(all, item)
	}
	return all, r.Err()
}

// scanText scans a row of one text column.
func scanText(row scanner) (s string, err error) {
	err = row.Scan(&s)
	return s, err
}

// A tx is a running transaction. Its statements wait until the answer of one of them is wanted, then go to the
// database together, in their order: over a network it is the round trips that take time. An error of one that has
// waited comes with the next answer, and nothing runs after it.
type tx struct {
	send    func([]statement) error
	waiting []statement
	changes []Change
	mounted Blob
	err     error // the first one
}

// waitingMax bounds the memory of what waits.
const waitingMax = 256

// later adds a statement to those that wait.
func (t *tx) later(s statement) {
	t.waiting = append(t.waiting, s)
	if len(t.waiting) >= waitingMax {
		t.flush()
	}
}

// flush runs what waits.
func (t *tx) flush() error {
	if t.err == nil && len(t.waiting) > 0 {
		t.err = t.send(t.waiting)
	}
	t.waiting = t.waiting[:0]
	return t.err
}

// do runs a statement of which no answer is wanted.
func (t *tx) do(query string, args ...any) {
	t.later(statement{query: query, args: args})
}

// count runs a statement and returns how many rows it has changed, which is known after the next flush.
func (t *tx) count(query string, args ...any) *int64 {
	n := new(int64)
	t.later(statement{query: query, args: args, count: n})
	return n
}

// exec runs a statement at once and returns how many rows it has changed.
func (t *tx) exec(query string, args ...any) (int64, error) {
	n := t.count(query, args...)
	err := t.flush()
	return *n, err
}

// find runs a statement that yields one row at the most. Whether it has, and what is in it, is known after the next
// flush.
func (t *tx) find(query string, args []any, dest ...any) *bool {
	found := new(bool)
	t.later(statement{query: query, args: args, one: true, read: func(r rows) error {
		if *found = r.Next(); *found && len(dest) > 0 {
			return r.Scan(dest...)
		}
		return r.Err()
	}})
	return found
}

// ask runs a statement when the question is asked.
func (t *tx) ask(query string, args ...any) question {
	return func(read func(rows) error, one bool) error {
		var err error
		t.later(statement{query: query, args: args, one: one, read: func(r rows) error {
			err = read(r)
			return nil // what the rows say is no failure of the transaction
		}})
		if failed := t.flush(); failed != nil {
			return failed
		}
		return err
	}
}
