package parts_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/drivers/parts"
	"github.com/parfait-registry/parfait/drivers/parts/sums"
)

const mib = 1 << 20

var errSink = errors.New("the sink failed")

// A sink is a back end that keeps one object in memory.
type sink struct {
	mu     sync.Mutex
	calls  []string       // in order, without Part
	parts  map[int][]byte // that are stored
	sums   map[int][sha256.Size]byte
	object []byte // nil until it is visible
	now    int    // parts on their way
	most   int    // parts on their way at once

	fail   map[string]error                       // by the method
	during func(ctx context.Context, n int) error // of each Part; nil for nothing
}

var _ parts.Sink = (*sink)(nil)

func (s *sink) called(method string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, method)
	return s.fail[method]
}

func (s *sink) Whole(ctx context.Context, p parts.Part) error {
	if err := errors.Join(s.called("whole"), ctx.Err()); err != nil {
		return err
	}
	s.object = bytes.Clone(p.Data)
	return nil
}

func (s *sink) Begin(context.Context) error { return s.called("begin") }

func (s *sink) Part(ctx context.Context, p parts.Part) error {
	s.mu.Lock()
	s.now++
	s.most = max(s.most, s.now)
	s.mu.Unlock()
	var err error
	if s.during != nil {
		err = s.during(ctx, p.N)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now--
	if err != nil {
		return err
	}
	if s.parts == nil {
		s.parts, s.sums = map[int][]byte{}, map[int][sha256.Size]byte{}
	}
	s.sums[p.N] = p.SHA256()
	s.parts[p.N] = bytes.Clone(p.Data)
	return nil
}

func (s *sink) Complete(_ context.Context, n int) error {
	if err := s.called("complete"); err != nil {
		return err
	}
	if n != len(s.parts) || s.now != 0 {
		return errors.New("complete before all parts are stored")
	}
	s.object = []byte{}
	for i := range n {
		s.object = append(s.object, s.parts[i]...)
	}
	return nil
}

func (s *sink) Abort(ctx context.Context) error {
	if s.now != 0 {
		return errors.New("abort with parts on their way")
	}
	return errors.Join(s.called("abort"), ctx.Err())
}

func (s *sink) Failure(op string, err error) error {
	return &drivers.Error{Driver: "test", Op: op, Key: "key", Err: err}
}

func newPool(t testing.TB, buffers int64) *parts.Pool {
	t.Helper()
	pool, err := parts.NewPool(parts.Config{Size: 5 * mib, Buffers: buffers * 5 * mib})
	if err != nil {
		t.Fatal(err)
	}
	return pool
}

// wantFree checks that n buffers of the pool are free, and no more.
func wantFree(t *testing.T, pool *parts.Pool, n int) {
	t.Helper()
	var got [][]byte
	for {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		b, err := pool.Get(ctx)
		cancel()
		if err != nil {
			break
		}
		got = append(got, b)
	}
	for _, b := range got {
		pool.Put(b)
	}
	if len(got) != n {
		t.Errorf("%d buffers of the pool are free, want %d", len(got), n)
	}
}

var content = func() []byte {
	data := make([]byte, 23*mib)
	rand.NewChaCha8([32]byte{}).Read(data)
	return data
}()

func TestNewPool(t *testing.T) {
	for _, tt := range []struct {
		cfg  parts.Config
		want string // in the error
		free int
	}{
		{parts.Config{}, "", 16},
		{parts.Config{Size: 8 * mib}, "", 32},
		{parts.Config{Size: 16 * mib, Copies: 1}, "", 8},
		{parts.Config{Size: 1 << 30}, "", 1},
		{parts.Config{Size: 1 << 30, Copies: 2}, "", 1},
		{parts.Config{Size: 5 * mib, Buffers: 14 * mib}, "", 2},
		{parts.Config{Size: 5*mib - 1}, "storage_part_size: 5242879 bytes", 0},
		{parts.Config{Size: -1}, "storage_part_size: -1 bytes", 0},
		{parts.Config{Size: 1<<30 + 1}, "storage_part_size: 1073741825 bytes", 0},
		{parts.Config{Buffers: 16*mib - 1}, "storage_buffers: 16777215 bytes", 0},
		{parts.Config{Buffers: 16 * mib, Copies: 1}, "33554432 would", 0},
		{parts.Config{Buffers: -1}, "storage_buffers: -1 bytes", 0},
	} {
		pool, err := parts.NewPool(tt.cfg)
		switch {
		case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
			t.Errorf("%+v: got error %v, want one with %q", tt.cfg, err, tt.want)
		case tt.want == "" && err != nil:
			t.Errorf("%+v: %v", tt.cfg, err)
		case err == nil && tt.cfg.Size < 1<<30:
			wantFree(t, pool, tt.free)
		}
	}
}

func TestWriter(t *testing.T) {
	const part = 5 * mib
	for _, tt := range []struct {
		name  string
		size  int
		parts int // 0 for none
	}{
		{"nothing", 0, 0},
		{"a byte", 1, 0},
		{"as much as needs no buffer", 256 << 10, 0},
		{"a byte more", 256<<10 + 1, 0},
		{"a part", part, 0},
		{"a part and a byte", part + 1, 2},
		{"two parts", 2 * part, 2},
		{"more", 4*part + 3, 5},
	} {
		for name, sizes := range map[string][]int{
			"in one piece": {tt.size}, "in small pieces": {1000}, "in odd pieces": {1, 300 << 10, 6 * mib, 4096},
		} {
			t.Run(tt.name+" "+name, func(t *testing.T) {
				pool, s := newPool(t, 3), &sink{}
				w := parts.NewWriter(t.Context(), pool, s, parts.Options{})
				want := content[:tt.size]
				for rest, i := want, 0; len(rest) > 0; i++ {
					n := min(sizes[i%len(sizes)], len(rest))
					if got, err := w.Write(rest[:n]); got != n || err != nil {
						t.Fatalf("write: got %d, %v, want %d", got, err, n)
					}
					rest = rest[n:]
				}
				if s.object != nil {
					t.Error("the object is visible before it is committed")
				}
				if err := w.Commit(); err != nil {
					t.Fatal(err)
				}
				wantFree(t, pool, 3) // before Close, as it may take long until that
				if !bytes.Equal(s.object, want) {
					t.Errorf("got %d other bytes", len(s.object))
				}
				calls := []string{"whole"}
				if tt.parts > 0 {
					calls = []string{"begin", "complete"}
				}
				if !slices.Equal(s.calls, calls) || len(s.parts) != tt.parts {
					t.Errorf("got %q and %d parts, want %q and %d", s.calls, len(s.parts), calls, tt.parts)
				}
				for n, data := range s.parts {
					if n < tt.parts-1 && len(data) != part || len(data) == 0 {
						t.Errorf("part %d of %d has %d bytes", n, tt.parts, len(data))
					}
				}
				wantOver(t, w, s)
			})
		}
	}
}

// wantOver checks that w does nothing more.
func wantOver(t *testing.T, w *parts.Writer, s *sink) {
	t.Helper()
	before := len(s.calls)
	if err := w.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	if err := w.Close(); err != nil {
		t.Errorf("close again: %v", err)
	}
	if _, err := w.Write([]byte("x")); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("write afterwards: got error %v", err)
	}
	if err := w.Commit(); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("commit afterwards: got error %v", err)
	}
	if len(s.calls) != before {
		t.Errorf("the sink was asked for %q afterwards", s.calls[before:])
	}
}

func TestWriter_Close(t *testing.T) {
	for size, calls := range map[int][]string{0: nil, 1000: nil, 3 * mib: nil, 5 * mib: nil, 5*mib + 1: {"begin", "abort"}, 23 * mib: {"begin", "abort"}} {
		pool, s := newPool(t, 6), &sink{}
		ctx, cancel := context.WithCancel(t.Context())
		w := parts.NewWriter(ctx, pool, s, parts.Options{})
		if _, err := w.Write(content[:size]); err != nil {
			t.Fatal(err)
		}
		cancel() // the remains are dropped nonetheless
		if err := w.Close(); err != nil {
			t.Errorf("%d bytes: close: %v", size, err)
		}
		if !slices.Equal(s.calls, calls) || s.object != nil {
			t.Errorf("%d bytes: got %q, want %q", size, s.calls, calls)
		}
		wantFree(t, pool, 6)
		wantOver(t, w, s)
	}
}

// Whatever fails, its error comes out, nothing is visible, and all is given back.
func TestWriter_Failures(t *testing.T) {
	for _, tt := range []struct {
		name  string
		size  int
		fail  string
		calls []string
	}{
		{"whole", 1000, "whole", []string{"whole"}},
		{"whole of a part", 5 * mib, "whole", []string{"whole"}},
		{"begin", 23 * mib, "begin", []string{"begin"}},
		{"complete", 23 * mib, "complete", []string{"begin", "complete", "abort"}},
		{"part", 23 * mib, "part", []string{"begin", "abort"}},
		{"last part", 6 * mib, "part", []string{"begin", "abort"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				pool, s := newPool(t, 3), &sink{fail: map[string]error{tt.fail: errSink}}
				if tt.fail == "part" {
					last := (tt.size - 1) / (5 * mib)
					s.during = func(ctx context.Context, n int) error {
						if n == min(last, 2) {
							return errSink
						}
						select { // the others fail of that
						case <-ctx.Done():
							return ctx.Err()
						case <-time.After(time.Duration(n+1) * time.Second):
							return nil
						}
					}
				}
				w := parts.NewWriter(t.Context(), pool, s, parts.Options{})
				_, writeErr := w.Write(content[:tt.size])
				if writeErr != nil {
					if _, again := w.Write([]byte("x")); again != writeErr {
						t.Errorf("write after an error: got error %v, want %v", again, writeErr)
					}
				}
				err := w.Commit()
				if err == nil || !errors.Is(errors.Join(writeErr, err), errSink) || writeErr != nil && err != writeErr {
					t.Errorf("got %v, then %v, want the sink's error", writeErr, err)
				}
				if err := w.Close(); err != nil {
					t.Error(err)
				}
				if !slices.Equal(s.calls, tt.calls) || s.object != nil {
					t.Errorf("got %q, want %q and no object", s.calls, tt.calls)
				}
				wantFree(t, pool, 3)
				wantOver(t, w, s)
			})
		})
	}
}

func TestWriter_AbortFails(t *testing.T) {
	s := &sink{fail: map[string]error{"abort": errSink}}
	w := parts.NewWriter(t.Context(), newPool(t, 3), s, parts.Options{})
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); !errors.Is(err, errSink) {
		t.Errorf("got %v, want the sink's error", err)
	}
	wantOver(t, w, s)
}

func TestWriter_Cancelled(t *testing.T) {
	for _, size := range []int{0, 1000, 5 * mib, 6 * mib} {
		s := &sink{}
		ctx, cancel := context.WithCancel(t.Context())
		w := parts.NewWriter(ctx, newPool(t, 3), s, parts.Options{})
		if _, err := w.Write(content[:size]); err != nil {
			t.Fatal(err)
		}
		cancel()
		err := w.Commit()
		if e, ok := errors.AsType[*drivers.Error](err); !errors.Is(err, context.Canceled) || !ok || e.Op != "commit" {
			t.Errorf("%d bytes: commit: got error %#v, want the context's", size, err)
		}
		if err := w.Close(); err != nil || s.object != nil {
			t.Errorf("%d bytes: close: %v; object %v", size, err, s.object != nil)
		}
	}
}

// A part that hangs ends with the context, in Write as in Commit.
func TestWriter_CancelledOnTheWay(t *testing.T) {
	for name, use := range map[string]func(*parts.Writer) error{
		"write":  func(w *parts.Writer) error { _, err := w.Write(content); return err },
		"commit": func(w *parts.Writer) error { _, err := w.Write(content[:6*mib]); return errors.Join(err, w.Commit()) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				pool, s := newPool(t, 2), &sink{during: func(ctx context.Context, _ int) error {
					<-ctx.Done()
					return ctx.Err()
				}}
				w := parts.NewWriter(ctx, pool, s, parts.Options{})
				if err := use(w); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("got %v, want the context's error", err)
				}
				if err := w.Close(); err != nil {
					t.Error(err)
				}
				wantFree(t, pool, 2)
				if want := []string{"begin", "abort"}; !slices.Equal(s.calls, want) {
					t.Errorf("got %q, want %q", s.calls, want)
				}
			})
		})
	}
}

// A sink that wants sums gets those of the parts, and the caller's hash has that of the whole.
func TestWriter_Sums(t *testing.T) {
	want := sha256.Sum256(content)
	for _, with := range []bool{false, true} {
		s := &sink{}
		w := parts.NewWriter(t.Context(), newPool(t, 3), s, parts.Options{Sums: true})
		h := sha256.New()
		summed := with && w.SumWith(h)
		if with && summed != (sums.NewPair(sha256.New()) != nil) {
			t.Errorf("SumWith: got %t", summed)
		}
		if _, err := io.Copy(w, iotest.HalfReader(bytes.NewReader(content))); err != nil {
			t.Fatal(err)
		}
		if err := w.Commit(); err != nil {
			t.Fatal(err)
		}
		for n, data := range s.parts {
			if s.sums[n] != sha256.Sum256(data) {
				t.Errorf("with %t: part %d has another sum than the sink was told", with, n)
			}
		}
		if summed && [sha256.Size]byte(h.Sum(nil)) != want {
			t.Error("the caller's hash has not the sum of the whole")
		}
	}
	if w := parts.NewWriter(t.Context(), newPool(t, 1), &sink{}, parts.Options{}); w.SumWith(sha256.New()) {
		t.Error("SumWith: got true for a sink that wants no sums")
	}
}

func TestWriter_AtOnce(t *testing.T) {
	for atOnce, want := range map[int]int{0: parts.AtOnce, 1: 1, 2: 2} {
		synctest.Test(t, func(t *testing.T) {
			var order []int
			s := &sink{}
			s.during = func(_ context.Context, n int) error {
				s.mu.Lock()
				order = append(order, n)
				s.mu.Unlock()
				time.Sleep(time.Second)
				return nil
			}
			w := parts.NewWriter(t.Context(), newPool(t, 8), s, parts.Options{AtOnce: atOnce})
			defer w.Close()
			if _, err := w.Write(content); err != nil {
				t.Fatal(err)
			}
			if err := w.Commit(); err != nil {
				t.Fatal(err)
			}
			if s.most != want {
				t.Errorf("at once %d: got %d parts on their way, want %d", atOnce, s.most, want)
			}
			if atOnce == 1 && !slices.IsSorted(order) {
				t.Errorf("one at a time: got order %v", order)
			}
		})
	}
}

// Many large uploads share few buffers, and get on at the same pace. A small one does not wait for them.
func TestPool(t *testing.T) {
	const uploads, buffers, size = 12, 3, 16 * mib
	synctest.Test(t, func(t *testing.T) {
		pool := newPool(t, buffers)
		var mu sync.Mutex
		var now, most int
		var done []int // parts by upload, in order
		slow := func(upload int) func(context.Context, int) error {
			return func(context.Context, int) error {
				mu.Lock()
				now++
				most = max(most, now)
				mu.Unlock()
				time.Sleep(time.Second)
				mu.Lock()
				defer mu.Unlock()
				now--
				done = append(done, upload)
				return nil
			}
		}
		var g errgroup.Group
		for i := range uploads {
			g.Go(func() error {
				s := &sink{during: slow(i)}
				w := parts.NewWriter(t.Context(), pool, s, parts.Options{})
				defer w.Close()
				if _, err := w.Write(content[:size]); err != nil {
					return err
				}
				if err := w.Commit(); err != nil {
					return err
				}
				if !bytes.Equal(s.object, content[:size]) {
					return errors.New("other bytes than were written")
				}
				return nil
			})
		}
		time.Sleep(1500 * time.Millisecond)
		start := time.Now()
		s := &sink{}
		w := parts.NewWriter(t.Context(), pool, s, parts.Options{})
		if _, err := w.Write(content[:256<<10]); err != nil {
			t.Error(err)
		}
		if err := w.Commit(); err != nil || len(s.object) != 256<<10 || time.Since(start) != 0 {
			t.Errorf("small upload among large ones: %v after %v", err, time.Since(start))
		}
		if err := g.Wait(); err != nil {
			t.Error(err)
		}
		if most > buffers {
			t.Errorf("%d parts were on their way with %d buffers", most, buffers)
		}
		first := map[int]bool{}
		for _, upload := range done[:2*uploads] {
			first[upload] = true
		}
		if len(first) != uploads {
			t.Errorf("half of the parts came from %d of %d uploads: %v", len(first), uploads, done)
		}
		wantFree(t, pool, buffers)
	})
}

// Buffers that nobody wants any more are not kept, and those that somebody does are used again.
func TestPool_Idle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := newPool(t, 2)
		var gone atomic.Int32
		get := func() []byte {
			b, err := pool.Get(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return b
		}
		a, b := get(), get()
		first := &a[:1][0]
		runtime.AddCleanup(first, func(int) { gone.Add(1) }, 0)
		runtime.AddCleanup(&b[:1][0], func(int) { gone.Add(1) }, 0)
		pool.Put(b)
		time.Sleep(10 * time.Second)
		pool.Put(a)
		a, b = nil, nil
		time.Sleep(45 * time.Second)
		if again := get(); &again[:1][0] != first {
			t.Error("got another buffer than the one that was used last")
		} else {
			pool.Put(again)
		}
		time.Sleep(20 * time.Second) // b is 75 s old, and a 20 s
		first = nil
		wantGone(t, &gone, 1)
		time.Sleep(time.Minute)
		wantGone(t, &gone, 2)
	})
}

// wantGone checks how many buffers the garbage collector has got.
func wantGone(t *testing.T, gone *atomic.Int32, want int32) {
	t.Helper()
	for range 100 {
		runtime.GC()
		if gone.Load() == want {
			break
		}
		runtime.Gosched()
	}
	if got := gone.Load(); got != want {
		t.Errorf("%d buffers are gone, want %d", got, want)
	}
}

func TestPool_Get(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := newPool(t, 1)
		b, err := pool.Get(t.Context())
		if err != nil || len(b) != 0 || cap(b) != 5*mib || pool.PartSize() != 5*mib {
			t.Fatalf("got a buffer of %d, %d bytes, %v", len(b), cap(b), err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := pool.Get(ctx); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "storage_buffers") {
			t.Errorf("from an empty pool: got error %v", err)
		}
		var order []int
		var wg sync.WaitGroup
		for i := range 5 {
			wg.Go(func() {
				b, err := pool.Get(t.Context())
				if err != nil {
					t.Error(err)
				}
				order = append(order, i)
				pool.Put(append(b, 1, 2, 3))
			})
			synctest.Wait()
		}
		pool.Put(b)
		wg.Wait()
		if !slices.Equal(order, []int{0, 1, 2, 3, 4}) {
			t.Errorf("buffers went out in order %v", order)
		}
	})
}
