package registry_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/drivers/drivertest"
	"github.com/parfait-registry/parfait/index"
	"github.com/parfait-registry/parfait/registry"
)

// corrupt has the store hold other bytes of a blob.
func (f *fixture) corrupt(t testing.TB, d digest.Digest) (junk []byte) {
	t.Helper()
	junk = []byte("bytes that have gone bad")
	if err := drivers.Put(t.Context(), f.store, blobKey(d), junk); err != nil {
		t.Fatal(err)
	}
	return junk
}

// repair verifies beside the server, and calls inject before each operation on the store.
func (f *fixture) repair(t testing.TB, inject func(drivertest.Op), found func(registry.Finding)) {
	t.Helper()
	store := drivertest.Faulty(f.store, func(op drivertest.Op) error {
		inject(op)
		return nil
	})
	if _, err := (registry.Verifier{Store: store, Index: f.db, Repair: true, Found: found}).Run(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestRepairBesideCollection has others collect, and push a blob again, while its bad bytes are about to be moved. They
// are not to take what is claimed for garbage, or the bytes of the push would be moved in the place of the bad ones.
func TestRepairBesideCollection(t *testing.T) {
	databases(t, func(t *testing.T, p place) {
		f := byHand(t, registry.Config{}, p)
		defer f.close(t)
		layer := random(1000)
		pushImage(t, f.Registry, "a", "v1", layer)
		d := digest.FromBytes(layer)
		f.corrupt(t, d)
		pushed := make(chan error, 1)
		var once sync.Once
		f.repair(t, func(op drivertest.Op) {
			if op.Kind != drivertest.Compose || !strings.HasPrefix(op.Key, "parfait/quarantine/") {
				return
			}
			once.Do(func() {
				go func() {
					_, err := f.PushBlob(t.Context(), "a", d, chunk(layer))
					pushed <- err
				}()
				if _, err := f.Collect(t.Context()); err != index.ErrLeased {
					t.Errorf("collect: got %v, want ErrLeased", err)
				}
				time.Sleep(50 * time.Millisecond) // the push is waiting, or done
			})
		}, func(registry.Finding) {})
		if err := <-pushed; err != nil {
			t.Fatal(err)
		}
		pull(t, f.Registry, "a", "v1")
		if got := keys(t, f.store, "parfait/quarantine/", ""); len(got) != 1 {
			t.Errorf("got %q in quarantine, want the bad bytes", got)
		}
		f.flush(t)
		checkAgreement(t, f.store, f.db)
	})
}

// TestRepairBesideLatePush ends a push, which began before there was the blob, between the look at the bad bytes and the
// repair. Its bytes have taken the place of the bad ones, and nothing is lost.
func TestRepairBesideLatePush(t *testing.T) {
	databases(t, func(t *testing.T, p place) {
		f := start(t, registry.Config{GCDisabled: true}, p)
		layer := random(1000)
		d := digest.FromBytes(layer)
		body, late := io.Pipe()
		pushed := make(chan error, 1)
		go func() {
			_, err := f.PushBlob(t.Context(), "late", d, registry.Chunk{Body: body, Start: -1, Length: -1})
			pushed <- err
		}()
		if _, err := late.Write(layer[:500]); err != nil { // it has begun
			t.Fatal(err)
		}
		pushImage(t, f.Registry, "a", "v1", layer)
		junk := f.corrupt(t, d)
		var once sync.Once
		f.repair(t, func(op drivertest.Op) {
			if op.Kind != drivertest.Read || op.Key != blobKey(d) || op.N < int64(len(junk)) {
				return
			}
			once.Do(func() {
				late.Write(layer[500:])
				late.Close()
				if err := <-pushed; err != nil {
					t.Error(err)
				}
			})
		}, func(registry.Finding) {})
		pull(t, f.Registry, "a", "v1")
		if got := read(t, f.Registry, "late", d); !bytes.Equal(got, layer) {
			t.Error("the late push is lost")
		}
		if got := keys(t, f.store, "parfait/quarantine/", ""); len(got) != 0 {
			t.Errorf("got %q in quarantine", got)
		}
	})
}

// TestRepairRace repairs blobs while others push, mount and collect them. Whatever is there afterwards is right, and who
// pushed after the repair has lost nothing.
func TestRepairRace(t *testing.T) {
	databases(t, func(t *testing.T, p place) {
		f := byHand(t, registry.Config{}, p)
		defer f.close(t)
		for round := range 8 {
			repairRound(t, f, round)
		}
		f.flush(t)
		checkAgreement(t, f.store, f.db)
	})
}

func repairRound(t *testing.T, f *fixture, round int) {
	const blobs, others = 4, 3
	push(t, f.Registry, "origin", []byte("{}"))
	var layers [blobs][]byte
	var mended [blobs]atomic.Bool
	for i := range layers {
		layers[i] = fmt.Appendf(nil, "%d %d", round, i)
		push(t, f.Registry, "origin", layers[i])
		f.corrupt(t, digest.FromBytes(layers[i]))
	}
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for n := range others {
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i = (i + 1) % blobs {
				repo := registry.Name(fmt.Sprintf("r%d/%d/%d", n, round, i))
				sure := mended[i].Load()
				if err := tryImage(t.Context(), f.Registry, repo, layers[i]); err != nil {
					if code(err) != registry.ManifestBlobUnknown && code(err) != registry.Unavailable || sure {
						t.Error(err)
					}
				} else if err := tryPull(t.Context(), f.Registry, repo, registry.Reference{Tag: "v1"}); err != nil && sure {
					t.Errorf("pushed after the repair: %v", err)
				}
				f.MountBlob(t.Context(), registry.Name(fmt.Sprintf("m%d/%d/%d", n, round, i)), digest.FromBytes(layers[i]), "origin", nil)
			}
		})
	}
	wg.Go(func() {
		for ctx.Err() == nil {
			if _, err := f.Collect(t.Context()); err != nil && !errors.Is(err, index.ErrLeased) {
				t.Error(err)
			}
			time.Sleep(5 * time.Millisecond)
		}
	})
	f.repair(t, func(drivertest.Op) {}, func(found registry.Finding) {
		for i := range layers {
			if found.Key == blobKey(digest.FromBytes(layers[i])) {
				mended[i].Store(true)
			}
		}
	})
	time.Sleep(20 * time.Millisecond)
	stop()
	wg.Wait()
	for i := range layers {
		d := digest.FromBytes(layers[i])
		if !mended[i].Load() {
			t.Errorf("%s was not found to be bad", d)
		}
		for _, prefix := range []string{"r", "m"} {
			for n := range others {
				repo := registry.Name(fmt.Sprintf("%s%d/%d/%d", prefix, n, round, i))
				if _, err := f.Blob(t.Context(), repo, d); err != nil && code(err) == registry.BlobUnknown {
					continue
				}
				if got := read(t, f.Registry, repo, d); !bytes.Equal(got, layers[i]) {
					t.Errorf("%s has %q", repo, got)
				}
			}
		}
	}
}

// tryImage pushes an image of one layer.
func tryImage(ctx context.Context, r *registry.Registry, repo registry.Name, layer []byte) error {
	for _, data := range [][]byte{[]byte("{}"), layer} {
		if _, err := r.PushBlob(ctx, repo, digest.FromBytes(data), chunk(data)); err != nil {
			return err
		}
	}
	_, err := r.PutManifest(ctx, repo, registry.Reference{Tag: "v1"}, "", image(descriptor([]byte("{}")), descriptor(layer)))
	return err
}
