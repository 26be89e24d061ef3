// Package metered counts what is asked of a driver: the numbers behind the metrics of a back end, and behind the tests
// that hold each request to its budget of store calls.
package metered

import (
	"context"
	"errors"
	"hash"
	"io"
	"io/fs"
	"iter"
	"maps"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/parfait-registry/parfait/drivers"
)

// The operations that are counted. A writer belongs to the operation that made it: its writes and its Commit are part
// of one call, as is what a reader reads.
const (
	OpOpen      = "open"
	OpCreate    = "create"
	OpStat      = "stat"
	OpList      = "list"
	OpDelete    = "delete"
	OpSign      = "sign"
	OpCompose   = "compose"
	OpDeleteAll = "delete_all"
	OpCreateNew = "create_new"
	OpStage     = "stage"
	OpUnstage   = "unstage"
	OpSync      = "sync"
)

// Ops are all of them.
func Ops() []string {
	return []string{OpOpen, OpCreate, OpStat, OpList, OpDelete, OpSign, OpCompose, OpDeleteAll, OpCreateNew, OpStage, OpUnstage, OpSync}
}

// A Count is what one operation has come to.
type Count struct {
	Calls int64
	// Errors are the calls that the back end failed. Answers that it gave are none: that an object does not exist,
	// or exists, or is shorter, or that it cannot do this; nor is a context that the caller cancelled.
	Errors   int64
	BytesIn  int64 // written to objects, committed or not
	BytesOut int64 // read from objects
	// Time was spent in the driver: in calls, reads and writes, not between them.
	Time time.Duration
}

// Counts are counts by operation. Operations that never happened are there with zeros in what [Driver.Counts]
// returns.
type Counts map[string]Count

// Calls returns the number of calls of the operations ops, or of all without any.
func (c Counts) Calls(ops ...string) int64 {
	if len(ops) == 0 {
		ops = slices.Collect(maps.Keys(c))
	}
	var n int64
	for _, op := range ops {
		n += c[op].Calls
	}
	return n
}

// Sub returns what has come to c since earlier.
func (c Counts) Sub(earlier Counts) Counts {
	diff := make(Counts, len(c))
	for op, n := range c {
		e := earlier[op]
		diff[op] = Count{n.Calls - e.Calls, n.Errors - e.Errors, n.BytesIn - e.BytesIn, n.BytesOut - e.BytesOut,
			n.Time - e.Time}
	}
	return diff
}

// A Driver counts and passes on. Find it under other wrappers with drivers.As[*metered.Driver].
type Driver struct {
	next    drivers.Driver
	meters  map[string]*meter // never changed
	watcher Watcher
}

// A meter is a Count that many may count into.
type meter struct {
	calls, errors, bytesIn, bytesOut, nanos atomic.Int64
}

// New returns a driver that counts what is asked of next.
func New(next drivers.Driver) *Driver {
	d := &Driver{next: next, meters: make(map[string]*meter), watcher: noWatcher{}}
	for _, op := range Ops() {
		d.meters[op] = new(meter)
	}
	return d
}

// Counts returns what has been counted so far. Calls that are under way may be in it in part.
func (d *Driver) Counts() Counts {
	counts := make(Counts, len(d.meters))
	for op, m := range d.meters {
		counts[op] = Count{m.calls.Load(), m.errors.Load(), m.bytesIn.Load(), m.bytesOut.Load(),
			time.Duration(m.nanos.Load())}
	}
	return counts
}

// A call is one call of an operation, which may take several steps and fails at most once.
type call struct {
	*meter
	d    *Driver
	ctx  context.Context // of the watcher
	op   string
	done Done
	over bool
}

// begin counts a call of op. The context is for the driver below.
func (d *Driver) begin(ctx context.Context, op, key string) (*call, context.Context) {
	c := &call{meter: d.meters[op], d: d, op: op}
	c.calls.Add(1)
	c.ctx = d.watcher.Begin(ctx, op, key)
	return c, c.ctx
}

// step counts a step of the call that began at start and ended with err.
func (c *call) step(start time.Time, err error) {
	took := time.Since(start)
	c.nanos.Add(int64(took))
	c.done.Time += took
	if c.done.Err == nil && failed(err) {
		c.done.Err = err
		c.errors.Add(1)
	}
}

func (c *call) read(n int64) {
	c.bytesOut.Add(n)
	c.done.BytesOut += n
}

func (c *call) written(n int64) {
	c.bytesIn.Add(n)
	c.done.BytesIn += n
}

// end is called when the call is over, and perhaps once more.
func (c *call) end() {
	if !c.over {
		c.over = true
		c.d.watcher.End(c.ctx, c.op, c.done)
	}
}

// once counts a call of one step.
func (d *Driver) once(ctx context.Context, op, key string, do func(context.Context) error) error {
	c, ctx := d.begin(ctx, op, key)
	defer c.end()
	start := time.Now()
	err := do(ctx)
	c.step(start, err)
	return err
}

// failed reports whether err is the back end's fault.
func failed(err error) bool {
	switch {
	case err == nil, err == io.EOF:
		return false
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrExist), errors.Is(err, drivers.ErrRange):
		return false
	case errors.Is(err, errors.ErrUnsupported), errors.Is(err, context.Canceled):
		return false
	}
	return true
}

// Unwrap returns the driver that d counts for.
func (d *Driver) Unwrap() drivers.Driver { return d.next }

// Open implements [drivers.Driver]. A file is passed on as it is, so that it can be sent with sendfile(2); the bytes
// that are left in it count at once.
func (d *Driver) Open(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	c, ctx := d.begin(ctx, OpOpen, key)
	start := time.Now()
	r, err := d.next.Open(ctx, key, off, n)
	c.step(start, err)
	if err != nil {
		c.end()
		return nil, err
	}
	if f, ok := r.(*os.File); ok {
		if info, err := f.Stat(); err == nil {
			c.read(info.Size() - off)
		}
		c.end()
		return f, nil
	}
	return &reader{r, c}, nil
}

type reader struct {
	io.ReadCloser
	call *call
}

func (r *reader) Read(p []byte) (int, error) {
	start := time.Now()
	n, err := r.ReadCloser.Read(p)
	r.call.read(int64(n))
	r.call.step(start, err)
	return n, err
}

func (r *reader) Close() error {
	err := r.ReadCloser.Close()
	r.call.end()
	return err
}

// Create implements [drivers.Driver].
func (d *Driver) Create(ctx context.Context, key string) (drivers.Writer, error) {
	return d.writer(OpCreate, ctx, key, d.next.Create)
}

func (d *Driver) writer(op string, ctx context.Context, key string,
	create func(context.Context, string) (drivers.Writer, error)) (drivers.Writer, error) {
	c, ctx := d.begin(ctx, op, key)
	start := time.Now()
	w, err := create(ctx, key)
	c.step(start, err)
	if err != nil {
		c.end()
		return nil, err
	}
	return &writer{w, c}, nil
}

type writer struct {
	drivers.Writer
	call *call
}

// SumWith implements [drivers.Summer].
func (w *writer) SumWith(h hash.Hash) bool {
	s, ok := w.Writer.(drivers.Summer)
	return ok && s.SumWith(h)
}

func (w *writer) Write(p []byte) (int, error) {
	start := time.Now()
	n, err := w.Writer.Write(p)
	w.call.written(int64(n))
	w.call.step(start, err)
	return n, err
}

func (w *writer) Commit() error {
	start := time.Now()
	err := w.Writer.Commit()
	w.call.step(start, err)
	w.call.end()
	return err
}

func (w *writer) Close() error {
	err := w.Writer.Close()
	w.call.end()
	return err
}

// Stat implements [drivers.Driver].
func (d *Driver) Stat(ctx context.Context, key string) (o drivers.Object, err error) {
	err = d.once(ctx, OpStat, key, func(ctx context.Context) (err error) {
		o, err = d.next.Stat(ctx, key)
		return err
	})
	return o, err
}

// List implements [drivers.Driver]. One call is counted, however many pages it takes.
func (d *Driver) List(ctx context.Context, prefix, after string) iter.Seq2[drivers.Object, error] {
	return func(yield func(drivers.Object, error) bool) {
		c, ctx := d.begin(ctx, OpList, prefix)
		defer c.end()
		start := time.Now()
		for o, err := range d.next.List(ctx, prefix, after) {
			c.step(start, err)
			if !yield(o, err) {
				return
			}
			start = time.Now()
		}
		c.step(start, nil)
	}
}

// Delete implements [drivers.Driver].
func (d *Driver) Delete(ctx context.Context, key string) error {
	return d.once(ctx, OpDelete, key, func(ctx context.Context) error { return d.next.Delete(ctx, key) })
}
