package drivertest

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/parfait-registry/parfait/drivers"
)

func listTests() []test {
	return []test{
		{"list/empty store", testListEmpty},
		{"list/order, prefix, after", testList},
		{"list/thousands of keys", testListMany},
		{"list/stop early", testListStop},
		{"list/delete on the way", testListDelete},
	}
}

func testListEmpty(t *testing.T, d drivers.Driver) {
	for _, prefix := range []string{"", "a", "a/", "a/b"} {
		if got := keys(t, d, prefix, ""); len(got) != 0 {
			t.Errorf("list %q: got %q, want nothing", prefix, got)
		}
	}
}

// testList has keys with characters that sort before and after the slash, which is where file systems go wrong.
func testList(t *testing.T, d drivers.Driver) {
	all := []string{"a-b", "a.b", "a/b", "a/b-c/d", "a/b.c", "a/b0/x", "a/c/d/e", "a/c/d0", "a0", "aa/b", "b/-", "b/A",
		"b/_", "b/a", "c"}
	for _, key := range slices.Backward(all) {
		put(t, d, key, key)
	}
	prefixes := []string{"", "a", "a/", "a/b", "a/b-", "a/b-c/", "a/b-c/d", "a/b-c/d/", "a/c", "a/c/", "a/c/d", "aa", "b/",
		"c", "c/", "d", "a/x/y", "/", "../", "a//", "."}
	afters := append([]string{"", "a", "a/", "a/b-", "a/c/", "a/c/d/", "a/c/d/z", "zz", "Z", "a/b~"}, all...)
	for _, prefix := range prefixes {
		for _, after := range afters {
			want := slices.DeleteFunc(slices.Clone(all), func(key string) bool {
				return !strings.HasPrefix(key, prefix) || key <= after
			})
			if got := keys(t, d, prefix, after); !slices.Equal(got, want) {
				t.Errorf("list %q after %q:\n got %q\nwant %q", prefix, after, got, want)
			}
		}
	}
}

// putMany stores n small objects and returns their keys in order.
func putMany(t *testing.T, d drivers.Driver, n int) []string {
	t.Helper()
	all := make([]string, n)
	g, ctx := errgroup.WithContext(t.Context())
	g.SetLimit(32)
	for i := range all {
		all[i] = fmt.Sprintf("many/%02x/%05d/link", i%37, i)
		g.Go(func() error { return drivers.StagePut(ctx, d, all[i], []byte(all[i])) })
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	slices.Sort(all)
	return all
}

func testListMany(t *testing.T, d drivers.Driver) {
	all := putMany(t, d, 2500) // three pages of an object store
	var got []string
	for o, err := range d.List(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		if want := int64(len(o.Key)); o.Size != want {
			t.Fatalf("list: got %+v, want size %d", o, want)
		}
		got = append(got, o.Key)
	}
	if !slices.Equal(got, all) {
		t.Errorf("list: got %d keys, want %d, or another order", len(got), len(all))
	}
	if got := keys(t, d, "many/", all[1234]); !slices.Equal(got, all[1235:]) {
		t.Errorf("list after the %dth: got %d keys, want %d", 1234, len(got), len(all[1235:]))
	}
}

func testListStop(t *testing.T, d drivers.Driver) {
	all := putMany(t, d, 20)
	var got []string
	for o, err := range d.List(t.Context(), "many/", "") {
		if err != nil {
			t.Fatal(err)
		}
		if got = append(got, o.Key); len(got) == 3 {
			break
		}
	}
	if !slices.Equal(got, all[:3]) {
		t.Errorf("list until 3: got %q, want %q", got, all[:3])
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var failed error
	for _, err := range d.List(ctx, "many/", "") {
		failed = cmp.Or(failed, err)
		cancel() // a driver may finish its page first
	}
	if failed != nil {
		wantError(t, failed, "list", "many/", context.Canceled)
	}
}

func testListDelete(t *testing.T, d drivers.Driver) {
	putMany(t, d, 30)
	for o, err := range d.List(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Delete(t.Context(), o.Key); err != nil {
			t.Fatal(err)
		}
	}
	if got := keys(t, d, "", ""); len(got) != 0 {
		t.Errorf("list after all were deleted: got %q, want nothing", got)
	}
}
