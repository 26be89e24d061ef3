package doctor_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/parfait-registry/parfait/doctor"
	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/drivers/drivertest"
	"github.com/parfait-registry/parfait/drivers/mem"
)

// TestStoreFaults fails the n-th operation of a store: the doctor notices, and removes what it has written. Most operations
// are reads of the next few bytes, so not each n is tried.
func TestStoreFaults(t *testing.T) {
	for n := int64(0); ; n += 1 + n/8 {
		store, fault := mem.New(), drivertest.FailNth(n)
		var bad []string
		r := doctor.NewReport(func(f doctor.Finding) {
			if f.Status == doctor.Warn || f.Status == doctor.Fail {
				bad = append(bad, f.String())
			}
		})
		doctor.Store(t.Context(), r, drivertest.Faulty(store, fault.Inject), false)
		if fired := fault.Fired(); fired != (len(bad) > 0) {
			t.Errorf("%v (fired: %v): got %q", fault, fired, bad)
		}
		for object, err := range store.List(t.Context(), "", "") {
			if r.Count(doctor.Warn) == 0 { // else it has said so
				t.Errorf("%v: %s is left, %v", fault, object.Key, err)
			}
		}
		if !fault.Fired() {
			if n < 15 {
				t.Errorf("there were but %d operations", n)
			}
			return
		}
	}
}

// TestStoreCancelled breaks it off in the middle.
func TestStoreCancelled(t *testing.T) {
	store := mem.New()
	ctx, cancel := context.WithCancel(t.Context())
	r := doctor.NewReport(func(f doctor.Finding) {
		if f.Check == "store write" {
			cancel()
		}
	})
	doctor.Store(ctx, r, store, false)
	if r.Count(doctor.Fail) == 0 {
		t.Error("nothing has failed")
	}
	for object := range store.List(t.Context(), "", "") {
		t.Errorf("%s is left", object.Key)
	}
}

// TestStoreLies gives it a store that returns other bytes than it was given.
func TestStoreLies(t *testing.T) {
	var failed []string
	r := doctor.NewReport(func(f doctor.Finding) {
		if f.Status == doctor.Fail {
			failed = append(failed, f.Check)
		}
	})
	doctor.Store(t.Context(), r, liar{mem.New()}, false)
	if got, want := strings.Join(failed, ", "), "store read, store range, store compose"; got != want {
		t.Errorf("got failures of %s, want %s", got, want)
	}
}

// A liar loses what it is to write to big objects.
type liar struct{ drivers.Driver }

func (l liar) Create(ctx context.Context, key string) (drivers.Writer, error) {
	w, err := l.Driver.Create(ctx, key)
	return lyingWriter{w}, err
}

type lyingWriter struct{ drivers.Writer }

func (w lyingWriter) Write(p []byte) (int, error) {
	return w.Writer.Write(make([]byte, len(p)))
}

func TestClock(t *testing.T) {
	for ahead, want := range map[time.Duration]string{
		0: "ok", 3 * time.Second: "ok", -10 * time.Second: "warn", 10 * time.Second: "warn", 2 * time.Minute: "fail", -time.Hour: "fail",
	} {
		var got doctor.Finding
		doctor.Clock(doctor.NewReport(func(f doctor.Finding) { got = f }), "clock", "its clock", ahead)
		if string(got.Status) != want || ahead < 0 != strings.Contains(got.Text, "behind") {
			t.Errorf("%v: got %v, want %s", ahead, got, want)
		}
	}
}

// TestLogger makes findings of what is logged as a warning, on one line each.
func TestLogger(t *testing.T) {
	var got []string
	r := doctor.NewReport(func(f doctor.Finding) { got = append(got, f.String()) })
	log := r.Logger("users")
	log.Info("all is well")
	log.With(slog.String("file", "users")).Warn("a line\nthat is wrong", "line", 3)
	if want := "warn  users          a line; that is wrong, file users, line 3"; len(got) != 1 || got[0] != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
