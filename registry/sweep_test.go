package registry_test

import (
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/index"
	"github.com/parfait-registry/parfait/logtest"
	"github.com/parfait-registry/parfait/registry"
)

func blobPath(d digest.Digest) string {
	return root + "blobs/" + d.Algorithm().String() + "/" + d.Encoded()[:2] + "/" + d.Encoded() + "/data"
}

func put(t testing.TB, store drivers.Driver, key, data string) {
	t.Helper()
	if err := drivers.Put(t.Context(), store, key, []byte(data)); err != nil {
		t.Fatal(err)
	}
}

func (f *fixture) sweep(t testing.TB) registry.Swept {
	t.Helper()
	found, err := f.Sweep(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestSweep(t *testing.T) {
	databasesInTime(t, func(t *testing.T, p place) {
		f := byHand(t, registry.Config{UploadTTL: brief}, p)
		defer f.close(t)
		pushImage(t, f.Registry, "a", "v1", []byte("layer"))
		live, err := f.StartUpload(t.Context(), "a", digest.SHA256)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteChunk(t.Context(), "a", live.ID, chunk(random(200<<10))); err != nil {
			t.Fatal(err)
		}
		f.flush(t)
		before := slices.DeleteFunc(keys(t, p.store, root, ""), func(key string) bool { return strings.Contains(key, "/_uploads/") })

		old := []byte("left by somebody")
		junk := []string{
			blobPath(digest.SHA256.FromBytes(old)),
			blobPath(digest.SHA512.FromBytes(old)),
		}
		for _, key := range junk {
			put(t, p.store, key, string(old))
		}
		d := digest.FromBytes(old)
		links := []string{
			root + "repositories/a/_layers/sha256/" + d.Encoded() + "/link",
			root + "repositories/nobody/_layers/sha256/" + d.Encoded() + "/link",
			root + "repositories/a/_manifests/revisions/sha256/" + d.Encoded() + "/link",
			root + "repositories/a/_manifests/tags/former/current/link",
			root + "repositories/a/_manifests/tags/former/index/sha256/" + d.Encoded() + "/link",
		}
		for _, key := range links {
			put(t, p.store, key, d.String())
		}
		parts := []string{
			root + "repositories/a/_uploads/6d5f9ff2-8f2b-4a2f-9d7a-0d8f7e5c1b2a.0.ABC",
			root + "repositories/a/_uploads/0aa8dbbd-0d1d-4c53-8dfc-5d5a2ccde92c/data",
			root + "repositories/a/_uploads/0aa8dbbd-0d1d-4c53-8dfc-5d5a2ccde92c/startedat",
		}
		for _, key := range parts {
			put(t, p.store, key, "x")
		}
		if found := f.sweep(t); found != (registry.Swept{}) {
			t.Errorf("what is new may be part of a push: found %+v", found)
		}
		for range 4 { // a session that lives
			time.Sleep(brief / 2)
			if _, err := f.WriteChunk(t.Context(), "a", live.ID, chunk([]byte("more"))); err != nil {
				t.Fatal(err)
			}
		}
		found := f.sweep(t)
		if want := (registry.Swept{Unknown: 2, Bytes: 32, Links: 4, Parts: 3}); found != want {
			t.Errorf("got %+v, want %+v", found, want)
		}
		if done := f.collect(t); done.Blobs != 0 {
			t.Errorf("collected %+v as soon as it was found", done)
		}
		if found := f.sweep(t); found != (registry.Swept{}) {
			t.Errorf("a second time: found %+v", found)
		}
		f.outlive() // in which the session expires
		if done := f.collect(t); done.Blobs != 2 || done.Bytes != 32 {
			t.Errorf("collected %+v, want what was found", done)
		}
		after := keys(t, p.store, root, "")
		if !slices.Equal(after, before) {
			t.Errorf("got\n%s\nwant\n%s", strings.Join(after, "\n"), strings.Join(before, "\n"))
		}
		pull(t, f.Registry, "a", "v1")
	})
}

// What the sweep has found may be pushed before it is collected.
func TestPushOfWhatWasFound(t *testing.T) {
	databasesInTime(t, func(t *testing.T, p place) {
		f := byHand(t, registry.Config{}, p)
		defer f.close(t)
		push(t, f.Registry, "a", []byte("something"))
		data := []byte("left by somebody")
		put(t, p.store, blobPath(digest.FromBytes(data)), string(data))
		f.outlive()
		if found := f.sweep(t); found.Unknown != 1 {
			t.Errorf("found %+v", found)
		}
		pushImage(t, f.Registry, "a", "v1", data)
		f.collectAll(t)
		pull(t, f.Registry, "a", "v1")
	})
}

// The sweep names the blobs of which the bytes are gone.
func TestSweepNamesMissing(t *testing.T) {
	databasesInTime(t, func(t *testing.T, p place) {
		var lines logtest.Buffer
		db, err := index.Open(t.Context(), index.Config{Database: p.database, Grace: brief}, discard)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		r, err := registry.Open(t.Context(), registry.Config{GCDisabled: true}, p.store, db, slog.New(slog.NewTextHandler(&lines, nil)))
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close(t.Context())
		var gone []digest.Digest
		for _, data := range []string{"first", "second", "third"} {
			gone = append(gone, push(t, r, "a", []byte(data)).Digest)
		}
		push(t, r, "a", []byte("there"))
		gone = append(gone, pushImage(t, r, "a", "v1", []byte("layer")))
		if err := r.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, d := range gone {
			if err := p.store.Delete(t.Context(), blobPath(d)); err != nil {
				t.Fatal(err)
			}
		}
		found, err := r.Sweep(t.Context())
		if want := (registry.Swept{Missing: 4}); found != want || err != nil {
			t.Errorf("got %+v, %v, want %+v", found, err, want)
		}
		for _, d := range gone {
			if !strings.Contains(lines.String(), "level=ERROR msg=\"the store lacks the bytes of a blob\" digest="+d.String()) {
				t.Errorf("the log does not name %s:\n%s", d, lines.String())
			}
		}
	})
}

// The background sweeps once in its interval, however many processes there are.
func TestSweepsInBackground(t *testing.T) {
	databasesInTime(t, func(t *testing.T, p place) {
		ic := index.Config{Database: p.database, Grace: brief}
		cfg := registry.Config{GCSweepInterval: time.Hour}
		fs := []*fixture{open(t, cfg, p.store, ic)}
		if p.database != "" {
			fs = append(fs, open(t, cfg, p.store, ic))
		}
		push(t, fs[0].Registry, "a", []byte("something"))
		put(t, p.store, blobPath(digest.FromString("junk")), "junk")
		for limit := time.Now().Add(4 * time.Hour); len(blobs(t, p.store)) > 0; time.Sleep(time.Minute) {
			if time.Now().After(limit) {
				t.Fatalf("left over: %q", blobs(t, p.store))
			}
		}
		for _, f := range fs {
			f.close(t)
		}
	})
}
