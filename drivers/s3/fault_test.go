package s3_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/drivers/retry"
	"github.com/parfait-registry/parfait/drivers/s3"
	"github.com/parfait-registry/parfait/integration/harness"
)

// A rig is a driver behind a gate that a test can close.
type rig struct {
	*s3.Driver
	server *harness.S3
	gate   *harness.Gate
	bucket string
}

func newRig(t *testing.T, server *harness.S3) *rig {
	t.Helper()
	r := &rig{server: server, gate: harness.NewGate(t, server.URL), bucket: server.NewBucket(t)}
	cfg := configFor(server, r.bucket)
	cfg.PartSize, cfg.Endpoint = 5*mib, r.gate.URL
	r.Driver = open(t, cfg)
	return r
}

// with has requests fail while do runs, and returns how many there were.
func (r *rig) with(f harness.Fault, do func()) int {
	r.gate.Fail(f)
	defer r.gate.Fail(harness.Fault{})
	do()
	return len(r.gate.Requests())
}

// first is f for the first n requests that match.
func first(n int, match func(*http.Request) bool, f harness.Fault) harness.Fault {
	return f.For(match).First(n)
}

const always = 1 << 30

func any(*http.Request) bool { return true }

func method(m string) func(*http.Request) bool {
	return func(r *http.Request) bool { return r.Method == m }
}

func query(name string) func(*http.Request) bool {
	return func(r *http.Request) bool { return r.URL.Query().Has(name) }
}

func completion(r *http.Request) bool {
	return r.Method == http.MethodPost && r.URL.Query().Has("uploadId")
}

func answering(status int, code string) harness.Fault {
	return harness.Instead(func(w http.ResponseWriter, _ *http.Request) { refuse(w, status, code) })
}

// lost has the server do what is asked, and ends the connection before the answer.
func lost(t *testing.T) harness.Fault {
	return harness.Fault{Do: func(w http.ResponseWriter, req *http.Request, server http.Handler) {
		answer := httptest.NewRecorder()
		server.ServeHTTP(answer, req)
		if answer.Code >= 300 {
			t.Errorf("%s %s: got %d, want it done", req.Method, req.URL, answer.Code)
		}
		harness.Reset(0).Do(w, req, server)
	}}
}

// halfway is CutBody, but the connection is reset.
func halfway(n int) harness.Fault {
	return harness.Fault{Do: func(w http.ResponseWriter, req *http.Request, server http.Handler) {
		harness.BeginAnswer(w, req, server, n)
		time.Sleep(10 * time.Millisecond) // for the bytes to arrive first
		harness.Reset(0).Do(w, req, server)
	}}
}

// wantClean checks that nothing is left of uploads, and that key holds want, or nothing if that is nil.
func (r *rig) wantClean(t *testing.T, key string, want []byte) {
	t.Helper()
	if n := incomplete(t, r.server, r.bucket); n != 0 {
		t.Errorf("%d uploads are left", n)
	}
	got, err := r.server.Eye(t).GetObject(t.Context(), r.bucket, "registry/"+key, minio.GetObjectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(got)
	switch {
	case want == nil && minio.ToErrorResponse(err).Code != minio.NoSuchKey:
		t.Errorf("object %q: got %d bytes, %v, want none", key, len(data), err)
	case want != nil && (err != nil || !bytes.Equal(data, want)):
		t.Errorf("object %q: got %d bytes, %v, want %d", key, len(data), err, len(want))
	}
}

// TestDriver_Damage changes a byte on its way, without TLS: the server finds that, and gets it again.
func TestDriver_Damage(t *testing.T) {
	damage := harness.ChangeBody(func(body []byte) { body[len(body)/2] ^= 1 })
	for name, start := range servers() {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, start(t))
			for _, size := range []int{10, 12 * mib} {
				data := random(size)
				requests := r.with(first(1, method(http.MethodPut), damage), func() {
					if err := drivers.Put(t.Context(), r.Driver, "key", data); err != nil {
						t.Errorf("%d bytes: %v", size, err)
					}
				})
				if size == 10 && requests != 2 {
					t.Errorf("%d bytes: got %d requests, want 2", size, requests)
				}
				r.wantClean(t, "key", data)
			}
		})
	}
}

// verbs are all that a driver does, on objects "there" and "source".
func verbs(ctx context.Context, d *s3.Driver) map[string]func() error {
	data := random(6 * mib)
	return map[string]func() error{
		"open": func() error {
			r, err := d.Open(ctx, "there", 0, -1)
			if err != nil {
				return err
			}
			defer r.Close()
			_, err = io.Copy(io.Discard, r)
			return err
		},
		"stat":      func() error { _, err := d.Stat(ctx, "there"); return err },
		"put":       func() error { return drivers.Put(ctx, d, "small", []byte("x")) },
		"put large": func() error { return drivers.Put(ctx, d, "large", data) },
		"create new": func() error {
			w, err := d.CreateNew(ctx, "new")
			if err != nil {
				return err
			}
			defer w.Close()
			return w.Commit()
		},
		"list": func() error {
			for _, err := range d.List(ctx, "", "") {
				if err != nil {
					return err
				}
			}
			return nil
		},
		"delete":     func() error { return d.Delete(ctx, "gone") },
		"delete all": func() error { return d.DeleteAll(ctx, "gone", "too") },
		"compose":    func() error { return d.Compose(ctx, "copy", "source") },
		"join":       func() error { return d.Compose(ctx, "joined", "source", "source") },
		"sweep":      func() error { _, err := d.Sweep(ctx, time.Hour); return err },
	}
}

// Bursts of failures that pass are not noticed; those that do not pass are said to be the store's, in time.
func TestDriver_Bursts(t *testing.T) {
	r := newRig(t, harness.MinIO(t))
	put(t, r, "there", "hello")
	put(t, r, "source", string(random(6*mib)))
	clear := func() {
		t.Helper()
		if err := r.DeleteAll(t.Context(), "new", "small", "large", "copy", "joined"); err != nil {
			t.Fatal(err)
		}
	}
	for name, fail := range map[string]harness.Fault{
		"500":             answering(http.StatusInternalServerError, "InternalError"),
		"503":             answering(http.StatusServiceUnavailable, "SlowDown"),
		"400 that passes": answering(http.StatusBadRequest, "RequestTimeout"),
		"reset":           harness.Reset(0),
		"a page":          harness.Instead(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "<h1>busy</h1>", http.StatusBadGateway) }),
	} {
		match := any
		if name == "400 that passes" { // whose name comes in the body
			match = func(r *http.Request) bool { return r.Method != http.MethodHead }
		}
		for verb, do := range verbs(t.Context(), r.Driver) {
			clear()
			r.with(first(2, match, fail), func() {
				if err := do(); err != nil {
					t.Errorf("%s, a burst that passes: %s: %v", name, verb, err)
				}
			})
		}
		clear()
		if name != "400 that passes" {
			testOutage(t, r, name, fail)
		}
		for verb, do := range verbs(t.Context(), r.Driver) {
			if err := do(); err != nil {
				t.Errorf("%s, after an outage: %s: %v", name, verb, err)
			}
		}
	}
}

// testOutage has all verbs meet the same failure until they give up, at the same time.
func testOutage(t *testing.T, r *rig, name string, fail harness.Fault) {
	t.Helper()
	var wg sync.WaitGroup
	n := r.with(first(always, any, fail), func() {
		for verb, do := range verbs(t.Context(), r.Driver) {
			wg.Go(func() {
				start := time.Now()
				err := do()
				if e, ok := errors.AsType[*drivers.Error](err); !errors.Is(err, drivers.ErrUnavailable) || !ok || e.Driver != "s3" {
					t.Errorf("%s, an outage: %s: got error %v, want that the store is unavailable", name, verb, err)
				}
				if took := time.Since(start); took > 8*time.Second {
					t.Errorf("%s, an outage: %s: took %v", name, verb, took)
				}
				if text := fmt.Sprint(err); strings.ContainsAny(text, "\n<") || strings.Contains(text, "operation error") {
					t.Errorf("%s, an outage: %s: got error %q", name, verb, text)
				}
			})
		}
		wg.Wait()
	})
	if most := (len(verbs(t.Context(), r.Driver)) + 1) * retry.Attempts; n > most { // to join looks at two sources at once
		t.Errorf("%s, an outage: %d requests, want %d at most", name, n, most)
	}
	for _, key := range []string{"new", "small", "large", "copy", "joined"} {
		r.wantClean(t, key, nil)
	}
}

// Each request of an upload fails in each way in turn. What comes of it is the whole object or none.
func TestDriver_EachRequest(t *testing.T) {
	r := newRig(t, harness.MinIO(t))
	data := random(12 * mib)
	denied := answering(http.StatusForbidden, "AccessDenied")
	passing := answering(http.StatusServiceUnavailable, "SlowDown")
	for name, tt := range map[string]struct {
		times int
		do    harness.Fault
		works bool
	}{
		"denied":              {always, denied, false},
		"busy":                {1, passing, true},
		"reset":               {1, harness.Reset(0), true},
		"reset in the middle": {1, harness.Reset(3 * mib), true},
		"no such upload":      {always, answering(http.StatusNotFound, "NoSuchUpload"), false},
		"the answer is lost":  {1, lost(t), true},
		"the answer is an error": {1, harness.Instead(func(w http.ResponseWriter, req *http.Request) {
			_, _ = io.Copy(io.Discard, req.Body)
			refuse(w, 200, "InternalError")
		}), true},
		"the answer is not of S3":  {always, harness.Instead(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }), false},
		"the answer ends too soon": {1, harness.CutBody(30), true},
	} {
		for n, match := range []func(*http.Request) bool{query("uploads"), query("partNumber"), completion} {
			t.Run(fmt.Sprint(name, "/", n), func(t *testing.T) {
				if name == "the answer ends too soon" && n == 1 {
					t.Skip("a part has no body for an answer")
				}
				if err := r.Delete(t.Context(), "key"); err != nil {
					t.Fatal(err)
				}
				var err error
				r.with(first(tt.times, match, tt.do), func() { err = drivers.Put(t.Context(), r.Driver, "key", data) })
				if (err == nil) != tt.works {
					t.Errorf("got error %v", err)
				}
				if _, ok := errors.AsType[*drivers.Error](err); err != nil && !ok {
					t.Errorf("got error %#v, want a *drivers.Error", err)
				}
				if name == "denied" && !errors.Is(err, fs.ErrPermission) {
					t.Errorf("got error %v, want that it is not permitted", err)
				}
				if lost := n == 0 && (name == "the answer is lost" || name == "the answer ends too soon"); lost {
					if _, err := r.Sweep(t.Context(), -time.Minute); err != nil { // the upload that nobody knows of
						t.Fatal(err)
					}
				}
				want := data
				if !tt.works {
					want = nil
				}
				r.wantClean(t, "key", want)
				if err := drivers.Put(t.Context(), r.Driver, "key", data); err != nil {
					t.Errorf("the next try: %v", err)
				}
			})
		}
	}
}

// The object of an upload whose completion nobody heard of is recognized, and not taken for one that was there before.
func TestDriver_LostCompletion(t *testing.T) {
	r := newRig(t, harness.MinIO(t))
	data := random(6 * mib)
	for name, before := range map[string][]byte{"nothing": nil, "another of that size": bytes.Repeat([]byte("x"), 6*mib), "a small one": []byte("x")} {
		if err := r.Delete(t.Context(), "key"); err != nil {
			t.Fatal(err)
		}
		if before != nil {
			put(t, r, "key", string(before))
		}
		r.with(first(always, completion, answering(http.StatusNotFound, "NoSuchUpload")), func() {
			if err := drivers.Put(t.Context(), r.Driver, "key", data); err == nil {
				t.Errorf("%s before: an upload that was aborted looks as if it were complete", name)
			}
		})
		r.wantClean(t, "key", before)
		var tries atomic.Int32
		r.with(first(always, completion, harness.Instead(func(w http.ResponseWriter, req *http.Request) {
			if tries.Add(1) == 1 {
				harness.Reset(0).Do(w, req, nil)
				return
			}
			refuse(w, http.StatusNotFound, "NoSuchUpload")
		})), func() {
			if err := drivers.Put(t.Context(), r.Driver, "key", data); err == nil {
				t.Errorf("%s before: an upload that never was completed looks as if it were", name)
			}
		})
		r.wantClean(t, "key", before)
		r.with(first(1, completion, lost(t)), func() {
			if err := drivers.Put(t.Context(), r.Driver, "key", data); err != nil {
				t.Errorf("%s before: %v", name, err)
			}
		})
		r.wantClean(t, "key", data)
	}
}

// A server that answers before it has the whole body, and reads no further, does not hold the upload up.
func TestDriver_EarlyAnswer(t *testing.T) {
	server := harness.MinIO(t)
	data := random(48 * mib) // more than the buffers of a connection take
	stuck := make(chan net.Conn, 1)
	t.Cleanup(func() {
		select {
		case conn := <-stuck:
			conn.Close()
		default:
			t.Error("nobody got the early answer")
		}
	})
	large := func(req *http.Request) bool { return req.ContentLength == int64(len(data)) }
	cfg := configFor(server, server.NewBucket(t))
	cfg.PartSize = 64 * mib
	cfg.Endpoint = newGate(t, server, first(1, large, harness.Instead(func(w http.ResponseWriter, req *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_ = conn.(*net.TCPConn).SetReadBuffer(4 << 10)
		answer := "<Error><Code>SlowDown</Code></Error>"
		fmt.Fprintf(conn, "HTTP/1.1 503 Service Unavailable\r\nContent-Length: %d\r\n\r\n%s", len(answer), answer)
		stuck <- conn
	}))).URL
	d := open(t, cfg)
	done := make(chan error, 1)
	go func() { done <- drivers.Put(t.Context(), d, "key", data) }()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(15 * time.Second):
		t.Fatal("the upload hangs")
	}
	wantBytes(t, d, "key", data)
}

// An object that one created is not somebody else's because the answer was lost.
func TestDriver_LostCreateNew(t *testing.T) {
	r := newRig(t, harness.MinIO(t))
	for _, size := range []int{10, 6 * mib} {
		data := string(random(size))
		match := func(req *http.Request) bool { return req.Header.Get("If-None-Match") == "*" }
		r.with(first(1, match, lost(t)), func() {
			if err := createNew(t, r.Driver, "lease", data); err != nil {
				t.Errorf("%d bytes: %v", size, err)
			}
		})
		r.with(first(1, match, harness.Reset(0)), func() {
			if err := createNew(t, r.Driver, "lease", data[:size-1]+"?"); !errors.Is(err, fs.ErrExist) {
				t.Errorf("%d bytes, of another: got error %v", size, err)
			}
		})
		if err := createNew(t, r.Driver, "lease", data); !errors.Is(err, fs.ErrExist) {
			t.Errorf("%d bytes, once more: got error %v", size, err)
		}
		r.wantClean(t, "lease", []byte(data))
		if err := r.Delete(t.Context(), "lease"); err != nil {
			t.Fatal(err)
		}
	}
}

// Servers that cannot create only what is absent, or pretend to, are found out at the start.
func TestDriver_NoCreateNew(t *testing.T) {
	server := harness.MinIO(t)
	bucket := server.NewBucket(t)
	for name, instead := range map[string]harness.Fault{
		"refuses": answering(http.StatusNotImplemented, "NotImplemented"),
		"ignores": harness.Instead(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }),
	} {
		cfg := configFor(server, bucket)
		cfg.Endpoint = newGate(t, server, instead.For(func(r *http.Request) bool { return r.Header.Get("If-None-Match") != "" })).URL
		d := open(t, cfg)
		if _, err := d.CreateNew(t.Context(), "a"); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("%s: got error %v, want that it is not supported", name, err)
		}
		put(t, d, "a", "hello")
	}
}

// A read goes on where it broke, with the same object or not at all.
func TestDriver_BrokenReads(t *testing.T) {
	r := newRig(t, harness.MinIO(t))
	data := random(3 * mib)
	put(t, r, "key", string(data))
	read := func(off, n int64) ([]byte, error) {
		rc, err := r.Open(t.Context(), "key", off, n)
		if err != nil {
			return nil, err
		}
		defer rc.Close()
		return io.ReadAll(rc)
	}
	for name, fail := range map[string]harness.Fault{
		"ends": harness.CutBody(1 * mib), "reset": halfway(1 * mib), "ends before the first byte": harness.CutBody(0),
	} {
		for _, tt := range []struct{ off, n, end int64 }{{0, -1, 3 * mib}, {100, -1, 3 * mib}, {100, 2 * mib, 2*mib + 100}, {0, 9 * mib, 3 * mib}} {
			n := r.with(first(1, method(http.MethodGet), fail), func() {
				if got, err := read(tt.off, tt.n); err != nil || !bytes.Equal(got, data[tt.off:tt.end]) {
					t.Errorf("%s: read from %d for %d: got %d bytes, %v, want %d", name, tt.off, tt.n, len(got), err, tt.end-tt.off)
				}
			})
			if n != 2 {
				t.Errorf("%s: read from %d for %d: %d requests, want 2", name, tt.off, tt.n, n)
			}
		}
	}
	start := time.Now()
	r.with(first(always, method(http.MethodGet), harness.CutBody(0)), func() {
		if got, err := read(0, -1); !errors.Is(err, drivers.ErrUnavailable) || len(got) != 0 {
			t.Errorf("a body that never comes: got %d bytes, %v", len(got), err)
		}
	})
	if took := time.Since(start); took > 6*time.Second {
		t.Errorf("a body that never comes took %v", took)
	}
	r.with(harness.Fault{Do: func(w http.ResponseWriter, req *http.Request, server http.Handler) {
		defer func() {
			_, err := r.server.Eye(t).PutObject(t.Context(), r.bucket, "registry/key", bytes.NewReader(data[1:]), 3*mib-1, minio.PutObjectOptions{})
			if err != nil {
				t.Error(err)
			}
		}()
		harness.CutBody(1*mib).Do(w, req, server)
	}}.First(1), func() {
		got, err := read(0, -1)
		if err == nil || !strings.Contains(err.Error(), "replaced") || !bytes.Equal(got, data[:len(got)]) {
			t.Errorf("an object that is replaced: got %d bytes, %v, want an error", len(got), err)
		}
	})
}

// A bucket that is gone is not the absence of each object in it, and all is well when it is back.
func TestDriver_BucketGone(t *testing.T) {
	for name, start := range servers() {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, start(t))
			put(t, r, "there", "hello")
			eye := r.server.Eye(t)
			if err := r.Delete(t.Context(), "there"); err != nil {
				t.Fatal(err)
			}
			for there := true; there; { // MinIO puts it back if it was just looking after it
				if err := eye.RemoveBucket(t.Context(), r.bucket); err != nil {
					t.Fatal(err)
				}
				time.Sleep(100 * time.Millisecond)
				var err error
				if there, err = eye.BucketExists(t.Context(), r.bucket); err != nil {
					t.Fatal(err)
				}
			}
			for verb, do := range verbs(t.Context(), r.Driver) {
				if err := do(); verb != "stat" && verb != "join" && !errors.Is(err, drivers.ErrUnavailable) {
					t.Errorf("%s: got error %v, want that the store is unavailable", verb, err)
				}
			}
			if err := eye.MakeBucket(t.Context(), r.bucket, minio.MakeBucketOptions{}); err != nil {
				t.Fatal(err)
			}
			put(t, r, "there", "hello")
			wantBytes(t, r, "there", []byte("hello"))
		})
	}
}

// Whoever may not is told so, and soon.
func TestDriver_Denied(t *testing.T) {
	r := newRig(t, harness.MinIO(t))
	for verb, do := range verbs(t.Context(), r.Driver) {
		start := time.Now()
		var err error
		r.with(first(always, any, answering(http.StatusForbidden, "AccessDenied")), func() { err = do() })
		if !errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, drivers.ErrUnavailable) {
			t.Errorf("%s: got error %v, want that it is not permitted", verb, err)
		}
		if took := time.Since(start); took > 4*time.Second {
			t.Errorf("%s: took %v", verb, took)
		}
	}
}

// Servers that cannot delete in batches get each key by itself, and are not asked again.
func TestDriver_NoBatches(t *testing.T) {
	r := newRig(t, harness.MinIO(t))
	fill := func() {
		t.Helper()
		for _, key := range []string{"a", "b", "c"} {
			put(t, r, key, "x")
		}
	}
	empty := func(what string) {
		t.Helper()
		for o := range r.List(t.Context(), "", "") {
			t.Errorf("%s: %s is left", what, o.Key)
		}
	}
	fill()
	r.with(first(1, query("delete"), harness.Instead(func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, `<?xml version="1.0" encoding="UTF-8"?><DeleteResult><Error><Key>registry/a</Key><Code>InternalError</Code></Error>`+
			`<Error><Key>registry/b</Key><Code>SlowDown</Code></Error><Error><Key>registry/c</Key><Code>InternalError</Code></Error></DeleteResult>`)
	})), func() {
		if err := r.DeleteAll(t.Context(), "a", "b", "c"); err != nil {
			t.Error(err)
		}
	})
	empty("a batch that failed in part")
	fill()
	var asked atomic.Int32
	n := r.with(harness.Instead(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		refuse(w, http.StatusNotImplemented, "NotImplemented")
	}).For(query("delete")), func() {
		for range 2 {
			if err := drivers.DeleteAll(t.Context(), r.Driver, "a", "b", "c"); err != nil {
				t.Error(err)
			}
		}
	})
	empty("one by one")
	if n != 7 || asked.Load() != 1 {
		t.Errorf("got %d requests, of which %d for batches, want 7 and 1", n, asked.Load())
	}
}

// Where the server cannot join these parts, the caller streams.
func TestDriver_ComposeUnsupported(t *testing.T) {
	r := newRig(t, harness.MinIO(t))
	data := random(23 * mib)
	put(t, r, "a", string(data[:11*mib]))
	put(t, r, "b", string(data[11*mib:]))
	for name, instead := range map[string]harness.Fault{
		"parts that are not equal": first(1, completion, answering(http.StatusBadRequest, "InvalidPart")),
		"no copies of parts": first(always, func(req *http.Request) bool { return req.Header.Get("X-Amz-Copy-Source") != "" },
			answering(http.StatusNotImplemented, "NotImplemented")),
		"no copies of parts, in other words": first(always, func(req *http.Request) bool { return req.Header.Get("X-Amz-Copy-Source") != "" },
			answering(http.StatusLengthRequired, "MissingContentLength")),
		"copies of parts without a result": first(always, func(req *http.Request) bool { return req.Header.Get("X-Amz-Copy-Source") != "" },
			harness.Instead(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })),
	} {
		r.with(instead, func() {
			if err := r.Compose(t.Context(), "dst", "a", "b"); !errors.Is(err, errors.ErrUnsupported) {
				t.Errorf("%s: got error %v, want that it is not supported", name, err)
			}
		})
		r.wantClean(t, "dst", nil)
	}
	r.with(first(1, completion, answering(http.StatusBadRequest, "InvalidPart")), func() {
		if err := drivers.Compose(t.Context(), r.Driver, "dst", "a", "b"); err != nil {
			t.Error(err)
		}
	})
	r.wantClean(t, "dst", data)
}

// A source that is too large for one copy is copied in ranges, of one length.
func TestDriver_ComposeTooLarge(t *testing.T) {
	r := newRig(t, harness.MinIO(t))
	put(t, r, "a", string(random(6*mib)))
	copies := func(req *http.Request) bool { return req.Header.Get("X-Amz-Copy-Source") != "" }
	r.with(first(1, copies, answering(http.StatusBadRequest, "InvalidRequest")), func() {
		err := r.Compose(t.Context(), "dst", "a")
		if err != nil { // the size was not why
			t.Errorf("refused once, at a size that can be copied: got error %v", err)
		}
	})
	r.with(first(always, copies, answering(http.StatusBadRequest, "InvalidRequest")), func() {
		err := r.Compose(t.Context(), "dst2", "a")
		if !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), "InvalidRequest") {
			t.Errorf("refused always, at a size that can be copied: got error %v", err)
		}
	})
	r.wantClean(t, "dst2", nil)

	const size = 6 << 30
	var mu sync.Mutex
	ranges := map[string]string{} // by part
	r.with(harness.Fault{Do: func(w http.ResponseWriter, req *http.Request, server http.Handler) {
		switch {
		case req.Method == http.MethodHead:
			w.Header().Set("Content-Length", strconv.Itoa(size))
		case copies(req) && !req.URL.Query().Has("partNumber"):
			refuse(w, http.StatusBadRequest, "InvalidRequest")
		case copies(req):
			mu.Lock()
			ranges[req.URL.Query().Get("partNumber")] = req.Header.Get("X-Amz-Copy-Source-Range")
			mu.Unlock()
			io.WriteString(w, `<CopyPartResult><ETag>"x"</ETag></CopyPartResult>`)
		case completion(req):
			io.WriteString(w, `<CompleteMultipartUploadResult></CompleteMultipartUploadResult>`)
		default:
			server.ServeHTTP(w, req)
		}
	}}, func() {
		if err := r.Compose(t.Context(), "dst3", "a"); err != nil {
			t.Error(err)
		}
	})
	for n := range size / (64 * mib) {
		if got, want := ranges[strconv.Itoa(n+1)], fmt.Sprintf("bytes=%d-%d", n*64*mib, (n+1)*64*mib-1); got != want {
			t.Errorf("part %d: got range %q, want %q", n+1, got, want)
		}
	}
	if len(ranges) != 96 {
		t.Errorf("got %d parts, want 96", len(ranges))
	}
}

// What is known to be large is copied in parts at the same time, unless somebody has replaced it meanwhile.
func TestDriver_ComposeLarge(t *testing.T) {
	r := newRig(t, harness.MinIO(t))
	data := random(66 * mib)
	put(t, r, "a", string(data))
	var mu sync.Mutex
	copies := 0
	count := harness.Instead(nil).For(func(req *http.Request) bool {
		if req.Header.Get("X-Amz-Copy-Source") != "" {
			mu.Lock()
			copies++
			mu.Unlock()
		}
		return false
	})
	r.with(count, func() {
		if err := r.Compose(t.Context(), "dst", "a"); err != nil {
			t.Error(err)
		}
	})
	r.wantClean(t, "dst", data)
	if copies != 2 {
		t.Errorf("got %d requests to copy, want 2", copies)
	}

	other := slices.Concat(data[1:], data[:4*mib])
	if _, err := r.server.Eye(t).PutObject(t.Context(), r.bucket, "registry/a", bytes.NewReader(other), int64(len(other)), minio.PutObjectOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := r.Compose(t.Context(), "dst2", "a"); err != nil {
		t.Error(err)
	}
	r.wantClean(t, "dst2", other)
}

// An object onto itself stays as it is.
func TestDriver_ComposeOntoItself(t *testing.T) {
	r := newRig(t, harness.MinIO(t))
	for _, size := range []int{0, 100, 12 * mib} {
		data := random(size)
		put(t, r, "a", string(data))
		if err := r.Compose(t.Context(), "a", "a"); err != nil {
			t.Error(err)
		}
		r.wantClean(t, "a", data)
	}
}

// TestDriver_Network spoils the connections themselves.
func TestDriver_Network(t *testing.T) {
	server := harness.MinIO(t)
	proxy := harness.StartToxiproxy(t).Proxy(t, server.Addr)
	cfg := configFor(server, server.NewBucket(t))
	cfg.Endpoint, cfg.PartSize = "http://"+proxy.Addr, 5*mib
	d, data := open(t, cfg), random(12*mib)
	eye := &rig{server: server, bucket: cfg.Bucket}
	put := func() error { return drivers.Put(t.Context(), d, "key", data) }

	remove := proxy.LimitData(harness.Upstream, 3*mib) // less than a part
	if err := put(); !errors.Is(err, drivers.ErrUnavailable) {
		t.Errorf("parts that never arrive: got error %v, want that the store is unavailable", err)
	}
	remove()
	eye.wantClean(t, "key", nil)
	if err := put(); err != nil {
		t.Errorf("the next try: %v", err)
	}

	remove = proxy.LimitData(harness.Downstream, 3*mib)
	wantBytes(t, d, "key", data) // in pieces
	remove()

	proxy.Disable()
	if _, err := d.Stat(t.Context(), "key"); !errors.Is(err, drivers.ErrUnavailable) {
		t.Errorf("nobody there: got error %v, want that the store is unavailable", err)
	}
	var saved atomic.Int32
	var wg sync.WaitGroup
	for i := range 8 { // as pauses are cut at random, one may be through with them too soon
		wg.Go(func() {
			switch err := drivers.Put(t.Context(), d, fmt.Sprint("key", i), data[:i]); {
			case err == nil:
				saved.Add(1)
			case !errors.Is(err, drivers.ErrUnavailable):
				t.Errorf("nobody there for a moment: %v", err)
			}
		})
	}
	time.Sleep(200 * time.Millisecond)
	proxy.Enable()
	if wg.Wait(); saved.Load() == 0 {
		t.Error("nobody there for a moment: nothing was repeated until somebody was")
	}

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	w, err := d.Create(ctx, "late")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	remove = proxy.Latency(harness.Downstream, time.Second)
	time.AfterFunc(100*time.Millisecond, cancel)
	if err := w.Commit(); !errors.Is(err, context.Canceled) || errors.Is(err, drivers.ErrUnavailable) {
		t.Errorf("too slow for the client: got error %v, want the context's", err)
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	remove()
	eye.wantClean(t, "late", nil)
	eye.wantClean(t, "key", data)
}
