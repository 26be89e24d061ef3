package drivertest_test

import (
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/drivers/drivertest"
	"github.com/parfait-registry/parfait/drivers/mem"
)

// TestFaulty_Transparent shows that a faulty driver without faults keeps every promise.
func TestFaulty_Transparent(t *testing.T) {
	drivertest.Run(t, func(*testing.T) drivers.Driver {
		return drivertest.Faulty(mem.New(), func(drivertest.Op) error { return nil })
	})
}

// everything does one of each operation that mem has, and stops at the first error.
func everything(t *testing.T, d drivers.Driver) error {
	ctx := t.Context()
	if err := drivers.Put(ctx, d, "a/1", []byte("hello")); err != nil {
		return err
	}
	if _, err := d.Stat(ctx, "a/1"); err != nil {
		return err
	}
	if err := drivers.Compose(ctx, d, "a/2", "a/1"); err != nil {
		return err
	}
	r, err := d.Open(ctx, "a/2", 0, -1)
	if err != nil {
		return err
	}
	defer r.Close()
	if _, err := io.ReadFull(r, make([]byte, 5)); err != nil {
		return err
	}
	for _, err := range d.List(ctx, "a/", "") {
		if err != nil {
			return err
		}
	}
	if err := d.Delete(ctx, "a/1"); err != nil {
		return err
	}
	return drivers.DeleteAll(ctx, d, "a/1", "a/2")
}

func TestFailNth(t *testing.T) {
	var failed []string
	for n := int64(0); ; n++ {
		fault := drivertest.FailNth(n)
		err := everything(t, drivertest.Faulty(mem.New(), fault.Inject))
		if !fault.Fired() {
			if err != nil {
				t.Errorf("without a fault: %v", err)
			}
			break
		}
		if !errors.Is(err, drivertest.ErrInjected) {
			t.Errorf("%v: got error %v", fault, err)
		}
		_, op, _ := strings.Cut(fault.String(), ", ")
		failed = append(failed, op)
	}
	want := []string{`create "a/1" at 0`, `write "a/1" at 0`, `commit "a/1" at 5`, `stat "a/1" at 0`,
		`compose "a/2" at 1`, `open "a/2" at 0`, `read "a/2" at 0`, `list "a/" at 0`, `list "a/" at 1`, `list "a/" at 2`,
		`delete "a/1" at 0`, `delete_all "a/1" at 2`}
	if !slices.Equal(failed, want) {
		t.Errorf("failed %q,\nwant %q", failed, want)
	}
}

// TestAfter fails each operation in turn after it has taken effect: the next look must find that it has.
func TestAfter(t *testing.T) {
	effects := map[drivertest.Kind]string{drivertest.Create: "", drivertest.Write: "", drivertest.Commit: "a/1",
		drivertest.Compose: "a/1 a/2", drivertest.Delete: "a/2", drivertest.DeleteAll: ""}
	for kind, want := range effects {
		d := mem.New()
		err := everything(t, drivertest.Faulty(d, func(op drivertest.Op) error {
			if op.Kind != kind {
				return nil
			}
			return drivertest.After(drivertest.ErrInjected)
		}))
		if !errors.Is(err, drivertest.ErrInjected) {
			t.Errorf("%s: got error %v", kind, err)
		}
		var keys []string
		for o := range d.List(t.Context(), "", "") {
			keys = append(keys, o.Key)
		}
		if got := strings.Join(keys, " "); got != want {
			t.Errorf("%s: got objects %q, want %q", kind, got, want)
		}
	}
	if drivertest.After(nil) != nil {
		t.Error("After(nil) is an error")
	}
}
