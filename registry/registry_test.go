package registry_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/drivers/local"
	"github.com/parfait-registry/parfait/drivers/mem"
	"github.com/parfait-registry/parfait/index"
	"github.com/parfait-registry/parfait/registry"
)

var discard = slog.New(slog.DiscardHandler)

// A fixture is a registry on a store and an index that outlive it.
type fixture struct {
	*registry.Registry
	store drivers.Driver
	db    *index.DB
}

// open starts a registry; the caller closes it.
func open(t testing.TB, cfg registry.Config, store drivers.Driver, ic index.Config) *fixture {
	t.Helper()
	db, err := index.Open(t.Context(), ic, discard)
	if err != nil {
		t.Fatal(err)
	}
	r, err := registry.Open(t.Context(), cfg, store, db, discard)
	if err != nil {
		t.Fatal(err)
	}
	return &fixture{r, store, db}
}

func (f *fixture) close(t testing.TB) {
	t.Helper()
	if err := errors.Join(f.Close(context.Background()), f.db.Close()); err != nil {
		t.Error(err)
	}
}

// abandon ends the registry without bringing the store up to date, as a crash would.
func (f *fixture) abandon(t testing.TB) {
	t.Helper()
	if err := f.db.Close(); err != nil {
		t.Error(err)
	}
}

// start is open until the end of the test, which finds index and store in agreement.
func start(t testing.TB, cfg registry.Config, store drivers.Driver) *fixture {
	t.Helper()
	f := open(t, cfg, store, index.Config{})
	t.Cleanup(func() {
		if err := f.Close(context.Background()); err != nil {
			t.Error(err)
		}
		checkAgreement(t, f.store, f.db)
		if err := f.db.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

// checkAgreement finds the facts of db in the store, no others there, and each object under its own digest.
func checkAgreement(t testing.TB, store drivers.Driver, db *index.DB) {
	t.Helper()
	ctx := context.Background()
	rebuilt, err := index.Open(ctx, index.Config{}, discard)
	if err != nil {
		t.Fatal(err)
	}
	defer rebuilt.Close()
	report, err := registry.Reindex(ctx, store, rebuilt, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(report.Problems) > 0 {
		t.Errorf("broken things in the store: %q", report.Problems)
	}
	if got, want := facts(t, rebuilt), facts(t, db); !slices.Equal(got, want) {
		t.Errorf("the store shows\n%s\nthe index has\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for object, err := range store.List(ctx, "docker/registry/v2/blobs/", "") {
		if err != nil {
			t.Fatal(err)
		}
		parts := strings.Split(object.Key, "/")
		data, err := drivers.ReadAll(ctx, store, object.Key, object.Size)
		if err != nil {
			t.Fatal(err)
		}
		if got := digest.Algorithm(parts[4]).FromBytes(data).Encoded(); got != parts[6] {
			t.Errorf("%s holds what has the digest %s", object.Key, got)
		}
	}
}

func facts(t testing.TB, db *index.DB) (all []string) {
	t.Helper()
	for fact, err := range db.Facts(context.Background()) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, fact)
	}
	return all
}

// stores are the kinds of stores that behaviour is tested on.
func stores(t *testing.T, test func(t *testing.T, store drivers.Driver)) {
	t.Run("mem", func(t *testing.T) { test(t, mem.New()) })
	t.Run("local", func(t *testing.T) { test(t, openLocal(t)) })
}

func openLocal(t testing.TB) drivers.Driver {
	t.Helper()
	d, err := local.Open(local.Config{Path: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func chunk(data []byte) registry.Chunk {
	return registry.Chunk{Body: bytes.NewReader(data), Start: -1, Length: int64(len(data))}
}

var empty = registry.Chunk{Body: bytes.NewReader(nil), Start: -1}

// push is the shortest push of a blob.
func push(t testing.TB, r *registry.Registry, repo registry.Name, data []byte) v1.Descriptor {
	t.Helper()
	d := descriptor(data)
	if _, err := r.PushBlob(t.Context(), repo, d.Digest, chunk(data)); err != nil {
		t.Fatal(err)
	}
	return d
}

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

func random(n int) []byte {
	data := make([]byte, n)
	rand.Read(data)
	return data
}

// code is the distribution-spec's code of err.
func code(err error) registry.Code {
	if e, ok := errors.AsType[*registry.Error](err); ok {
		return e.Code
	}
	return ""
}

func read(t testing.TB, r *registry.Registry, repo registry.Name, d digest.Digest) []byte {
	t.Helper()
	b, err := r.Blob(t.Context(), repo, d)
	if err != nil {
		t.Fatal(err)
	}
	body := r.OpenBlob(t.Context(), b)
	defer body.Close()
	data, err := io.ReadAll(body)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestPushShapes(t *testing.T) {
	sizes := []int{0, 1, 1000, 128 << 10, 128<<10 + 1, 700_001}
	algorithms := []digest.Algorithm{digest.SHA256, digest.SHA512}
	shapes := map[string]func(r *registry.Registry, d digest.Digest, data []byte) error{
		"at once": func(r *registry.Registry, d digest.Digest, data []byte) error {
			_, err := r.PushBlob(t.Context(), "a", d, chunk(data))
			return err
		},
		"with the commit": func(r *registry.Registry, d digest.Digest, data []byte) error {
			return pushSession(t, r, d, chunk(data))
		},
		"in one chunk": func(r *registry.Registry, d digest.Digest, data []byte) error {
			return pushSession(t, r, d, empty, data)
		},
		"in three chunks": func(r *registry.Registry, d digest.Digest, data []byte) error {
			return pushSession(t, r, d, empty, data[:len(data)/3], data[len(data)/3:len(data)/2], data[len(data)/2:])
		},
		"the last chunk with the commit": func(r *registry.Registry, d digest.Digest, data []byte) error {
			return pushSession(t, r, d, chunk(data[len(data)/2:]), data[:len(data)/2])
		},
	}
	stores(t, func(t *testing.T, store drivers.Driver) {
		f := start(t, registry.Config{}, store)
		for name, shape := range shapes {
			for _, size := range sizes {
				for _, alg := range algorithms {
					data := random(size)
					d := alg.FromBytes(data)
					for _, again := range []bool{false, true} {
						if err := shape(f.Registry, d, data); err != nil {
							t.Fatalf("%s, %d bytes, %s, again %v: %v", name, size, alg, again, err)
						}
						if got := read(t, f.Registry, "a", d); !bytes.Equal(got, data) {
							t.Errorf("%s, %d bytes, %s: got other bytes back", name, size, alg)
						}
					}
				}
			}
		}
		for object, err := range store.List(t.Context(), "docker/registry/v2/repositories/a/_uploads/", "") {
			t.Errorf("left over: %s, %v", object.Key, err)
		}
	})
}

// pushSession uploads chunks, and last with the commit.
func pushSession(t *testing.T, r *registry.Registry, d digest.Digest, last registry.Chunk, chunks ...[]byte) error {
	s, err := r.StartUpload(t.Context(), "a", digest.SHA256)
	if err != nil {
		return err
	}
	for _, data := range chunks {
		c := chunk(data)
		c.Start = s.Size
		if s, err = r.WriteChunk(t.Context(), "a", s.ID, c); err != nil {
			return err
		}
	}
	_, err = r.CommitUpload(t.Context(), "a", s.ID, d, last)
	return err
}

func TestBadPushes(t *testing.T) {
	stores(t, func(t *testing.T, store drivers.Driver) {
		f, ctx := start(t, registry.Config{}, store), t.Context()
		data, other := []byte("content"), digest.FromString("other")
		if _, err := f.PushBlob(ctx, "a", other, chunk(data)); code(err) != registry.DigestInvalid {
			t.Errorf("other digest: got %v", err)
		}
		short := chunk(data)
		short.Length++
		if _, err := f.PushBlob(ctx, "a", digest.FromBytes(data), short); code(err) != registry.SizeInvalid {
			t.Errorf("other length: got %v", err)
		}
		cut := registry.Chunk{Body: io.MultiReader(bytes.NewReader(data), failingReader{}), Start: -1, Length: -1}
		if _, err := f.PushBlob(ctx, "a", digest.FromBytes(data), cut); code(err) != registry.BlobUploadInvalid {
			t.Errorf("cut short: got %v", err)
		}
		for object, err := range store.List(ctx, "", "") {
			t.Errorf("stored nonetheless: %s, %v", object.Key, err)
		}

		s, err := f.StartUpload(ctx, "a", digest.SHA256)
		if err != nil {
			t.Fatal(err)
		}
		ahead := chunk(data)
		ahead.Start = 3
		if got, err := f.WriteChunk(ctx, "a", s.ID, ahead); code(err) != registry.RangeInvalid || got.Size != 0 {
			t.Errorf("chunk out of order: got %v, %v", got, err)
		}
		if _, err := f.WriteChunk(ctx, "a", s.ID, chunk(data)); err != nil {
			t.Errorf("the session did not survive: %v", err)
		}
		if _, err := f.CommitUpload(ctx, "a", s.ID, digest.FromBytes(data), ahead); code(err) != registry.RangeInvalid {
			t.Errorf("last chunk out of order: got %v", err)
		}
		if _, err := f.Upload(ctx, "b", s.ID); code(err) != registry.BlobUploadUnknown {
			t.Errorf("session of another repository: got %v", err)
		}
		if _, err := f.CommitUpload(ctx, "a", s.ID, other, empty); code(err) != registry.DigestInvalid {
			t.Errorf("other digest: got %v", err)
		}
		if _, err := f.Upload(ctx, "a", s.ID); code(err) != registry.BlobUploadUnknown {
			t.Errorf("a session of bytes with the wrong digest lives on: %v", err)
		}
		for object, err := range store.List(ctx, "", "") {
			t.Errorf("left over: %s, %v", object.Key, err)
		}
	})
}

type failingReader struct{}

func (failingReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// Of many requests that write the same chunk with other bytes, one wins, with its own bytes.
func TestConcurrentChunks(t *testing.T) {
	stores(t, func(t *testing.T, store drivers.Driver) {
		f, ctx := start(t, registry.Config{}, store), t.Context()
		s, err := f.StartUpload(ctx, "a", digest.SHA256)
		if err != nil {
			t.Fatal(err)
		}
		var won []byte
		var mu sync.Mutex
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				data := random(200_000)
				c := chunk(data)
				c.Start = 0
				_, err := f.WriteChunk(ctx, "a", s.ID, c)
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil && won == nil:
					won = data
				case err == nil:
					t.Error("two chunks have won")
				case code(err) != registry.RangeInvalid:
					t.Errorf("got %v", err)
				}
			})
		}
		wg.Wait()
		d := digest.FromBytes(won)
		if _, err := f.CommitUpload(ctx, "a", s.ID, d, empty); err != nil {
			t.Fatal(err)
		}
		if got := read(t, f.Registry, "a", d); !bytes.Equal(got, won) {
			t.Error("the blob has another request's bytes")
		}
	})
}

func TestCancelAndExpire(t *testing.T) {
	store := openLocal(t)
	f, ctx := start(t, registry.Config{UploadTTL: 50 * time.Millisecond}, store), t.Context()
	for _, cancel := range []bool{true, false} {
		s, err := f.StartUpload(ctx, "a", digest.SHA256)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteChunk(ctx, "a", s.ID, chunk([]byte("some bytes"))); err != nil {
			t.Fatal(err)
		}
		if cancel {
			if err := f.CancelUpload(ctx, "a", s.ID); err != nil {
				t.Fatal(err)
			}
		}
		for try := 0; ; try++ {
			if _, err := f.Upload(ctx, "a", s.ID); code(err) == registry.BlobUploadUnknown {
				break
			}
			if cancel || try == 100 {
				t.Fatalf("the session lives on; cancelled: %v", cancel)
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	for try := 0; count(t, store, "") > 0; try++ {
		if try == 100 {
			t.Fatal("bytes are left over")
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func count(t testing.TB, store drivers.Driver, prefix string) (n int) {
	t.Helper()
	for _, err := range store.List(t.Context(), prefix, "") {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	return n
}

// A sweeping driver counts how often it was asked to sweep.
type sweeping struct {
	drivers.Driver
	sweeps atomic.Int64
}

func (s *sweeping) Sweep(_ context.Context, age time.Duration) (int, error) {
	if age < 24*time.Hour {
		return 0, errors.New("an upload may pause for so long")
	}
	s.sweeps.Add(1)
	return 1, nil
}

func TestSweeps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &sweeping{Driver: mem.New()}
		f := open(t, registry.Config{}, store, index.Config{})
		time.Sleep(49 * time.Hour)
		synctest.Wait()
		if n := store.sweeps.Load(); n != 2 {
			t.Errorf("swept %d times in two days", n)
		}
		f.close(t)
	})
}

func TestManifestLife(t *testing.T) {
	stores(t, func(t *testing.T, store drivers.Driver) {
		f, ctx := start(t, registry.Config{}, store), t.Context()
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
		if n := count(t, store, "docker/registry/v2/repositories/a/_manifests/"); n != 0 {
			t.Errorf("%d files of the manifest are left over", n)
		}
		if err := f.DeleteBlob(ctx, "a", layer.Digest); err != nil {
			t.Errorf("delete of what was a layer: %v", err)
		}
	})
}

// Clients that push one tag, and delete it, leave store and index with the same of them.
func TestTagRace(t *testing.T) {
	stores(t, func(t *testing.T, store drivers.Driver) {
		f, ctx := start(t, registry.Config{}, store), t.Context()
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
	f, ctx := start(t, registry.Config{DeleteDisabled: true}, mem.New()), t.Context()
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
}

// An index that is lost is filled from the store, at the next start.
func TestLostIndex(t *testing.T) {
	store, dir := openLocal(t), t.TempDir()
	f := open(t, registry.Config{}, store, index.Config{Database: filepath.Join(dir, "first.db")})
	config := push(t, f.Registry, "a/b", []byte("{}"))
	if _, err := f.PutManifest(t.Context(), "a/b", registry.Reference{Tag: "v1"}, "", image(config, config)); err != nil {
		t.Fatal(err)
	}
	want := facts(t, f.db)
	f.close(t)

	g := open(t, registry.Config{}, store, index.Config{Database: filepath.Join(dir, "second.db")})
	defer g.close(t)
	if got := facts(t, g.db); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Broken things in a store are left out and named.
func TestReindexBrokenStore(t *testing.T) {
	store, ctx := mem.New(), t.Context()
	const root = "docker/registry/v2/"
	layer, manifest := digest.FromString("layer"), digest.FromString("no manifest")
	hex := func(d digest.Digest) string { return "sha256/" + d.Encoded() }
	for key, data := range map[string]string{
		root + "blobs/sha256/" + manifest.Encoded()[:2] + "/" + manifest.Encoded() + "/data": "no manifest",
		root + "blobs/sha256/zz/data":                                           "stray",
		root + "repositories/a/_layers/" + hex(layer) + "/link":                 layer.String(),
		root + "repositories/a/_manifests/revisions/" + hex(layer) + "/link":    layer.String(),
		root + "repositories/a/_manifests/revisions/" + hex(manifest) + "/link": manifest.String(),
		root + "repositories/a/_manifests/tags/v1/current/link":                 manifest.String(),
		root + "repositories/a/_manifests/tags/v2/current/link":                 "garbage",
		root + "repositories/UPPER/_layers/" + hex(manifest) + "/link":          manifest.String(),
		root + "repositories/a/_uploads/5/startedat":                            "2020-01-01T00:00:00Z",
	} {
		if err := drivers.Put(ctx, store, key, []byte(data)); err != nil {
			t.Fatal(err)
		}
	}
	db, err := index.Open(ctx, index.Config{}, discard)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	report, err := registry.Reindex(ctx, store, db, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"zz/data", "_layers/" + hex(layer), "revisions/" + hex(layer), "revisions/" + hex(manifest), "tag v1", "tags/v2", "UPPER"} {
		if !slices.ContainsFunc(report.Problems, func(p string) bool { return strings.Contains(p, want) }) {
			t.Errorf("no problem names %s: %q", want, report.Problems)
		}
	}
	if got := facts(t, db); len(got) != 0 {
		t.Errorf("got the facts %q, want none", got)
	}
}

func TestParse(t *testing.T) {
	long := strings.Repeat("a", 256)
	for _, tt := range []struct {
		parse func(string) error
		good  []string
		bad   []string
	}{
		{func(s string) error { _, err := registry.ParseName(s); return err },
			[]string{"a", "a/b", "a.b", "a__b", "a---b", "library/a_b", "tags/list", long[:255]},
			[]string{"", "A", "a//b", "/a", "a/", "..", "a/../b", "a..b", "a___b", "-a", "a-", "_layers", "a/_b", "a b", "a\x00", "a%2fb", "ä", "a\n", long}},
		{func(s string) error { _, err := registry.ParseReference(s); return err },
			[]string{"latest", "V1.0", "_x", "a-b", long[:128], digest.FromString("").String(), digest.SHA512.FromString("").String()},
			[]string{"", ".a", "-a", "a/b", "a b", "a\n", "..", long[:129], "sha256:", "sha256:" + long[:64] + "a", "sha256:" + strings.Repeat("A", 64),
				"sha1:" + long[:40], "md5:x", ":", "sha384:" + long[:96]}},
	} {
		for _, s := range tt.good {
			if err := tt.parse(s); err != nil {
				t.Errorf("%.80q: got %v", s, err)
			}
		}
		for _, s := range tt.bad {
			if err := tt.parse(s); code(err) == "" {
				t.Errorf("%.80q: got %v, want an error with a code", s, err)
			}
		}
	}
}

func TestBadManifests(t *testing.T) {
	f, ctx := start(t, registry.Config{}, mem.New()), t.Context()
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
}

func FuzzParseReference(f *testing.F) {
	for _, s := range []string{"latest", "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "..", "a/b", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ref, err := registry.ParseReference(s)
		if err == nil && (ref.String() != s || strings.ContainsAny(s, "/\x00%") || strings.HasPrefix(s, ".")) {
			t.Errorf("%q became %v", s, ref)
		}
		if name, err := registry.ParseName(s); err == nil && (string(name) != s || strings.Contains(s, "..") || strings.ContainsAny(s, "\x00%_") && strings.HasPrefix(s, "_")) {
			t.Errorf("%q became the name %v", s, name)
		}
	})
}

func FuzzParseDigest(f *testing.F) {
	f.Add("sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
	f.Add("sha512:00")
	f.Fuzz(func(t *testing.T, s string) {
		d, err := registry.ParseDigest(s)
		if err == nil && (d.String() != s || len(d.Encoded()) != 2*d.Algorithm().Size()) {
			t.Errorf("%q became %v", s, d)
		}
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
