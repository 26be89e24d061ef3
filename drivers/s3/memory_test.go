package s3_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/parfait-registry/parfait/drivers/s3"
)

// swallow answers as S3 does and keeps nothing, slowly, so that uploads wait for it.
func swallow(received *atomic.Int64) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		received.Add(n)
		w.Header().Set("ETag", `"0"`)
		switch query := r.URL.Query(); {
		case query.Has("uploads"):
			io.WriteString(w, `<InitiateMultipartUploadResult><UploadId>1</UploadId></InitiateMultipartUploadResult>`)
		case query.Has("list-type"):
			io.WriteString(w, `<ListBucketResult></ListBucketResult>`)
		case r.Method == http.MethodPost:
			io.WriteString(w, `<CompleteMultipartUploadResult></CompleteMultipartUploadResult>`)
		case query.Has("partNumber"):
			time.Sleep(5 * time.Millisecond)
		}
	}
}

// TestDriver_Memory has many uploads at once share a small pool.
func TestDriver_Memory(t *testing.T) {
	const writers, size, buffers = 32, 32 * mib, 64 * mib
	var received atomic.Int64
	store := swallow(&received)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet && !r.URL.Query().Has("list-type") { // the probe, which is its own name
			io.WriteString(w, r.URL.Path[len("/bucket/registry/"):])
			return
		}
		store(w, r)
	}))
	t.Cleanup(server.Close)
	cfg := s3.NewConfig()
	cfg.Bucket, cfg.Endpoint, cfg.Region, cfg.Path = "bucket", server.URL, "us-east-1", "registry"
	cfg.AccessKey, cfg.SecretKey, cfg.Buffers = "key", "secret", buffers
	d := open(t, cfg)

	heap := func() uint64 {
		runtime.GC() // what is garbage does not count
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before, received0 := heap(), received.Load()
	piece := random(64 << 10)
	var g errgroup.Group
	for i := range writers {
		g.Go(func() error {
			w, err := d.Create(t.Context(), fmt.Sprint(i))
			if err != nil {
				return err
			}
			defer w.Close()
			for range size / len(piece) {
				if _, err := w.Write(piece); err != nil {
					return err
				}
			}
			return w.Commit()
		})
	}
	done := make(chan error, 1)
	go func() { done <- g.Wait() }()
	var most uint64
	for samples := 0; ; samples++ {
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
			const rest = writers * 1 * mib // of the first bytes, and connections
			if most < before+buffers/2 || most > before+buffers+rest {
				t.Errorf("the heap grew from %d to %d MiB, want by %d MiB and up to %d more", before>>20, most>>20, buffers>>20, rest>>20)
			}
			if got := received.Load() - received0; got < writers*size {
				t.Errorf("the server got %d bytes, want %d", got, writers*size)
			}
			t.Logf("the heap grew by up to %d MiB in %d samples", (most-before)>>20, samples)
			return
		case <-time.After(5 * time.Millisecond):
			most = max(most, heap())
		}
	}
}
