package index_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/parfait-registry/parfait/index"
)

// An album is a repository with manifests of all kinds, by name.
type album struct {
	t   *testing.T
	db  *index.DB
	all map[string]index.Manifest
}

func (a *album) put(name string, m index.Manifest, tags ...string) digest.Digest {
	a.t.Helper()
	m.Digest, m.Payload = digest.FromString(name), []byte(name)
	if _, err := a.db.PutManifest(a.t.Context(), "a", m, tags...); err != nil {
		a.t.Fatal(err)
	}
	a.all[name] = m
	return m.Digest
}

// left returns the names of the manifests that are there.
func (a *album) left() (names []string) {
	a.t.Helper()
	for name, m := range a.all {
		switch _, err := a.db.ManifestByDigest(a.t.Context(), "a", m.Digest); err {
		case nil:
			names = append(names, name)
		case index.ErrNotFound:
		default:
			a.t.Fatal(err)
		}
	}
	slices.Sort(names)
	return names
}

// removed has those removed that are untagged since before, and returns the names of what went, after it was foretold.
func (a *album) removed(l *index.Lease, before time.Time) (names []string) {
	a.t.Helper()
	had := a.left()
	foretold, err := a.db.Untagged(a.t.Context(), before)
	if err != nil {
		a.t.Fatal(err)
	}
	for {
		found, err := a.db.MaybeUntagged(a.t.Context(), before, 2)
		if err != nil {
			a.t.Fatal(err)
		}
		if len(found) == 0 {
			break
		}
		for _, m := range found {
			if _, err := a.db.RemoveUntagged(a.t.Context(), l, m); err != nil {
				a.t.Fatal(err)
			}
		}
	}
	has := a.left()
	for _, name := range had {
		if !slices.Contains(has, name) {
			names = append(names, name)
		}
	}
	var told []string
	for _, u := range foretold {
		for name, m := range a.all {
			if m.Digest == u.Digest && u.Repo == "a" && u.Size == int64(len(name)) {
				told = append(told, name)
			}
		}
	}
	slices.Sort(told)
	if !slices.Equal(told, names) {
		a.t.Errorf("it was foretold that %q go, and %q went", told, names)
	}
	return names
}

func TestUntagged(t *testing.T) {
	onEach(t, func(t *testing.T, db *index.DB) {
		a, l := &album{t: t, db: db, all: make(map[string]index.Manifest)}, lease(t, db, "collect")
		ctx := t.Context()
		index2 := func(children ...digest.Digest) index.Manifest { return index.Manifest{Manifests: children} }
		referrer := func(subject digest.Digest) index.Manifest { return index.Manifest{Subject: subject} }

		arm, amd := a.put("arm", index.Manifest{}), a.put("amd", index.Manifest{})
		inner := a.put("inner index", index2(arm, amd))
		a.put("index", index2(inner), "v1")
		former := a.put("former", index.Manifest{}, "latest", "stable")
		sbom := a.put("sbom of former", referrer(former))
		a.put("signature of sbom", referrer(sbom))
		a.put("tagged sbom of former", referrer(former), "sbom")
		a.put("latest", index.Manifest{}, "latest")
		a.put("sbom of nothing", referrer(digest.FromString("nothing")))
		a.put("sbom of arm", referrer(arm))
		later := func() time.Time {
			time.Sleep(2 * time.Millisecond)
			return time.Now()
		}
		check := func(what string, before time.Time, want ...string) {
			t.Helper()
			if got := a.removed(l, before); !slices.Equal(got, want) {
				t.Errorf("%s: got %q removed, want %q", what, got, want)
			}
		}
		start := time.Now()
		check("young ones", start.Add(-time.Minute))
		check("those that never had what needs them", later(), "sbom of nothing")
		if _, err := db.RemoveTag(ctx, "a", "stable"); err != nil {
			t.Fatal(err)
		}
		check("untagged a moment ago, pushed long ago", start)
		check("after its last tag", later(), "former", "sbom of former", "signature of sbom")
		if _, err := db.RemoveTag(ctx, "a", "v1"); err != nil {
			t.Fatal(err)
		}
		before := later()
		check("an index", before, "index")
		check("its children are needed no more, but that is new", before)
		before = later()
		check("the inner index", before, "inner index")
		check("the rest", later(), "amd", "arm", "sbom of arm")
		if got, want := a.left(), []string{"latest", "tagged sbom of former"}; !slices.Equal(got, want) {
			t.Errorf("got %q left, want %q", got, want)
		}
	})
}

// What was needed once and is tagged again stays.
func TestTaggedAgain(t *testing.T) {
	onEach(t, func(t *testing.T, db *index.DB) {
		a, l := &album{t: t, db: db, all: make(map[string]index.Manifest)}, lease(t, db, "collect")
		for i := range 3 {
			tag := fmt.Sprint("v", i)
			a.put("image", index.Manifest{}, tag)
			a.put("child", index.Manifest{})
			a.put("parent", index.Manifest{Manifests: []digest.Digest{digest.FromString("child")}}, "parent")
			if _, err := db.RemoveTag(t.Context(), "a", tag); err != nil {
				t.Fatal(err)
			}
			a.put("image", index.Manifest{}, "again")
			if got := a.removed(l, time.Now().Add(time.Second)); len(got) > 0 {
				t.Errorf("got %q removed", got)
			}
		}
	})
}

// A child that is in another repository's index is untagged in its own.
func TestUntaggedPerRepository(t *testing.T) {
	onEach(t, func(t *testing.T, db *index.DB) {
		l, ctx := lease(t, db, "collect"), t.Context()
		child := manifest("child")
		for _, repo := range []string{"a", "b"} {
			if _, err := db.PutManifest(ctx, repo, child); err != nil {
				t.Fatal(err)
			}
		}
		parent := manifest("parent")
		parent.Manifests = []digest.Digest{child.Digest}
		if _, err := db.PutManifest(ctx, "b", parent, "v1"); err != nil {
			t.Fatal(err)
		}
		found, err := db.MaybeUntagged(ctx, time.Now().Add(time.Second), 10)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range found {
			if _, err := db.RemoveUntagged(ctx, l, m); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := db.ManifestByDigest(ctx, "a", child.Digest); err != index.ErrNotFound {
			t.Errorf("the child that is none in its repository: got %v, want ErrNotFound", err)
		}
		if _, err := db.ManifestByDigest(ctx, "b", child.Digest); err != nil {
			t.Errorf("the child of an index: %v", err)
		}
	})
}

// Of images that get a new tag at once, all but the one that keeps it are untagged.
func TestUntaggedAtOnce(t *testing.T) {
	onEach(t, func(t *testing.T, db *index.DB) {
		const images, tags = 40, 10
		put := func(tags func(image int) []string) {
			t.Helper()
			g, ctx := errgroup.WithContext(t.Context())
			for i := range images {
				g.Go(func() error {
					_, err := db.PutManifest(ctx, "a", manifest(fmt.Sprint(i)), tags(i)...)
					return err
				})
			}
			if err := g.Wait(); err != nil {
				t.Fatal(err)
			}
		}
		put(func(int) []string { return nil })
		put(func(image int) []string { return []string{fmt.Sprint("v", image%tags)} })
		untagged, err := db.Untagged(t.Context(), time.Now().Add(time.Second))
		if err != nil {
			t.Fatal(err)
		}
		if got, want := len(untagged), images-tags; got != want {
			t.Errorf("got %d untagged manifests, want %d", got, want)
		}
	})
}
