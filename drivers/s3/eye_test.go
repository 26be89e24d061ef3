package s3_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/integration/harness"
)

func random(n int) []byte {
	data := make([]byte, n)
	rand.NewChaCha8([32]byte{}).Read(data)
	return data
}

// TestDriver_Eye has another client look at what the driver wrote, and the driver at what the other client wrote.
func TestDriver_Eye(t *testing.T) {
	for name, start := range servers() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := start(t)
			t.Run("wrote", func(t *testing.T) { testWrote(t, server) })
			t.Run("reads", func(t *testing.T) { testReads(t, server) })
			t.Run("leaves nothing", func(t *testing.T) { testLeaves(t, server) })
			t.Run("sweeps", func(t *testing.T) { testSweeps(t, server) })
			if name == "MinIO" { // the other one has no classes
				t.Run("class", func(t *testing.T) { testClass(t, server) })
			}
		})
	}
}

func testWrote(t *testing.T, server *harness.S3) {
	rec := harness.Record(t, server.Server)
	cfg := configFor(server, server.NewBucket(t))
	cfg.Endpoint, cfg.PartSize, cfg.Buffers = rec.URL, 5*mib, 15*mib
	d, eye := open(t, cfg), server.Eye(t)
	data := random(23 * mib)
	sizes := map[string]int{"empty": 0, "small": 1000, "part": 5 * mib, "more": 5*mib + 1, "two": 10 * mib, "large/data": 23 * mib}
	for key, size := range sizes {
		put(t, d, key, string(data[:size]))
	}
	if err := d.Compose(t.Context(), "copy", "large/data"); err != nil {
		t.Fatal(err)
	}
	sizes["copy"] = 23 * mib
	var keys []string
	for o := range eye.ListObjects(t.Context(), cfg.Bucket, minio.ListObjectsOptions{Recursive: true}) {
		if o.Err != nil {
			t.Fatal(o.Err)
		}
		key := strings.TrimPrefix(o.Key, "registry/")
		keys = append(keys, key)
		if size, ok := sizes[key]; !ok || o.Size != int64(size) {
			t.Errorf("there is %s of %d bytes, want %d", o.Key, o.Size, size)
		}
		seen, err := eye.GetObject(t.Context(), cfg.Bucket, o.Key, minio.GetObjectOptions{})
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(seen)
		if err != nil || !bytes.Equal(got, data[:sizes[key]]) {
			t.Errorf("%s: got %d other bytes, %v", o.Key, len(got), err)
		}
		info, err := seen.Stat()
		if err != nil {
			t.Fatal(err)
		}
		if len(info.UserMetadata) != 0 {
			t.Errorf("%s has metadata %v", o.Key, info.UserMetadata)
		}
		_, parts, _ := strings.Cut(info.ETag, "-")
		want := map[string]string{"more": "2", "two": "2", "large/data": "5"}[key]
		if parts != want && key != "copy" {
			t.Errorf("%s has ETag %s, want %q parts", o.Key, info.ETag, want)
		}
	}
	if len(keys) != len(sizes) {
		t.Errorf("there are %q, want %d objects", keys, len(sizes))
	}
	for _, r := range rec.Requests() {
		if query := r.URL.Query(); strings.HasSuffix(r.URL.Path, "large/data") && query.Has("partNumber") {
			want := int64(5 * mib)
			if query.Get("partNumber") == "5" {
				want = 3 * mib
			}
			if r.Length != want {
				t.Errorf("%v: want %d bytes", r, want)
			}
		}
	}
}

func testReads(t *testing.T, server *harness.S3) {
	cfg := configFor(server, server.NewBucket(t))
	d, eye := open(t, cfg), server.Eye(t)
	data := random(20 * mib)
	for key, size := range map[string]int{"a/small": 10, "a/large": 20 * mib, "b": 0} {
		_, err := eye.PutObject(t.Context(), cfg.Bucket, "registry/"+key, bytes.NewReader(data[:size]), int64(size),
			minio.PutObjectOptions{PartSize: 5 * mib})
		if err != nil {
			t.Fatal(err)
		}
		wantBytes(t, d, key, data[:size])
	}
	// What is no key of ours is not ours, be it in the prefix or beside it.
	for _, name := range []string{"other/x", "registry0/y", "registry/", "registry/a/", "registry/a b", "registry/x.tmp"} {
		if _, err := eye.PutObject(t.Context(), cfg.Bucket, name, strings.NewReader(""), 0, minio.PutObjectOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	var keys []string
	for o, err := range d.List(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, o.Key)
	}
	if want := []string{"a/large", "a/small", "b"}; !slices.Equal(keys, want) {
		t.Errorf("list: got %q, want %q", keys, want)
	}
	if err := eye.RemoveObject(t.Context(), cfg.Bucket, "registry/b", minio.RemoveObjectOptions{}); err != nil {
		t.Fatal(err)
	}
	wantAbsent(t, d, "b")
}

// wantBytes checks what is at key.
func wantBytes(t *testing.T, d drivers.Driver, key string, want []byte) {
	t.Helper()
	got, err := drivers.ReadAll(t.Context(), d, key, int64(len(want)))
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("object %q: got %d bytes beginning %.10q, %v; want %d beginning %.10q", key, len(got), got, err, len(want), want)
	}
}

// incomplete is how many multipart uploads of a bucket are not ended.
func incomplete(t *testing.T, server *harness.S3, bucket string) int {
	t.Helper()
	uploads, err := (&minio.Core{Client: server.Eye(t)}).ListMultipartUploads(t.Context(), bucket, "", "", "", "", 1000)
	if err != nil {
		t.Fatal(err)
	}
	return len(uploads.Uploads)
}

func testLeaves(t *testing.T, server *harness.S3) {
	cfg := configFor(server, server.NewBucket(t))
	cfg.PartSize = 5 * mib
	d := open(t, cfg)
	for name, end := range map[string]func(w drivers.Writer, cancel func()) error{
		"closed":    func(w drivers.Writer, _ func()) error { return w.Close() },
		"cancelled": func(w drivers.Writer, cancel func()) error { cancel(); return w.Close() },
		"cancelled while it is committed": func(w drivers.Writer, cancel func()) error {
			time.AfterFunc(5*time.Millisecond, cancel)
			if err := w.Commit(); err != nil && !errors.Is(err, context.Canceled) {
				return fmt.Errorf("commit: %w", err)
			}
			return w.Close()
		},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		w, err := d.Create(ctx, "a")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(random(17 * mib)); err != nil {
			t.Fatal(err)
		}
		if n := incomplete(t, server, cfg.Bucket); n != 1 {
			t.Errorf("%s: %d uploads before that, want 1", name, n)
		}
		if err := end(w, cancel); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		cancel()
		if n := incomplete(t, server, cfg.Bucket); n != 0 {
			t.Errorf("%s: %d uploads are left", name, n)
		}
	}
}

func testSweeps(t *testing.T, server *harness.S3) {
	cfg := configFor(server, server.NewBucket(t))
	d, core := open(t, cfg), &minio.Core{Client: server.Eye(t)}
	begin := func(key string) {
		t.Helper()
		id, err := core.NewMultipartUpload(t.Context(), cfg.Bucket, key, minio.PutObjectOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if key == "registry/c" { // which nobody has sent a part of yet
			return
		}
		if _, err := core.PutObjectPart(t.Context(), cfg.Bucket, key, id, 1, strings.NewReader("hello"), 5, minio.PutObjectPartOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	begin("registry/a/b")
	begin("registry/c")
	begin("other/d")
	put(t, d, "parfait/probe/left", "x")
	put(t, d, "stays", "x")
	sweep := func(age time.Duration, swept, left int) {
		t.Helper()
		if n, err := d.Sweep(t.Context(), age); n != swept || err != nil {
			t.Errorf("sweep of what is older than %v: got %d, %v, want %d", age, n, err, swept)
		}
		if n := incomplete(t, server, cfg.Bucket); n != left {
			t.Errorf("%d uploads are left, want %d", n, left)
		}
	}
	sweep(time.Hour, 0, 3)
	sweep(-time.Minute, 3, 1)
	sweep(-time.Minute, 0, 1)
	wantAbsent(t, d, "parfait/probe/left")
	id, err := core.NewMultipartUpload(t.Context(), cfg.Bucket, "registry/slow", minio.PutObjectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(6 * time.Second)
	if _, err := core.PutObjectPart(t.Context(), cfg.Bucket, "registry/slow", id, 1, strings.NewReader("hello"), 5, minio.PutObjectPartOptions{}); err != nil {
		t.Fatal(err)
	}
	sweep(5*time.Second, 0, 2) // it goes on
	wantBytes(t, d, "stays", []byte("x"))
}

func testClass(t *testing.T, server *harness.S3) {
	cfg := configFor(server, server.NewBucket(t))
	cfg.StorageClass, cfg.PartSize = "REDUCED_REDUNDANCY", 5*mib
	rec := harness.Record(t, server.Server)
	cfg.Endpoint = rec.URL
	d := open(t, cfg)
	rec.Reset()
	put(t, d, "small", "x")
	put(t, d, "large", string(random(6*mib)))
	if err := d.Compose(t.Context(), "copy", "large"); err != nil {
		t.Fatal(err)
	}
	for _, r := range rec.Requests() {
		want := "REDUCED_REDUNDANCY"
		if r.URL.Query().Has("uploadId") { // which knows from its beginning
			want = ""
		}
		if got := r.Header.Get("X-Amz-Storage-Class"); got != want {
			t.Errorf("%v: got class %q, want %q", r, got, want)
		}
	}
	for _, key := range []string{"small", "large", "copy"} {
		o, err := server.Eye(t).StatObject(t.Context(), cfg.Bucket, "registry/"+key, minio.StatObjectOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if got := o.Metadata.Get("X-Amz-Storage-Class"); got != "REDUCED_REDUNDANCY" {
			t.Errorf("%s: got class %q", key, got)
		}
	}
}

// A signed URL works for one method, until its time is over, at the public endpoint.
func TestDriver_SignURL(t *testing.T) {
	server := harness.MinIO(t)
	cfg := configFor(server, server.NewBucket(t))
	cfg.PublicEndpoint = strings.Replace(server.URL, "127.0.0.1", "localhost", 1)
	d := open(t, cfg)
	put(t, d, "a/b", "hello")
	ask := func(method, url string) int {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	url, err := d.SignURL(t.Context(), http.MethodGet, "a/b", 3*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(url, cfg.PublicEndpoint+"/"+cfg.Bucket+"/registry/a/b?") {
		t.Errorf("got %s, want it at %s", url, cfg.PublicEndpoint)
	}
	if got := ask(http.MethodGet, url); got != http.StatusOK {
		t.Errorf("GET: got %d", got)
	}
	for _, tt := range []struct{ method, url string }{
		{http.MethodDelete, url}, {http.MethodPut, url}, {http.MethodGet, strings.Replace(url, "a/b", "a/c", 1)},
	} {
		if got := ask(tt.method, tt.url); got != http.StatusForbidden {
			t.Errorf("%s %s: got %d, want 403", tt.method, tt.url, got)
		}
	}
	time.Sleep(4 * time.Second)
	if got := ask(http.MethodGet, url); got != http.StatusForbidden {
		t.Errorf("GET after its time: got %d, want 403", got)
	}
}
