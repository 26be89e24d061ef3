package gcs_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/integration/harness"
)

// stored returns the names of all objects in a bucket, as the server lists them.
func stored(t testing.TB, s *harness.GCS, bucket string) []string {
	t.Helper()
	resp, err := http.Get(s.URL + "/storage/v1/b/" + bucket + "/o")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var list struct{ Items []struct{ Name string } }
	if err := json.NewDecoder(resp.Body).Decode(&list); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, o := range list.Items {
		names = append(names, o.Name)
	}
	return names
}

func composes(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/compose") }

// TestCompose_Levels concatenates more than the server does at once, in the fewest requests.
func TestCompose_Levels(t *testing.T) {
	t.Parallel()
	s := inMemory(t)
	p := harness.NewGate(t, s.URL)
	cfg := through(t, s, p)
	d := open(t, cfg)
	put(t, d, "src/a", []byte("first,"))
	put(t, d, "src/b", []byte("second;"))
	put(t, d, "src/c", nil)
	for n, requests := range map[int]int{2: 1, 32: 1, 33: 2 + 1, 63: 2 + 1, 64: 3 + 2, 1024: 33 + 32, 1025: 34 + 33} {
		srcs := slices.Repeat([]string{"src/a", "src/b", "src/c"}, n)[:n]
		p.Requests()
		if err := d.Compose(t.Context(), "dst", srcs...); err != nil {
			t.Fatal(err)
		}
		if got := len(p.Requests()); got != requests {
			t.Errorf("%d sources: got %d requests, want %d", n, got, requests)
		}
		want := strings.Repeat("first,second;", n/3) + "first,second;"[:[]int{0, 6, 13}[n%3]]
		wantObject(t, d, "dst", []byte(want))
		if got, want := stored(t, s, cfg.Bucket), []string{"dst", "src/a", "src/b", "src/c"}; !slices.Equal(got, want) {
			t.Errorf("%d sources: got %q left, want %q", n, got, want)
		}
	}
}

// TestCompose_Fails leaves nothing temporary behind when it fails midway.
func TestCompose_Fails(t *testing.T) {
	t.Parallel()
	s := harness.FakeGCS(t)
	p := harness.NewGate(t, s.URL)
	cfg := through(t, s, p)
	d := open(t, cfg)
	put(t, d, "a", []byte("a"))
	srcs := slices.Repeat([]string{"a"}, 100)
	ctx, cancel := context.WithCancel(t.Context())
	var n atomic.Int32
	for _, tt := range []struct {
		name string
		ctx  context.Context
		srcs []string
		do   http.HandlerFunc
		want error
	}{
		{"an absent source", t.Context(), append(slices.Clone(srcs), "none"), answer(http.StatusNotFound, "not found"),
			fs.ErrNotExist},
		{"no permission", t.Context(), srcs, answer(http.StatusForbidden, "no"), fs.ErrPermission},
		{"the end of the context", ctx, srcs, func(_ http.ResponseWriter, r *http.Request) {
			cancel()
			_, _ = io.Copy(io.Discard, r.Body) // or the server does not look whether the client is gone
			<-r.Context().Done()
		}, context.Canceled},
	} {
		n.Store(0)
		p.Fail(harness.Instead(tt.do).For(func(r *http.Request) bool { return composes(r) && n.Add(1) == 3 }))
		err := d.Compose(tt.ctx, "dst", tt.srcs...)
		if e, ok := errors.AsType[*drivers.Error](err); !ok || !errors.Is(err, tt.want) {
			t.Errorf("%s: got error %v, want %v", tt.name, err, tt.want)
		} else if tt.want == fs.ErrNotExist && e.Key != "none" {
			t.Errorf("%s: got the key %q", tt.name, e.Key)
		}
		p.Fail(harness.Fault{})
		if tt.want == context.Canceled { // the server may do what it was asked when nobody waits any more
			time.Sleep(time.Second)
			if _, err := d.Sweep(t.Context(), 0); err != nil {
				t.Fatal(err)
			}
		}
		if got, want := stored(t, s, cfg.Bucket), []string{"a"}; !slices.Equal(got, want) {
			t.Errorf("%s: got %q left, want %q", tt.name, got, want)
		}
	}
}

// TestSweep removes what could not be removed at once, and nothing else.
func TestSweep(t *testing.T) {
	s := harness.FakeGCS(t)
	p := harness.NewGate(t, s.URL)
	cfg := through(t, s, p)
	cfg.Path = "registry"
	d := open(t, cfg)
	put(t, d, "a", []byte("a"))
	p.Fail(harness.Instead(answer(http.StatusForbidden, "not now")).For(func(r *http.Request) bool { return r.Method == http.MethodDelete }))
	if err := d.Compose(t.Context(), "dst", slices.Repeat([]string{"a"}, 100)...); err != nil {
		t.Fatal(err)
	}
	p.Fail(harness.Fault{})
	if got := stored(t, s, cfg.Bucket); len(got) != 2+3 {
		t.Errorf("got %q, want two objects and three temporary ones", got)
	}
	if got, want := keys(t, d, ""), []string{"a", "dst"}; !slices.Equal(got, want) {
		t.Errorf("list: got %q, want %q", got, want)
	}
	if n, err := d.Sweep(t.Context(), time.Hour); n != 0 || err != nil {
		t.Errorf("sweep of what is an hour old: got %d, %v, want none", n, err)
	}
	if n, err := d.Sweep(t.Context(), 0); n != 3 || err != nil {
		t.Errorf("sweep: got %d, %v, want 3", n, err)
	}
	if got, want := stored(t, s, cfg.Bucket), []string{"registry/a", "registry/dst"}; !slices.Equal(got, want) {
		t.Errorf("after the sweep: got %q, want %q", got, want)
	}
}
