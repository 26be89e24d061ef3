package drivertest

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/parfait-registry/parfait/drivers"
)

// capabilityTests test the capabilities where there are some, and the fall-backs where there are none.
func capabilityTests() []test {
	return []test{
		{"compose/sources", testCompose},
		{"compose/replaces", testComposeReplaces},
		{"compose/absent source", testComposeAbsent},
		{"compose/staged source", testComposeStaged},
		{"stage/objects come and go", testStage},
		{"create new/once", testCreateNew},
		{"lock/one or many", testLock},
		{"sign/get and head", testSignURL},
	}
}

func testCompose(t *testing.T, d drivers.Driver) {
	const mib = 1 << 20
	many := make([]int64, 40)
	for i := range many {
		many[i] = int64(i) * 1001
	}
	for _, tt := range []struct {
		name  string
		sizes []int64 // bytes of each source
	}{
		{"none", nil},
		{"one", []int64{1000}},
		{"one, empty", []int64{0}},
		{"one, large", []int64{17*mib + 1}},
		{"two", []int64{1000, 2000}},
		{"two, empty", []int64{0, 0}},
		{"large ones and a rest", []int64{6 * mib, 6 * mib, 123}},
		{"small ones first", []int64{1, 0, 8*mib + 7, 2, 5 * mib}},
		{"many", many},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var srcs []string
			var want strings.Builder
			for i, size := range tt.sizes {
				data := randomString(byte(i), size)
				want.WriteString(data)
				srcs = append(srcs, fmt.Sprintf("uploads/%d/%d", len(tt.sizes), i))
				put(t, d, srcs[i], data)
			}
			dst := "blobs/" + strings.NewReplacer(" ", "-", ",", "").Replace(tt.name) + "/data"
			if err := drivers.Compose(t.Context(), d, dst, srcs...); err != nil {
				t.Fatal(err)
			}
			if err := drivers.DeleteAll(t.Context(), d, srcs...); err != nil {
				t.Fatal(err)
			}
			wantSum(t, d, dst, strings.NewReader(want.String()))
			wantStat(t, d, dst, int64(want.Len()))
			if got := keys(t, d, "uploads/", ""); len(got) != 0 {
				t.Errorf("list of the sources after they were deleted: got %q, want nothing", got)
			}
		})
	}
}

func testComposeReplaces(t *testing.T, d drivers.Driver) {
	put(t, d, "dst", "old and long")
	put(t, d, "a", "A")
	put(t, d, "b", "B")
	if err := drivers.Compose(t.Context(), d, "dst", "a", "b", "a"); err != nil {
		t.Fatal(err)
	}
	wantObject(t, d, "dst", "ABA")
	put(t, d, "c", "C")
	if err := drivers.Compose(t.Context(), d, "dst", "c"); err != nil {
		t.Fatal(err)
	}
	wantObject(t, d, "dst", "C")
}

func testComposeAbsent(t *testing.T, d drivers.Driver) {
	put(t, d, "a", "A")
	put(t, d, "b", "B")
	put(t, d, "old", "old")
	for _, dst := range []string{"dst/data", "old"} {
		for _, srcs := range [][]string{{"none"}, {"none", "a"}, {"a", "none"}, {"a", "b", "none"}} {
			err := drivers.Compose(t.Context(), d, dst, srcs...)
			wantError(t, err, "", "none", fs.ErrNotExist)
		}
	}
	wantAbsent(t, d, "dst/data")
	wantObject(t, d, "old", "old")
	if err := drivers.Compose(t.Context(), d, "dst/data", "a", "b"); err != nil {
		t.Errorf("the next try: %v", err)
	}
	wantObject(t, d, "dst/data", "AB")
}

func testComposeStaged(t *testing.T, d drivers.Driver) {
	for i, srcs := range [][]string{{"uploads/a"}, {"uploads/a", "uploads/b"}} {
		for _, src := range srcs {
			if err := drivers.StagePut(t.Context(), d, src, []byte(src)); err != nil {
				t.Fatal(err)
			}
		}
		dst := fmt.Sprintf("blobs/%d/data", i)
		if err := drivers.Compose(t.Context(), d, dst, srcs...); err != nil {
			t.Fatal(err)
		}
		for _, src := range srcs {
			if err := drivers.Unstage(t.Context(), d, src); err != nil {
				t.Fatal(err)
			}
		}
		wantObject(t, d, dst, strings.Join(srcs, ""))
	}
}

func testStage(t *testing.T, d drivers.Driver) {
	w, err := drivers.Stage(t.Context(), d, "a/dropped")
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(w, "x")
	w.Close()
	wantAbsent(t, d, "a/dropped")
	for range 2 {
		for _, data := range []string{"hello", "hello again"} { // the second replaces the first
			if err := drivers.StagePut(t.Context(), d, "a/b/c", []byte(data)); err != nil {
				t.Fatal(err)
			}
			wantObject(t, d, "a/b/c", data)
		}
		if err := drivers.Sync(t.Context(), d); err != nil {
			t.Fatal(err)
		}
		if err := drivers.Unstage(t.Context(), d, "a/b/c"); err != nil {
			t.Fatal(err)
		}
		wantAbsent(t, d, "a/b/c")
		if err := drivers.Unstage(t.Context(), d, "a/b/c"); err != nil {
			t.Errorf("unstage an absent object: %v", err)
		}
	}
	if err := drivers.Sync(t.Context(), d); err != nil {
		t.Fatal(err)
	}
}

func testCreateNew(t *testing.T, d drivers.Driver) {
	c, ok := drivers.As[drivers.ConditionalCreator](d)
	if !ok {
		t.Skip("the driver is no ConditionalCreator")
	}
	createNew := func(data string) error {
		w, err := c.CreateNew(t.Context(), "lease")
		if err != nil {
			return err
		}
		defer w.Close()
		if _, err := io.WriteString(w, data); err != nil {
			return err
		}
		return w.Commit()
	}
	if err := createNew("first"); err != nil {
		t.Fatal(err)
	}
	wantError(t, createNew("second"), "", "lease", fs.ErrExist)
	wantObject(t, d, "lease", "first")
	if err := d.Delete(t.Context(), "lease"); err != nil {
		t.Fatal(err)
	}
	won := make(chan int, 10) // who of ten gets it
	var g errgroup.Group
	for i := range 10 {
		g.Go(func() error {
			if err := createNew(fmt.Sprint(i)); err == nil {
				won <- i
			}
			return nil
		})
	}
	g.Wait()
	if len(won) != 1 {
		t.Fatalf("%d of ten created the one object", len(won))
	}
	wantObject(t, d, "lease", fmt.Sprint(<-won))
}

func testLock(t *testing.T, d drivers.Driver) {
	l, ok := drivers.As[drivers.Locker](d)
	if !ok {
		t.Skip("the driver is no Locker")
	}
	lock := func(shared bool) io.Closer {
		t.Helper()
		c, err := l.Lock(t.Context(), "locks/one", shared)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	for _, held := range []struct {
		shared bool
		by     int
	}{{false, 1}, {true, 3}} {
		var holders []io.Closer
		for range held.by {
			holders = append(holders, lock(held.shared))
		}
		for _, shared := range []bool{false, true} {
			c, err := l.Lock(t.Context(), "locks/one", shared)
			if err == nil {
				c.Close()
			}
			if may := held.shared && shared; may != (err == nil) || !may && !errors.Is(err, drivers.ErrLocked) {
				t.Errorf("shared %v, held shared %v: got error %v", shared, held.shared, err)
			}
		}
		for _, c := range holders {
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

func testSignURL(t *testing.T, d drivers.Driver) {
	s, ok := drivers.As[drivers.URLSigner](d)
	if !ok {
		t.Skip("the driver is no URLSigner")
	}
	data := randomString(6, 100<<10)
	put(t, d, "a/b", data)
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		u, err := s.SignURL(t.Context(), method, "a/b", time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		req, err := http.NewRequestWithContext(t.Context(), method, u, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != http.StatusOK || resp.ContentLength != int64(len(data)) {
			t.Errorf("%s: got %s with %d bytes, want %d", method, resp.Status, resp.ContentLength, len(data))
		}
		if method == http.MethodGet && string(body) != data {
			t.Error("GET: got other bytes")
		}
	}
}
