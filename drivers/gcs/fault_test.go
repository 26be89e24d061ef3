package gcs_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/drivers/gcs"
	"github.com/parfait-registry/parfait/drivers/retry"
	"github.com/parfait-registry/parfait/integration/harness"
)

// text is n bytes that differ from place to place.
func text(n int) []byte {
	var b bytes.Buffer
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, "%d ", i)
	}
	return b.Bytes()[:n]
}

func put(t testing.TB, d drivers.Driver, key string, data []byte) {
	t.Helper()
	if err := drivers.Put(t.Context(), d, key, data); err != nil {
		t.Fatal(err)
	}
}

func wantObject(t testing.TB, d drivers.Driver, key string, want []byte) {
	t.Helper()
	got, err := drivers.ReadAll(t.Context(), d, key, int64(len(want)))
	if err != nil {
		t.Error(err)
	} else if !bytes.Equal(got, want) {
		t.Errorf("object %q: got %d other bytes than the %d stored", key, len(got), len(want))
	}
}

func wantNothing(t testing.TB, d drivers.Driver, key string) {
	t.Helper()
	if _, err := d.Stat(t.Context(), key); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("stat %q: got error %v, want none of it there", key, err)
	}
	if got := keys(t, d, key); len(got) != 0 {
		t.Errorf("list %q: got %q, want nothing", key, got)
	}
}

func keys(t testing.TB, d drivers.Driver, prefix string) []string {
	t.Helper()
	var got []string
	for o, err := range d.List(t.Context(), prefix, "") {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, o.Key)
	}
	return got
}

// An operation is one thing to do with a driver that has the objects "a", "b" and "c", of one line each.
type operation struct {
	name string
	do   func(ctx context.Context, d *gcs.Driver) error
}

func operations() []operation {
	large := text(12 << 20)
	return []operation{
		{"open", func(ctx context.Context, d *gcs.Driver) error {
			_, err := drivers.ReadAll(ctx, d, "a", 100)
			return err
		}},
		{"stat", func(ctx context.Context, d *gcs.Driver) error {
			_, err := d.Stat(ctx, "a")
			return err
		}},
		{"list", func(ctx context.Context, d *gcs.Driver) error {
			for _, err := range d.List(ctx, "", "") {
				if err != nil {
					return err
				}
			}
			return nil
		}},
		{"create small", func(ctx context.Context, d *gcs.Driver) error {
			return drivers.Put(ctx, d, "result", []byte("small"))
		}},
		{"create large", func(ctx context.Context, d *gcs.Driver) error {
			return drivers.Put(ctx, d, "result", large)
		}},
		{"copy", func(ctx context.Context, d *gcs.Driver) error { return d.Compose(ctx, "result", "a") }},
		{"concatenate", func(ctx context.Context, d *gcs.Driver) error {
			return d.Compose(ctx, "result", slices.Repeat([]string{"a", "b", "c"}, 20)...)
		}},
		{"delete", func(ctx context.Context, d *gcs.Driver) error { return d.Delete(ctx, "a") }},
	}
}

// faulty returns a driver with the objects of an operation, and the gate that it speaks through.
func faulty(t testing.TB, s *harness.GCS) (*gcs.Driver, *harness.Gate) {
	t.Helper()
	p := harness.NewGate(t, s.URL)
	d := open(t, through(t, s, p))
	for _, key := range []string{"a", "b", "c"} {
		put(t, d, key, []byte("this is "+key+"\n"))
	}
	p.Requests()
	return d, p
}

// through is config for a new bucket of the server behind p.
func through(t testing.TB, s *harness.GCS, p *harness.Gate) gcs.Config {
	t.Helper()
	cfg := config(t, s)
	cfg.Endpoint = p.URL
	return cfg
}

// answer fails with a status, as Google does.
func answer(code int, message string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		fmt.Fprintf(w, `{"error": {"code": %d, "message": %q}}`, code, message)
	}
}

// damage turns over the last bit of what the client sends as an object.
func damage() harness.Fault {
	return harness.ChangeBody(func(body []byte) {
		if i := bytes.Index(body, []byte(damaged)); i >= 0 {
			body[i] ^= 1
		}
	}).For(func(r *http.Request) bool { return strings.HasPrefix(r.URL.Path, "/upload/") })
}

// damaged is the text that damage changes.
const damaged = "this is about to be damaged"

func TestDriver_Requests(t *testing.T) {
	t.Parallel()
	d, p := faulty(t, harness.FakeGCS(t))
	want := map[string]int{
		"open": 1, "stat": 1, "list": 1, "create small": 1, "copy": 1, "delete": 1,
		"create large": 1 + 3,     // the session, and its three parts
		"concatenate":  1 + 1 + 1, // 29 of the 60 at first, then the 32 that are left; and what is temporary goes
	}
	for _, op := range operations() {
		if err := op.do(t.Context(), d); err != nil {
			t.Errorf("%s: %v", op.name, err)
		}
		if got := p.Requests(); len(got) != want[op.name] {
			t.Errorf("%s: got %d requests, want %d: %v", op.name, len(got), want[op.name], got)
		}
	}
}

func TestDriver_FaultsThatPass(t *testing.T) {
	t.Parallel()
	s := harness.FakeGCS(t)
	for name, f := range map[string]harness.Fault{
		"503":         harness.Instead(answer(http.StatusServiceUnavailable, "backendError")),
		"429":         harness.Instead(answer(http.StatusTooManyRequests, "rateLimitExceeded")),
		"reset":       harness.Reset(0),
		"lost answer": harness.LoseAnswer(),
	} {
		t.Run(name, func(t *testing.T) {
			for _, op := range operations() {
				t.Run(op.name, func(t *testing.T) {
					t.Parallel()
					d, p := faulty(t, s)
					p.Fail(f.First(2))
					if err := op.do(t.Context(), d); err != nil {
						t.Error(err)
					}
				})
			}
		})
	}
}

func TestDriver_FaultsThatStay(t *testing.T) {
	t.Parallel()
	s := harness.FakeGCS(t)
	for _, op := range operations() {
		t.Run(op.name, func(t *testing.T) {
			t.Parallel()
			d, p := faulty(t, s)
			p.Fail(harness.Instead(answer(http.StatusServiceUnavailable, "backendError")))
			err := op.do(t.Context(), d)
			if e, ok := errors.AsType[*drivers.Error](err); !ok || e.Driver != "gcs" || !errors.Is(err, drivers.ErrUnavailable) {
				t.Errorf("got error %v, want ErrUnavailable of the driver", err)
			}
			// Concatenating takes a request for each temporary object, and tries to remove it.
			if got := len(p.Requests()); got < retry.Attempts || got > 2*retry.Attempts {
				t.Errorf("got %d requests, want %d", got, retry.Attempts)
			}
			p.Fail(harness.Fault{})
			wantNothing(t, d, "result")
			if err := op.do(t.Context(), d); err != nil {
				t.Errorf("the next try: %v", err)
			}
		})
	}
}

// hasPart reports whether a request sends what is more than a few bytes.
func hasPart(r *http.Request) bool { return r.ContentLength < 0 || r.ContentLength >= 500_000 }

func TestWriter_ResetInThePart(t *testing.T) {
	t.Parallel()
	s := harness.FakeGCS(t)
	large := text(12 << 20)
	for _, tt := range []struct {
		name string
		data []byte
		n    int
		want error
	}{
		{"of a small object, twice", large[:1<<20], 2, nil},
		{"of a large object, twice", large, 2, nil},
		{"of a small object, always", large[:1<<20], 1000, drivers.ErrUnavailable},
		{"of a large object, always", large, 1000, drivers.ErrUnavailable},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d, p := faulty(t, s)
			p.Fail(harness.Reset(500_000).For(hasPart).First(tt.n))
			if err := drivers.Put(t.Context(), d, "result", tt.data); !errors.Is(err, tt.want) {
				t.Errorf("got error %v, want %v", err, tt.want)
			}
			p.Fail(harness.Fault{})
			if tt.want != nil {
				wantNothing(t, d, "result")
				put(t, d, "result", tt.data)
			}
			wantObject(t, d, "result", tt.data)
		})
	}
}

// TestWriter_Abandoned drops writers at every stage of an upload.
func TestWriter_Abandoned(t *testing.T) {
	t.Parallel()
	s := harness.FakeGCS(t)
	d := open(t, config(t, s))
	data := text(16 << 20)
	for i, size := range []int{0, 1000, 5 << 20, 5<<20 + 1, 10 << 20, 15<<20 + 100, 16 << 20} {
		for _, cancelled := range []bool{false, true} {
			key := fmt.Sprintf("dropped/%d/%t", i, cancelled)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			w, err := d.Create(ctx, key)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := w.Write(data[:size]); err != nil {
				t.Fatal(err)
			}
			if cancelled {
				cancel()
				if err := w.Commit(); !errors.Is(err, context.Canceled) {
					t.Errorf("commit after the end of the context: got error %v", err)
				}
			}
			if err := w.Close(); err != nil {
				t.Error(err)
			}
		}
	}
	wantNothing(t, d, "dropped")
}

// TestWriter_Stuck ends the context of a writer whose server does not take its part.
func TestWriter_Stuck(t *testing.T) {
	d, p := faulty(t, harness.FakeGCS(t))
	stuck := make(chan struct{}, 10)
	p.Fail(harness.Instead(func(_ http.ResponseWriter, r *http.Request) {
		stuck <- struct{}{}
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	}).For(func(r *http.Request) bool { return r.ContentLength >= 5<<20 }))
	ctx, cancel := context.WithCancel(t.Context())
	var start time.Time
	go func() {
		<-stuck
		start = time.Now()
		cancel()
	}()
	if err := drivers.Put(ctx, d, "result", text(30<<20)); !errors.Is(err, context.Canceled) {
		t.Errorf("got error %v, want Canceled", err)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("it went on for %v", took)
	}
	p.Fail(harness.Fault{})
	wantNothing(t, d, "result")
}

func TestWriter_Damage(t *testing.T) {
	d, p := faulty(t, harness.FakeGCS(t))
	p.Fail(damage())
	if err := drivers.Put(t.Context(), d, "result", []byte(damaged)); err == nil {
		t.Error("stored what was damaged on the way")
	}
	p.Fail(harness.Fault{})
	wantNothing(t, d, "result")

	// Of an upload in parts, fake-gcs-server does not compare the checksum.
	large := text(12 << 20)
	var hashes []string
	p.Fail(harness.Instead(nil).For(func(r *http.Request) bool {
		hashes = append(hashes, r.Header.Get("X-Goog-Hash"))
		return false
	}))
	put(t, d, "result", large)
	sum := binary.BigEndian.AppendUint32(nil, crc32.Checksum(large, crc32.MakeTable(crc32.Castagnoli)))
	if want := []string{"", "", "", "crc32c=" + base64.StdEncoding.EncodeToString(sum)}; !slices.Equal(hashes, want) {
		t.Errorf("got checksums %q, want %q", hashes, want)
	}
}

// TestCreateNew_LostAnswer tries again what has succeeded, and finds an object that is there.
func TestCreateNew_LostAnswer(t *testing.T) {
	t.Parallel()
	d, p := faulty(t, harness.FakeGCS(t))
	create := func(data []byte) error {
		w, err := d.CreateNew(t.Context(), "lease")
		if err != nil {
			return err
		}
		defer w.Close()
		if _, err := w.Write(data); err != nil {
			return err
		}
		return w.Commit()
	}
	p.Fail(harness.LoseAnswer().First(1))
	if err := create([]byte("mine")); err != nil {
		t.Errorf("the answer was lost: %v", err)
	}
	for _, f := range []harness.Fault{{}, harness.Instead(answer(http.StatusServiceUnavailable, "")).First(1), harness.LoseAnswer().First(1)} {
		p.Fail(f)
		if err := create([]byte("another's")); !errors.Is(err, fs.ErrExist) {
			t.Errorf("the second one: got error %v, want ErrExist", err)
		}
	}
	p.Fail(harness.Fault{})
	wantObject(t, d, "lease", []byte("mine"))

	large := text(12 << 20)
	if err := create(large); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a large one: got error %v, want ErrExist", err)
	}
	if err := d.Delete(t.Context(), "lease"); err != nil {
		t.Fatal(err)
	}
	if err := create(large); err != nil {
		t.Errorf("a large one after the first was deleted: %v", err)
	}
	wantObject(t, d, "lease", large)
}

func TestReader_CutBodies(t *testing.T) {
	t.Parallel()
	s := harness.FakeGCS(t)
	data := text(1 << 20)
	for _, tt := range []struct {
		name   string
		off, n int64
		fault  harness.Fault
		want   error
	}{
		{"at the start", 0, -1, harness.CutBody(0).First(2), nil},
		{"midway", 0, -1, harness.CutBody(1000).First(3), nil},
		{"midway in the rest", 100_000, -1, harness.CutBody(1000).First(3), nil},
		{"midway in a range", 100_000, 500_000, harness.CutBody(100_000).First(3), nil},
		{"with progress each time", 0, 30_000, harness.CutBody(1000), nil},
		{"without progress", 0, -1, harness.CutBody(0), drivers.ErrUnavailable},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d, p := faulty(t, s)
			put(t, d, "data", data)
			p.Fail(tt.fault)
			r, err := d.Open(t.Context(), "data", tt.off, tt.n)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			want := data[tt.off:]
			if tt.n >= 0 {
				want = want[:tt.n]
			}
			got, err := io.ReadAll(r)
			if !errors.Is(err, tt.want) {
				t.Errorf("got error %v, want %v", err, tt.want)
			}
			if tt.want == nil && !bytes.Equal(got, want) {
				t.Errorf("got %d other bytes than the %d stored", len(got), len(want))
			}
			if n := len(p.Requests()); tt.want != nil && n > retry.Attempts {
				t.Errorf("got %d requests, want %d", n, retry.Attempts)
			}
		})
	}
}

// TestReader_Replaced breaks a body, and replaces the object before the reader goes on.
func TestReader_Replaced(t *testing.T) {
	d, p := faulty(t, harness.FakeGCS(t))
	for _, then := range []func() error{
		func() error { return drivers.Put(t.Context(), d, "data", bytes.Repeat([]byte("new"), 100_000)) },
		func() error { return d.Delete(t.Context(), "data") },
	} {
		old := bytes.Repeat([]byte("old"), 100_000)
		put(t, d, "data", old)
		p.Fail(harness.CutBody(1000).First(1))
		r, err := d.Open(t.Context(), "data", 0, -1)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		if err := then(); err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		if err == nil || !bytes.HasPrefix(old, got) {
			t.Errorf("got %d bytes and error %v, want some old ones and an error", len(got), err)
		}
	}
}

// TestDriver_BucketMissing has the answers that Google gives when the bucket is no more.
func TestDriver_BucketMissing(t *testing.T) {
	t.Parallel()
	s := harness.FakeGCS(t)
	for _, op := range operations() {
		t.Run(op.name, func(t *testing.T) {
			d, p := faulty(t, s)
			p.Fail(harness.Instead(answer(http.StatusNotFound, "The specified bucket does not exist.")))
			err := op.do(t.Context(), d)
			if !errors.Is(err, drivers.ErrUnavailable) || errors.Is(err, fs.ErrNotExist) {
				t.Errorf("got error %v, want ErrUnavailable", err)
			}
			p.Fail(harness.Fault{})
			if err := op.do(t.Context(), d); err != nil {
				t.Errorf("when it is back: %v", err)
			}
		})
	}
}

func TestDriver_Permission(t *testing.T) {
	t.Parallel()
	s := harness.FakeGCS(t)
	for _, op := range operations() {
		for _, code := range []int{http.StatusUnauthorized, http.StatusForbidden} {
			d, p := faulty(t, s)
			p.Fail(harness.Instead(answer(code, "no, you may not")))
			err := op.do(t.Context(), d)
			if !errors.Is(err, fs.ErrPermission) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s: got error %v, want ErrPermission in one line", op.name, err)
			}
			if n := len(p.Requests()); n > 2 {
				t.Errorf("%s: asked %d times", op.name, n)
			}
		}
	}
}
