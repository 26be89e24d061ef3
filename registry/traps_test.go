package registry_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/parfait-registry/parfait/index"
	"github.com/parfait-registry/parfait/registry"
)

// What other registries lose or break when they collect garbage. Each test is named after what goes wrong there.

// imageIndex is an image index of manifests that were pushed, by their digests.
func imageIndex(children ...digest.Digest) []byte {
	list := v1.Index{MediaType: v1.MediaTypeImageIndex, Manifests: []v1.Descriptor{}}
	list.SchemaVersion = 2
	for _, d := range children {
		list.Manifests = append(list.Manifests, v1.Descriptor{MediaType: v1.MediaTypeImageManifest, Digest: d, Size: 1})
	}
	data, err := json.Marshal(list)
	if err != nil {
		panic(err) // descriptors always marshal
	}
	return data
}

// pushPlatforms pushes an image of two platforms, of which only the index has a tag.
func pushPlatforms(t testing.TB, r *registry.Registry, repo registry.Name, tag string) (children []digest.Digest) {
	t.Helper()
	for _, platform := range []string{"arm64", "amd64"} {
		layers := image(push(t, r, repo, []byte("{}")), push(t, r, repo, []byte(tag+" for "+platform)))
		children = append(children, putManifest(t, r, repo, "", layers))
	}
	putManifest(t, r, repo, tag, imageIndex(children...))
	return children
}

// strictest is the policy that keeps the least.
var strictest = registry.Config{GCUntagged: 1}

// collectAll collects until there is nothing left to collect.
func (f *fixture) collectAll(t testing.TB) {
	t.Helper()
	for limit := 10; ; limit-- {
		f.outlive()
		if done := f.collect(t); done == (registry.Collected{}) {
			return
		}
		if limit == 0 {
			t.Fatal("there is always something left to collect")
		}
	}
}

// trap runs a test of what a collection may break.
func trap(t *testing.T, test func(t *testing.T, f *fixture)) {
	databasesInTime(t, func(t *testing.T, p place) {
		f := byHand(t, strictest, p)
		test(t, f)
		f.flush(t)
		checkAgreement(t, p.store, f.db)
		f.close(t)
	})
}

func TestTrapUntaggedPlatformsOfAnImageGo(t *testing.T) {
	trap(t, func(t *testing.T, f *fixture) {
		pushPlatforms(t, f.Registry, "a", "v1")
		f.collectAll(t)
		pull(t, f.Registry, "a", "v1")
	})
}

func TestTrapPlatformsOfAnIndexWithinAnIndexGo(t *testing.T) {
	trap(t, func(t *testing.T, f *fixture) {
		children := pushPlatforms(t, f.Registry, "a", "v1")
		inner := imageIndex(children...)
		putManifest(t, f.Registry, "a", "nested", imageIndex(digest.FromBytes(inner)))
		if err := f.DeleteManifest(t.Context(), "a", registry.Reference{Tag: "v1"}); err != nil {
			t.Fatal(err)
		}
		f.collectAll(t)
		pull(t, f.Registry, "a", "nested")
	})
}

func TestTrapPlatformsGoThatAreTaggedInAnotherRepositoryOnly(t *testing.T) {
	trap(t, func(t *testing.T, f *fixture) {
		for i, d := range pushPlatforms(t, f.Registry, "a", "v1") {
			m, err := f.Manifest(t.Context(), "a", registry.Reference{Digest: d})
			if err != nil {
				t.Fatal(err)
			}
			for _, layer := range []string{"{}", "v1 for arm64", "v1 for amd64"} {
				push(t, f.Registry, "other", []byte(layer))
			}
			putManifest(t, f.Registry, "other", fmt.Sprint("platform", i), m.Payload)
		}
		f.collectAll(t)
		pull(t, f.Registry, "a", "v1")
		pull(t, f.Registry, "other", "platform0")
		for _, tag := range []string{"platform0", "platform1"} {
			if err := f.DeleteManifest(t.Context(), "other", registry.Reference{Tag: tag}); err != nil {
				t.Fatal(err)
			}
		}
		f.collectAll(t)
		pull(t, f.Registry, "a", "v1")
	})
}

func TestTrapPlatformOfTwoImagesGoesWithOneOfThem(t *testing.T) {
	trap(t, func(t *testing.T, f *fixture) {
		children := pushPlatforms(t, f.Registry, "a", "v1")
		putManifest(t, f.Registry, "a", "v2", imageIndex(children[0]))
		if err := f.DeleteManifest(t.Context(), "a", registry.Reference{Tag: "v1"}); err != nil {
			t.Fatal(err)
		}
		f.collectAll(t)
		pull(t, f.Registry, "a", "v2")
		if _, err := f.Manifest(t.Context(), "a", registry.Reference{Digest: children[1]}); code(err) != registry.ManifestUnknown {
			t.Errorf("the other platform: got %v, want MANIFEST_UNKNOWN", err)
		}
	})
}

func TestTrapReferrersOfATaggedImageGo(t *testing.T) {
	trap(t, func(t *testing.T, f *fixture) {
		image := pushImage(t, f.Registry, "a", "v1", []byte("layer"))
		sbom := referrer(t, f.Registry, image, "sbom")
		signature := referrer(t, f.Registry, sbom, "signature")
		f.collectAll(t)
		for _, d := range []digest.Digest{sbom, signature} {
			pull(t, f.Registry, "a", d.String())
		}
	})
}

func TestTrapCacheSaysABlobIsThereThatWasCollected(t *testing.T) {
	trap(t, func(t *testing.T, f *fixture) {
		d := pushImage(t, f.Registry, "a", "v1", []byte("layer"))
		for range 2 { // of which the second look-ups are answered from the cache, where there is one
			pull(t, f.Registry, "a", "v1")
		}
		if err := f.DeleteManifest(t.Context(), "a", registry.Reference{Digest: d}); err != nil {
			t.Fatal(err)
		}
		f.collectAll(t)
		for _, data := range []string{"layer", "{}"} {
			if _, err := f.Blob(t.Context(), "a", digest.FromString(data)); code(err) != registry.BlobUnknown {
				t.Errorf("blob %q: got %v, want BLOB_UNKNOWN", data, err)
			}
		}
		if _, err := f.MountBlob(t.Context(), "b", digest.FromString("layer"), "a", nil); code(err) != registry.BlobUnknown {
			t.Errorf("mount: got %v, want BLOB_UNKNOWN", err)
		}
		if _, err := f.PutManifest(t.Context(), "a", registry.Reference{Tag: "v1"}, "", image(descriptor([]byte("{}")))); code(err) != registry.ManifestBlobUnknown {
			t.Errorf("manifest: got %v, want MANIFEST_BLOB_UNKNOWN", err)
		}
	})
}

func TestTrapImageThatWasCollectedCannotBePushedAgain(t *testing.T) {
	trap(t, func(t *testing.T, f *fixture) {
		for range 3 {
			d := pushImage(t, f.Registry, "a", "v1", []byte("layer"))
			pull(t, f.Registry, "a", "v1")
			if err := f.DeleteManifest(t.Context(), "a", registry.Reference{Digest: d}); err != nil {
				t.Fatal(err)
			}
			f.collectAll(t)
		}
		if got := blobs(t, f.store); len(got) > 0 {
			t.Errorf("left over: %q", got)
		}
	})
}

func TestTrapBlobsOfAPushThatIsUnderWayGo(t *testing.T) {
	trap(t, func(t *testing.T, f *fixture) {
		config, layer := push(t, f.Registry, "a", []byte("{}")), push(t, f.Registry, "a", []byte("layer"))
		f.collect(t)
		putManifest(t, f.Registry, "a", "v1", image(config, layer))
		f.collectAll(t)
		pull(t, f.Registry, "a", "v1")
	})
}

func TestTrapLinksOfCollectedBlobsStay(t *testing.T) {
	trap(t, func(t *testing.T, f *fixture) {
		for _, repo := range []registry.Name{"a", "b/c"} {
			push(t, f.Registry, repo, []byte("garbage"))
		}
		f.collectAll(t)
		f.flush(t)
		if got := layers(t, f.store); len(got) > 0 {
			t.Errorf("left over: %q", got)
		}
	})
}

func TestTrapLayersGoThatAnotherRepositoryHas(t *testing.T) {
	trap(t, func(t *testing.T, f *fixture) {
		d := pushImage(t, f.Registry, "a", "v1", []byte("layer"))
		pushImage(t, f.Registry, "b", "v1", []byte("layer"))
		if err := f.DeleteManifest(t.Context(), "a", registry.Reference{Digest: d}); err != nil {
			t.Fatal(err)
		}
		f.collectAll(t)
		pull(t, f.Registry, "b", "v1")
	})
}

func TestTrapDryRunRemovesLinks(t *testing.T) {
	databasesInTime(t, func(t *testing.T, p place) {
		f := byHand(t, strictest, p)
		push(t, f.Registry, "a", []byte("garbage"))
		pushImage(t, f.Registry, "a", "v1", []byte("former"))
		pushImage(t, f.Registry, "a", "v1", []byte("layer"))
		f.flush(t)
		f.outlive()
		before, had := keys(t, p.store, "", ""), facts(t, f.db)
		gc, err := registry.OpenGC(t.Context(), strictest, p.store, f.db, discard)
		if err != nil {
			t.Fatal(err)
		}
		var told []string
		for d, err := range gc.Doomed(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			told = append(told, d.Kind+" "+d.Repo)
		}
		if got, want := strings.Join(told, ", "), "manifest a, layer a, blob "; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		if after := keys(t, p.store, "", ""); strings.Join(after, "\n") != strings.Join(before, "\n") {
			t.Errorf("the store had\n%s\nand has\n%s", strings.Join(before, "\n"), strings.Join(after, "\n"))
		}
		if has := facts(t, f.db); strings.Join(has, "\n") != strings.Join(had, "\n") {
			t.Errorf("the index had\n%s\nand has\n%s", strings.Join(had, "\n"), strings.Join(has, "\n"))
		}
		f.close(t)
	})
}

// An index that is empty, as that of a new database is, knows nothing of what the store holds.
func TestTrapEverythingGoesOnAnEmptyIndex(t *testing.T) {
	databasesInTime(t, func(t *testing.T, p place) {
		f := byHand(t, registry.Config{}, p)
		pushImage(t, f.Registry, "a", "v1", []byte("layer"))
		f.close(t)
		db, err := index.Open(t.Context(), index.Config{}, discard)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		if _, err := registry.OpenGC(context.Background(), registry.Config{}, p.store, db, discard); err == nil {
			t.Error("collects with an empty index")
		}
	})
}
