package registry_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/index"
	"github.com/parfait-registry/parfait/registry"
)

// An index that is lost is filled from the store, at the next start.
func TestLostIndex(t *testing.T) {
	places(t, func(t *testing.T, p place) {
		f := open(t, registry.Config{}, p.store, index.Config{Database: sqliteFile(t)})
		config := push(t, f.Registry, "a/b", []byte("{}"))
		if _, err := f.PutManifest(t.Context(), "a/b", registry.Reference{Tag: "v1"}, "", image(config, config)); err != nil {
			t.Fatal(err)
		}
		want := facts(t, f.db)
		f.close(t)

		g := open(t, registry.Config{}, p.store, index.Config{Database: p.database})
		defer g.close(t)
		g.adopted(t)
		if got := facts(t, g.db); !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

// Broken things in a store are left out and named.
func TestReindexBrokenStore(t *testing.T) {
	databases(t, func(t *testing.T, p place) {
		store, ctx := p.store, t.Context()
		const root = "docker/registry/v2/"
		layer, manifest := digest.FromString("layer"), digest.FromString("no manifest")
		hex := func(d digest.Digest) string { return "sha256/" + d.Encoded() }
		for key, data := range map[string]string{
			root + "blobs/sha256/" + manifest.Encoded()[:2] + "/" + manifest.Encoded() + "/data": "no manifest",
			root + "blobs/sha256/zz/data":                                           "stray",
			root + "repositories/a/_layers/" + hex(layer) + "/link":                 layer.String(),
			root + "repositories/a/_manifests/revisions/" + hex(layer) + "/link":    layer.String(),
			root + "repositories/a/_manifests/revisions/" + hex(manifest) + "/link": manifest.String(),
			root + "repositories/a/_manifests/tags/v1/current/link":                 manifest.String(),
			root + "repositories/a/_manifests/tags/v2/current/link":                 "garbage",
			root + "repositories/UPPER/_layers/" + hex(manifest) + "/link":          manifest.String(),
			root + "repositories/a/_uploads/5/startedat":                            "2020-01-01T00:00:00Z",
		} {
			if err := drivers.Put(ctx, store, key, []byte(data)); err != nil {
				t.Fatal(err)
			}
		}
		db, err := index.Open(ctx, index.Config{Database: p.database}, discard)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		report, err := registry.Reindex(ctx, store, db, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"zz/data", "_layers/" + hex(layer), "revisions/" + hex(layer), "revisions/" + hex(manifest), "tag v1", "tags/v2", "UPPER"} {
			if !slices.ContainsFunc(report.Problems, func(p string) bool { return strings.Contains(p, want) }) {
				t.Errorf("no problem names %s: %q", want, report.Problems)
			}
		}
		if got := facts(t, db); len(got) != 0 {
			t.Errorf("got the facts %q, want none", got)
		}
	})
}
