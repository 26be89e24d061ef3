package drivertest

import (
	"fmt"
	"io"
	"io/fs"
	"math"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/parfait-registry/parfait/drivers"
)

func readTests() []test {
	return []test{
		{"read/ranges", testRanges},
		{"read/range of a large object", testLargeRange},
		{"read/offset past the end", testOffsetPastEnd},
		{"read/absent object", testAbsent},
		{"read/no key is a directory", testDirectories},
		{"read/half of it, then close", testHalfRead},
		{"read/many readers", testManyReaders},
	}
}

func testRanges(t *testing.T, d drivers.Driver) {
	put(t, d, "a/b", "0123456789")
	for _, tt := range []struct {
		off, n int64
		want   string
	}{
		{0, -1, "0123456789"},
		{0, 10, "0123456789"},
		{0, 11, "0123456789"},
		{0, 3, "012"},
		{3, 4, "3456"},
		{3, -1, "3456789"},
		{9, 1, "9"},
		{9, 100, "9"},
		{9, math.MaxInt64, "9"},
		{5, 0, ""},
		{0, 0, ""},
		{10, -1, ""},
		{10, 0, ""},
		{10, 5, ""},
	} {
		got, err := get(t.Context(), d, "a/b", tt.off, tt.n)
		if got != tt.want || err != nil {
			t.Errorf("open at %d for %d: got %q, %v, want %q", tt.off, tt.n, got, err, tt.want)
		}
	}
}

func testLargeRange(t *testing.T, d drivers.Driver) {
	data := randomString(3, 6<<20)
	put(t, d, "large", data)
	got, err := get(t.Context(), d, "large", 1<<20+1, 4<<20)
	if err != nil {
		t.Fatal(err)
	}
	if got != data[1<<20+1:5<<20+1] {
		t.Errorf("got %d other bytes than those asked for", len(got))
	}
}

func testOffsetPastEnd(t *testing.T, d drivers.Driver) {
	put(t, d, "a/b", "0123456789")
	put(t, d, "a/empty", "")
	for _, tt := range []struct {
		key    string
		off, n int64
	}{{"a/b", 11, -1}, {"a/b", 11, 1}, {"a/b", 1 << 40, 1 << 20}, {"a/empty", 1, -1}} {
		_, err := get(t.Context(), d, tt.key, tt.off, tt.n)
		wantError(t, err, "open", tt.key, drivers.ErrRange)
	}
}

func testAbsent(t *testing.T, d drivers.Driver) {
	put(t, d, "a/b", "hello")
	for _, key := range []string{"a/c", "b", "x/y/z", "a/b2"} {
		wantAbsent(t, d, key)
	}
	for _, n := range []int64{-1, 0, 5} {
		_, err := d.Open(t.Context(), "a/c", 3, n)
		wantError(t, err, "open", "a/c", fs.ErrNotExist)
	}
}

// testDirectories looks for objects where a file system has directories, and below an object.
func testDirectories(t *testing.T, d drivers.Driver) {
	put(t, d, "a/b/c", "hello")
	for _, key := range []string{"a", "a/b", "a/b/c/d", "a/b/c/d/e"} {
		wantAbsent(t, d, key)
		if err := d.Delete(t.Context(), key); err != nil {
			t.Errorf("delete %q: %v", key, err)
		}
	}
	wantObject(t, d, "a/b/c", "hello")
}

func testHalfRead(t *testing.T, d drivers.Driver) {
	put(t, d, "large", randomString(4, 1<<20))
	r, err := d.Open(t.Context(), "large", 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(io.Discard, r, 1000); err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

func testManyReaders(t *testing.T, d drivers.Driver) {
	data := randomString(5, 100<<10)
	put(t, d, "a/b", data)
	var g errgroup.Group
	for i := range 20 {
		g.Go(func() error {
			got, err := get(t.Context(), d, "a/b", int64(i), -1)
			if err == nil && got != data[i:] {
				err = fmt.Errorf("reader %d got other bytes", i)
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
}
