package registry_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/parfait-registry/parfait/drivers/drivertest"
	"github.com/parfait-registry/parfait/index"
	"github.com/parfait-registry/parfait/registry"
)

// A scenario is an operation that is tried with each of its steps failing.
type scenario struct {
	prepare func(t *testing.T, r *registry.Registry)
	run     func(ctx context.Context, r *registry.Registry) error
	done    func(t *testing.T, f *fixture) error // says what is not as it should be after run has succeeded
	grace   time.Duration                        // after prepare; zero for the default
}

var faultData = []byte("some bytes of a layer")

func scenarios() map[string]scenario {
	d := digest.FromBytes(faultData)
	hasBlob := func(t *testing.T, f *fixture) error {
		_, err := f.Blob(t.Context(), "a", d)
		return err
	}
	tag := registry.Reference{Tag: "v1"}
	pushLayer := func(repo registry.Name) func(t *testing.T, r *registry.Registry) {
		return func(t *testing.T, r *registry.Registry) { push(t, r, repo, faultData) }
	}
	manifest := func() []byte {
		config := descriptor(faultData)
		return image(config, config)
	}()
	pushImage := func(t *testing.T, r *registry.Registry) {
		pushLayer("a")(t, r)
		if _, err := r.PutManifest(t.Context(), "a", tag, "", manifest); err != nil {
			t.Fatal(err)
		}
	}
	hasNoTag := func(t *testing.T, f *fixture) error {
		if _, err := f.Manifest(t.Context(), "a", tag); code(err) != registry.ManifestUnknown {
			return fmt.Errorf("the tag is there: %v", err)
		}
		return nil
	}
	nothing := func(*testing.T, *registry.Registry) {}
	return map[string]scenario{
		"push at once": {nothing, func(ctx context.Context, r *registry.Registry) error {
			_, err := r.PushBlob(ctx, "a", d, chunk(faultData))
			return err
		}, hasBlob, 0},
		"push in chunks": {nothing, pushInChunks, hasBlob, 0},
		"mount": {pushLayer("b"), func(ctx context.Context, r *registry.Registry) error {
			_, err := r.MountBlob(ctx, "a", d, "b", nil)
			return err
		}, hasBlob, 0},
		"put manifest": {pushLayer("a"), func(ctx context.Context, r *registry.Registry) error {
			_, err := r.PutManifest(ctx, "a", tag, "", manifest)
			return err
		}, func(t *testing.T, f *fixture) error {
			_, err := f.Manifest(t.Context(), "a", tag)
			return err
		}, 0},
		"delete tag": {pushImage, func(ctx context.Context, r *registry.Registry) error {
			return r.DeleteManifest(ctx, "a", tag)
		}, hasNoTag, 0},
		"delete manifest": {pushImage, func(ctx context.Context, r *registry.Registry) error {
			return r.DeleteManifest(ctx, "a", registry.Reference{Digest: digest.FromBytes(manifest)})
		}, hasNoTag, 0},
		"delete blob": {pushLayer("a"), func(ctx context.Context, r *registry.Registry) error {
			return r.DeleteBlob(ctx, "a", d)
		}, func(t *testing.T, f *fixture) error {
			if err := hasBlob(t, f); code(err) != registry.BlobUnknown {
				return fmt.Errorf("the blob is there: %v", err)
			}
			return nil
		}, 0},
		"collect": {pushGarbage, collectNow, hasOneImage, time.Millisecond},
	}
}

// pushGarbage pushes an image, and what goes in a collection: a former image and its referrer, an image that was deleted,
// and a layer of nothing.
func pushGarbage(t *testing.T, r *registry.Registry) {
	former := pushImage(t, r, "a", "v1", []byte("former layer"))
	referrer(t, r, former, "signature")
	deleted := pushImage(t, r, "b", "v1", []byte("deleted layer"))
	if err := r.DeleteManifest(t.Context(), "b", registry.Reference{Digest: deleted}); err != nil {
		t.Fatal(err)
	}
	push(t, r, "b", []byte("layer of nothing"))
	pushImage(t, r, "a", "v1", []byte("layer"))
}

// collectNow collects all that there is, in the place of a collector that has died if need be.
func collectNow(ctx context.Context, r *registry.Registry) error {
	for limit := time.Now().Add(10 * time.Second); ; {
		time.Sleep(5 * time.Millisecond)
		done, err := r.Collect(ctx)
		if errors.Is(err, index.ErrLeased) && time.Now().Before(limit) {
			continue
		}
		if err != nil || done == (registry.Collected{}) {
			return err
		}
	}
}

// hasOneImage finds the image v1 of a, and nothing else.
func hasOneImage(t *testing.T, f *fixture) error {
	if q, err := f.db.Queue(t.Context()); q.Blobs > 0 || err != nil {
		return fmt.Errorf("what waits to be collected: %+v, %v", q, err)
	}
	if got := blobs(t, f.store); len(got) != 3 {
		return fmt.Errorf("the store has %q, want config, layer and manifest", got)
	}
	return tryPull(t.Context(), f.Registry, "a", registry.Reference{Tag: "v1"})
}

func pushInChunks(ctx context.Context, r *registry.Registry) error {
	s, err := r.StartUpload(ctx, "a", digest.SHA256)
	if err != nil {
		return err
	}
	for _, part := range [][]byte{faultData[:5], faultData[5:]} {
		if _, err := r.WriteChunk(ctx, "a", s.ID, chunk(part)); err != nil {
			return err
		}
	}
	_, err = r.CommitUpload(ctx, "a", s.ID, digest.FromBytes(faultData), empty)
	return err
}

// Each step of each operation fails: a call of the store before it is done, and after; a statement of the index.
// Whatever is said to the client, nothing is half done once the registry has been opened again, and what was said to
// be done is. Time passes only while all wait, so that no collector loses its lease because the machine is slow.
func TestFaults(t *testing.T) {
	for name, s := range scenarios() {
		for _, kind := range []string{"store call fails", "store call fails after it took effect", "index fails"} {
			t.Run(name+", "+kind, func(t *testing.T) {
				kinds(t, func(t *testing.T, empty func() place) {
					for n, fired := int64(0), true; fired; n++ {
						synctest.Test(t, func(t *testing.T) { fired = tryFault(t, empty(), s, kind, n) })
						if n == 0 && !fired {
							t.Fatal("there was no step to fail")
						}
					}
				})
			})
		}
	}
}

// tryFault runs s with its n-th step failing and reports whether there was one.
func tryFault(t *testing.T, p place, s scenario, kind string, n int64) (fired bool) {
	store := p.store
	f := open(t, registry.Config{}, store, index.Config{Database: p.database})
	s.prepare(t, f.Registry)
	f.close(t)

	fault := drivertest.FailNth(n)
	var armed atomic.Bool
	inject := func(op drivertest.Op) error {
		if !armed.Load() {
			return nil
		}
		if kind == "store call fails after it took effect" {
			return drivertest.After(fault.Inject(op))
		}
		return fault.Inject(op)
	}
	cfg, faulty := index.Config{Database: p.database, Grace: s.grace}, drivertest.Faulty(store, inject)
	if kind == "index fails" {
		faulty = store
		cfg.Observe = func(_ context.Context, call string) error { return inject(drivertest.Op{Key: call}) }
	}
	rc := registry.Config{GCUntagged: 1, GCDisabled: true, TakeOver: 20 * time.Millisecond}
	f = open(t, rc, faulty, cfg)
	armed.Store(true)
	err := s.run(t.Context(), f.Registry)
	armed.Store(false)
	if err == nil && fault.Fired() {
		t.Logf("%v was no harm", fault)
	}
	if err != nil && !fault.Fired() {
		t.Fatalf("failed without a fault: %v", err)
	}
	succeeded := err == nil
	f.abandon(t)

	f = open(t, rc, store, index.Config{Database: p.database, Grace: s.grace})
	defer f.close(t)
	f.settle(t)
	checkAgreement(t, store, f.db)
	if succeeded {
		if err := s.done(t, f); err != nil {
			t.Errorf("%v: after success: %v", fault, err)
		}
	}
	if err := s.run(t.Context(), f.Registry); err != nil && code(err) == "" {
		t.Errorf("%v: a second try: %v", fault, err)
	}
	if err := s.done(t, f); err != nil {
		t.Errorf("%v: after a second try: %v", fault, err)
	}
	return fault.Fired()
}
