// Package drivertest is the conformance suite of the drivers, and a driver that fails on purpose.
//
// A back end's test hands [Run] a function that opens it; each promise of package drivers is then a subtest, and so is
// each capability that [drivers.As] finds. A back end is tested as cmd would build it, wrappers included.
//
// Code above the drivers is tested with [Faulty]: it runs once for each operation that may fail, and must leave the
// store in order each time.
package drivertest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/parfait-registry/parfait/drivers"
)

// A test is one promise that a driver makes. It is given an empty one.
type test struct {
	name string
	run  func(t *testing.T, d drivers.Driver)
}

// Run tests the driver that open returns, which is called for each test and must return an empty store each time: a
// folder or a prefix of its own. Whatever has to be cleaned up is up to open, by t.Cleanup.
func Run(t *testing.T, open func(t *testing.T) drivers.Driver) {
	for _, tt := range slices.Concat(writeTests(), readTests(), listTests(), deleteTests(), capabilityTests()) {
		t.Run(tt.name, func(t *testing.T) { tt.run(t, open(t)) })
	}
}

// put stores data at key.
func put(t *testing.T, d drivers.Driver, key, data string) {
	t.Helper()
	if err := drivers.Put(t.Context(), d, key, []byte(data)); err != nil {
		t.Fatal(err)
	}
}

// get returns the n bytes from off on, or all if n < 0, of the object at key.
func get(ctx context.Context, d drivers.Driver, key string, off, n int64) (string, error) {
	r, err := d.Open(ctx, key, off, n)
	if err != nil {
		return "", err
	}
	data, err := io.ReadAll(r)
	return string(data), errors.Join(err, r.Close())
}

// wantObject checks that the object at key is data, to Open, Stat and List alike.
func wantObject(t *testing.T, d drivers.Driver, key, data string) {
	t.Helper()
	got, err := get(t.Context(), d, key, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	if got != data {
		t.Fatalf("object %q: got %.60q of %d bytes, want %.60q of %d", key, got, len(got), data, len(data))
	}
	wantStat(t, d, key, int64(len(data)))
}

// wantStat checks that Stat and List know an object of size bytes at key.
func wantStat(t *testing.T, d drivers.Driver, key string, size int64) {
	t.Helper()
	o, err := d.Stat(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	if o.Key != key || o.Size != size || o.ModTime.IsZero() {
		t.Errorf("stat %q: got %+v, want %d bytes and a time", key, o, size)
	}
	for o, err := range d.List(t.Context(), key, "") {
		if err != nil {
			t.Fatal(err)
		}
		if o.Key == key {
			if o.Size != size || o.ModTime.IsZero() {
				t.Errorf("list %q: got %+v, want %d bytes and a time", key, o, size)
			}
			return
		}
	}
	t.Errorf("list %q: it is not there", key)
}

// wantAbsent checks that there is no object at key for Open, Stat and List.
func wantAbsent(t *testing.T, d drivers.Driver, key string) {
	t.Helper()
	_, err := get(t.Context(), d, key, 0, -1)
	wantError(t, err, "open", key, fs.ErrNotExist)
	_, err = d.Stat(t.Context(), key)
	wantError(t, err, "stat", key, fs.ErrNotExist)
	if slices.Contains(keys(t, d, key, ""), key) {
		t.Errorf("list %q: it is there", key)
	}
}

// wantError checks that err is a [drivers.Error] of operation op on key, and wraps target. An empty op is any.
func wantError(t *testing.T, err error, op, key string, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Errorf("%s %q: got error %v, want %v", op, key, err, target)
		return
	}
	e, ok := errors.AsType[*drivers.Error](err)
	if !ok {
		t.Errorf("%s %q: got error %#v, want a *drivers.Error", op, key, err)
		return
	}
	if e.Driver == "" || e.Key != key || op != "" && e.Op != op {
		t.Errorf("%s %q: got error %+v, want its driver, operation and key", op, key, e)
	}
}

// keys returns the keys that List yields.
func keys(t *testing.T, d drivers.Driver, prefix, after string) []string {
	t.Helper()
	var got []string
	for o, err := range d.List(t.Context(), prefix, after) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, o.Key)
	}
	return got
}

// random returns n bytes that look random and depend on seed alone, without holding them.
func random(seed byte, n int64) io.Reader {
	return io.LimitReader(rand.NewChaCha8([32]byte{seed}), n)
}

// randomString is random in one piece.
func randomString(seed byte, n int64) string {
	var b bytes.Buffer
	io.Copy(&b, random(seed, n)) // neither can fail
	return b.String()
}

// sum reads r to its end and returns the number of bytes and their digest.
func sum(r io.Reader) (string, error) {
	h := sha256.New()
	n, err := io.Copy(h, r)
	return sumText(n, h), err
}

func sumText(n int64, h hash.Hash) string { return fmt.Sprintf("%d bytes, sha256 %x", n, h.Sum(nil)) }
