package registry_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/parfait-registry/parfait/drivers/drivertest"
	"github.com/parfait-registry/parfait/drivers/mem"
	"github.com/parfait-registry/parfait/index"
	"github.com/parfait-registry/parfait/integration/harness"
	"github.com/parfait-registry/parfait/logtest"
	"github.com/parfait-registry/parfait/registry"
)

func TestCollect(t *testing.T) {
	placesInTime(t, func(t *testing.T, p place) {
		f := byHand(t, registry.Config{}, p)
		defer f.close(t)
		pushImage(t, f.Registry, "a", "v1", []byte("kept layer"))
		gone := pushImage(t, f.Registry, "a", "v2", []byte("a layer that goes"))
		push(t, f.Registry, "b", []byte("a layer that goes"))
		push(t, f.Registry, "b", []byte("a layer that was never part of an image"))
		m, err := f.Manifest(t.Context(), "a", registry.Reference{Digest: gone})
		if err != nil {
			t.Fatal(err)
		}
		if err := f.DeleteManifest(t.Context(), "a", registry.Reference{Digest: gone}); err != nil {
			t.Fatal(err)
		}
		if done := f.collect(t); done != (registry.Collected{}) {
			t.Errorf("in the grace period: collected %+v", done)
		}
		f.outlive()
		done := f.collect(t)
		size := len("a layer that goes") + len("a layer that was never part of an image") + len(m.Payload)
		if want := (registry.Collected{Blobs: 3, Bytes: int64(size)}); done != want {
			t.Errorf("got %+v, want two layers and a manifest: %+v", done, want)
		}
		if got := blobs(t, p.store); len(got) != 3 {
			t.Errorf("got %q, want config, layer and manifest", got)
		}
		if got := layers(t, p.store); len(got) != 2 {
			t.Errorf("got %q, want config and layer", got)
		}
		pull(t, f.Registry, "a", "v1")
		checkAgreement(t, p.store, f.db)
		if c := f.Collection(); c.Collected != done || c.Runs != 1 {
			t.Errorf("got the figures %+v, want one run of %+v", c, done)
		}
		pushImage(t, f.Registry, "a", "v2", []byte("a layer that goes"))
		pull(t, f.Registry, "a", "v2")
		checkAgreement(t, p.store, f.db)
	})
}

// A layer that is to be had elsewhere has no bytes, and the child of an index none of its own.
func TestCollectNothing(t *testing.T) {
	placesInTime(t, func(t *testing.T, p place) {
		f := byHand(t, registry.Config{}, p)
		defer f.close(t)
		config := push(t, f.Registry, "a", []byte("{}"))
		foreign := descriptor([]byte("elsewhere"))
		foreign.MediaType = "application/vnd.oci.image.layer.nondistributable.v1.tar"
		d := putManifest(t, f.Registry, "a", "v1", image(config, config, foreign))
		if err := f.DeleteManifest(t.Context(), "a", registry.Reference{Digest: d}); err != nil {
			t.Fatal(err)
		}
		f.outlive()
		if done := f.collect(t); done.Blobs != 2 {
			t.Errorf("got %+v, want the config and the manifest", done)
		}
		if got := blobs(t, p.store); len(got) != 0 {
			t.Errorf("left over: %q", got)
		}
		if q, err := f.db.Queue(t.Context()); q.Blobs != 0 || err != nil {
			t.Errorf("got the queue %+v, %v", q, err)
		}
	})
}

// The server collects by itself, and says in one line what it did.
func TestCollectsByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lines logtest.Buffer
		db, err := index.Open(t.Context(), index.Config{}, discard)
		if err != nil {
			t.Fatal(err)
		}
		store := mem.New()
		r, err := registry.Open(t.Context(), registry.Config{}, store, db, slog.New(slog.NewTextHandler(&lines, nil)))
		if err != nil {
			t.Fatal(err)
		}
		push(t, r, "a", []byte("12345"))
		time.Sleep(29 * time.Hour)
		c := r.Collection()
		if c.Queue != 1 || c.Oldest < 28*time.Hour || c.Oldest > 30*time.Hour || c.Runs != 0 {
			t.Errorf("while it waits: got %+v", c)
		}
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		if c := r.Collection(); c.Queue != 0 || c.Runs != 1 || c.Blobs != 1 || c.Bytes != 5 {
			t.Errorf("afterwards: got %+v", c)
		}
		if got := blobs(t, store); len(got) > 0 {
			t.Errorf("left over: %q", got)
		}
		if got := lines.String(); strings.Count(got, "msg=collected") != 1 || !strings.Contains(got, "blobs=1 bytes=5") {
			t.Errorf("got the log %q", got)
		}
		if err := errors.Join(r.Close(context.Background()), db.Close()); err != nil {
			t.Error(err)
		}
	})
}

// A push that meets a claim waits until the bytes are gone, and writes them again.
func TestPushWaitsForClaim(t *testing.T) {
	placesInTime(t, func(t *testing.T, p place) {
		data := []byte("pushed, collected and pushed")
		key := "docker/registry/v2/blobs/sha256/" + digest.FromBytes(data).Encoded()[:2]
		var deleting, committed atomic.Bool
		began := make(chan bool)
		slow := drivertest.Faulty(p.store, func(op drivertest.Op) error {
			switch {
			case !strings.HasPrefix(op.Key, key):
			case op.Kind == drivertest.DeleteAll:
				deleting.Store(true)
				close(began)
				time.Sleep(300 * time.Millisecond)
				deleting.Store(false)
			case op.Kind == drivertest.Commit || op.Kind == drivertest.Compose:
				committed.Store(true)
				if deleting.Load() {
					t.Error("bytes are written while the same ones are being deleted")
				}
			}
			return nil
		})
		for _, shape := range []func(r *registry.Registry) error{
			func(r *registry.Registry) error {
				_, err := r.PushBlob(t.Context(), "a", digest.FromBytes(data), chunk(data))
				return err
			},
			func(r *registry.Registry) error { return pushSession(t, r, digest.FromBytes(data), chunk(data)) },
			func(r *registry.Registry) error { return pushSession(t, r, digest.FromBytes(data), empty, data) },
		} {
			f := byHand(t, registry.Config{}, place{slow, p.database})
			push(t, f.Registry, "a", data)
			f.outlive()
			began = make(chan bool)
			committed.Store(false)
			var wg sync.WaitGroup
			wg.Go(func() { f.collect(t) })
			<-began
			if err := shape(f.Registry); err != nil {
				t.Errorf("a push that meets a claim: %v", err)
			}
			if !committed.Load() {
				t.Error("the bytes were not written again")
			}
			wg.Wait()
			if got := read(t, f.Registry, "a", digest.FromBytes(data)); string(got) != string(data) {
				t.Errorf("got %q", got)
			}
			checkAgreement(t, p.store, f.db)
			if err := f.DeleteBlob(t.Context(), "a", digest.FromBytes(data)); err != nil {
				t.Error(err)
			}
			f.close(t)
		}
	})
}

// The same goes for the bytes of a manifest that was deleted and is pushed again.
func TestManifestWaitsForClaim(t *testing.T) {
	placesInTime(t, func(t *testing.T, p place) {
		began := make(chan bool)
		var once sync.Once
		slow := drivertest.Faulty(p.store, func(op drivertest.Op) error {
			if op.Kind == drivertest.DeleteAll {
				once.Do(func() { close(began) })
				time.Sleep(300 * time.Millisecond)
			}
			return nil
		})
		f := byHand(t, registry.Config{}, place{slow, p.database})
		defer f.close(t)
		list := []byte(`{"schemaVersion": 2, "mediaType": "` + v1.MediaTypeImageIndex + `", "manifests": []}`)
		d := putManifest(t, f.Registry, "a", "v1", list)
		if err := f.DeleteManifest(t.Context(), "a", registry.Reference{Digest: d}); err != nil {
			t.Fatal(err)
		}
		f.outlive()
		var wg sync.WaitGroup
		wg.Go(func() { f.collect(t) })
		<-began
		putManifest(t, f.Registry, "a", "v1", list)
		wg.Wait()
		f.flush(t)
		checkAgreement(t, p.store, f.db)
	})
}

// A push may take longer than a grace period. Then it looks whether its bytes are still there, and has the client come
// again if they are not.
func TestPushOutlivesGrace(t *testing.T) {
	placesInTime(t, func(t *testing.T, p place) {
		for name, lose := range map[string]bool{"bytes that stay": false, "bytes that go": true} {
			d := digest.FromString(name)
			var once sync.Once
			ic := index.Config{Database: p.database, Grace: brief, Observe: func(ctx context.Context, call string) (err error) {
				if call == "add-blob" {
					once.Do(func() {
						time.Sleep(brief)
						if lose {
							err = p.store.Delete(ctx, blobs(t, p.store)[0])
						}
					})
				}
				return err
			}}
			f := open(t, registry.Config{GCDisabled: true}, p.store, ic)
			_, err := f.PushBlob(t.Context(), "a", d, chunk([]byte(name)))
			if lose && code(err) != registry.Unavailable || !lose && err != nil {
				t.Errorf("%s: got %v", name, err)
			}
			checkAgreement(t, p.store, f.db)
			if !lose {
				if err := f.DeleteBlob(t.Context(), "a", d); err != nil {
					t.Error(err)
				}
				f.outlive()
				f.collect(t)
			}
			f.close(t)
		}
	})
}

// The bytes of an upload may be collected after they were put together, before the index knows of them. Who tries to end
// the upload again has it, or is told to start anew, and can.
func TestUploadOutlivesGrace(t *testing.T) {
	placesInTime(t, func(t *testing.T, p place) {
		for chunks := range 3 {
			data := bytes.Repeat([]byte{byte(chunks)}, 300_000)
			d, pieces := digest.FromBytes(data), chunks+1
			var once sync.Once
			ic := index.Config{Database: p.database, Grace: brief, Observe: func(ctx context.Context, call string) (err error) {
				if call == "add-blob" {
					once.Do(func() {
						time.Sleep(brief)
						err = p.store.Delete(ctx, blobKey(d))
					})
				}
				return err
			}}
			f := open(t, registry.Config{GCDisabled: true}, p.store, ic)
			s, err := f.StartUpload(t.Context(), "a", digest.SHA256)
			if err != nil {
				t.Fatal(err)
			}
			for piece := range slices.Chunk(data, len(data)/pieces) {
				if _, err := f.WriteChunk(t.Context(), "a", s.ID, chunk(piece)); err != nil {
					t.Fatal(err)
				}
			}
			end := func() error {
				_, err := f.CommitUpload(t.Context(), "a", s.ID, d, registry.Chunk{Start: -1})
				return err
			}
			if err := end(); code(err) != registry.Unavailable {
				t.Errorf("%d pieces: got %v, want UNAVAILABLE", pieces, err)
			}
			if err := end(); err != nil && code(err) != registry.BlobUploadUnknown {
				t.Errorf("%d pieces, tried again: got %v, want BLOB_UPLOAD_UNKNOWN if anything", pieces, err)
			}
			if _, err := f.Upload(t.Context(), "a", s.ID); code(err) != registry.BlobUploadUnknown {
				t.Errorf("%d pieces: the session: got %v, want BLOB_UPLOAD_UNKNOWN", pieces, err)
			}
			push(t, f.Registry, "a", data)
			if got := read(t, f.Registry, "a", d); !bytes.Equal(got, data) {
				t.Errorf("%d pieces: got other bytes", pieces)
			}
			f.close(t)
		}
	})
}

// One process at a time collects.
func TestOneCollects(t *testing.T) {
	database := harness.SharedPostgreSQL(t).NewDatabase(t)
	synctest.Test(t, func(t *testing.T) { testOneCollects(t, place{mem.New(), database}) })
}

func testOneCollects(t *testing.T, p place) {
	began := make(chan bool)
	var once sync.Once
	slow := drivertest.Faulty(p.store, func(op drivertest.Op) error {
		if op.Kind == drivertest.DeleteAll && strings.Contains(op.Key, "/blobs/") {
			once.Do(func() { close(began) })
			time.Sleep(200 * time.Millisecond)
		}
		return nil
	})
	one := byHand(t, registry.Config{}, place{slow, p.database})
	defer one.close(t)
	other := byHand(t, registry.Config{}, p)
	defer other.close(t)
	push(t, one.Registry, "a", []byte("garbage"))
	one.outlive()
	var wg sync.WaitGroup
	wg.Go(func() {
		if done := one.collect(t); done.Blobs != 1 {
			t.Errorf("got %+v, want one blob", done)
		}
	})
	<-began
	if _, err := other.Collect(t.Context()); !errors.Is(err, index.ErrLeased) {
		t.Errorf("got %v, want ErrLeased", err)
	}
	wg.Wait()
	if done := other.collect(t); done.Blobs != 0 {
		t.Errorf("got %+v, want nothing left", done)
	}
}

// The claims of a process that was killed are those of the next collector.
func TestCollectorDies(t *testing.T) {
	places(t, func(t *testing.T, p place) {
		const grace = 300 * time.Millisecond
		f := open(t, registry.Config{GCDisabled: true}, p.store, index.Config{Database: p.database, Grace: grace})
		push(t, f.Registry, "a", []byte("garbage"))
		pushImage(t, f.Registry, "a", "v1", []byte("layer"))
		f.flush(t)
		f.outlive()
		lease, err := f.db.Lease(t.Context(), "collect", 500*time.Millisecond)
		if err != nil {
			t.Fatal(err)
		}
		if n, _, err := f.db.Claim(t.Context(), lease, 10); n != 1 || err != nil {
			t.Fatalf("claimed %d, %v", n, err)
		}
		f.abandon(t)
		other := open(t, registry.Config{GCInterval: 50 * time.Millisecond, TakeOver: 100 * time.Millisecond}, p.store,
			index.Config{Database: p.database, Grace: grace})
		defer other.close(t)
		push(t, other.Registry, "a", []byte("garbage")) // waits for the collector to go on
		for limit := time.Now().Add(10 * time.Second); other.Collection().Blobs == 0; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(limit) {
				t.Fatal("nobody goes on with the claim")
			}
		}
		pull(t, other.Registry, "a", "v1")
		other.flush(t)
		if got := blobs(t, p.store); len(got) < 3 {
			t.Errorf("got %q", got)
		}
	})
}

// With its keys for untagged manifests, a collection takes these away, then what they named.
func TestCollectUntagged(t *testing.T) {
	databasesInTime(t, func(t *testing.T, p place) {
		f := byHand(t, registry.Config{GCUntagged: brief}, p)
		defer f.close(t)
		former := pushImage(t, f.Registry, "a", "latest", []byte("former layer"))
		signature := referrer(t, f.Registry, former, "signature")
		pushImage(t, f.Registry, "a", "latest", []byte("layer"))
		if done := f.collect(t); done.Manifests > 0 {
			t.Errorf("at once: collected %+v", done)
		}
		f.outlive()
		if done := f.collect(t); done.Manifests != 2 {
			t.Errorf("got %+v, want the former image and its signature", done)
		}
		for _, d := range []digest.Digest{former, signature} {
			if _, err := f.Manifest(t.Context(), "a", registry.Reference{Digest: d}); code(err) != registry.ManifestUnknown {
				t.Errorf("%s: got %v, want MANIFEST_UNKNOWN", d, err)
			}
		}
		f.outlive()
		if done := f.collect(t); done.Blobs != 3 {
			t.Errorf("later: got %+v, want a layer and two manifests", done)
		}
		pull(t, f.Registry, "a", "latest")
		checkAgreement(t, p.store, f.db)
	})
}

func TestTimesThatAreNone(t *testing.T) {
	for key, cfg := range map[string]registry.Config{
		"gc_interval":       {GCInterval: -1},
		"gc_untagged":       {GCUntagged: -1},
		"gc_sweep_interval": {GCSweepInterval: -1},
	} {
		err := cfg.Check()
		if err == nil || !strings.HasPrefix(err.Error(), key+": -1ns is less than nothing") {
			t.Errorf("%s: got %v", key, err)
		}
	}
	err := index.Config{Grace: -1}.Check()
	if err == nil || !strings.HasPrefix(err.Error(), "gc_grace: -1ns is less than nothing") {
		t.Errorf("gc_grace: got %v", err)
	}
}
