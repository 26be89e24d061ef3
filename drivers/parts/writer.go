package parts

import (
	"cmp"
	"context"
	"crypto/sha256"
	"hash"
	"io/fs"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/drivers/parts/sums"
)

// A Sink is what a back end does with one object. A driver makes one for each, with the key in it. Its errors are the
// driver's own, of type [*drivers.Error].
type Sink interface {
	// Whole stores the object, which is one part. It is called instead of all other methods, once.
	Whole(ctx context.Context, p Part) error
	// Begin is called once, before the first part.
	Begin(ctx context.Context) error
	// Part stores a part. All have the pool's size but the last. Several run at once, in any order, unless the writer
	// is made with AtOnce 1.
	Part(ctx context.Context, p Part) error
	// Complete makes the parts, of which there are n, the object: durable and visible when it returns nil.
	Complete(ctx context.Context, n int) error
	// Abort drops what was stored since Begin. Its context is not the writer's, which may have ended.
	Abort(ctx context.Context) error
	// Failure wraps an error that is the writer's own, such as the end of its context, for operation op.
	Failure(op string, err error) error
}

// A Part is a part of an object.
type Part struct {
	N    int    // its number, from 0
	Data []byte // the writer's own again when the sink's method returns

	sum *[sha256.Size]byte // of Data; nil if it has not been taken
}

// SHA256 returns the sum of Data.
func (p Part) SHA256() [sha256.Size]byte {
	if p.sum != nil {
		return *p.sum
	}
	return sha256.Sum256(p.Data)
}

// Options say how a driver wants the parts of an object.
type Options struct {
	AtOnce int  // how many may be on their way at once; 0 is AtOnce
	Sums   bool // whether the sink asks each for its SHA256
}

// AtOnce is how many parts of one object are on their way at once if a driver does not ask for another number.
const AtOnce = 4

// smallest and small are how many bytes a writer takes at first, and at most, before it needs a buffer of the pool.
const (
	smallest = 4 << 10
	small    = 256 << 10
)

// AbortTimeout bounds the time that is spent on the remains of an upload that failed, while its client waits.
const AbortTimeout = 10 * time.Second

// A Writer cuts what is written to it into parts. It is not safe for concurrent use. After an error of Write, only
// Close does anything.
type Writer struct {
	ctx    context.Context // of the upload
	cancel context.CancelFunc
	pool   *Pool
	sink   Sink
	sums   bool       // whether the sink wants them
	pair   *sums.Pair // of the whole and the current part; nil if the parts are summed by themselves

	current []byte // what is not on its way yet
	pooled  bool   // whether current is of the pool
	parts   int    // on their way or stored
	group   *errgroup.Group
	groupCx context.Context // ends with the first part that fails
	failed  error           // of Write
	over    bool            // committed or closed
	done    bool            // nothing is left to be aborted
}

var _ interface {
	drivers.Writer
	drivers.Summer
} = (*Writer)(nil)

// NewWriter starts an object. ctx governs it.
func NewWriter(ctx context.Context, pool *Pool, sink Sink, opts Options) *Writer {
	ctx, cancel := context.WithCancel(ctx)
	group, groupCx := errgroup.WithContext(ctx)
	group.SetLimit(cmp.Or(opts.AtOnce, AtOnce))
	return &Writer{ctx: ctx, cancel: cancel, pool: pool, sink: sink, sums: opts.Sums, group: group, groupCx: groupCx}
}

// SumWith implements [drivers.Summer].
func (w *Writer) SumWith(h hash.Hash) bool {
	if w.sums {
		w.pair = sums.NewPair(h)
	}
	return w.pair != nil
}

// Write takes p. It waits while the pool is empty, or while as many parts are on their way as may be. It fails with
// the error of the first part that failed.
func (w *Writer) Write(p []byte) (int, error) {
	switch {
	case w.over:
		return 0, w.sink.Failure("write", fs.ErrClosed)
	case w.failed != nil:
		return 0, w.failed
	}
	total := len(p)
	for len(p) > 0 {
		room, err := w.room(len(p))
		if err != nil {
			w.failed = err
			return total - len(p), err
		}
		n := min(room, len(p))
		w.current = append(w.current, p[:n]...)
		if w.pair != nil {
			w.pair.Write(p[:n])
		}
		p = p[n:]
	}
	return total, nil
}

// room sees to it that current takes at least a byte more, better n, and returns how many.
func (w *Writer) room(n int) (int, error) {
	size := int(w.pool.size)
	switch {
	case !w.pooled && w.parts == 0 && len(w.current)+n <= small:
		if w.current == nil {
			w.current = make([]byte, 0, max(n, smallest))
		}
		return n, nil
	case !w.pooled:
		if err := w.enlarge(); err != nil {
			return 0, err
		}
	case len(w.current) == size:
		if err := w.send(); err != nil {
			return 0, err
		}
		if err := w.enlarge(); err != nil {
			return 0, err
		}
	}
	return size - len(w.current), nil
}

// enlarge moves current into a buffer of the pool.
func (w *Writer) enlarge() error {
	b, err := w.pool.Get(w.groupCx)
	if err != nil {
		return w.first(w.sink.Failure("write", err))
	}
	w.current, w.pooled = append(b, w.current...), true
	return nil
}

// send lets current go on its way.
func (w *Writer) send() error {
	if w.parts == 0 {
		if err := w.sink.Begin(w.ctx); err != nil {
			return err
		}
	}
	p, pooled := w.part(), w.pooled
	w.parts++
	w.current, w.pooled = nil, false
	w.group.Go(func() error {
		if pooled {
			defer w.pool.Put(p.Data)
		}
		if err := w.groupCx.Err(); err != nil {
			return w.sink.Failure("write", err)
		}
		return w.sink.Part(w.groupCx, p)
	})
	if err := w.groupCx.Err(); err != nil {
		return w.first(w.sink.Failure("write", err))
	}
	return nil
}

// part is the part that current is.
func (w *Writer) part() Part {
	p := Part{N: w.parts, Data: w.current}
	if w.pair != nil {
		sum := w.pair.Cut()
		p.sum = &sum
	}
	return p
}

// first returns the error of the first part that failed, if one did, rather than err, which came of that.
func (w *Writer) first(err error) error {
	if w.groupCx.Err() != nil {
		if failed := w.group.Wait(); failed != nil {
			return failed
		}
	}
	return err
}

// Commit makes the object durable and visible.
func (w *Writer) Commit() error {
	if w.over {
		return w.sink.Failure("commit", fs.ErrClosed)
	}
	w.over = true
	err := w.commit()
	if err == nil {
		w.done = true
		w.release()
	}
	return err
}

func (w *Writer) commit() error {
	if w.failed != nil {
		return w.failed
	}
	if err := w.ctx.Err(); err != nil {
		return w.sink.Failure("commit", err)
	}
	if w.parts == 0 {
		return w.sink.Whole(w.ctx, w.part())
	}
	if err := w.send(); err != nil {
		return err
	}
	if err := w.group.Wait(); err != nil {
		return err
	}
	return w.sink.Complete(w.ctx, w.parts)
}

// release ends what is under way and gives the buffers back.
func (w *Writer) release() {
	w.cancel()
	_ = w.group.Wait() // a part that failed was the error of Write or Commit
	if w.pooled {
		w.pool.Put(w.current)
	}
	w.current, w.pooled = nil, false
}

// Close drops what was not committed. What cannot be dropped now, the back end is left with until a sweep finds it.
func (w *Writer) Close() error {
	w.over = true
	w.release()
	if w.parts == 0 || w.done {
		return nil
	}
	w.done = true
	ctx, cancel := context.WithTimeout(context.WithoutCancel(w.ctx), AbortTimeout)
	defer cancel()
	return w.sink.Abort(ctx)
}
