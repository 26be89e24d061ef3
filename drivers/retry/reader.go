package retry

import (
	"context"
	"io"
)

// A Reader reads an object over a connection that may break, and goes on over a new one where it broke.
type Reader struct {
	ctx       context.Context // of the Open that the reader answers
	body      io.ReadCloser
	read      int64 // bytes
	open      func(off int64) (io.ReadCloser, error)
	transient func(error) bool
	broken    int // times without a byte in between
}

// NewReader returns a reader of body. When that breaks with a transient error, open is asked for the rest from off
// bytes after body's start on. It must fail if the object has been replaced since. The reader closes all it was given.
func NewReader(ctx context.Context, body io.ReadCloser, transient func(error) bool, open func(off int64) (io.ReadCloser, error)) *Reader {
	return &Reader{ctx: ctx, body: body, open: open, transient: transient}
}

// Read returns an error only if the policy is spent, or if asking again cannot help.
func (r *Reader) Read(p []byte) (int, error) {
	for {
		n, err := r.body.Read(p)
		r.read += int64(n)
		if n > 0 {
			r.broken = 0
		}
		if err == nil || err == io.EOF || r.ctx.Err() != nil || !r.transient(err) {
			return n, err
		}
		if n > 0 {
			return n, nil // the next call finds it broken again
		}
		if err := r.reopen(err); err != nil {
			return 0, err
		}
	}
}

// reopen replaces the body that broke with err.
func (r *Reader) reopen(err error) error {
	for {
		if r.broken++; r.broken == Attempts || Pause(r.ctx, r.broken) != nil {
			return err
		}
		body, openErr := r.open(r.read)
		if openErr == nil {
			r.body.Close()
			r.body = body
			return nil
		}
		if err = openErr; !r.transient(err) {
			return err
		}
	}
}

// Close closes what is open.
func (r *Reader) Close() error { return r.body.Close() }
