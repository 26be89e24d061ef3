package swift_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/drivers/swift"
	"github.com/parfait-registry/parfait/integration/harness"
)

// everything does one of each, and returns the first error. It works on a store that was empty, or that it has worked on.
func everything(t *testing.T, d *swift.Driver) error {
	ctx := t.Context()
	large := content(1, part+1)
	if err := drivers.Put(ctx, d, "small", []byte("small")); err != nil {
		return err
	}
	if err := drivers.Put(ctx, d, "large", large); err != nil {
		return err
	}
	for dst, srcs := range map[string][]string{"copy": {"small"}, "moved": {"large"}, "both": {"large", "small"}} {
		if err := d.Compose(ctx, dst, srcs...); err != nil {
			return err
		}
	}
	if got, err := drivers.ReadAll(ctx, d, "moved", 1<<30); err != nil || !bytes.Equal(got, large) {
		return errors.Join(err, fmt.Errorf("read %d bytes, or others, want %d", len(got), len(large)))
	}
	if _, err := d.Stat(ctx, "small"); err != nil {
		return err
	}
	var keys []string
	for o, err := range d.List(ctx, "", "") {
		if err != nil {
			return err
		}
		keys = append(keys, o.Key)
	}
	if !slices.Equal(keys, []string{"both", "copy", "large", "moved", "small"}) {
		return fmt.Errorf("listed %q", keys)
	}
	if _, err := d.SignURL(ctx, http.MethodGet, "small", time.Minute); err != nil {
		return err
	}
	if err := d.Delete(ctx, "copy"); err != nil {
		return err
	}
	return d.DeleteAll(ctx, "both", "large", "moved", "small")
}

// testBursts spoils requests now and then: nothing of it is to be seen.
func testBursts(t *testing.T, s *harness.Swift) {
	for name, acts := range map[string][]act{
		"busy": {busy}, "lost": {lost}, "unheard": {unheard}, "half an answer": {half}, "all": {lost, busy, half, unheard},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e, cfg := watch(t, s)
			cfg.PartSize = part
			d := open(t, cfg)
			bad := 0
			e.direct(func(n int, _ *http.Request) act {
				if n%5 < 2 { // no more than some at once
					bad++
					return acts[bad%len(acts)]
				}
				return pass
			})
			if err := everything(t, d); err != nil {
				t.Error(err)
			}
			e.direct(nil)
			sweep(t, d)
			if got := names(t, s, cfg.Container); len(got) != 0 {
				t.Errorf("%q is left", got)
			}
		})
	}
}

// testOutage has Swift not answer at all, for each operation: it is told as such before long, and over when it is over.
func testOutage(t *testing.T, s *harness.Swift) {
	for name, what := range map[string]act{"busy": busy, "lost": lost} {
		for verb, do := range map[string]func(ctx context.Context, d *swift.Driver) error{
			"open":       func(ctx context.Context, d *swift.Driver) error { _, err := d.Open(ctx, "a", 0, -1); return err },
			"create":     create("a", []byte("new")),
			"write":      create("a", content(1, part+1)),
			"stat":       func(ctx context.Context, d *swift.Driver) error { _, err := d.Stat(ctx, "a"); return err },
			"delete":     func(ctx context.Context, d *swift.Driver) error { return d.Delete(ctx, "a") },
			"delete all": func(ctx context.Context, d *swift.Driver) error { return d.DeleteAll(ctx, "a", "b") },
			"copy":       func(ctx context.Context, d *swift.Driver) error { return d.Compose(ctx, "b", "a") },
			"compose":    func(ctx context.Context, d *swift.Driver) error { return drivers.Compose(ctx, d, "b", "a", "a") },
			"sweep":      func(ctx context.Context, d *swift.Driver) error { _, err := d.Sweep(ctx, 0); return err },
			"sign": func(ctx context.Context, d *swift.Driver) error {
				_, err := d.SignURL(ctx, http.MethodGet, "a", time.Minute)
				return err
			},
			"list": func(ctx context.Context, d *swift.Driver) error {
				for _, err := range d.List(ctx, "", "") {
					return err
				}
				return nil
			},
		} {
			t.Run(name+"/"+verb, func(t *testing.T) {
				t.Parallel()
				e, cfg := watch(t, s)
				cfg.PartSize = part
				d := open(t, cfg)
				put(t, d, "a", []byte("old"))
				e.direct(func(int, *http.Request) act { return what })
				start := time.Now()
				err := do(t.Context(), d)
				if _, ok := errors.AsType[*drivers.Error](err); !ok || !errors.Is(err, drivers.ErrUnavailable) {
					t.Errorf("got error %v, want that the store is unavailable", err)
				}
				if took := time.Since(start); took > 20*time.Second {
					t.Errorf("it took %v", took)
				}
				e.direct(nil)
				if got, err := drivers.ReadAll(t.Context(), d, "a", 10); string(got) != "old" || err != nil {
					t.Errorf("afterwards: got %q, %v, want the old object", got, err)
				}
				if err := do(t.Context(), d); err != nil {
					t.Errorf("the next try: %v", err)
				}
			})
		}
	}
}

// testRead breaks readers off.
func testRead(t *testing.T, s *harness.Swift) {
	e, cfg := watch(t, s)
	cfg.PartSize = part
	d := open(t, cfg)
	data := content(1, 2*part+1)
	put(t, d, "large", data)
	put(t, d, "small", data[:100_000])
	for key, data := range map[string][]byte{"large": data, "small": data[:100_000]} {
		for _, tt := range []struct{ off, n int64 }{{0, -1}, {1000, -1}, {1000, 50_000}, {0, int64(len(data))}} {
			e.direct(func(n int, _ *http.Request) act { return []act{half, half, lost, half, pass}[min(n, 4)] })
			r, err := d.Open(t.Context(), key, tt.off, tt.n)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(r)
			r.Close()
			want := data[tt.off:]
			if tt.n >= 0 {
				want = want[:tt.n]
			}
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s at %d for %d: got %d bytes, or others, and error %v, want %d", key, tt.off, tt.n, len(got), err, len(want))
			}
			if n := len(e.requests()); n != 5 {
				t.Errorf("%s: %d requests, want 5", key, n)
			}
		}

		// It is replaced while it is read.
		e.direct(func(n int, _ *http.Request) act { return []act{half, pass}[min(n, 1)] })
		r, err := d.Open(t.Context(), key, 0, -1)
		if err != nil {
			t.Fatal(err)
		}
		put(t, d, key, content(9, len(data)))
		got, err := io.ReadAll(r)
		r.Close()
		if e, ok := errors.AsType[*drivers.Error](err); !ok || e.Key != key || !strings.Contains(err.Error(), "replaced") {
			t.Errorf("%s was replaced: got %d bytes and error %v", key, len(got), err)
		}
		if !bytes.HasPrefix(data, got) {
			t.Errorf("%s was replaced: got bytes of the new one", key)
		}
	}
}

// testMissingSegment takes a segment away: Swift ends the answer there, which must not look like the end of the object.
func testMissingSegment(t *testing.T, s *harness.Swift) {
	cfg := config(t, s)
	cfg.PartSize = part
	d := open(t, cfg)
	data := content(1, 3*part)
	put(t, d, "large", data)
	segments := slices.DeleteFunc(names(t, s, cfg.Container), func(name string) bool { return !strings.HasSuffix(name, "/00000001") })
	raw(t, s, http.MethodDelete, cfg.Container+"/"+segments[0], nil, "")
	for _, tt := range []struct{ off, n int64 }{{0, -1}, {part + 10, 10}, {10, 2 * part}} {
		r, err := d.Open(t.Context(), "large", tt.off, tt.n)
		var got []byte
		if err == nil {
			got, err = io.ReadAll(r)
			r.Close()
		}
		if _, ok := errors.AsType[*drivers.Error](err); !ok || len(got) > part {
			t.Errorf("at %d for %d: got %d bytes and error %v", tt.off, tt.n, len(got), err)
		}
	}
	if err := d.Compose(t.Context(), "b", "large"); err == nil {
		t.Error("a broken object was given another key")
	}
	if _, err := d.Stat(t.Context(), "b"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("stat of it: got error %v, want that there is none", err)
	}
}

// testCreateNew loses the answers that tell who has created an object.
func testCreateNew(t *testing.T, s *harness.Swift) {
	e, cfg := watch(t, s)
	cfg.PartSize = part
	d := open(t, cfg)
	createNew := func(key string, data []byte) error {
		w, err := d.CreateNew(t.Context(), key)
		if err != nil {
			return err
		}
		defer w.Close()
		if _, err := w.Write(data); err != nil {
			return err
		}
		return w.Commit()
	}
	for key, data := range map[string][]byte{"small": []byte("x"), "large": content(1, part+1)} {
		e.direct(func(n int, r *http.Request) act {
			if r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, "/"+key) && r.Header.Get("If-None-Match") != "" && n < 5 {
				return unheard
			}
			return pass
		})
		if err := createNew(key, data); err != nil {
			t.Errorf("%s: %v", key, err)
		}
		e.direct(nil)
		if err := createNew(key, content(2, len(data))); !errors.Is(err, fs.ErrExist) {
			t.Errorf("%s, which is there: got error %v", key, err)
		}
		want(t, d, key, data)
	}
	// Both pass Swift's test, and the other one is later.
	e.direct(func(n int, r *http.Request) act {
		if n == 1 { // the second look
			raw(t, s, http.MethodPut, cfg.Container+"/race", nil, "the other's")
		}
		return pass
	})
	if err := createNew("race", []byte("mine")); !errors.Is(err, fs.ErrExist) {
		t.Errorf("an object that another one replaced at once: got error %v", err)
	}
}

// testFull has Swift without space for more.
func testFull(t *testing.T, s *harness.Swift) {
	e, cfg := watch(t, s)
	cfg.PartSize = part
	d := open(t, cfg)
	e.direct(func(_ int, r *http.Request) act {
		if r.Method == http.MethodPut {
			return full
		}
		return pass
	})
	for key, data := range map[string][]byte{"small": []byte("x"), "large": content(1, part+1)} {
		if err := drivers.Put(t.Context(), d, key, data); !errors.Is(err, syscall.ENOSPC) || errors.Is(err, drivers.ErrUnavailable) {
			t.Errorf("%s: got error %v, want %v", key, err, syscall.ENOSPC)
		}
	}
}

// testListing looks at what others have put into the container, and at pages.
func testListing(t *testing.T, s *harness.Swift) {
	e, cfg := watch(t, s)
	e.edit = func(r *http.Request, body []byte) []byte {
		if r.URL.Path == "/info" {
			return bytes.Replace(body, []byte(`"container_listing_limit": 10000`), []byte(`"container_listing_limit": 3`), 1)
		}
		return body
	}
	d := open(t, cfg)
	for _, key := range []string{"a", "b/1", "b/2", "b/3", "b/4", "b/empty", "z"} {
		put(t, d, key, bytes.Repeat([]byte("x"), map[string]int{"b/empty": 0}[key]+len(strings.TrimPrefix(key, "b/empty"))))
	}
	// The Swift driver of registry:2 writes dynamic large objects, which are listed with no bytes.
	raw(t, s, http.MethodPut, cfg.Container+"/parts/1", nil, "hello, ")
	raw(t, s, http.MethodPut, cfg.Container+"/parts/2", nil, "world")
	raw(t, s, http.MethodPut, cfg.Container+"/b/dynamic", http.Header{"X-Object-Manifest": {cfg.Container + "/parts/"}}, "")
	for _, odd := range []string{"b/a%20space", "b/slash/", "b//two", "b/%C3%A4", "b/x.tmp", "~else"} {
		raw(t, s, http.MethodPut, cfg.Container+"/"+odd, nil, "x")
	}
	e.direct(nil)
	var got []string
	for o, err := range d.List(t.Context(), "b/", "") {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprint(o.Key, " ", o.Size))
		if o.ModTime.IsZero() {
			t.Errorf("%s has no time", o.Key)
		}
	}
	if want := []string{"b/1 3", "b/2 3", "b/3 3", "b/4 3", "b/dynamic 12", "b/empty 0"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if n := len(e.requests()); n != 4+2 {
		t.Errorf("%d requests, want 4 pages of 3 and 2 looks at what seems empty: %q", n, e.requests())
	}
	if got, err := drivers.ReadAll(t.Context(), d, "b/dynamic", 100); string(got) != "hello, world" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	if err := d.Compose(t.Context(), "c", "b/dynamic"); err != nil {
		t.Error(err)
	}
	if got, err := drivers.ReadAll(t.Context(), d, "c", 100); string(got) != "hello, world" || err != nil {
		t.Errorf("its copy: got %q, %v", got, err)
	}
}

// testRequests counts what each operation costs.
func testRequests(t *testing.T, s *harness.Swift) {
	e, cfg := watch(t, s)
	cfg.PartSize = part
	d := open(t, cfg)
	ctx := t.Context()
	large := content(1, part+1)
	read := func(off, n int64) func() error {
		return func() error {
			r, err := d.Open(ctx, "small", off, n)
			if err != nil {
				return err
			}
			defer r.Close()
			_, err = io.Copy(io.Discard, r)
			return err
		}
	}
	for _, tt := range []struct {
		name string
		do   func() error
		want []string // methods
	}{
		{"create", func() error { return drivers.Put(ctx, d, "small", []byte("small")) }, []string{"PUT"}},
		{"create an empty one", func() error { return drivers.Put(ctx, d, "empty", nil) }, []string{"PUT"}},
		{"create one of a part", func() error { return drivers.Put(ctx, d, "part", large[:part]) }, []string{"PUT"}},
		{"create a large one", func() error { return drivers.Put(ctx, d, "large", large) }, []string{"PUT", "PUT", "PUT", "PUT"}},
		{"open", read(0, -1), []string{"GET"}},
		{"open a range", read(2, 2), []string{"GET"}},
		{"open at the end", read(5, -1), []string{"GET"}},
		{"open for nothing", read(5, 0), []string{"HEAD"}},
		{"stat", func() error { _, err := d.Stat(ctx, "large"); return err }, []string{"HEAD"}},
		{"copy", func() error { return d.Compose(ctx, "copy", "small") }, []string{"PUT"}},
		{"share", func() error { return d.Compose(ctx, "share", "large") }, []string{"PUT", "GET", "PUT", "PUT"}},
		{"compose", func() error { return d.Compose(ctx, "both", "part", "small") }, []string{"HEAD", "HEAD", "PUT", "PUT", "PUT", "PUT"}},
		{"list", func() error {
			for _, err := range d.List(ctx, "sma", "") {
				if err != nil {
					return err
				}
			}
			return nil
		}, []string{"GET"}},
		{"create a new one", func() error {
			w, err := d.CreateNew(ctx, "new")
			if err != nil {
				return err
			}
			defer w.Close()
			return w.Commit()
		}, []string{"PUT", "HEAD"}},
		{"delete", func() error { return d.Delete(ctx, "small") }, []string{"DELETE"}},
		{"delete a large one", func() error { return d.Delete(ctx, "large") }, []string{"DELETE"}},
		{"delete many", func() error { return d.DeleteAll(ctx, "share", "copy", "both", "part", "empty", "new") }, []string{"POST"}},
		{"first sweep", func() error { _, err := d.Sweep(ctx, 0); return err },
			[]string{"GET", "GET", "HEAD", "HEAD", "HEAD", "PUT", "PUT"}},
	} {
		e.direct(nil)
		if err := tt.do(); err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		var got []string
		for _, r := range e.requests() {
			got = append(got, r[:strings.IndexByte(r, ' ')])
		}
		if strings.HasPrefix(tt.name, "first sweep") {
			slices.Sort(got)
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %q, want %q", tt.name, e.requests(), tt.want)
		}
	}
}
