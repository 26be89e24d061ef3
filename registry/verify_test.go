package registry_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/drivers/drivertest"
	"github.com/parfait-registry/parfait/drivers/mem"
	"github.com/parfait-registry/parfait/index"
	"github.com/parfait-registry/parfait/registry"
)

// A patient is an image in a registry that is stopped, to be damaged and looked at.
type patient struct {
	*testing.T
	place
	config, layer  []byte
	manifest       []byte
	layerDigest    digest.Digest
	manifestDigest digest.Digest
}

func blobKey(d digest.Digest) string {
	return root + "blobs/" + string(d.Algorithm()) + "/" + d.Encoded()[:2] + "/" + d.Encoded() + "/data"
}

func layerKey(d digest.Digest) string {
	return root + "repositories/a/_layers/" + strings.Replace(d.String(), ":", "/", 1) + "/link"
}

const tagKey = root + "repositories/a/_manifests/tags/v1/current/link"

func newPatient(t *testing.T, p place) *patient {
	x := &patient{T: t, place: p, config: []byte("{}"), layer: random(300_000)}
	if x.database == "" {
		x.database = sqliteFile(t)
	}
	x.manifest = image(descriptor(x.config), descriptor(x.layer))
	x.layerDigest, x.manifestDigest = digest.FromBytes(x.layer), digest.FromBytes(x.manifest)
	x.serve(x.push)
	return x
}

// serve does something with a registry.
func (x *patient) serve(do func(r *registry.Registry)) {
	x.Helper()
	f := open(x.T, registry.Config{}, x.store, index.Config{Database: x.database})
	do(f.Registry)
	f.close(x.T)
}

// push pushes the image as a client does: what is there is not sent.
func (x *patient) push(r *registry.Registry) {
	x.Helper()
	for _, repo := range []registry.Name{"a", "b"} {
		for _, content := range [][]byte{x.config, x.layer} {
			if _, err := r.Blob(x.Context(), repo, digest.FromBytes(content)); err != nil {
				push(x, r, repo, content)
			}
		}
		if _, err := r.PutManifest(x.Context(), repo, registry.Reference{Tag: "v1"}, "", x.manifest); err != nil {
			x.Error(err)
		}
	}
}

// pull reads all of the image.
func (x *patient) pull(r *registry.Registry) {
	x.Helper()
	for _, repo := range []registry.Name{"a", "b"} {
		m, err := r.Manifest(x.Context(), repo, registry.Reference{Tag: "v1"})
		if err != nil || string(m.Payload) != string(x.manifest) {
			x.Errorf("manifest: got %q, %v", m.Payload, err)
		}
		for _, content := range [][]byte{x.config, x.layer} {
			if got := read(x, r, repo, digest.FromBytes(content)); string(got) != string(content) {
				x.Errorf("got another blob in %s", repo)
			}
		}
	}
}

func (x *patient) put(key string, content []byte) {
	x.Helper()
	if err := drivers.Put(x.Context(), x.store, key, content); err != nil {
		x.Fatal(err)
	}
}

func (x *patient) lose(key string) {
	x.Helper()
	if err := x.store.Delete(x.Context(), key); err != nil {
		x.Fatal(err)
	}
}

// verify returns what is found.
func (x *patient) verify(v registry.Verifier) (findings []registry.Finding, verified registry.Verified) {
	x.Helper()
	db, err := index.Open(x.Context(), index.Config{Database: x.database}, discard)
	if err != nil {
		x.Fatal(err)
	}
	defer db.Close()
	v.Store, v.Index, v.Alone = x.store, db, true
	v.Found = func(f registry.Finding) { findings = append(findings, f) }
	if verified, err = v.Run(x.Context()); err != nil {
		x.Fatal(err)
	}
	return findings, verified
}

// A damage is something that can become wrong with a store, or its index.
type damage struct {
	do      func(x *patient)
	finding func(x *patient) (registry.Defect, string) // with the key
	lost    bool                                       // whether the layer is lost until it is pushed again
	stays   bool                                       // whether it is not mended
}

func damages() map[string]damage {
	ofLayer := func(d registry.Defect) func(*patient) (registry.Defect, string) {
		return func(x *patient) (registry.Defect, string) { return d, blobKey(x.layerDigest) }
	}
	stray := []byte("nobody knows me")
	strayKey, strayLink := blobKey(digest.FromBytes(stray)), layerKey(digest.FromBytes(stray))
	at := func(d registry.Defect, key string) func(*patient) (registry.Defect, string) {
		return func(*patient) (registry.Defect, string) { return d, key }
	}
	return map[string]damage{
		"flipped byte": {func(x *patient) {
			bad := slices.Clone(x.layer)
			bad[150_000] ^= 1
			x.put(blobKey(x.layerDigest), bad)
		}, ofLayer(registry.CorruptBlob), true, false},
		"truncated blob": {func(x *patient) { x.put(blobKey(x.layerDigest), x.layer[:1000]) }, ofLayer(registry.CorruptBlob), true, false},
		"missing blob":   {func(x *patient) { x.lose(blobKey(x.layerDigest)) }, ofLayer(registry.MissingBlob), true, false},
		"wrong size": {func(x *patient) {
			db, err := index.Open(x.Context(), index.Config{Database: x.database}, discard)
			if err != nil {
				x.Fatal(err)
			}
			defer db.Close()
			if err := db.Resize(x.Context(), index.Blob{Digest: x.layerDigest, Size: 5}); err != nil {
				x.Fatal(err)
			}
		}, ofLayer(registry.WrongSize), false, false},
		"extra blob": {func(x *patient) { x.put(strayKey, stray) }, at(registry.ExtraBlob, strayKey), false, true},
		"missing layer link": {func(x *patient) { x.lose(layerKey(x.layerDigest)) }, func(x *patient) (registry.Defect, string) {
			return registry.MissingLink, layerKey(x.layerDigest)
		}, false, false},
		"missing tag link": {func(x *patient) { x.lose(tagKey) }, at(registry.MissingLink, tagKey), false, false},
		"wrong tag link":   {func(x *patient) { x.put(tagKey, []byte(x.layerDigest)) }, at(registry.WrongLink, tagKey), false, false},
		"broken tag link":  {func(x *patient) { x.put(tagKey, []byte("garbage")) }, at(registry.WrongLink, tagKey), false, false},
		"extra link":       {func(x *patient) { x.put(strayLink, []byte(digest.FromBytes(stray))) }, at(registry.ExtraLink, strayLink), false, true},
		"corrupt manifest": {func(x *patient) { x.put(blobKey(x.manifestDigest), []byte("{}")) }, func(x *patient) (registry.Defect, string) {
			return registry.CorruptBlob, blobKey(x.manifestDigest)
		}, false, false},
		"missing manifest": {func(x *patient) { x.lose(blobKey(x.manifestDigest)) }, func(x *patient) (registry.Defect, string) {
			return registry.MissingBlob, blobKey(x.manifestDigest)
		}, false, false},
	}
}

// TestVerify finds whatever is wrong, once, and mends it. A blob that is lost is unknown until it is pushed again.
func TestVerify(t *testing.T) {
	for name, d := range damages() {
		t.Run(name, func(t *testing.T) {
			places(t, func(t *testing.T, p place) { d.test(newPatient(t, p)) })
		})
	}
}

func (d damage) test(x *patient) {
	if findings, v := x.verify(registry.Verifier{}); len(findings) > 0 || v.Blobs != 3 || v.Bytes < 300_000 || v.Links != 8 {
		x.Fatalf("before: got %v, %+v", findings, v)
	}
	d.do(x)
	defect, key := d.finding(x)
	for _, repair := range []bool{false, true} {
		findings, _ := x.verify(registry.Verifier{Repair: repair})
		if len(findings) != 1 || findings[0].Defect != defect || findings[0].Key != key || findings[0].Mended != (repair && !d.stays) {
			x.Errorf("repair %v: got %v, want %s: %s", repair, findings, defect, key)
		}
	}
	x.serve(func(r *registry.Registry) {
		if d.lost {
			x.checkLost(r)
			x.push(r)
		}
		x.pull(r)
	})
	findings, _ := x.verify(registry.Verifier{})
	if d.stays != (len(findings) > 0) {
		x.Errorf("in the end: got %v", findings)
	}
}

// checkLost finds the layer unknown, the manifest that names it still there, and no new one that could name it.
func (x *patient) checkLost(r *registry.Registry) {
	x.Helper()
	if _, err := r.Blob(x.Context(), "b", x.layerDigest); code(err) != registry.BlobUnknown {
		x.Errorf("the layer: got %v", err)
	}
	if _, err := r.Manifest(x.Context(), "b", registry.Reference{Tag: "v1"}); err != nil {
		x.Errorf("the manifest: got %v", err)
	}
	_, err := r.PutManifest(x.Context(), "a", registry.Reference{Tag: "v2"}, "", image(descriptor(x.layer), descriptor(x.layer)))
	if _, ok := errors.AsType[registry.Errors](err); !ok {
		x.Errorf("another manifest: got %v, want MANIFEST_BLOB_UNKNOWN", err)
	}
	if _, err := x.store.Stat(x.Context(), blobKey(x.layerDigest)); err == nil {
		x.Error("the bytes are in their place")
	}
}

// TestVerifyQuarantine keeps what is moved aside.
func TestVerifyQuarantine(t *testing.T) {
	places(t, func(t *testing.T, p place) {
		x := newPatient(t, p)
		x.put(blobKey(x.layerDigest), []byte("something else"))
		x.verify(registry.Verifier{Repair: true})
		key := "parfait/quarantine/sha256/" + x.layerDigest.Encoded()
		if got, err := drivers.ReadAll(t.Context(), x.store, key, 100); err != nil || string(got) != "something else" {
			t.Errorf("%s: got %q, %v", key, got, err)
		}
	})
}

// TestVerifyUnreadable names a blob that the store fails to read, and leaves it: it may be well.
func TestVerifyUnreadable(t *testing.T) {
	x := newPatient(t, place{store: mem.New()})
	well := x.store
	x.store = drivertest.Faulty(well, func(op drivertest.Op) error {
		if op.Kind == drivertest.Read && op.Key == blobKey(x.layerDigest) {
			return drivertest.ErrInjected
		}
		return nil
	})
	findings, _ := x.verify(registry.Verifier{Repair: true})
	if len(findings) != 1 || findings[0].Defect != registry.UnreadableBlob || findings[0].Mended {
		t.Errorf("got %v", findings)
	}
	x.store = well
	x.serve(x.pull)
}

// TestVerifyGoesOn stops a verification at every blob and every link. The next one goes on, and all is looked at once.
func TestVerifyGoesOn(t *testing.T) {
	databases(t, func(t *testing.T, p place) {
		x := newPatient(t, p)
		x.serve(func(r *registry.Registry) {
			for i := range 10 {
				push(t, r, registry.Name(fmt.Sprint("more", i)), fmt.Appendf(nil, "blob %d", i))
			}
		})
		x.put(blobKey(x.layerDigest), []byte("something else"))
		db, err := index.Open(t.Context(), index.Config{Database: x.database}, discard)
		if err != nil {
			t.Fatal(err)
		}
		found, stops := 0, 0
		for {
			ctx, stop := context.WithCancel(t.Context())
			steps := 0
			v, err := registry.Verifier{Store: x.store, Index: db, Alone: true,
				Found: func(registry.Finding) { found++ },
				Progress: func(registry.Verified) {
					if steps++; steps == 3 {
						stop()
					}
				},
			}.Run(ctx)
			stop()
			if err == nil {
				if found != 1 || v.Findings != 1 || v.Blobs != 13 || v.Links != 18 || stops < 5 {
					t.Errorf("got %+v, with %d findings, after %d stops", v, found, stops)
				}
				break
			}
			if stops++; !errors.Is(err, context.Canceled) || stops > 100 {
				t.Fatal(err)
			}
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
		if findings, v := x.verify(registry.Verifier{}); len(findings) != 1 || v.Blobs != 13 {
			t.Errorf("from the beginning: got %v, %+v", findings, v)
		}
	})
}

// TestVerifyRate reads no faster than it may.
func TestVerifyRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := open(t, registry.Config{}, mem.New(), index.Config{})
		const blobs, size = 8, 512 << 10
		for range blobs {
			push(t, f.Registry, "a", random(size))
		}
		f.flush(t)
		start := time.Now()
		_, err := registry.Verifier{Store: f.store, Index: f.db, Rate: 256 << 10, Alone: true}.Run(t.Context())
		if took := time.Since(start); err != nil || took < 15*time.Second || took > 17*time.Second {
			t.Errorf("%d bytes at 256 KiB a second took %v, %v, want 16 seconds", blobs*size, took, err)
		}
		f.close(t)
	})
}

// TestVerifyInBackground has the registry verify itself from time to time.
func TestVerifyInBackground(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := open(t, registry.Config{VerifyInterval: 24 * time.Hour, GCDisabled: true}, mem.New(), index.Config{})
		layer := push(t, f.Registry, "a", random(1000))
		f.flush(t)
		time.Sleep(25 * time.Hour)
		if v := f.Verification(); v.Findings != 0 || v.Blobs != 1 || v.Finished.IsZero() {
			t.Errorf("after a day: got %+v", v)
		}
		if err := drivers.Put(t.Context(), f.store, blobKey(layer.Digest), []byte("bad")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(24 * time.Hour)
		if v := f.Verification(); v.Findings != 1 || v.Mended != 0 {
			t.Errorf("after another day: got %+v", v)
		}
		f.close(t)
	})
}

// TestVerifyBeside verifies a store again and again while clients change it. What is on its way is no finding.
func TestVerifyBeside(t *testing.T) {
	databases(t, func(t *testing.T, p place) {
		f := open(t, registry.Config{}, drivertest.Faulty(p.store, func(drivertest.Op) error {
			time.Sleep(50 * time.Microsecond)
			return nil
		}), index.Config{Database: p.database})
		defer f.close(t)
		var wg sync.WaitGroup
		ctx, stop := context.WithCancel(t.Context())
		for client := range 4 {
			wg.Go(func() {
				for i := 0; ctx.Err() == nil; i++ {
					repo := registry.Name(fmt.Sprint("repo", i%3))
					tag := registry.Reference{Tag: fmt.Sprint("v", client)}
					config := push(t, f.Registry, repo, fmt.Appendf(nil, "%d", i%7))
					layer := push(t, f.Registry, repo, fmt.Appendf(nil, "%d of %d", i, client))
					if _, err := f.PutManifest(t.Context(), repo, tag, "", image(config, layer)); err != nil {
						t.Error(err)
					}
					if i%2 == 0 {
						if err := f.DeleteManifest(t.Context(), repo, tag); err != nil {
							t.Error(err)
						}
					}
				}
			})
		}
		var verified registry.Verified
		for end := time.Now().Add(2 * time.Second); time.Now().Before(end); {
			v, err := registry.Verifier{Store: p.store, Index: f.db,
				Found: func(f registry.Finding) { t.Errorf("found %s", f) }}.Run(t.Context())
			if err != nil {
				t.Error(err)
			}
			verified = v
			f.flush(t)
		}
		stop()
		wg.Wait()
		if verified.Blobs < 10 || verified.Links < 10 {
			t.Errorf("got %+v", verified)
		}
	})
}
