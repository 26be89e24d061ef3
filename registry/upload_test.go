package registry_test

import (
	"bytes"
	"errors"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/drivers/metered"
	"github.com/parfait-registry/parfait/index"
	"github.com/parfait-registry/parfait/registry"
)

func chunk(data []byte) registry.Chunk {
	return registry.Chunk{Body: bytes.NewReader(data), Start: -1, Length: int64(len(data))}
}

var empty = registry.Chunk{Body: bytes.NewReader(nil), Start: -1}

func TestPushShapes(t *testing.T) {
	sizes := []int{0, 1, 1000, 96 << 10, 96<<10 + 1, 128 << 10, 128<<10 + 1, 700_001}
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
	places(t, func(t *testing.T, p place) {
		f := start(t, registry.Config{}, p)
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
		for object, err := range p.store.List(t.Context(), "docker/registry/v2/repositories/a/_uploads/", "") {
			t.Errorf("left over: %s, %v", object.Key, err)
		}
	})
}

// Bytes that are few are in no object before the commit, and outlive a process that ends well.
func TestSmallUpload(t *testing.T) {
	kinds(t, func(t *testing.T, empty func() place) {
		p, ctx := empty(), t.Context()
		f := open(t, registry.Config{}, p.store, index.Config{Database: p.database})
		s, err := f.StartUpload(ctx, "a", digest.SHA256)
		if err != nil {
			t.Fatal(err)
		}
		if s, err = f.WriteChunk(ctx, "a", s.ID, chunk([]byte("hel"))); err != nil || s.Size != 3 {
			t.Fatalf("first chunk: got %v, %v", s, err)
		}
		for object, err := range p.store.List(ctx, "docker/", "") {
			t.Errorf("stored before the commit: %s, %v", object.Key, err)
		}
		if err := errors.Join(f.Close(ctx), f.db.Close()); err != nil {
			t.Fatal(err)
		}

		f = start(t, registry.Config{}, p)
		again := chunk([]byte("hel"))
		again.Start = 0
		if got, err := f.WriteChunk(ctx, "a", s.ID, again); code(err) != registry.RangeInvalid || got.Size != 3 {
			t.Errorf("the first chunk again: got %v, %v", got, err)
		}
		if s, err = f.WriteChunk(ctx, "a", s.ID, chunk([]byte("lo"))); err != nil || s.Size != 5 {
			t.Errorf("second chunk: got %v, %v", s, err)
		}
		large := random(200_000)
		if s, err = f.WriteChunk(ctx, "a", s.ID, chunk(large)); err != nil || s.Size != 200_005 {
			t.Errorf("third chunk: got %v, %v", s, err)
		}
		want := append([]byte("hello"), append(large, '!')...)
		if _, err := f.CommitUpload(ctx, "a", s.ID, digest.FromBytes(want), chunk([]byte("!"))); err != nil {
			t.Fatal(err)
		}
		if got := read(t, f.Registry, "a", digest.FromBytes(want)); !bytes.Equal(got, want) {
			t.Error("got other bytes back")
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
	places(t, func(t *testing.T, p place) {
		f, ctx := start(t, registry.Config{}, p), t.Context()
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
		for object, err := range p.store.List(ctx, "docker/", "") {
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
		for object, err := range p.store.List(ctx, "docker/", "") {
			t.Errorf("left over: %s, %v", object.Key, err)
		}
	})
}

type failingReader struct{}

func (failingReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// The bytes of a manifest are in the store without a sync. Pushed as a blob, they are written as such.
func TestBlobThatIsAManifest(t *testing.T) {
	store := metered.New(openLocal(t))
	f, ctx := start(t, registry.Config{}, place{store: store}), t.Context()
	data := image(push(t, f.Registry, "a", []byte("{}")))
	m, err := f.PutManifest(ctx, "a", registry.Reference{Tag: "v1"}, "", data)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.DeleteManifest(ctx, "a", registry.Reference{Digest: m.Digest}); err != nil {
		t.Fatal(err)
	}
	for name, again := range map[string]func(){
		"at once":   func() { push(t, f.Registry, "b", data) },
		"in chunks": func() { pushSession(t, f.Registry, m.Digest, empty, data) },
	} {
		before := store.Counts()
		again()
		if n := store.Counts().Sub(before).Calls(metered.OpCreate, metered.OpCompose); n != 1 {
			t.Errorf("pushed as a blob %s: %d durable writes, want 1", name, n)
		}
		if err := errors.Join(f.DeleteBlob(ctx, "b", m.Digest), f.DeleteBlob(ctx, "a", m.Digest)); err == nil {
			t.Error("both repositories had the blob")
		}
	}
}

// Of many requests that write the same chunk with other bytes, one wins, with its own bytes.
func TestConcurrentChunks(t *testing.T) {
	places(t, func(t *testing.T, p place) {
		f, ctx := start(t, registry.Config{}, p), t.Context()
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
	places(t, func(t *testing.T, p place) {
		f, ctx := start(t, registry.Config{UploadTTL: 50 * time.Millisecond}, p), t.Context()
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
		for try := 0; count(t, p.store, "docker/") > 0; try++ {
			if try == 100 {
				t.Fatal("bytes are left over")
			}
			time.Sleep(20 * time.Millisecond)
		}
	})
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
