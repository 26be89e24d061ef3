package metered_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"hash"
	"io"
	"testing"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/drivers/drivertest"
	"github.com/parfait-registry/parfait/drivers/local"
	"github.com/parfait-registry/parfait/drivers/mem"
	"github.com/parfait-registry/parfait/drivers/metered"
)

// wantCalls checks that since earlier there were these calls and no others.
func wantCalls(t *testing.T, d *metered.Driver, earlier metered.Counts, want map[string]int64) {
	t.Helper()
	var total int64
	diff := d.Counts().Sub(earlier)
	for op, n := range want {
		total += n
		if got := diff.Calls(op); got != n {
			t.Errorf("%s: got %d calls, want %d", op, got, n)
		}
	}
	if got := diff.Calls(); got != total {
		t.Errorf("got %d calls in all, want %d: %+v", got, total, diff)
	}
}

func TestDriver_Counts(t *testing.T) {
	ctx, d := t.Context(), metered.New(mem.New())
	if err := drivers.Put(ctx, d, "a/b", []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if _, err := drivers.ReadAll(ctx, d, "a/b", 100); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Stat(ctx, "a/none"); err == nil {
		t.Error("stat of an absent object: got no error")
	}
	for range d.List(ctx, "", "") {
	}
	if err := drivers.Compose(ctx, d, "c", "a/b"); err != nil {
		t.Fatal(err)
	}
	if err := drivers.DeleteAll(ctx, d, "a/b", "c"); err != nil {
		t.Fatal(err)
	}
	if err := drivers.StagePut(ctx, d, "s", nil); err != nil { // which mem has no more to offer for than Create
		t.Fatal(err)
	}
	wantCalls(t, d, nil, map[string]int64{metered.OpCreate: 2, metered.OpOpen: 1, metered.OpStat: 1, metered.OpList: 1,
		metered.OpCompose: 1, metered.OpDeleteAll: 1})
	counts := d.Counts()
	if n := counts[metered.OpCreate]; n.BytesIn != 5 || n.Time <= 0 {
		t.Errorf("create: got %+v, want 5 bytes in and some time", n)
	}
	if n := counts[metered.OpOpen]; n.BytesOut != 5 {
		t.Errorf("open: got %+v, want 5 bytes out", n)
	}
	if n := counts[metered.OpStat]; n.Errors != 0 {
		t.Errorf("stat: got %+v, want no errors: that an object is absent is an answer", n)
	}
}

func TestDriver_CountsStaging(t *testing.T) {
	next, err := local.Open(local.Config{Path: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer next.Close()
	ctx, d := t.Context(), metered.New(next)
	if err := drivers.StagePut(ctx, d, "s", []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if _, err := drivers.ReadAll(ctx, d, "s", 100); err != nil {
		t.Fatal(err)
	}
	if err := drivers.Unstage(ctx, d, "s"); err != nil {
		t.Fatal(err)
	}
	if err := drivers.Sync(ctx, d); err != nil {
		t.Fatal(err)
	}
	wantCalls(t, d, nil, map[string]int64{metered.OpStage: 1, metered.OpOpen: 1, metered.OpUnstage: 1, metered.OpSync: 1})
	if in, out := d.Counts()[metered.OpStage].BytesIn, d.Counts()[metered.OpOpen].BytesOut; in != 5 || out != 5 {
		t.Errorf("got %d bytes in, %d out, want 5 each", in, out)
	}
}

func TestDriver_CountsErrorsOnce(t *testing.T) {
	broken := func(op drivertest.Op) error {
		if op.Kind == drivertest.Create {
			return nil
		}
		return drivertest.ErrInjected
	}
	ctx, d := t.Context(), metered.New(drivertest.Faulty(mem.New(), broken))
	if err := drivers.Put(ctx, d, "a", []byte("hello")); !errors.Is(err, drivertest.ErrInjected) {
		t.Errorf("put: got error %v", err)
	}
	w, err := d.Create(ctx, "a")
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	io.WriteString(w, "hello")
	w.Commit()
	for range d.List(ctx, "", "") {
	}
	if err := drivers.Compose(ctx, d, "c", "a"); err == nil {
		t.Error("compose: got no error")
	}
	counts := d.Counts()
	for op, want := range map[string]int64{metered.OpCreate: 2, metered.OpList: 1, metered.OpCompose: 1} {
		if n := counts[op]; n.Calls != want || n.Errors != want {
			t.Errorf("%s: got %d calls, %d errors, want %d each", op, n.Calls, n.Errors, want)
		}
	}
}

// summing is a driver whose writers are [drivers.Summer].
type summing struct{ drivers.Driver }

func (d summing) Create(ctx context.Context, key string) (drivers.Writer, error) {
	w, err := d.Driver.Create(ctx, key)
	return summer{w}, err
}

type summer struct{ drivers.Writer }

func (summer) SumWith(hash.Hash) bool { return true }

// A writer sums if the one below does.
func TestDriver_SumWith(t *testing.T) {
	for want, d := range map[bool]drivers.Driver{false: mem.New(), true: summing{mem.New()}} {
		w, err := metered.New(d).Create(t.Context(), "a")
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		if got := w.(drivers.Summer).SumWith(sha256.New()); got != want {
			t.Errorf("on %T: got %t, want %t", d, got, want)
		}
	}
}
