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
	broken    int   // times without a byte in between
	failed    error // of body, after the bytes that came with it
}

// NewReader returns a reader of body. When that breaks with a transient error, open is asked for the rest from off
// bytes after body's start on. It makes one try, as the reader has the policy, and must fail if the object has been
// replaced since. The reader closes all it was given.
func NewReader(ctx context.Context, body io.ReadCloser, transient func(error) bool, open func(off int64) (io.ReadCloser, error)) *Reader {
	return &Reader{ctx: ctx, body: body, open: open, transient: transient}
}

// Read returns an error only if the policy is spent, or if asking again cannot help. One that is left because the
// context has ended wraps its error.
func (r *Reader) Read(p []byte) (int, error) {
	for {
		if r.failed != nil {
			if err := r.reopen(); err != nil {
				return 0, err
			}
		}
		n, err := r.body.Read(p)
		r.read += int64(n)
		if n > 0 {
			r.broken = 0
		}
		switch {
		case err == nil || err == io.EOF:
			return n, err
		case !r.transient(err):
			r.failed, r.broken = err, Attempts
			return n, ended(r.ctx, err)
		}
		r.failed = err
		if n > 0 {
			return n, nil
		}
	}
}

// reopen replaces the body that has failed. If it cannot, it may be called again, and fails at once.
func (r *Reader) reopen() error {
	for {
		if r.broken++; r.broken >= Attempts || Pause(r.ctx, r.broken) != nil {
			return ended(r.ctx, r.failed)
		}
		body, err := r.open(r.read)
		if err == nil {
			r.body.Close()
			r.body, r.failed = body, nil
			return nil
		}
		if r.failed = err; !r.transient(err) {
			r.broken = Attempts
			return ended(r.ctx, err)
		}
	}
}

// Close closes what is open.
func (r *Reader) Close() error { return r.body.Close() }
