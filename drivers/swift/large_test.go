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
	"testing"
	"time"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/drivers/swift"
	"github.com/parfait-registry/parfait/integration/harness"
)

const part = 5 << 20 // the smallest there may be

// content is n bytes that depend on seed.
func content(seed byte, n int) []byte {
	data := make([]byte, n)
	for i := range data {
		data[i] = seed + byte(i) + byte(i>>11)
	}
	return data
}

// want checks that the object at key is data to Open, Stat and List, and that a range of it is right.
func want(t *testing.T, d drivers.Driver, key string, data []byte) {
	t.Helper()
	got, err := drivers.ReadAll(t.Context(), d, key, int64(len(data)))
	if err != nil || !bytes.Equal(got, data) {
		t.Errorf("%s: got %d bytes, or others, and error %v, want %d", key, len(got), err, len(data))
	}
	if o, err := d.Stat(t.Context(), key); err != nil || o.Size != int64(len(data)) {
		t.Errorf("stat %s: got %+v, %v, want %d bytes", key, o, err, len(data))
	}
	for o, err := range d.List(t.Context(), key, "") {
		if err != nil || o.Key == key && o.Size != int64(len(data)) {
			t.Errorf("list %s: got %+v, %v, want %d bytes", key, o, err, len(data))
		}
	}
	off := int64(len(data) / 3)
	r, err := d.Open(t.Context(), key, off, off)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, data[off:2*off]) {
		t.Errorf("%s from %d on: got %d bytes, or others, and error %v, want %d", key, off, len(got), err, off)
	}
}

func put(t *testing.T, d drivers.Driver, key string, data []byte) {
	t.Helper()
	if err := drivers.Put(t.Context(), d, key, data); err != nil {
		t.Fatal(err)
	}
}

// sweep sweeps twice, which removes all that nobody names.
func sweep(t *testing.T, d *swift.Driver) int {
	t.Helper()
	total := 0
	for range 2 {
		n, err := d.Sweep(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		total += n
	}
	return total
}

// folders are the folders of segments in a container.
func folders(t *testing.T, s *harness.Swift, cfg swift.Config) []string {
	t.Helper()
	var all []string
	for _, name := range names(t, s, cfg.Container) {
		if _, rest, ok := strings.Cut(name, "~segments/"); ok {
			all = append(all, rest[:strings.IndexByte(rest, '/')])
		}
	}
	return slices.Compact(all)
}

// small is a configuration with small parts, for a cluster that allows few segments in a manifest.
func small(t *testing.T, s *harness.Swift, segments int) (*eye, swift.Config) {
	t.Helper()
	e, cfg := watch(t, s)
	cfg.PartSize, cfg.Path = part, "/registry"
	e.edit = func(r *http.Request, body []byte) []byte {
		if r.URL.Path == "/info" {
			return bytes.ReplaceAll(body, []byte(`"max_manifest_segments": 1000`), fmt.Appendf(nil, `"max_manifest_segments": %d`, segments))
		}
		return body
	}
	return e, cfg
}

// testNesting stores objects of more segments than a manifest may name, so that manifests name manifests.
func testNesting(t *testing.T, s *harness.Swift) {
	e, cfg := small(t, s, 2)
	d := open(t, cfg)
	for parts, manifests := range map[int]int{2: 1, 3: 1 + 2, 4: 1 + 2, 5: 1 + 2 + 3, 7: 1 + 2 + 4} {
		key := fmt.Sprintf("a/%d", parts)
		data := content(byte(parts), (parts-1)*part+parts)
		e.direct(nil)
		put(t, d, key, data)
		n := 0
		for _, r := range e.requests() {
			if strings.HasSuffix(r, "multipart-manifest=put") {
				n++
			}
		}
		if n != manifests {
			t.Errorf("%d parts: %d manifests, want %d", parts, n, manifests)
		}
		want(t, d, key, data)
		if err := drivers.Compose(t.Context(), d, "moved/"+key, key); err != nil {
			t.Fatal(err)
		}
		if err := d.Delete(t.Context(), key); err != nil {
			t.Fatal(err)
		}
		if n := sweep(t, d); n != 0 {
			t.Errorf("a sweep removed %d folders that are in use", n)
		}
		want(t, d, "moved/"+key, data)
		if err := d.Delete(t.Context(), "moved/"+key); err != nil {
			t.Fatal(err)
		}
		if n := sweep(t, d); n != 1 {
			t.Errorf("a sweep removed %d folders, want 1", n)
		}
		if got := names(t, s, cfg.Container); len(got) != 0 {
			t.Errorf("%q is left", got)
		}
	}
}

// testSharing composes one large object into several, which all stay for as long as one of them is there.
func testSharing(t *testing.T, s *harness.Swift) {
	_, cfg := small(t, s, 1000)
	d := open(t, cfg)
	data := content(1, 2*part+1)
	put(t, d, "src", data)
	for _, keys := range [][2]string{{"src", "b"}, {"src", "c"}, {"b", "d/e"}, {"d/e", "d/e"}, {"d/e", "c"}} {
		if err := d.Compose(t.Context(), keys[1], keys[0]); err != nil {
			t.Fatal(err)
		}
	}
	if got := folders(t, s, cfg); len(got) != 1 {
		t.Errorf("there are %d folders, want one that all share", len(got))
	}
	for i, key := range []string{"src", "d/e", "b"} {
		want(t, d, "c", data)
		if err := d.Delete(t.Context(), key); err != nil {
			t.Fatal(err)
		}
		if n := sweep(t, d); n != 0 {
			t.Errorf("%d: a sweep removed what is in use", i)
		}
	}
	want(t, d, "c", data)
	put(t, d, "c", []byte("replaced by a small object"))
	if n := sweep(t, d); n != 1 {
		t.Errorf("a sweep removed %d folders, want the one of the object that was replaced", n)
	}
	other := content(2, 2*part+2)
	put(t, d, "c", other)
	put(t, d, "c", other) // the same again, in a folder of its own
	if n := sweep(t, d); n != 1 {
		t.Errorf("a sweep removed %d folders, want one of two", n)
	}
	want(t, d, "c", other)
}

// testConcatenation composes sources of all kinds, none of which dst then depends on.
func testConcatenation(t *testing.T, s *harness.Swift) {
	e, cfg := small(t, s, 2)
	d := open(t, cfg)
	sources := map[string][]byte{"large": content(1, 2*part+1), "small": content(2, 1), "empty": nil, "part": content(3, part)}
	for key, data := range sources {
		put(t, d, key, data)
	}
	e.direct(nil)
	if err := d.Compose(t.Context(), "dst", "large", "empty", "small", "large", "part"); err != nil {
		t.Fatal(err)
	}
	for _, r := range e.requests() {
		if strings.HasPrefix(r, "GET") {
			t.Errorf("%s: the bytes of a source came here", r)
		}
	}
	for key := range sources {
		if err := d.Delete(t.Context(), key); err != nil {
			t.Fatal(err)
		}
	}
	if n := sweep(t, d); n != 1 {
		t.Errorf("a sweep removed %d folders, want that of the large source", n)
	}
	all := slices.Concat(sources["large"], sources["small"], sources["large"], sources["part"])
	want(t, d, "dst", all)
	put(t, d, "x", []byte("x"))
	put(t, d, "y", []byte("y"))
	if err := d.Compose(t.Context(), "xy", "x", "y"); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("compose of few bytes: got error %v, want one that has them streamed", err)
	}
}

// testSweep looks at what a sweep leaves alone.
func testSweep(t *testing.T, s *harness.Swift) {
	e, cfg := small(t, s, 1000)
	d := open(t, cfg)
	put(t, d, "a", content(1, part+1))
	if err := d.Delete(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if n, err := d.Sweep(t.Context(), time.Hour); n != 0 || err != nil {
			t.Errorf("got %d, %v, want nothing younger than an hour to be removed", n, err)
		}
	}
	if n, err := d.Sweep(t.Context(), 0); n != 0 || err != nil {
		t.Errorf("first sweep: got %d, %v, want a mark", n, err)
	}
	raw(t, s, http.MethodPut, cfg.Container+"/registry/~segments/foreign", nil, "x")
	raw(t, s, http.MethodPut, cfg.Container+"/registry/parfait/probe/old", nil, "x")
	raw(t, s, http.MethodPut, cfg.Container+"/elsewhere/~segments/id/00000000", nil, "x")
	if n, err := d.Sweep(t.Context(), 0); n != 2 || err != nil {
		t.Errorf("second sweep: got %d, %v, want a folder and an object of a probe", n, err)
	}
	if got, want := names(t, s, cfg.Container), []string{"elsewhere/~segments/id/00000000", "registry/~segments/foreign"}; !slices.Equal(got, want) {
		t.Errorf("%q is left, want %q", got, want)
	}

	// A listing that lags hides the new owner of a folder whose old one is gone.
	data := content(2, part+1)
	put(t, d, "a", data)
	if err := d.Compose(t.Context(), "b", "a"); err != nil {
		t.Fatal(err)
	}
	if err := d.Delete(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	e.edit = func(r *http.Request, body []byte) []byte {
		return bytes.ReplaceAll(body, []byte("owner/b"), []byte("owner/x"))
	}
	if n, err := d.Sweep(t.Context(), 0); n != 0 || err != nil {
		t.Errorf("sweep by a listing that lags: got %d, %v", n, err)
	}
	e.edit = nil
	if n := sweep(t, d); n != 0 {
		t.Errorf("sweep after it: got %d", n)
	}
	want(t, d, "b", data)
	for _, name := range names(t, s, cfg.Container) {
		if strings.HasSuffix(name, "/unowned") {
			t.Errorf("the mark %q is left in a folder that has an owner", name)
		}
	}

	// Somebody sets metadata, and so removes ours.
	raw(t, s, http.MethodPost, cfg.Container+"/registry/b", http.Header{"X-Object-Meta-Colour": {"blue"}}, "")
	if n := sweep(t, d); n != 0 {
		t.Errorf("sweep of an object without its metadata: got %d", n)
	}
	if err := drivers.Compose(t.Context(), d, "c", "b"); err != nil {
		t.Error(err)
	}
	want(t, d, "b", data)
	want(t, d, "c", data)

	// The store does not answer for an owner.
	e.direct(func(_ int, r *http.Request) act {
		if r.Method == http.MethodHead {
			return refused
		}
		return pass
	})
	if _, err := d.Sweep(t.Context(), 0); err == nil {
		t.Error("sweep without an answer: got no error")
	}
}

// testCrashes has each thing that touches segments fail at each of its requests, after Swift has carried it out, and looks
// whether all that is visible is whole and stays so, and whether the rest goes. A process that crashes sends no request
// after that one; one that only does not get its answer goes on.
func testCrashes(t *testing.T, s *harness.Swift) {
	large, other, little := content(1, 2*part+1), content(2, part+2), content(3, 100)
	for _, tt := range []struct {
		name    string
		objects map[string][]byte // that there are before
		prepare func(ctx context.Context, d *swift.Driver) error
		do      func(ctx context.Context, d *swift.Driver) error
		after   map[string][]byte // what else they may be after it; nil: gone
	}{
		{"create", nil, nil, create("a", large), map[string][]byte{"a": large}},
		{"replace a large object", map[string][]byte{"a": other}, nil, create("a", large), map[string][]byte{"a": large}},
		{"replace by a small object", map[string][]byte{"a": other}, nil, create("a", little), map[string][]byte{"a": little}},
		{"share", map[string][]byte{"a": large}, nil, composeAndDelete("b", "a"), map[string][]byte{"a": nil, "b": large}},
		{"share over another", map[string][]byte{"a": large, "b": other}, nil, composeAndDelete("b", "a"), map[string][]byte{"a": nil, "b": large}},
		{"concatenate", map[string][]byte{"a": large, "b": little}, nil, composeAndDelete("c", "a", "b"),
			map[string][]byte{"a": nil, "b": nil, "c": slices.Concat(large, little)}},
		{"sweep", map[string][]byte{"b": large}, func(ctx context.Context, d *swift.Driver) error {
			return errors.Join(d.Compose(ctx, "c", "b"), drivers.Put(ctx, d, "a", other), d.DeleteAll(ctx, "a", "b"))
		}, func(ctx context.Context, d *swift.Driver) error {
			for range 2 {
				if _, err := d.Sweep(ctx, 0); err != nil {
					return err
				}
			}
			return nil
		}, map[string][]byte{"b": nil, "c": large}},
	} {
		for name, then := range map[string]act{"crash": refused, "no answer": pass} {
			t.Run(tt.name+"/"+name, func(t *testing.T) {
				t.Parallel()
				e, cfg := small(t, s, 2)
				d := open(t, cfg)
				for n := 0; ; n++ {
					e.direct(nil)
					for key, data := range tt.objects {
						put(t, d, key, data)
					}
					if tt.prepare != nil {
						if err := tt.prepare(t.Context(), d); err != nil {
							t.Fatal(err)
						}
					}
					e.direct(func(i int, _ *http.Request) act {
						switch {
						case i < n:
							return pass
						case i == n:
							return disowned
						}
						return then
					})
					err := tt.do(t.Context(), d)
					crashed := len(e.requests()) > n
					e.direct(nil)
					if !crashed {
						if err != nil {
							t.Errorf("without a crash: %v", err)
						}
						wantWhole(t, d, nil, tt.after)
					} else {
						sweep(t, d)
						wantWhole(t, d, tt.objects, tt.after)
					}
					wantSwept(t, s, cfg, d)
					if !crashed {
						return
					}
					if n > 100 {
						t.Fatal("there is no end to it")
					}
				}
			})
		}
	}
}

func create(key string, data []byte) func(context.Context, *swift.Driver) error {
	return func(ctx context.Context, d *swift.Driver) error { return drivers.Put(ctx, d, key, data) }
}

// composeAndDelete does what callers of Compose do, who delete the sources later on in any case.
func composeAndDelete(dst string, srcs ...string) func(context.Context, *swift.Driver) error {
	return func(ctx context.Context, d *swift.Driver) error {
		if err := d.Compose(ctx, dst, srcs...); err != nil {
			return err
		}
		return d.DeleteAll(ctx, srcs...)
	}
}

// wantWhole checks that each object is what it was before, or what it may be after, all of it. One that was there, and is
// not among those after, has to be there.
func wantWhole(t *testing.T, d *swift.Driver, before, after map[string][]byte) {
	t.Helper()
	for _, key := range []string{"a", "b", "c"} {
		old, was := before[key]
		now, becomes := after[key]
		got, err := drivers.ReadAll(t.Context(), d, key, 1<<30)
		absent := errors.Is(err, fs.ErrNotExist)
		switch {
		case absent && (!was || becomes && now == nil):
		case err == nil && was && bytes.Equal(got, old):
		case err == nil && becomes && bytes.Equal(got, now):
		default:
			t.Errorf("%s: got %d bytes and error %v", key, len(got), err)
		}
	}
}

// wantSwept checks that nothing is left once all objects are deleted, and deletes them.
func wantSwept(t *testing.T, s *harness.Swift, cfg swift.Config, d *swift.Driver) {
	t.Helper()
	if err := d.DeleteAll(t.Context(), "a", "b", "c"); err != nil {
		t.Fatal(err)
	}
	sweep(t, d)
	if got := names(t, s, cfg.Container); len(got) != 0 {
		t.Errorf("%q is left", got)
		for _, name := range got {
			raw(t, s, http.MethodDelete, cfg.Container+"/"+name, nil, "")
		}
	}
}
