package gocloud_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/drivers/gocloud"
	"github.com/parfait-registry/parfait/integration/harness"
)

const mib = 1 << 20

// random returns n bytes that depend on seed alone.
func random(seed byte, n int) []byte {
	data := make([]byte, n)
	rand.NewChaCha8([32]byte{seed}).Read(data)
	return data
}

// put writes in pieces, as a push does.
func put(ctx context.Context, d drivers.Driver, key string, data []byte) error {
	w, err := d.Create(ctx, key)
	if err != nil {
		return err
	}
	defer w.Close()
	for piece := range slices.Chunk(data, 32<<10) {
		if _, err := w.Write(piece); err != nil {
			return err
		}
	}
	return w.Commit()
}

func get(ctx context.Context, d drivers.Driver, key string) ([]byte, error) {
	r, err := d.Open(ctx, key, 0, -1)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

// wantBytes checks what is stored at key.
func wantBytes(t *testing.T, d drivers.Driver, key string, want []byte) {
	t.Helper()
	got, err := get(t.Context(), d, key)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("%s: got %d other bytes than the %d that were stored", key, len(got), len(want))
	}
}

func wantKeys(t *testing.T, d drivers.Driver, want ...string) {
	t.Helper()
	var got []string
	for o, err := range d.List(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, o.Key)
	}
	if !slices.Equal(got, want) {
		t.Errorf("got keys %q, want %q", got, want)
	}
}

func testRequests(t *testing.T, s *harness.Azure) {
	p := harness.NewGate(t, s.URL)
	cfg := config(t, s)
	cfg.Endpoint = p.URL
	d := openAzure(t, cfg)
	large := random(1, 40*mib)
	for _, src := range []string{"srcs/1", "srcs/2", "srcs/3"} {
		if err := put(t.Context(), d, src, []byte(src)); err != nil {
			t.Fatal(err)
		}
	}
	blocks := []string{"PUT block", "PUT block", "PUT block", "PUT blocklist"}
	for _, tt := range []struct {
		name string
		do   func(ctx context.Context) error
		want []string
	}{
		{"small", func(ctx context.Context) error { return put(ctx, d, "a", []byte("hello")) }, []string{"PUT"}},
		{"one part", func(ctx context.Context) error { return put(ctx, d, "a", large[:8*mib]) }, []string{"PUT"}},
		{"large", func(ctx context.Context) error { return put(ctx, d, "large", large) }, blocks},
		{"new", func(ctx context.Context) error { _, err := d.CreateNew(ctx, "new"); return err }, nil},
		{"stat", func(ctx context.Context) error { _, err := d.Stat(ctx, "large"); return err }, []string{"HEAD"}},
		{"read", func(ctx context.Context) error { _, err := get(ctx, d, "large"); return err }, []string{"GET"}},
		{"delete", func(ctx context.Context) error { return d.Delete(ctx, "large") }, []string{"DELETE"}},
		{"delete nothing", func(ctx context.Context) error { return d.Delete(ctx, "large") }, []string{"DELETE"}},
		{"compose one", func(ctx context.Context) error { return d.Compose(ctx, "dst", "srcs/1") }, []string{"HEAD", "PUT from"}},
		{"compose two", func(ctx context.Context) error { return d.Compose(ctx, "dst", "srcs/1", "srcs/2") },
			[]string{"HEAD", "HEAD", "PUT block from", "PUT block from", "PUT blocklist"}},
		{"sign", func(ctx context.Context) error {
			s, _ := drivers.As[drivers.URLSigner](d)
			_, err := s.SignURL(ctx, http.MethodGet, "a", time.Minute)
			return err
		}, nil},
		{"list", func(context.Context) error { wantKeys(t, d, "a", "dst", "srcs/1", "srcs/2", "srcs/3"); return nil }, []string{"GET list"}},
	} {
		p.Requests()
		if err := tt.do(t.Context()); err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		if got := briefs(p.Requests()); !slices.Equal(got, tt.want) {
			t.Errorf("%s: got requests %q, want %q", tt.name, got, tt.want)
		}
	}
}

// briefs are requests as the tests write them: methods with what tells them apart.
func briefs(requests []*http.Request) (all []string) {
	for _, r := range requests {
		brief := r.Method
		if comp := r.URL.Query().Get("comp"); comp != "" {
			brief += " " + comp
		}
		if r.Header.Get("x-ms-copy-source") != "" {
			brief += " from"
		}
		all = append(all, brief)
	}
	return all
}

// answer reads a request and answers with an error as Azure says it.
func answer(status int, code string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		w.Header().Set("x-ms-error-code", code)
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(status)
		fmt.Fprintf(w, "<?xml version=\"1.0\"?><Error><Code>%s</Code><Message>\nin several\nlines</Message></Error>", code)
	}
}

// verbs are all that a driver does, on an object at key that is there.
func verbs(d *gocloud.Driver, key string, data []byte) map[string]func(ctx context.Context) error {
	return map[string]func(ctx context.Context) error{
		"open":   func(ctx context.Context) error { _, err := get(ctx, d, key); return err },
		"stat":   func(ctx context.Context) error { _, err := d.Stat(ctx, key); return err },
		"small":  func(ctx context.Context) error { return put(ctx, d, "small", data[:10]) },
		"large":  func(ctx context.Context) error { return put(ctx, d, "large", data) },
		"delete": func(ctx context.Context) error { return d.Delete(ctx, "none") },
		"list": func(ctx context.Context) (failed error) {
			for _, err := range d.List(ctx, "", "") {
				failed = err
			}
			return failed
		},
		"compose one":  func(ctx context.Context) error { return d.Compose(ctx, "dst", key) },
		"compose more": func(ctx context.Context) error { return d.Compose(ctx, "dst", key, key) },
	}
}

// What passes is not noticed, and what stays is said within seconds; then all is as before.
func testBursts(t *testing.T, s *harness.Azure) {
	for name, fault := range map[string]harness.Fault{
		"500":   harness.Instead(answer(500, "InternalError")),
		"503":   harness.Instead(answer(503, "ServerBusy")),
		"early": harness.Instead(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) }),
		"reset": harness.Reset(0),
		"half":  harness.Reset(3 * mib),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testBurst(t, s, fault)
		})
	}
}

func testBurst(t *testing.T, s *harness.Azure, f harness.Fault) {
	p := harness.NewGate(t, s.URL)
	cfg := config(t, s)
	cfg.Endpoint, cfg.PartSize = p.URL, 5*mib
	d := openAzure(t, cfg)
	data := random(1, 6*mib)
	if err := put(t.Context(), d, "object", data); err != nil {
		t.Fatal(err)
	}
	for verb, do := range verbs(d, "object", data) {
		p.Fail(f.First(3))
		if err := do(t.Context()); err != nil {
			t.Errorf("%s in a burst that passes: %v", verb, err)
		}
		p.Fail(f)
		start := time.Now()
		err := do(t.Context())
		if !errors.Is(err, drivers.ErrUnavailable) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s in a burst that stays: got error %v, want %v in one line", verb, err, drivers.ErrUnavailable)
		}
		if took := time.Since(start); took > 15*time.Second {
			t.Errorf("%s in a burst that stays: said after %v", verb, took)
		}
		p.Fail(harness.Fault{})
		if err := do(t.Context()); err != nil {
			t.Errorf("%s afterwards: %v", verb, err)
		}
	}
	wantBytes(t, d, "object", data)
	wantBytes(t, d, "large", data)
}

// The n-th request of an upload is refused, for all n: the upload fails, leaves nothing that can be seen, and may be
// done again.
func testRefusedUploads(t *testing.T, s *harness.Azure) {
	p := harness.NewGate(t, s.URL)
	cfg := config(t, s)
	cfg.Endpoint, cfg.PartSize = p.URL, 5*mib
	testRefusals(t, p, openAzure(t, cfg), 12*mib)
}

func TestRefusedStreams(t *testing.T) {
	s := harness.MinIO(t)
	p := harness.NewGate(t, s.URL)
	t.Setenv("AWS_ACCESS_KEY_ID", s.AccessKey)
	t.Setenv("AWS_SECRET_ACCESS_KEY", s.SecretKey)
	d := openURL(t, gocloud.URLConfig{URL: s3URL(s.NewBucket(t), p.URL, s.Region)})
	testRefusals(t, p, d, 20*mib)
}

func testRefusals(t *testing.T, p *harness.Gate, d *gocloud.Driver, large int) {
	for _, size := range []int{0, mib, large} {
		data := random(2, size)
		for _, status := range []int{400, 403, 412} {
			t.Run(fmt.Sprintf("%d bytes, %d", size, status), func(t *testing.T) { testRefused(t, p, d, data, status) })
		}
	}
}

func testRefused(t *testing.T, p *harness.Gate, d *gocloud.Driver, data []byte, status int) {
	for n := 0; ; n++ {
		refused, asked := false, new(atomic.Int32)
		p.Fail(harness.Instead(func(w http.ResponseWriter, r *http.Request) {
			refused = true
			answer(status, "Refused")(w, r)
		}).For(func(r *http.Request) bool {
			return int(asked.Add(1)) == n+1 && r.Method != http.MethodDelete // an upload that is aborted
		}))
		err := put(t.Context(), d, "a/b", data)
		p.Fail(harness.Fault{})
		if !refused {
			if err != nil {
				t.Fatal(err)
			}
			break
		}
		if err == nil {
			t.Fatalf("request %d was refused, and the upload went well", n)
		}
		if _, ok := errors.AsType[*drivers.Error](err); !ok || strings.Contains(err.Error(), "\n") {
			t.Errorf("request %d: got error %v, want a *drivers.Error in one line", n, err)
		}
		if status == http.StatusForbidden && !errors.Is(err, fs.ErrPermission) {
			t.Errorf("request %d: got error %v, want %v", n, err, fs.ErrPermission)
		}
		wantKeys(t, d)
	}
	wantBytes(t, d, "a/b", data)
	if err := d.Delete(t.Context(), "a/b"); err != nil {
		t.Fatal(err)
	}
}

// Bodies that break are read on, as long as they are of the same object.
func testHalfReads(t *testing.T, s *harness.Azure) {
	p := harness.NewGate(t, s.URL)
	cfg := config(t, s)
	direct := openAzure(t, cfg)
	cfg.Endpoint = p.URL
	d := openAzure(t, cfg)
	data := random(3, 3*mib)
	if err := put(t.Context(), d, "a", data); err != nil {
		t.Fatal(err)
	}
	p.Fail(harness.CutBody(100_000).First(12))
	wantBytes(t, d, "a", data)
	if got := len(p.Requests()); got != 13 {
		t.Errorf("got %d requests, want 13", got)
	}
	cut := harness.CutBody(mib)
	p.Fail(harness.Fault{Do: func(w http.ResponseWriter, r *http.Request, server http.Handler) {
		defer func() {
			if err := put(context.Background(), direct, "a", random(4, 3*mib)); err != nil {
				t.Error(err)
			}
		}()
		cut.Do(w, r, server)
	}}.First(1))
	got, err := get(t.Context(), d, "a")
	if err == nil || !bytes.Equal(got, data[:len(got)]) {
		t.Errorf("the object was replaced while it was read: got %d bytes and error %v", len(got), err)
	}
	var asked atomic.Int32
	p.Fail(harness.Fault{Do: func(w http.ResponseWriter, r *http.Request, server http.Handler) {
		if asked.Add(1) == 1 {
			cut.Do(w, r, server)
		}
		harness.Reset(0).Do(w, r, server)
	}})
	if _, err = get(t.Context(), d, "a"); !errors.Is(err, drivers.ErrUnavailable) {
		t.Errorf("the server went away in the middle: got error %v, want %v", err, drivers.ErrUnavailable)
	}
}

// A container that goes away is no absence of objects, and one that comes back is used again.
func testContainerGone(t *testing.T, s *harness.Azure) {
	cfg := config(t, s)
	d := openAzure(t, cfg)
	data := random(1, 17*mib)
	if err := put(t.Context(), d, "object", data); err != nil {
		t.Fatal(err)
	}
	container := func(method string) {
		req, err := http.NewRequestWithContext(t.Context(), method, s.SignedURL(cfg.Container)+"&restype=container", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode/100 != 2 {
			t.Fatalf("%s of the container: %s", method, resp.Status)
		}
	}
	container(http.MethodDelete)
	for verb, do := range verbs(d, "object", data) {
		if err := do(t.Context()); !errors.Is(err, drivers.ErrUnavailable) || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: got error %v, want %v", verb, err, drivers.ErrUnavailable)
		}
	}
	container(http.MethodPut)
	if err := put(t.Context(), d, "object", data); err != nil {
		t.Fatal(err)
	}
	wantBytes(t, d, "object", data)
}
