package drivertest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"sync/atomic"
	"time"

	"github.com/parfait-registry/parfait/drivers"
)

// ErrInjected is the error of [FailNth], by which a test tells that it has come through and was not swallowed.
var ErrInjected = errors.New("injected error")

// A Kind is a kind of operation that [Faulty] can fail.
type Kind string

// The kinds of operations. A list is one operation before the first object and one after each.
const (
	Open      Kind = "open"
	Read      Kind = "read"
	Create    Kind = "create"
	Write     Kind = "write"
	Commit    Kind = "commit"
	Stat      Kind = "stat"
	List      Kind = "list"
	Delete    Kind = "delete"
	Compose   Kind = "compose"
	DeleteAll Kind = "delete_all"
	CreateNew Kind = "create_new"
	Stage     Kind = "stage"
	Unstage   Kind = "unstage"
	Sync      Kind = "sync"
	Sign      Kind = "sign"
)

// An Op is an operation that is about to begin.
type Op struct {
	Kind Kind
	Key  string // the prefix of a list, the destination of a compose, the first key of a delete_all
	N    int64  // bytes read or written before, objects listed before, number of sources or keys
}

func (op Op) String() string { return fmt.Sprintf("%s %q at %d", op.Kind, op.Key, op.N) }

// Faulty returns a driver that asks inject before each operation on d, and fails the operation instead if inject
// returns an error. If that error comes from [After], the operation takes effect and fails nonetheless, like a request
// whose answer is lost. After a write has failed, its writer fails for good. inject must be safe for concurrent use.
//
// The driver has the capabilities of d, and those fail likewise.
func Faulty(d drivers.Driver, inject func(op Op) error) drivers.Driver {
	return &faulty{d, inject}
}

// After makes of err one that [Faulty] returns after an operation has taken effect. After(nil) is nil.
func After(err error) error {
	if err == nil {
		return nil
	}
	return &afterError{err}
}

type afterError struct{ error }

func (e *afterError) Unwrap() error { return e.error }

// A Fault fails one operation. Its Inject is for [Faulty].
type Fault struct {
	n    int64
	seen atomic.Int64
	op   atomic.Pointer[Op] // nil until it has failed
}

// FailNth returns a fault of the n-th operation, counted from 0. To see code through every failure, run it with n = 0,
// 1, 2, … until a run has not Fired.
func FailNth(n int64) *Fault { return &Fault{n: n} }

// Inject returns [ErrInjected] when it is called for the n-th time.
func (f *Fault) Inject(op Op) error {
	if f.seen.Add(1)-1 != f.n {
		return nil
	}
	f.op.Store(&op)
	return ErrInjected
}

// Fired reports whether there were enough operations for one to fail.
func (f *Fault) Fired() bool { return f.op.Load() != nil }

// String names the operation that has failed.
func (f *Fault) String() string {
	if op := f.op.Load(); op != nil {
		return fmt.Sprintf("operation %d, %v", f.n, *op)
	}
	return fmt.Sprintf("operation %d, which there was not", f.n)
}

// faulty has no Unwrap, since nothing may get past it.
type faulty struct {
	d      drivers.Driver
	inject func(op Op) error
}

// do runs an operation, unless it is to fail before.
func (f *faulty) do(op Op, run func() error) error {
	err := f.inject(op)
	if _, after := errors.AsType[*afterError](err); err == nil || after {
		if err := run(); err != nil {
			return err
		}
	}
	if err == nil {
		return nil
	}
	return &drivers.Error{Driver: "faulty", Op: string(op.Kind), Key: op.Key, Err: err}
}

func (f *faulty) Open(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	var r io.ReadCloser
	err := f.do(Op{Kind: Open, Key: key}, func() (err error) {
		r, err = f.d.Open(ctx, key, off, n)
		return err
	})
	if err != nil {
		if r != nil {
			r.Close()
		}
		return nil, err
	}
	return &faultyReader{f: f, r: r, op: Op{Kind: Read, Key: key}}, nil
}

type faultyReader struct {
	f  *faulty
	r  io.ReadCloser
	op Op // of the next read
}

func (r *faultyReader) Read(p []byte) (n int, err error) {
	err = r.f.do(r.op, func() (err error) {
		n, err = r.r.Read(p)
		return err
	})
	r.op.N += int64(n)
	return n, err
}

func (r *faultyReader) Close() error { return r.r.Close() }

func (f *faulty) Create(ctx context.Context, key string) (drivers.Writer, error) {
	return f.writer(Create, ctx, key, f.d.Create)
}

func (f *faulty) writer(kind Kind, ctx context.Context, key string,
	create func(context.Context, string) (drivers.Writer, error)) (drivers.Writer, error) {
	var w drivers.Writer
	err := f.do(Op{Kind: kind, Key: key}, func() (err error) {
		w, err = create(ctx, key)
		return err
	})
	if err != nil {
		if w != nil {
			w.Close()
		}
		return nil, err
	}
	return &faultyWriter{f: f, w: w, key: key}, nil
}

type faultyWriter struct {
	f      *faulty
	w      drivers.Writer
	key    string
	size   int64
	failed error // the first error of a write
}

func (w *faultyWriter) Write(p []byte) (n int, err error) {
	if w.failed != nil {
		return 0, w.failed
	}
	w.failed = w.f.do(Op{Write, w.key, w.size}, func() (err error) {
		n, err = w.w.Write(p)
		return err
	})
	w.size += int64(n)
	return n, w.failed
}

func (w *faultyWriter) Commit() error {
	if w.failed != nil {
		return w.failed
	}
	return w.f.do(Op{Commit, w.key, w.size}, w.w.Commit)
}

func (w *faultyWriter) Close() error { return w.w.Close() }

func (f *faulty) Stat(ctx context.Context, key string) (o drivers.Object, err error) {
	err = f.do(Op{Kind: Stat, Key: key}, func() (err error) {
		o, err = f.d.Stat(ctx, key)
		return err
	})
	if err != nil {
		return drivers.Object{}, err
	}
	return o, nil
}

func (f *faulty) List(ctx context.Context, prefix, after string) iter.Seq2[drivers.Object, error] {
	return func(yield func(drivers.Object, error) bool) {
		op := Op{Kind: List, Key: prefix}
		none := func() error { return nil } // a list has no effect
		if err := f.do(op, none); err != nil {
			yield(drivers.Object{}, err)
			return
		}
		for o, err := range f.d.List(ctx, prefix, after) {
			if !yield(o, err) || err != nil {
				return
			}
			op.N++
			if err := f.do(op, none); err != nil {
				yield(drivers.Object{}, err)
				return
			}
		}
	}
}

func (f *faulty) Delete(ctx context.Context, key string) error {
	return f.do(Op{Kind: Delete, Key: key}, func() error { return f.d.Delete(ctx, key) })
}

// As hands out the capabilities of the driver below in a form that fails.
func (f *faulty) As(target any) bool {
	switch t := target.(type) {
	case *drivers.URLSigner:
		return provide(f, t)
	case *drivers.Composer:
		return provide(f, t)
	case *drivers.BatchDeleter:
		return provide(f, t)
	case *drivers.ConditionalCreator:
		return provide(f, t)
	case *drivers.Stager:
		return provide(f, t)
	}
	return false
}

// provide sets target if the driver below has the capability T.
func provide[T any](f *faulty, target *T) bool {
	if _, ok := drivers.As[T](f.d); !ok {
		return false
	}
	*target = any(faultyCapable{f}).(T)
	return true
}

// faultyCapable has every capability, and is handed out only as one that the driver below has.
type faultyCapable struct{ f *faulty }

func (c faultyCapable) SignURL(ctx context.Context, method, key string, ttl time.Duration) (u string, err error) {
	next, _ := drivers.As[drivers.URLSigner](c.f.d)
	err = c.f.do(Op{Kind: Sign, Key: key}, func() (err error) {
		u, err = next.SignURL(ctx, method, key, ttl)
		return err
	})
	return u, err
}

func (c faultyCapable) Compose(ctx context.Context, dst string, srcs ...string) error {
	next, _ := drivers.As[drivers.Composer](c.f.d)
	return c.f.do(Op{Compose, dst, int64(len(srcs))}, func() error { return next.Compose(ctx, dst, srcs...) })
}

func (c faultyCapable) DeleteAll(ctx context.Context, keys ...string) error {
	next, _ := drivers.As[drivers.BatchDeleter](c.f.d)
	op := Op{Kind: DeleteAll, N: int64(len(keys))}
	if len(keys) > 0 {
		op.Key = keys[0]
	}
	return c.f.do(op, func() error { return next.DeleteAll(ctx, keys...) })
}

func (c faultyCapable) CreateNew(ctx context.Context, key string) (drivers.Writer, error) {
	next, _ := drivers.As[drivers.ConditionalCreator](c.f.d)
	return c.f.writer(CreateNew, ctx, key, next.CreateNew)
}

func (c faultyCapable) Stage(ctx context.Context, key string) (drivers.Writer, error) {
	next, _ := drivers.As[drivers.Stager](c.f.d)
	return c.f.writer(Stage, ctx, key, next.Stage)
}

func (c faultyCapable) Unstage(ctx context.Context, key string) error {
	next, _ := drivers.As[drivers.Stager](c.f.d)
	return c.f.do(Op{Kind: Unstage, Key: key}, func() error { return next.Unstage(ctx, key) })
}

func (c faultyCapable) Sync(ctx context.Context) error {
	next, _ := drivers.As[drivers.Stager](c.f.d)
	return c.f.do(Op{Kind: Sync}, func() error { return next.Sync(ctx) })
}
