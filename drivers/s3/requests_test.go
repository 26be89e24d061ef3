package s3_test

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/drivers/s3"
	"github.com/parfait-registry/parfait/integration/harness"
)

const mib = 1 << 20

// brief is a request as the tests write it: the method, the key, and the names in the query.
func brief(r harness.Request, bucket string) string {
	text := r.Method + " " + strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, "/"+bucket), "/registry/")
	query := r.URL.Query()
	query.Del("x-id")
	if len(query) > 0 {
		text += "?" + strings.Join(slices.Sorted(maps.Keys(query)), "&")
	}
	return text
}

// TestDriver_Requests counts what each operation asks of the server, and looks at the headers.
func TestDriver_Requests(t *testing.T) {
	server := harness.MinIO(t)
	rec := harness.Record(t, server.Server)
	cfg := configFor(server, server.NewBucket(t))
	cfg.Endpoint, cfg.PartSize = rec.URL, 5*mib
	d := open(t, cfg)
	ctx := t.Context()
	read := func(key string, off, n int64) error {
		r, err := d.Open(ctx, key, off, n)
		if err != nil {
			return err
		}
		defer r.Close()
		_, err = io.Copy(io.Discard, r)
		return err
	}
	list := func() error {
		for _, err := range d.List(ctx, "", "") {
			if err != nil {
				return err
			}
		}
		return nil
	}
	copies := []string{"HEAD a", "HEAD large", "POST joined?uploads", "PUT joined?partNumber&uploadId", "PUT joined?partNumber&uploadId",
		"PUT joined?partNumber&uploadId", "GET large", "GET a", "POST joined?uploadId"}
	if got := briefs(rec, cfg.Bucket); len(got) != 6 {
		t.Errorf("open: got %q, want 6 requests", got)
	}
	for _, tt := range []struct {
		name string
		do   func() error
		want []string // in any order
	}{
		{"put", func() error { return drivers.Put(ctx, d, "a", []byte("hello")) }, []string{"PUT a"}},
		{"put nothing", func() error { return drivers.Put(ctx, d, "empty", nil) }, []string{"PUT empty"}},
		{"put a part", func() error { return drivers.Put(ctx, d, "part", make([]byte, 5*mib)) }, []string{"PUT part"}},
		{"put more", func() error { return drivers.Put(ctx, d, "large", make([]byte, 12*mib)) }, []string{"POST large?uploads",
			"PUT large?partNumber&uploadId", "PUT large?partNumber&uploadId", "PUT large?partNumber&uploadId", "POST large?uploadId"}},
		{"create new", func() error { return createNew(t, d, "new", "hello") }, []string{"PUT new"}},
		{"create what is there", func() error {
			if err := createNew(t, d, "new", "again"); !errors.Is(err, fs.ErrExist) {
				return fmt.Errorf("got error %w", err)
			}
			return nil
		}, []string{"PUT new"}},
		{"read", func() error { return read("a", 0, -1) }, []string{"GET a"}},
		{"read a range", func() error { return read("a", 1, 2) }, []string{"GET a"}},
		{"read large", func() error { return read("large", 0, -1) }, []string{"GET large"}},
		{"read nothing", func() error { return read("a", 5, 0) }, []string{"HEAD a"}},
		{"read at the end", func() error { return read("a", 5, -1) }, []string{"GET a", "HEAD a"}},
		{"stat", func() error { _, err := d.Stat(ctx, "a"); return err }, []string{"HEAD a"}},
		{"list", list, []string{"GET ?list-type&prefix"}},
		{"copy", func() error { return d.Compose(ctx, "copy", "a") }, []string{"PUT copy"}},
		{"copy large", func() error { return d.Compose(ctx, "copy", "large") }, []string{"PUT copy"}},
		{"join small", func() error { return d.Compose(ctx, "joined", "a", "new", "empty") }, []string{"HEAD a", "HEAD new", "HEAD empty",
			"GET a", "GET new", "PUT joined"}},
		{"join large", func() error { return d.Compose(ctx, "joined", "large", "large") }, []string{"HEAD large", "HEAD large",
			"POST joined?uploads", "PUT joined?partNumber&uploadId", "PUT joined?partNumber&uploadId", "POST joined?uploadId"}},
		{"join small and large", func() error { return d.Compose(ctx, "joined", "a", "large", "empty") }, append(copies[:4:4], "PUT joined?partNumber&uploadId",
			"GET a", "GET large", "HEAD empty", "POST joined?uploadId")},
		{"join one that is empty", func() error { return d.Compose(ctx, "joined", "empty", "large") }, []string{"HEAD empty", "HEAD large", "PUT joined"}},
		{"sign", func() error { _, err := d.SignURL(ctx, http.MethodGet, "a", time.Minute); return err }, nil},
		{"delete", func() error { return d.Delete(ctx, "a") }, []string{"DELETE a"}},
		{"delete what is absent", func() error { return d.Delete(ctx, "a") }, []string{"DELETE a"}},
		{"delete some", func() error { return d.DeleteAll(ctx, "empty", "large", "none", "empty") }, []string{"POST ?delete"}},
		{"delete none", func() error { return d.DeleteAll(ctx) }, nil},
		{"an invalid key", func() error { _, _ = d.Stat(ctx, "../a"); return nil }, nil},
		{"list what cannot be", func() error {
			for range d.List(ctx, "a//", "") {
			}
			for range d.List(ctx, "a", "b") {
			}
			return nil
		}, nil},
	} {
		rec.Reset()
		if err := tt.do(); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		got, want := briefs(rec, cfg.Bucket), slices.Sorted(slices.Values(tt.want))
		if !slices.Equal(got, want) {
			t.Errorf("%s: got requests %q, want %q", tt.name, got, want)
		}
		for _, r := range rec.Requests() {
			wantPlain(t, r)
		}
	}
}

// TestDriver_SignPayload looks at what requests that store something say of it.
func TestDriver_SignPayload(t *testing.T) {
	server := harness.MinIO(t)
	bucket, data := server.NewBucket(t), make([]byte, 12*mib)
	for _, sign := range []string{"true", "false"} {
		rec := harness.Record(t, server.Server)
		cfg := configFor(server, bucket)
		cfg.Endpoint, cfg.PartSize, cfg.SignPayload = rec.URL, 5*mib, sign
		if err := drivers.Put(t.Context(), open(t, cfg), "large", data); err != nil {
			t.Fatal(err)
		}
		stored := 0
		for _, r := range rec.Requests() {
			if r.Method != http.MethodPut {
				continue
			}
			stored++
			if sum := r.Header.Get("X-Amz-Content-Sha256"); (sum != "UNSIGNED-PAYLOAD") != (sign == "true") {
				t.Errorf("s3_sign_payload %s: %v says %q", sign, r, sum)
			}
		}
		if stored < 3 {
			t.Errorf("s3_sign_payload %s: got %d requests that store something, want 3 parts", sign, stored)
		}
	}
}

// briefs are the requests so far, sorted.
func briefs(rec *harness.Recorder, bucket string) []string {
	var all []string
	for _, r := range rec.Requests() {
		all = append(all, brief(r, bucket))
	}
	slices.Sort(all)
	return all
}

// wantPlain checks that a request has no header that servers stumble over.
func wantPlain(t *testing.T, r harness.Request) {
	t.Helper()
	for name := range r.Header {
		name = strings.ToLower(name)
		if strings.HasPrefix(name, "x-amz-checksum") || strings.HasPrefix(name, "x-amz-sdk-checksum") ||
			slices.Contains([]string{"x-amz-trailer", "expect", "content-encoding", "x-amz-server-side-encryption", "x-amz-storage-class"}, name) {
			t.Errorf("%v has header %s", r, name)
		}
	}
	if strings.Contains(r.Header.Get("Authorization"), "accept-encoding") {
		t.Errorf("%v signs Accept-Encoding", r)
	}
	if r.URL.Query().Has("delete") != (r.Header.Get("Content-Md5") != "") {
		t.Errorf("%v has Content-MD5 %q", r, r.Header.Get("Content-Md5"))
	}
	if r.Method == http.MethodPut && r.Length < 0 {
		t.Errorf("%v has no length", r)
	}
}

func createNew(t *testing.T, d *s3.Driver, key, data string) error {
	t.Helper()
	w, err := d.CreateNew(t.Context(), key)
	if err != nil {
		return err
	}
	defer w.Close()
	if _, err := io.WriteString(w, data); err != nil {
		return err
	}
	return w.Commit()
}
