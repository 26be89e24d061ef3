package metered_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/drivers/drivertest"
	"github.com/parfait-registry/parfait/drivers/mem"
	"github.com/parfait-registry/parfait/drivers/metered"
)

type keyOf struct{}

// A diary keeps what it is told of calls. The context carries the key from the beginning of a call to its end.
type diary struct {
	mu   sync.Mutex // guards all
	all  []entry
	open int
}

type entry struct {
	op, key string
	metered.Done
}

func (d *diary) Begin(ctx context.Context, _, key string) context.Context {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.open++
	return context.WithValue(ctx, keyOf{}, key)
}

func (d *diary) End(ctx context.Context, op string, done metered.Done) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.open--
	d.all = append(d.all, entry{op, ctx.Value(keyOf{}).(string), done})
}

// A watcher is told once of each call, with all that it was, and its context reaches the driver below.
func TestWatched(t *testing.T) {
	var below []string
	next := drivertest.Faulty(mem.New(), func(op drivertest.Op) error {
		if op.Kind == drivertest.Commit && op.Key == "bad" {
			return drivertest.ErrInjected
		}
		return nil
	})
	w := new(diary)
	ctx, d := t.Context(), metered.Watched(contextKeys{next, &below}, w)
	if err := drivers.Put(ctx, d, "a", []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if _, err := drivers.ReadAll(ctx, d, "a", 100); err != nil {
		t.Fatal(err)
	}
	if err := drivers.Put(ctx, d, "bad", []byte("x")); !errors.Is(err, drivertest.ErrInjected) {
		t.Fatalf("got %v", err)
	}
	if _, err := d.Stat(ctx, "none"); err == nil {
		t.Fatal("got no error")
	}
	for range d.List(ctx, "a", "") {
		break
	}
	if err := drivers.Compose(ctx, d, "c", "a"); err != nil {
		t.Fatal(err)
	}
	if err := drivers.DeleteAll(ctx, d, "c", "a"); err != nil {
		t.Fatal(err)
	}
	want := []entry{
		{"create", "a", metered.Done{BytesIn: 5}}, {"open", "a", metered.Done{BytesOut: 5}}, {"create", "bad", metered.Done{BytesIn: 1, Err: drivertest.ErrInjected}},
		{"stat", "none", metered.Done{}}, {"list", "a", metered.Done{}}, {"compose", "c", metered.Done{}}, {"delete_all", "c", metered.Done{}},
	}
	if w.open != 0 || len(w.all) != len(want) {
		t.Fatalf("got %d open, %+v", w.open, w.all)
	}
	for i, got := range w.all {
		want := want[i]
		if got.op != want.op || got.key != want.key || got.BytesIn != want.BytesIn || got.BytesOut != want.BytesOut || !errors.Is(got.Err, want.Err) || got.Time <= 0 {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
	if !slices.Equal(below, []string{"none"}) {
		t.Errorf("the driver below saw the contexts of %q", below)
	}
}

// contextKeys notes which context reaches Stat.
type contextKeys struct {
	drivers.Driver
	keys *[]string
}

func (c contextKeys) Unwrap() drivers.Driver { return c.Driver }

func (c contextKeys) Stat(ctx context.Context, key string) (drivers.Object, error) {
	*c.keys = append(*c.keys, ctx.Value(keyOf{}).(string))
	return c.Driver.Stat(ctx, key)
}
