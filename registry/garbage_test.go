package registry_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/index"
	"github.com/parfait-registry/parfait/registry"
)

// brief is the grace period of most tests.
const brief = 10 * time.Minute

// placesInTime is places in a time of its own for each, that passes only while the test sleeps.
func placesInTime(t *testing.T, test func(t *testing.T, p place)) {
	kinds(t, func(t *testing.T, empty func() place) {
		synctest.Test(t, func(t *testing.T) { test(t, empty()) })
	})
}

// databasesInTime is databases likewise.
func databasesInTime(t *testing.T, test func(t *testing.T, p place)) {
	databases(t, func(t *testing.T, p place) {
		synctest.Test(t, func(t *testing.T) { test(t, p) })
	})
}

// byHand is a registry that collects only when it is told to; the caller closes it.
func byHand(t testing.TB, cfg registry.Config, p place) *fixture {
	t.Helper()
	cfg.GCDisabled = true
	return open(t, cfg, p.store, index.Config{Database: p.database, Grace: brief})
}

// outlive waits until what was seen last before the call can be collected.
func (f *fixture) outlive() {
	time.Sleep(f.db.Grace() + f.db.Grace()/4 + time.Millisecond)
}

func (f *fixture) collect(t testing.TB) registry.Collected {
	t.Helper()
	done, err := f.Collect(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return done
}

// pushImage pushes an image of one layer and returns its manifest's digest.
func pushImage(t testing.TB, r *registry.Registry, repo registry.Name, tag string, layer []byte) digest.Digest {
	t.Helper()
	return putManifest(t, r, repo, tag, image(push(t, r, repo, []byte("{}")), push(t, r, repo, layer)))
}

// putManifest pushes a manifest, by its digest if tag is "".
func putManifest(t testing.TB, r *registry.Registry, repo registry.Name, tag string, data []byte) digest.Digest {
	t.Helper()
	ref := registry.Reference{Tag: tag}
	if tag == "" {
		ref.Digest = digest.FromBytes(data)
	}
	m, err := r.PutManifest(t.Context(), repo, ref, "", data)
	if err != nil {
		t.Fatal(err)
	}
	return m.Digest
}

// tryPull reads a manifest, and all that it names.
func tryPull(ctx context.Context, r *registry.Registry, repo registry.Name, ref registry.Reference) error {
	m, err := r.Manifest(ctx, repo, ref)
	if err != nil {
		return err
	}
	layers, manifests := named(m.Payload)
	for _, child := range manifests {
		if err := tryPull(ctx, r, repo, registry.Reference{Digest: child.Digest}); err != nil {
			return fmt.Errorf("manifest %s names: %w", ref, err)
		}
	}
	for _, layer := range layers {
		if err := tryRead(ctx, r, repo, layer.Digest); err != nil {
			return fmt.Errorf("manifest %s names: %w", ref, err)
		}
	}
	return nil
}

// named returns what a manifest names: blobs and manifests.
func named(payload []byte) (blobs, manifests []v1.Descriptor) {
	var document struct {
		Config            *v1.Descriptor
		Layers, Manifests []v1.Descriptor
	}
	if err := json.Unmarshal(payload, &document); err != nil {
		panic(err) // was parsed when it was pushed
	}
	if document.Config != nil {
		document.Layers = append(document.Layers, *document.Config)
	}
	return document.Layers, document.Manifests
}

// tryRead reads a blob.
func tryRead(ctx context.Context, r *registry.Registry, repo registry.Name, d digest.Digest) error {
	b, err := r.Blob(ctx, repo, d)
	if err != nil {
		return err
	}
	body := r.OpenBlob(ctx, b)
	defer body.Close()
	data, err := io.ReadAll(body)
	if err == nil && digest.FromBytes(data) != d {
		err = fmt.Errorf("blob %s has other bytes", d)
	}
	return err
}

// pull reads a manifest, and all that it names, by tag or digest.
func pull(t testing.TB, r *registry.Registry, repo registry.Name, ref string) {
	t.Helper()
	reference, err := registry.ParseReference(ref)
	if err != nil {
		t.Fatal(err)
	}
	if err := tryPull(t.Context(), r, repo, reference); err != nil {
		t.Error(err)
	}
}

// blobs returns the keys of all bytes in the store, and layers those of the links to them.
func blobs(t testing.TB, store drivers.Driver) []string {
	return keys(t, store, "docker/registry/v2/blobs/", "/data")
}

func layers(t testing.TB, store drivers.Driver) []string {
	return slices.DeleteFunc(keys(t, store, "docker/registry/v2/repositories/", "/link"), func(key string) bool {
		return !strings.Contains(key, "/_layers/")
	})
}

func keys(t testing.TB, store drivers.Driver, prefix, suffix string) (all []string) {
	t.Helper()
	for o, err := range store.List(context.Background(), prefix, "") {
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(o.Key, suffix) {
			all = append(all, o.Key)
		}
	}
	return all
}

// referrer pushes a manifest of repository a whose subject is d.
func referrer(t testing.TB, r *registry.Registry, d digest.Digest, what string) digest.Digest {
	t.Helper()
	push(t, r, "a", []byte("{}"))
	data := fmt.Sprintf(`{"schemaVersion": 2, "mediaType": %q, "config": {"mediaType": "application/x", "digest": %q, "size": 2},
		"layers": [], "subject": {"mediaType": %q, "digest": %q, "size": 1}, "annotations": {"what": %q}}`,
		v1.MediaTypeImageManifest, digest.FromString("{}"), v1.MediaTypeImageManifest, d, what)
	return putManifest(t, r, "a", "", []byte(data))
}
