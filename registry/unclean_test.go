package registry_test

import (
	"slices"
	"testing"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/drivers/metered"
	"github.com/parfait-registry/parfait/index"
	"github.com/parfait-registry/parfait/registry"
)

// TestReindexAfterCrash rebuilds an index before anything else has run after a power cut, when the store lacks links
// of what was acknowledged and shows one that was deleted.
func TestReindexAfterCrash(t *testing.T) {
	places(t, func(t *testing.T, p place) {
		store, ic := p.store, index.Config{Database: p.database}
		f := open(t, registry.Config{}, store, ic)
		manifest := image(push(t, f.Registry, "repo", random(100)), push(t, f.Registry, "repo", random(200)))
		if _, err := f.PutManifest(t.Context(), "repo", registry.Reference{Tag: "v1"}, v1.MediaTypeImageManifest, manifest); err != nil {
			t.Fatal(err)
		}
		gone := push(t, f.Registry, "repo", random(300)).Digest
		if err := f.DeleteBlob(t.Context(), "repo", gone); err != nil {
			t.Fatal(err)
		}
		want := facts(t, f.db)
		f.abandon(t)

		var links []string
		for object, err := range store.List(t.Context(), "docker/registry/v2/repositories/", "") {
			if err != nil {
				t.Fatal(err)
			}
			links = append(links, object.Key)
		}
		if err := drivers.DeleteAll(t.Context(), store, links...); err != nil {
			t.Fatal(err)
		}
		back := "docker/registry/v2/repositories/repo/_layers/sha256/" + gone.Encoded() + "/link"
		if err := drivers.Put(t.Context(), store, back, []byte(gone)); err != nil {
			t.Fatal(err)
		}

		db, err := index.Open(t.Context(), ic, discard)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		if _, err := registry.Reindex(t.Context(), store, db, nil); err != nil {
			t.Fatal(err)
		}
		if got := facts(t, db); !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		checkAgreement(t, store, db)
	})
}

// TestOpenSyncs has what an earlier process has left made durable before anything is built on it.
func TestOpenSyncs(t *testing.T) {
	store := metered.New(openLocal(t))
	f := start(t, registry.Config{}, place{store: store})
	if n := store.Counts().Calls(metered.OpSync); n == 0 {
		t.Error("got no sync")
	}
	push(t, f.Registry, "repo", random(100))
}
