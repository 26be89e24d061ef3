package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/drivers/drivertest"
	"github.com/parfait-registry/parfait/drivers/mem"
	"github.com/parfait-registry/parfait/registry"
)

// A spy notes what is opened.
type spy struct {
	drivers.Driver
	mu    sync.Mutex
	opens []string // guarded by mu
}

func (s *spy) Unwrap() drivers.Driver { return s.Driver }

func (s *spy) Open(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	s.mu.Lock()
	s.opens = append(s.opens, fmt.Sprintf("%d+%d", off, n))
	s.mu.Unlock()
	return s.Driver.Open(ctx, key, off, n)
}

func (s *spy) take() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer func() { s.opens = nil }()
	return s.opens
}

func TestStoreCallsOfAPull(t *testing.T) {
	for _, d := range []drivers.Driver{mem.New(), openLocal(t)} {
		s := &spy{Driver: d}
		h := open(t, s, Config{})
		m, _, layer := h.pushImage("app", "v1", pattern(100000))
		blob := "/v2/app/blobs/" + layer.Digest.String()
		for _, tt := range []struct {
			name, method, path, header string
			want                       []string
		}{
			{"get manifest", "GET", "/v2/app/manifests/v1", "", nil},
			{"get manifest by digest", "GET", "/v2/app/manifests/" + m.Digest.String(), "", nil},
			{"head blob", "HEAD", blob, "", nil},
			{"not modified", "GET", blob, "If-None-Match: *", nil},
			{"unsatisfiable", "GET", blob, "Range: bytes=100000-", nil},
			{"get blob", "GET", blob, "", []string{"0+-1"}},
			{"range", "GET", blob, "Range: bytes=10-19", []string{"10+10"}},
			{"range to the end", "GET", blob, "Range: bytes=99990-", []string{"99990+-1"}},
			{"ranges", "GET", blob, "Range: bytes=50-59,0-9,10-19", []string{"50+10", "0+10", "10+10"}},
			{"the same range twice", "GET", blob, "Range: bytes=0-9,0-9", []string{"0+10", "0+10"}},
			{"more ranges than there are bytes", "GET", blob, "Range: bytes=0-,0-,0-", []string{"0+-1"}},
			{"If-Range of another blob", "GET", blob, "Range: bytes=10-19\nIf-Range: \"x\"", []string{"0+-1"}},
		} {
			s.take()
			var header []string
			for line := range strings.Lines(tt.header) {
				k, v, _ := strings.Cut(strings.TrimSpace(line), ": ")
				header = append(header, k, v)
			}
			h.do(tt.method, tt.path, nil, header...)
			if got := s.take(); !slices.Equal(got, tt.want) {
				t.Errorf("%T: %s: got opens %q, want %q", d, tt.name, got, tt.want)
			}
		}
	}
}

func TestSeveralRanges(t *testing.T) {
	eachDriver(t, func(t *testing.T, d drivers.Driver) {
		h := open(t, d, Config{})
		content := pattern(100000)
		blob := "/v2/app/blobs/" + h.pushBlob("app", content).Digest.String()
		for _, ranges := range [][]byteRange{
			{{0, 10}, {20, 10}},
			{{90000, 10}, {0, 50000}},
			{{5, 1}, {5, 2}, {5, 3}},
			{{0, 10}, {10, 10}},
		} {
			header := make(http.Header)
			setRange(header, ranges)
			a := h.want(206, "GET", blob, nil, "Range", header.Get("Range"))
			mediaType, params, err := mime.ParseMediaType(a.header.Get("Content-Type"))
			if err != nil || mediaType != "multipart/byteranges" {
				t.Fatalf("%v: got content type %q", ranges, a.header.Get("Content-Type"))
			}
			parts := multipart.NewReader(strings.NewReader(a.body), params["boundary"])
			for _, rg := range ranges {
				p, err := parts.NextPart()
				if err != nil {
					t.Fatalf("%v: %v", ranges, err)
				}
				got, err := io.ReadAll(p)
				if want := content[rg.off : rg.off+rg.n]; err != nil || string(got) != want {
					t.Errorf("%v: got %.50q, %v, want %.50q", ranges, got, err, want)
				}
				if want := fmt.Sprintf("bytes %d-%d/100000", rg.off, rg.off+rg.n-1); p.Header.Get("Content-Range") != want || p.Header.Get("Content-Type") != "application/octet-stream" {
					t.Errorf("%v: got %v, want %s", ranges, p.Header, want)
				}
			}
			if _, err := parts.NextPart(); err != io.EOF {
				t.Errorf("%v: got one part more, %v", ranges, err)
			}
		}
		many := "bytes=" + strings.Repeat("0-0,", maxRanges) + "1-1"
		if a := h.do("GET", blob, nil, "Range", many); a.status != 200 || a.body != content {
			t.Errorf("very many ranges: got %d with %d bytes, want all", a.status, len(a.body))
		}
	})
}

func TestBlobWithoutItsBytes(t *testing.T) {
	eachDriver(t, func(t *testing.T, d drivers.Driver) {
		h := open(t, d, Config{})
		desc := h.pushBlob("app", pattern(100000))
		blob := "/v2/app/blobs/" + desc.Digest.String()
		if err := d.Delete(t.Context(), blobKeyOf(h, desc.Digest)); err != nil {
			t.Fatal(err)
		}
		for i, header := range [][]string{nil, {"Range", "bytes=1-2"}, {"Range", "bytes=1-2,4-5"}} {
			a := h.do("GET", blob, nil, header...)
			if a.status != 500 || !slices.Equal(a.codes(), []string{"UNKNOWN"}) || a.header.Get("Etag")+a.header.Get("Cache-Control") != "" {
				t.Errorf("%q: got %d %v %s, want 500 UNKNOWN", header, a.status, a.header, a.body)
			}
			if got := h.log.lines(t, "request failed", i+1)[i]; got["level"] != "ERROR" || !strings.Contains(got["err"].(string), desc.Digest.String()) {
				t.Errorf("%q: got %v in the log", header, got)
			}
		}
		h.want(200, "HEAD", blob, nil) // by the index alone
	})
}

// blobKeyOf finds where a blob is stored.
func blobKeyOf(h *house, d digest.Digest) string {
	for _, key := range h.keys() {
		if strings.HasSuffix(key, "/"+d.Encoded()+"/data") {
			return key
		}
	}
	h.t.Fatalf("%s is not stored", d)
	return ""
}

func TestBlobThatWasCutShort(t *testing.T) {
	eachDriver(t, func(t *testing.T, d drivers.Driver) {
		h := open(t, d, Config{})
		desc := h.pushBlob("app", pattern(1<<20))
		w, err := d.Create(t.Context(), blobKeyOf(h, desc.Digest))
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		io.WriteString(w, pattern(1<<19))
		if err := w.Commit(); err != nil {
			t.Fatal(err)
		}
		if a, err := h.try("GET", "/v2/app/blobs/"+desc.Digest.String(), nil); err == nil {
			t.Errorf("got %d with %d bytes, want the connection cut", a.status, len(a.body))
		}
		if got := h.log.lines(t, "request failed", 1)[0]; got["level"] != "ERROR" || !strings.Contains(got["err"].(string), "unexpected EOF") {
			t.Errorf("got %v in the log", got)
		}
	})
}

func TestStoreFailsWithinABlob(t *testing.T) {
	eachDriver(t, func(t *testing.T, d drivers.Driver) {
		d = drivertest.Faulty(d, func(op drivertest.Op) error {
			if op.Kind == drivertest.Read && op.N > 1<<19 {
				return syscall.ECONNRESET // of the back end, not of the client
			}
			return nil
		})
		h := open(t, d, Config{})
		blob := "/v2/app/blobs/" + h.pushBlob("app", pattern(1<<20)).Digest.String()
		for i, header := range [][]string{nil, {"Range", "bytes=5-"}, {"Range", "bytes=0-99,100-900000"}} {
			if a, err := h.try("GET", blob, nil, header...); err == nil {
				t.Errorf("%q: got %d with %d bytes, want the connection cut", header, a.status, len(a.body))
			}
			if got := h.log.lines(t, "request failed", i+1)[i]; got["level"] != "ERROR" || !strings.Contains(got["err"].(string), "connection reset") {
				t.Errorf("%q: got %v in the log", header, got)
			}
		}
	})
}

func TestStoreFailsBeforeABlob(t *testing.T) {
	for _, err := range []error{errors.New("ouch"), syscall.EIO, context.DeadlineExceeded} {
		h := open(t, drivertest.Faulty(mem.New(), func(op drivertest.Op) error {
			if op.Kind == drivertest.Open {
				return err
			}
			return nil
		}), Config{})
		a := h.want(500, "GET", "/v2/app/blobs/"+h.pushBlob("app", "x").Digest.String(), nil)
		if strings.Contains(a.body, "ouch") {
			t.Errorf("got %s, want no details", a.body)
		}
	}
}

func TestClientLeavesWithinABlob(t *testing.T) {
	for _, header := range []string{"", "bytes=0-9,100-30000000"} {
		eachDriver(t, func(t *testing.T, d drivers.Driver) {
			h := open(t, d, Config{})
			blob := h.web.URL + "/v2/app/blobs/" + h.pushBlob("app", strings.Repeat("x", 32<<20)).Digest.String()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			req, _ := http.NewRequestWithContext(ctx, "GET", blob, nil)
			if header != "" {
				req.Header.Set("Range", header)
			}
			resp, err := h.web.Client().Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			io.CopyN(io.Discard, resp.Body, 1000)
			cancel()
			lines := h.log.lines(t, "request", 3) // POST, PUT, GET
			if got := lines[2]; got["status"] != float64(499) || got["level"] != "INFO" {
				t.Errorf("got %v, want status 499", got)
			}
			if got := h.log.lines(t, "request failed", 0); len(got) != 0 {
				t.Errorf("got %v, want no error", got)
			}
		})
	}
}

// A lender is a connection's end that tells whether it is given something that can be sent without a copy.
type lender struct {
	http.ResponseWriter
	file bool
}

func (l *lender) ReadFrom(src io.Reader) (int64, error) {
	if lr, ok := src.(*io.LimitedReader); ok {
		if c, ok := lr.R.(syscall.Conn); ok {
			_, err := c.SyscallConn()
			l.file = err == nil
		}
	}
	return l.ResponseWriter.(io.ReaderFrom).ReadFrom(src)
}

func TestLocalBlobsAreSentAsFiles(t *testing.T) {
	eachDriver(t, func(t *testing.T, d drivers.Driver) {
		h := open(t, d, Config{})
		content := pattern(1 << 20)
		desc := h.pushBlob("app", content)
		end := new(lender)
		h.web.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			end.ResponseWriter = w
			h.server.ServeHTTP(end, r)
		})
		for _, header := range [][]string{nil, {"Range", "bytes=0-"}} {
			end.file = false
			if a := h.do("GET", "/v2/app/blobs/"+desc.Digest.String(), nil, header...); a.body != content {
				t.Errorf("%q: got %d with %d bytes, want %d", header, a.status, len(a.body), len(content))
			}
			if _, isMem := d.(*mem.Driver); end.file == isMem {
				t.Errorf("%q: sent as a file: %t", header, end.file)
			}
		}
	})
}

// A signer is a store that signs URLs.
type signer struct {
	drivers.Driver
	err error
}

func (s signer) SignURL(_ context.Context, method, key string, _ time.Duration) (string, error) {
	return "https://store.example.com/" + key + "?for=" + method, s.err
}

func TestRedirect(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	h := openWith(t, signer{Driver: mem.New()}, Config{}, registry.Config{Redirect: true}, new(journal), log)
	desc := h.pushBlob("app", "hello")
	blob := "/v2/app/blobs/" + desc.Digest.String()
	a := h.want(307, "GET", blob, nil)
	if want := "https://store.example.com/" + blobKeyOf(h, desc.Digest) + "?for=GET"; a.header.Get("Location") != want || a.body != "" {
		t.Errorf("got Location %q with %q, want %q", a.header.Get("Location"), a.body, want)
	}
	if got := a.header.Get("Docker-Content-Digest"); got != desc.Digest.String() {
		t.Errorf("got digest %q", got)
	}
	if a := h.want(200, "HEAD", blob, nil); a.header.Get("Content-Length") != "5" {
		t.Errorf("HEAD: got %v", a.header)
	}
	h.want(304, "GET", blob, nil, "If-None-Match", desc.Digest.String())
	h.want(404, "GET", "/v2/app/blobs/"+unknown, nil)

	h = openWith(t, signer{mem.New(), errors.New("no key")}, Config{}, registry.Config{Redirect: true}, new(journal), log)
	h.want(500, "GET", "/v2/app/blobs/"+h.pushBlob("app", "hello").Digest.String(), nil)
}

func TestNotModified(t *testing.T) {
	d := digest.FromString("x")
	for header, want := range map[string]bool{
		`"` + d.String() + `"`: true, d.String(): true, `W/"` + d.String() + `"`: true, "*": true, `"a", "` + d.String() + `"`: true,
		"": false, `""`: false, `"a"`: false, d.Encoded(): false, `"` + d.String(): true, ",,": false,
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("If-None-Match", header)
		if got := notModified(r, d); got != want {
			t.Errorf("%s: got %t", header, got)
		}
	}
}
