package registry_test

import (
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/parfait-registry/parfait/drivers/drivertest"
	"github.com/parfait-registry/parfait/drivers/mem"
	"github.com/parfait-registry/parfait/index"
	"github.com/parfait-registry/parfait/integration/harness"
	"github.com/parfait-registry/parfait/registry"
)

// TestReplicasRace has clients push one tag, and delete it, through two processes whose writes to the store take now
// long, now short. Index and store end with the same.
func TestReplicasRace(t *testing.T) {
	p := place{mem.New(), harness.SharedPostgreSQL(t).NewDatabase(t)}
	slow := drivertest.Faulty(p.store, func(op drivertest.Op) error {
		if op.Kind == drivertest.Commit || op.Kind == drivertest.Delete {
			time.Sleep(rand.N(4 * time.Millisecond))
		}
		return nil
	})
	ic, ctx := index.Config{Database: p.database}, t.Context()
	replicas := []*fixture{open(t, registry.Config{}, slow, ic), open(t, registry.Config{}, slow, ic)}
	tag := registry.Reference{Tag: "latest"}
	config := push(t, replicas[0].Registry, "a", []byte("{}"))
	for range 20 {
		var wg sync.WaitGroup
		for client := range 6 {
			r := replicas[client%2]
			data := image(slices.Repeat([]v1.Descriptor{config}, client+1)...)
			wg.Go(func() {
				if _, err := r.PutManifest(ctx, "a", tag, "", data); err != nil {
					t.Error(err)
				}
				if client%3 == 0 {
					if err := r.DeleteManifest(ctx, "a", tag); err != nil && code(err) != registry.ManifestUnknown {
						t.Error(err)
					}
				}
				r.flush(t) // while others go on
			})
		}
		wg.Wait()
		checkAgreement(t, p.store, replicas[0].db)
		if left, err := replicas[0].db.Outbox(ctx, 0, 1); len(left) > 0 || err != nil {
			t.Errorf("not settled: %v, %v", left, err)
		}
	}
	for _, r := range replicas {
		r.close(t)
	}
}

// TestWriterLooksAgain has a process write to the store what the index does not say any more, because another process
// comes in between and is done with it all.
func TestWriterLooksAgain(t *testing.T) {
	p := place{mem.New(), harness.SharedPostgreSQL(t).NewDatabase(t)}
	ic, ctx := index.Config{Database: p.database}, t.Context()
	var between atomic.Pointer[func()]
	one := open(t, registry.Config{}, drivertest.Faulty(p.store, func(op drivertest.Op) error {
		if op.Kind != drivertest.Commit || !strings.HasSuffix(op.Key, "current/link") {
			return nil
		}
		if do := between.Swap(nil); do != nil {
			(*do)()
		}
		return nil
	}), ic)
	other := open(t, registry.Config{}, p.store, ic)
	config := push(t, one.Registry, "a", []byte("{}"))
	tag := func(r *fixture, layers int) {
		t.Helper()
		data := image(slices.Repeat([]v1.Descriptor{config}, layers)...)
		if _, err := r.PutManifest(ctx, "a", registry.Reference{Tag: "v1"}, "", data); err != nil {
			t.Error(err)
		}
	}
	overtake := func() {
		tag(other, 4)
		other.flush(t)
	}
	tag(one, 1)
	between.Store(&overtake)
	tag(one, 2)
	if between.Load() != nil {
		t.Fatal("nobody was overtaken in a push")
	}
	one.flush(t)
	checkAgreement(t, p.store, one.db)

	tag(one, 1)
	tag(other, 3)
	between.Store(&overtake)
	one.flush(t)
	if between.Load() != nil {
		t.Fatal("nobody was overtaken in a flush")
	}
	checkAgreement(t, p.store, one.db)
	one.close(t)
	other.close(t)
}

// TestReplicaDies kills a process after it has changed the index and before it has written to the store. Another one,
// which has been there all the time, does that.
func TestReplicaDies(t *testing.T) {
	p := place{mem.New(), harness.SharedPostgreSQL(t).NewDatabase(t)}
	ic, ctx := index.Config{Database: p.database}, t.Context()
	const takeOver = 500 * time.Millisecond
	other := open(t, registry.Config{TakeOver: takeOver}, p.store, ic)
	var dead atomic.Bool
	dying := open(t, registry.Config{}, drivertest.Faulty(p.store, func(drivertest.Op) error {
		if dead.Load() {
			return drivertest.ErrInjected
		}
		return nil
	}), ic)
	tag := registry.Reference{Tag: "v1"}
	config := push(t, dying.Registry, "a", []byte("{}"))
	alive := time.Now()
	dead.Store(true)
	if _, err := dying.PutManifest(ctx, "a", tag, "", image(config)); !errors.Is(err, drivertest.ErrInjected) {
		t.Fatalf("got %v, want the store to fail", err)
	}
	dying.abandon(t)
	if _, err := other.Manifest(ctx, "a", tag); err != nil {
		t.Errorf("what is in the index: %v", err)
	}
	if n := count(t, p.store, "docker/registry/v2/repositories/a/_manifests/"); n > 0 && time.Since(alive) < takeOver {
		t.Errorf("%d links were written though their owner may still do so", n)
	}
	other.settle(t)
	checkAgreement(t, p.store, other.db)
	other.close(t)
}
