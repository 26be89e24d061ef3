package drivertest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/parfait-registry/parfait/drivers"
)

func writeTests() []test {
	return []test{
		{"write/committed object is there", testCommit},
		{"write/uncommitted object is nowhere", testAbort},
		{"write/empty object", testEmpty},
		{"write/large object", testLarge},
		{"write/many small writes", testSmallWrites},
		{"write/replace", testReplace},
		{"write/dropped replacement", testDroppedReplacement},
		{"write/cancelled writer", testCancelledWriter},
		{"write/two writers of one key", testTwoWriters},
		{"write/readers see whole objects", testReadWhileReplaced},
		{"write/many writers", testManyWriters},
		{"write/long keys", testLongKeys},
		{"write/keys that look odd", testOddKeys},
		{"write/cancelled context", testCancelledContext},
		{"write/invalid keys", testInvalidKeys},
	}
}

// create starts a writer and gives it data.
func create(t *testing.T, ctx context.Context, d drivers.Driver, key, data string) drivers.Writer {
	t.Helper()
	w, err := d.Create(ctx, key)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := io.WriteString(w, data); n != len(data) || err != nil {
		t.Fatalf("write %q: got %d, %v, want %d", key, n, err, len(data))
	}
	return w
}

func testCommit(t *testing.T, d drivers.Driver) {
	const key = "docker/registry/v2/blobs/sha256/ab/abcdef/data"
	w := create(t, t.Context(), d, key, "hello")
	if err := w.Commit(); err != nil {
		t.Fatal(err)
	}
	wantObject(t, d, key, "hello")
	if err := w.Close(); err != nil {
		t.Errorf("close after commit: %v", err)
	}
	wantObject(t, d, key, "hello")
}

func testAbort(t *testing.T, d drivers.Driver) {
	w := create(t, t.Context(), d, "a/b", "hello")
	wantAbsent(t, d, "a/b")
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	wantAbsent(t, d, "a/b")
	if got := keys(t, d, "", ""); len(got) != 0 {
		t.Errorf("list after close without commit: got %q, want nothing", got)
	}
	if err := w.Commit(); err == nil {
		t.Error("commit after close: got no error")
	}
	wantAbsent(t, d, "a/b")
	put(t, d, "a/b", "again")
	wantObject(t, d, "a/b", "again")
}

func testEmpty(t *testing.T, d drivers.Driver) {
	put(t, d, "empty", "")
	wantObject(t, d, "empty", "")
	if err := create(t, t.Context(), d, "unwritten", "").Commit(); err != nil {
		t.Fatal(err)
	}
	wantObject(t, d, "unwritten", "")
}

func testLarge(t *testing.T, d drivers.Driver) {
	const size = 33<<20 + 12345 // several parts of any back end, and a part of one
	w, err := d.Create(t.Context(), "large")
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	h := sha256.New()
	to := io.MultiWriter(w, h)
	if s, ok := w.(drivers.Summer); ok && s.SumWith(h) {
		to = w
	}
	n, err := io.Copy(to, random(1, size))
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Commit(); err != nil {
		t.Fatal(err)
	}
	wantStat(t, d, "large", size)
	wantSum(t, d, "large", random(1, size))
	if want, _ := sum(random(1, size)); sumText(n, h) != want {
		t.Errorf("summed while it was written: got %s, want %s", sumText(n, h), want)
	}
}

// wantSum checks a large object against what it should be without holding either.
func wantSum(t *testing.T, d drivers.Driver, key string, content io.Reader) {
	t.Helper()
	r, err := d.Open(t.Context(), key, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got, err := sum(r)
	if err != nil {
		t.Fatal(err)
	}
	if want, _ := sum(content); got != want {
		t.Errorf("object %q: got %s, want %s", key, got, want)
	}
}

func testSmallWrites(t *testing.T, d drivers.Driver) {
	w := create(t, t.Context(), d, "drops", "")
	defer w.Close()
	var want strings.Builder
	for i := range 5000 {
		piece := strings.Repeat(string('a'+rune(i%26)), i%7) // some are empty
		want.WriteString(piece)
		if _, err := io.WriteString(w, piece); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Commit(); err != nil {
		t.Fatal(err)
	}
	wantObject(t, d, "drops", want.String())
}

// testReplace reads an old object while it is replaced: its reader gets all of it, or fails, but never ends early or
// goes on with the new one.
func testReplace(t *testing.T, d drivers.Driver) {
	old, replacement := randomString(1, 300<<10), randomString(2, 200<<10)
	put(t, d, "a/b", old)
	r, err := d.Open(t.Context(), "a/b", 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	head := make([]byte, 1000)
	if _, err := io.ReadFull(r, head); err != nil {
		t.Fatal(err)
	}
	put(t, d, "a/b", replacement)
	if tail, err := io.ReadAll(r); err == nil && string(head)+string(tail) != old {
		t.Error("the reader of the replaced object got other bytes without an error")
	}
	wantObject(t, d, "a/b", replacement)
}

func testDroppedReplacement(t *testing.T, d drivers.Driver) {
	put(t, d, "a/b", "old")
	w := create(t, t.Context(), d, "a/b", "new and longer")
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	wantObject(t, d, "a/b", "old")
}

func testCancelledWriter(t *testing.T, d drivers.Driver) {
	ctx, cancel := context.WithCancel(t.Context())
	w := create(t, ctx, d, "a/b", "hello")
	cancel()
	wantError(t, w.Commit(), "commit", "a/b", context.Canceled)
	w.Close()
	wantAbsent(t, d, "a/b")
	if got := keys(t, d, "", ""); len(got) != 0 {
		t.Errorf("list after a cancelled commit: got %q, want nothing", got)
	}
}

func testTwoWriters(t *testing.T, d drivers.Driver) {
	first := create(t, t.Context(), d, "a/b", "first, ")
	defer first.Close()
	second := create(t, t.Context(), d, "a/b", "second")
	defer second.Close()
	if _, err := io.WriteString(first, "and more of it"); err != nil {
		t.Fatal(err)
	}
	if err := second.Commit(); err != nil {
		t.Fatal(err)
	}
	wantObject(t, d, "a/b", "second")
	if err := first.Commit(); err != nil {
		t.Fatal(err)
	}
	wantObject(t, d, "a/b", "first, and more of it")
}

// testReadWhileReplaced writes versions of an object, each of one letter and a length of its own, from several sides.
func testReadWhileReplaced(t *testing.T, d drivers.Driver) {
	version := func(i int) string { return strings.Repeat(string('a'+rune(i%26)), 10_000+i%26) }
	put(t, d, "a/b", version(0))
	g, ctx := errgroup.WithContext(t.Context())
	for side := range 3 {
		g.Go(func() error {
			for i := range 10 {
				if err := drivers.Put(ctx, d, "a/b", []byte(version(side*10+i))); err != nil {
					return err
				}
			}
			return nil
		})
		g.Go(func() error {
			for range 20 {
				got, err := get(ctx, d, "a/b", 0, -1)
				if err == nil && got != version(max(0, len(got)-10_000)) {
					return fmt.Errorf("got %d bytes, beginning %.10q, which is no version", len(got), got)
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
}

func testManyWriters(t *testing.T, d drivers.Driver) {
	g, ctx := errgroup.WithContext(t.Context())
	for i := range 40 {
		g.Go(func() error {
			return drivers.Put(ctx, d, fmt.Sprintf("a/%x/%02d/data", i%4, i), fmt.Append(nil, i))
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	for i := range 40 {
		wantObject(t, d, fmt.Sprintf("a/%x/%02d/data", i%4, i), fmt.Sprint(i))
	}
}

func testLongKeys(t *testing.T, d drivers.Driver) {
	long := strings.Repeat("x", 255)
	for _, key := range []string{
		"f" + long[1:],                       // as long as a file's name may be
		long + "/" + long + "/" + long[:190], // a directory's likewise
		strings.Repeat("y/", 340) + "data",
	} {
		put(t, d, key, "hello")
		wantObject(t, d, key, "hello")
	}
}

func testOddKeys(t *testing.T, d drivers.Driver) {
	odd := []string{"v1.tmp/link", "-", "_", ".hidden", "..a/b..", "...", "A/a", "tmp", "a.tmp.b"}
	for _, key := range odd {
		put(t, d, key, key)
	}
	for _, key := range odd {
		wantObject(t, d, key, key)
	}
}

func testCancelledContext(t *testing.T, d drivers.Driver) {
	put(t, d, "a/b", "hello")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	wantRefused(t, ctx, d, "a/b", context.Canceled)
	for _, err := range d.List(ctx, "a/", "") {
		wantError(t, err, "list", "a/", context.Canceled)
	}
	wantObject(t, d, "a/b", "hello")
}

func testInvalidKeys(t *testing.T, d drivers.Driver) {
	put(t, d, "a/b", "hello")
	for _, key := range []string{"", "/", "/a/b", "a/b/", "a//b", ".", "..", "../a", "a/../a/b", "a/./b", "a/b.tmp",
		"a b", "a\x00b", "ä", `a\b`, strings.Repeat("x", 256), strings.Repeat("x/", 512) + "x"} {
		wantRefused(t, t.Context(), d, key, fs.ErrInvalid)
	}
	wantObject(t, d, "a/b", "hello")
}

// wantRefused checks that each verb fails with target.
func wantRefused(t *testing.T, ctx context.Context, d drivers.Driver, key string, target error) {
	t.Helper()
	_, err := d.Open(ctx, key, 0, -1)
	wantError(t, err, "open", key, target)
	_, err = d.Stat(ctx, key)
	wantError(t, err, "stat", key, target)
	wantError(t, d.Delete(ctx, key), "delete", key, target)
	w, err := d.Create(ctx, key)
	if err == nil { // it may take until then
		_, err = io.Copy(w, bytes.NewReader([]byte("bad")))
		if err == nil {
			err = w.Commit()
		}
		w.Close()
	}
	wantError(t, err, "", key, target)
}
