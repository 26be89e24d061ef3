package drivertest

import (
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/parfait-registry/parfait/drivers"
)

func deleteTests() []test {
	return []test{
		{"delete/object", testDelete},
		{"delete/absent object", testDeleteAbsent},
		{"delete/many", testDeleteAll},
		{"delete/while others are created", testDeleteWhileCreated},
	}
}

func testDelete(t *testing.T, d drivers.Driver) {
	put(t, d, "a/b/c", "hello")
	put(t, d, "a/b2", "neighbour")
	if err := d.Delete(t.Context(), "a/b/c"); err != nil {
		t.Fatal(err)
	}
	wantAbsent(t, d, "a/b/c")
	wantObject(t, d, "a/b2", "neighbour")
	put(t, d, "a/b/c", "again")
	wantObject(t, d, "a/b/c", "again")
}

func testDeleteAbsent(t *testing.T, d drivers.Driver) {
	put(t, d, "a/b", "hello")
	for _, key := range []string{"a/c", "x", "x/y/z", "a/c"} {
		if err := d.Delete(t.Context(), key); err != nil {
			t.Errorf("delete %q: %v", key, err)
		}
	}
	wantObject(t, d, "a/b", "hello")
}

func testDeleteAll(t *testing.T, d drivers.Driver) {
	all := putMany(t, d, 1100) // more than an object store deletes at once
	put(t, d, "other", "stays")
	if err := drivers.DeleteAll(t.Context(), d, append(all, "absent", "x/y", all[0])...); err != nil {
		t.Fatal(err)
	}
	if got := keys(t, d, "many/", ""); len(got) != 0 {
		t.Errorf("list after all were deleted: got %d keys, want none", len(got))
	}
	wantObject(t, d, "other", "stays")
	if err := drivers.DeleteAll(t.Context(), d); err != nil {
		t.Errorf("delete nothing: %v", err)
	}
}

// testDeleteWhileCreated makes directories come and go under the writers of a driver that has some.
func testDeleteWhileCreated(t *testing.T, d drivers.Driver) {
	g, ctx := errgroup.WithContext(t.Context())
	for _, key := range []string{"a/b/c/1", "a/b/c/2", "a/b/3", "a/x/y/4"} {
		g.Go(func() error {
			for range 20 {
				if err := drivers.Put(ctx, d, key, []byte(key)); err != nil {
					return err
				}
				if got, err := get(ctx, d, key, 0, -1); err != nil || got != key {
					t.Errorf("object %q: got %q, %v", key, got, err)
				}
				if err := d.Delete(ctx, key); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	if got := keys(t, d, "", ""); len(got) != 0 {
		t.Errorf("list after all were deleted: got %q, want nothing", got)
	}
}
