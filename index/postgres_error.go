package index

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Codes of PostgreSQL's errors. Those of two characters are classes.
const (
	codeConnection     = "08"
	codeResources      = "53"
	codeShutdown       = "57P"
	codeDiskFull       = "53100"
	codeReadOnly       = "25006" // it has become the standby of another server
	codeSerialization  = "40001"
	codeDeadlock       = "40P01"
	codeDuplicateTable = "42P07"
)

// hasCode reports whether err is the server's and has a code that begins with one of codes.
func hasCode(err error, codes ...string) bool {
	e, ok := errors.AsType[*pgconn.PgError](err)
	return ok && slices.ContainsFunc(codes, func(code string) bool { return strings.HasPrefix(e.Code, code) })
}

// A lostError says that a connection has broken.
type lostError struct {
	err    error
	told   bool // whether it was the server that has closed it and said so
	undone bool // whether a transaction on it has certainly not committed
}

func (e *lostError) Error() string { return unavailable(e.err).Error() }

func (e *lostError) Unwrap() error { return unavailable(e.err) }

// explain gives an error of a statement the meaning that callers look for. If the connection has broken, so have the
// others that wait in the pool, most probably: they are not used any more.
func (p *postgresIndex) explain(ctx context.Context, conn *pgx.Conn, err error) error {
	switch {
	case err == nil:
		return nil
	case conn.IsClosed() && ctx.Err() != nil:
		return context.Cause(ctx)
	case conn.IsClosed():
		p.pool.Reset()
		return &lostError{err: err, told: hasCode(err, codeShutdown)}
	case hasCode(err, codeDiskFull):
		return fmt.Errorf("%w: %w", syscall.ENOSPC, err)
	case hasCode(err, codeReadOnly):
		p.pool.Reset()
		return unavailable(err)
	case hasCode(err, codeConnection, codeResources, codeShutdown, codeSerialization, codeDeadlock):
		return unavailable(err)
	default:
		return err
	}
}

// errNoAnswer is the cause of a context that has ended after answerLimit.
var errNoAnswer = fmt.Errorf("%w: no answer within %v", ErrUnavailable, answerLimit)

func unavailable(err error) error { return fmt.Errorf("%w: %w", ErrUnavailable, oneLine(err)) }

// oneLine returns err with its message in one line. That of a connection has one for each address that was tried, and
// again for each way to encrypt, often the same.
func oneLine(err error) error {
	text := err.Error()
	if !strings.ContainsAny(text, "\n\t") {
		return err
	}
	var different []string
	for line := range strings.Lines(text) {
		if line = strings.Join(strings.Fields(line), " "); !slices.Contains(different, line) {
			different = append(different, line)
		}
	}
	return &lineError{strings.Join(different, " "), err}
}

type lineError struct {
	text string
	err  error
}

func (e *lineError) Error() string { return e.text }
func (e *lineError) Unwrap() error { return e.err }
