package registry_test

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/drivers/mem"
	"github.com/parfait-registry/parfait/index"
	"github.com/parfait-registry/parfait/logtest"
	"github.com/parfait-registry/parfait/registry"
)

// An image of schema 1 in an adopted store is not in the index, nor is what it needs known. So nothing is collected.
func TestCollect_LeftOut(t *testing.T) {
	const grace = 40 * time.Millisecond
	ctx, store := t.Context(), mem.New()
	layer := digest.FromString("layer of an old image")
	old := []byte(`{"schemaVersion": 1, "name": "old", "tag": "v1", "fsLayers": [{"blobSum": "` + layer.String() + `"}]}`)
	d := digest.FromBytes(old)
	for key, data := range map[string][]byte{
		blobPath(layer): []byte("layer of an old image"),
		blobPath(d):     old,
		root + "repositories/old/_layers/sha256/" + layer.Encoded() + "/link":          []byte(layer),
		root + "repositories/old/_manifests/revisions/sha256/" + d.Encoded() + "/link": []byte(d),
	} {
		if err := drivers.Put(ctx, store, key, data); err != nil {
			t.Fatal(err)
		}
	}
	ic := index.Config{Database: sqliteFile(t), Grace: grace}
	serve := func(cfg registry.Config) (*logtest.Buffer, func()) {
		t.Helper()
		log := new(logtest.Buffer)
		db, err := index.Open(ctx, ic, slog.New(slog.NewTextHandler(log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		cfg.GCInterval = grace
		r, err := registry.Open(ctx, cfg, store, db, slog.New(slog.NewTextHandler(log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		return log, func() {
			if err := errors.Join(r.Close(context.Background()), db.Close()); err != nil {
				t.Error(err)
			}
		}
	}

	log, stop := serve(registry.Config{})
	for end := time.Now().Add(10 * time.Second); strings.Count(log.String(), "gc_left_out") == 0 && time.Now().Before(end); {
		time.Sleep(grace)
	}
	time.Sleep(5 * grace)
	stop()
	if n := strings.Count(log.String(), "gc_left_out"); n != 1 {
		t.Errorf("got %d warnings, want 1", n)
	}
	if _, err := store.Stat(ctx, blobPath(layer)); err != nil {
		t.Fatalf("the layer of an image that is left out: %v", err)
	}

	db, err := index.Open(ctx, ic, discard)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := registry.OpenGC(ctx, registry.Config{}, store, db, discard); err == nil || !strings.Contains(err.Error(), "gc_left_out") {
		t.Errorf("by hand: got %v", err)
	}
	if _, err := registry.OpenGC(ctx, registry.Config{GCLeftOut: true}, store, db, discard); err != nil {
		t.Errorf("by hand with gc_left_out: got %v", err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}

	_, stop = serve(registry.Config{GCLeftOut: true})
	defer stop()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(grace) {
		if _, err := store.Stat(ctx, blobPath(layer)); errors.Is(err, fs.ErrNotExist) {
			return
		}
		if time.Now().After(end) {
			t.Fatal("with gc_left_out nothing is collected")
		}
	}
}
