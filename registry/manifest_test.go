package registry_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/parfait-registry/parfait/drivers/drivertest"
	"github.com/parfait-registry/parfait/drivers/mem"
	"github.com/parfait-registry/parfait/index"
	"github.com/parfait-registry/parfait/registry"
)

// image makes a manifest of the descriptors, the first of which is its config.
func image(descriptors ...v1.Descriptor) []byte {
	m := v1.Manifest{MediaType: v1.MediaTypeImageManifest, Config: descriptors[0], Layers: descriptors[1:]}
	m.SchemaVersion = 2
	data, err := json.Marshal(m)
	if err != nil {
		panic(err) // descriptors always marshal
	}
	return data
}

func descriptor(data []byte) v1.Descriptor {
	return v1.Descriptor{MediaType: "application/octet-stream", Digest: digest.FromBytes(data), Size: int64(len(data))}
}

func TestManifestLife(t *testing.T) {
	places(t, func(t *testing.T, p place) {
		f, ctx := start(t, registry.Config{}, p), t.Context()
		config, layer := push(t, f.Registry, "a", []byte("{}")), push(t, f.Registry, "a", random(100))
		data := image(config, layer)
		tag := registry.Reference{Tag: "v1"}
		if _, err := f.PutManifest(ctx, "b", tag, v1.MediaTypeImageManifest, data); code(err) != registry.ManifestBlobUnknown {
			t.Errorf("in a repository without the blobs: got %v", err)
		}
		m, err := f.PutManifest(ctx, "a", tag, v1.MediaTypeImageManifest, data)
		if err != nil {
			t.Fatal(err)
		}
		byDigest := registry.Reference{Digest: m.Digest}
		for _, ref := range []registry.Reference{tag, byDigest} {
			if got, err := f.Manifest(ctx, "a", ref); err != nil || !bytes.Equal(got.Payload, data) || got.MediaType != v1.MediaTypeImageManifest {
				t.Errorf("by %s: got %v, %v", ref, got, err)
			}
		}
		if err := f.DeleteBlob(ctx, "a", layer.Digest); code(err) != registry.Unsupported {
			t.Errorf("delete of a layer: got %v", err)
		}
		if err := f.DeleteManifest(ctx, "a", tag); err != nil {
			t.Fatal(err)
		}
		if _, err := f.Manifest(ctx, "a", tag); code(err) != registry.ManifestUnknown {
			t.Errorf("after the delete of the tag: got %v", err)
		}
		if _, err := f.PutManifest(ctx, "a", byDigest, "", data, "v2", "v3"); err != nil {
			t.Fatal(err)
		}
		if tags, err := f.Tags(ctx, "a", "", 10); err != nil || !slices.Equal(tags.Items, []string{"v2", "v3"}) {
			t.Errorf("tags: got %v, %v", tags, err)
		}
		if err := f.DeleteManifest(ctx, "a", byDigest); err != nil {
			t.Fatal(err)
		}
		if n := count(t, p.store, "docker/registry/v2/repositories/a/_manifests/"); n != 0 {
			t.Errorf("%d files of the manifest are left over", n)
		}
		if err := f.DeleteBlob(ctx, "a", layer.Digest); err != nil {
			t.Errorf("delete of what was a layer: %v", err)
		}
	})
}

// Clients that push one tag, and delete it, leave store and index with the same of them.
func TestTagRace(t *testing.T) {
	places(t, func(t *testing.T, p place) {
		f, ctx := start(t, registry.Config{}, p), t.Context()
		tag := registry.Reference{Tag: "latest"}
		config := push(t, f.Registry, "a", []byte("{}"))
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				data := image(slices.Repeat([]v1.Descriptor{config}, i+1)...)
				for range 20 {
					if _, err := f.PutManifest(ctx, "a", tag, "", data); err != nil {
						t.Error(err)
					}
					if err := f.DeleteManifest(ctx, "a", tag); err != nil && code(err) != registry.ManifestUnknown {
						t.Error(err)
					}
				}
				if _, err := f.PutManifest(ctx, "a", tag, "", data); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait() // start compares at the end of the test
	})
}

func TestDeleteDisabled(t *testing.T) {
	databases(t, func(t *testing.T, p place) {
		f, ctx := start(t, registry.Config{DeleteDisabled: true}, p), t.Context()
		d := push(t, f.Registry, "a", []byte("x"))
		for what, err := range map[string]error{
			"blob":     f.DeleteBlob(ctx, "a", d.Digest),
			"tag":      f.DeleteManifest(ctx, "a", registry.Reference{Tag: "v1"}),
			"manifest": f.DeleteManifest(ctx, "a", registry.Reference{Digest: d.Digest}),
		} {
			if code(err) != registry.Unsupported {
				t.Errorf("delete of a %s: got %v", what, err)
			}
		}
	})
}

func TestBadManifests(t *testing.T) {
	databases(t, func(t *testing.T, p place) {
		f, ctx := start(t, registry.Config{}, p), t.Context()
		config := push(t, f.Registry, "a", []byte("{}"))
		good := string(image(config))
		for name, tt := range map[string]struct {
			mediaType, payload string
			want               registry.Code
		}{
			"not JSON":           {"", "{", registry.ManifestInvalid},
			"trailing data":      {"", good + "{}", registry.ManifestInvalid},
			"no object":          {"", "[]", registry.ManifestInvalid},
			"version":            {"", `{"schemaVersion": 1}`, registry.ManifestInvalid},
			"schema 1":           {"application/vnd.docker.distribution.manifest.v1+prettyjws", good, registry.ManifestInvalid},
			"other media type":   {v1.MediaTypeImageIndex, good, registry.ManifestInvalid},
			"unknown media type": {"text/plain", `{"schemaVersion":2,"config":{}}`, registry.ManifestInvalid},
			"no config":          {"", `{"schemaVersion":2,"layers":[]}`, registry.ManifestInvalid},
			"both kinds":         {v1.MediaTypeImageIndex, `{"schemaVersion":2,"manifests":[],"layers":[]}`, registry.ManifestInvalid},
			"digest":             {"", strings.Replace(good, config.Digest.Encoded()[:1], "x", 1), registry.ManifestInvalid},
			"size":               {"", strings.Replace(good, `"size":2`, `"size":-2`, 1), registry.ManifestInvalid},
			"docker without":     {"application/vnd.docker.distribution.manifest.v2+json", fmt.Sprintf(`{"schemaVersion":2,"config":{"digest":%q}}`, config.Digest), registry.ManifestInvalid},
			"missing child":      {"", fmt.Sprintf(`{"schemaVersion":2,"manifests":[{"digest":%q}]}`, digest.FromString("child")), registry.ManifestBlobUnknown},
		} {
			if _, err := f.PutManifest(ctx, "a", registry.Reference{Tag: "v1"}, tt.mediaType, []byte(tt.payload)); code(err) != tt.want {
				t.Errorf("%s: got %v, want %s", name, err, tt.want)
			}
		}
		ref := registry.Reference{Digest: digest.FromString("other")}
		if _, err := f.PutManifest(ctx, "a", ref, "", []byte(good)); code(err) != registry.DigestInvalid {
			t.Errorf("other digest: got %v", err)
		}
		if n := count(t, f.store, "docker/registry/v2/repositories/a/_manifests/"); n != 0 {
			t.Errorf("%d files of refused manifests", n)
		}
	})
}

// The bytes of a manifest that the store has for good are not written again: a copy that is not synced would take the
// place of one that is.
func TestStoredBytesAreLeftAlone(t *testing.T) {
	places(t, func(t *testing.T, p place) {
		var writes atomic.Int64
		store := drivertest.Faulty(p.store, func(op drivertest.Op) error {
			if op.Kind == drivertest.Commit && strings.HasSuffix(op.Key, "/data") {
				writes.Add(1)
			}
			return nil
		})
		f := open(t, registry.Config{}, store, index.Config{Database: p.database})
		config := push(t, f.Registry, "blobs", []byte("{}"))
		put := func(what string, data []byte, want int64) {
			t.Helper()
			repo := registry.Name(fmt.Sprint("r", rand.N(1<<60)))
			if _, err := f.MountBlob(t.Context(), repo, config.Digest, "blobs", nil); err != nil {
				t.Fatal(err)
			}
			before := writes.Load()
			if _, err := f.PutManifest(t.Context(), repo, registry.Reference{Tag: "v1"}, "", data); err != nil {
				t.Fatal(err)
			}
			if got := writes.Load() - before; got != want {
				t.Errorf("%s: the bytes were written %d times, want %d", what, got, want)
			}
		}
		pushed, manifest := image(config), image(config, config)
		push(t, f.Registry, "blobs", pushed)
		put("a manifest that was pushed as a blob", pushed, 0)
		put("a new manifest", manifest, 1)
		put("a manifest that is not synced yet", manifest, 1)
		f.flush(t)
		put("a manifest that is synced", manifest, 0)
		f.close(t)
		f = open(t, registry.Config{}, store, index.Config{Database: p.database})
		put("a manifest of an earlier process", manifest, 0)
		f.flush(t)
		checkAgreement(t, p.store, f.db)
		f.close(t)
	})
}

// Whatever is put as a manifest is refused with a code or comes back as it was.
func FuzzManifest(f *testing.F) {
	config := v1.Descriptor{Digest: digest.FromString("{}"), Size: 2}
	f.Add("", image(config))
	f.Add(v1.MediaTypeImageIndex, []byte(`{"schemaVersion":2,"manifests":[]}`))
	f.Add("", []byte(`{"schemaVersion":2,"config":{"digest":"sha256:x"},"subject":{"digest":"sha256:"}}`))
	reg := open(f, registry.Config{}, mem.New(), index.Config{})
	f.Cleanup(func() { reg.close(f) })
	push(f, reg.Registry, "a", []byte("{}"))
	f.Fuzz(func(t *testing.T, mediaType string, payload []byte) {
		m, err := reg.PutManifest(t.Context(), "a", registry.Reference{Tag: "v1"}, mediaType, payload)
		if err != nil {
			if code(err) == "" {
				t.Errorf("an error without a code: %v", err)
			}
			return
		}
		got, err := reg.Manifest(t.Context(), "a", registry.Reference{Digest: m.Digest})
		if err != nil || !bytes.Equal(got.Payload, payload) {
			t.Errorf("got %q, %v, want %q", got.Payload, err, payload)
		}
	})
}
