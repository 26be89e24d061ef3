package drivers_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/drivers/drivertest"
	"github.com/parfait-registry/parfait/drivers/local"
	"github.com/parfait-registry/parfait/drivers/mem"
	"github.com/parfait-registry/parfait/drivers/metered"
)

// fiveVerbs is a driver without capabilities.
type fiveVerbs struct{ drivers.Driver }

func openLocal(t *testing.T) *local.Driver {
	t.Helper()
	d, err := local.Open(local.Config{Path: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func put(t *testing.T, d drivers.Driver, key, data string) {
	t.Helper()
	if err := drivers.Put(t.Context(), d, key, []byte(data)); err != nil {
		t.Fatal(err)
	}
}

// TestFallbacks runs the suite on a driver that has nothing but the fall-backs.
func TestFallbacks(t *testing.T) {
	drivertest.Run(t, func(*testing.T) drivers.Driver { return fiveVerbs{mem.New()} })
}

// refusing is a driver whose capabilities are never up to it.
type refusing struct{ fiveVerbs }

func (refusing) Compose(context.Context, string, ...string) error {
	return fmt.Errorf("sources are too small: %w", errors.ErrUnsupported)
}

func (refusing) DeleteAll(context.Context, ...string) error { return errors.ErrUnsupported }

func TestFallbacks_Unsupported(t *testing.T) {
	d := refusing{fiveVerbs{mem.New()}}
	put(t, d, "a", "A")
	put(t, d, "b", "B")
	if err := drivers.Compose(t.Context(), d, "c", "a", "b"); err != nil {
		t.Fatal(err)
	}
	if err := drivers.DeleteAll(t.Context(), d, "a", "b"); err != nil {
		t.Fatal(err)
	}
	if got, err := drivers.ReadAll(t.Context(), d, "c", 2); string(got) != "AB" || err != nil {
		t.Errorf("got %q, %v, want AB", got, err)
	}
	if _, err := d.Stat(t.Context(), "a"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("stat of a deleted object: got error %v", err)
	}
}

// TestPutNew has several clients make one object at the same time, with the capability and without.
func TestPutNew(t *testing.T) {
	for name, d := range map[string]drivers.Driver{"capable": mem.New(), "five verbs": fiveVerbs{mem.New()}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var clients sync.WaitGroup
				made := make(chan string, 10)
				for i := range cap(made) {
					clients.Go(func() {
						data := fmt.Sprint("data of ", i)
						switch err := drivers.PutNew(t.Context(), d, "lease", []byte(data)); {
						case err == nil:
							made <- data
						case !errors.Is(err, fs.ErrExist):
							t.Error(err)
						}
					})
				}
				clients.Wait()
				if len(made) != 1 {
					t.Fatalf("%d of %d have made it", len(made), cap(made))
				}
				want := <-made
				if err := drivers.PutNew(t.Context(), d, "lease", []byte("late")); !errors.Is(err, fs.ErrExist) {
					t.Errorf("got %v, want ErrExist", err)
				}
				if got, err := drivers.ReadAll(t.Context(), d, "lease", 100); string(got) != want || err != nil {
					t.Errorf("got %q, %v, want %q", got, err, want)
				}
			})
		})
	}
}

func TestAs(t *testing.T) {
	type composer = drivers.Composer
	inner := mem.New()
	for _, tt := range []struct {
		name string
		d    drivers.Driver
		want bool
	}{
		{"the driver's own", inner, true},
		{"under a wrapper", metered.New(inner), true},
		{"under two", metered.New(metered.New(inner)), true},
		{"hidden by a wrapper", fiveVerbs{inner}, false},
		{"hidden below a wrapper", metered.New(fiveVerbs{inner}), false},
		{"in a faulty form", drivertest.Faulty(inner, nil), true},
		{"hidden below faults", drivertest.Faulty(fiveVerbs{inner}, nil), false},
		{"no driver", nil, false},
	} {
		if c, ok := drivers.As[composer](tt.d); ok != tt.want || (c != nil) != tt.want {
			t.Errorf("%s: got %v, %v, want %v", tt.name, c, ok, tt.want)
		}
	}
	if got, ok := drivers.As[*mem.Driver](metered.New(inner)); got != inner || !ok {
		t.Error("the wrapped driver itself was not found")
	}
	if _, ok := drivers.As[*mem.Driver](drivertest.Faulty(inner, nil)); ok {
		t.Error("a faulty driver could be bypassed")
	}
}

func TestReadAll_Limit(t *testing.T) {
	d := mem.New()
	put(t, d, "link", "12345")
	if got, err := drivers.ReadAll(t.Context(), d, "link", 5); string(got) != "12345" || err != nil {
		t.Errorf("at the limit: got %q, %v", got, err)
	}
	if got, err := drivers.ReadAll(t.Context(), d, "link", 4); err == nil {
		t.Errorf("past the limit: got %q, want an error", got)
	}
}

func TestReader(t *testing.T) {
	d := metered.New(mem.New())
	put(t, d, "a", "0123456789")
	r := drivers.NewReader(t.Context(), d, "a", 10)
	defer r.Close()
	read := func(n int, want string) {
		t.Helper()
		p := make([]byte, n)
		if n, err := io.ReadFull(r, p); string(p[:n]) != want {
			t.Errorf("read: got %q, %v, want %q", p[:n], err, want)
		}
	}
	seek := func(off int64, whence int, want int64) {
		t.Helper()
		if got, err := r.Seek(off, whence); got != want || err != nil {
			t.Errorf("seek to %d from %d: got %d, %v, want %d", off, whence, got, err, want)
		}
	}
	opens := func(what string, want int64) {
		t.Helper()
		if got := d.Counts().Calls(metered.OpOpen); got != want {
			t.Errorf("%s: opened %d times in all, want %d", what, got, want)
		}
	}
	seek(0, io.SeekEnd, 10)
	seek(0, io.SeekStart, 0)
	opens("seek", 0)
	read(4, "0123")
	seek(0, io.SeekEnd, 10)
	seek(4, io.SeekStart, 4)
	read(2, "45")
	opens("read in one go, with a look at the size", 1)
	seek(2, io.SeekCurrent, 8)
	read(5, "89")
	opens("read elsewhere", 2)
	if _, err := r.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("read at the end: got error %v, want EOF", err)
	}
	if err := r.Bound(3, 2); err != nil {
		t.Fatal(err)
	}
	opens("bound", 3)
	seek(0, io.SeekEnd, 10)
	seek(3, io.SeekStart, 3)
	read(2, "34")
	opens("read within the bound", 3)
	read(3, "567")
	opens("read past the bound", 4)
	if got := d.Counts()[metered.OpOpen].BytesOut; got != 4+2+2+2+3 {
		t.Errorf("read %d bytes from the driver, want 13", got)
	}
	if _, err := r.Seek(-1, io.SeekStart); err == nil {
		t.Error("seek to -1: got no error")
	}
}

func TestReader_Errors(t *testing.T) {
	d := mem.New()
	put(t, d, "a", "0123456789")
	r := drivers.NewReader(t.Context(), d, "none", 10)
	if err := r.Bound(0, 10); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("bound of an absent object: got error %v", err)
	}
	if _, err := r.Read(make([]byte, 1)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("read of an absent object: got error %v", err)
	}
	if err := r.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	r = drivers.NewReader(t.Context(), d, "a", 10)
	for _, off := range []int64{-1, 11} {
		if err := r.Bound(off, 1); !errors.Is(err, drivers.ErrRange) {
			t.Errorf("bound at %d: got error %v, want ErrRange", off, err)
		}
	}
	if got, err := io.ReadAll(drivers.NewReader(t.Context(), d, "a", 12)); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("object shorter than it should be: got %q, %v, want ErrUnexpectedEOF", got, err)
	}
	if got, err := io.ReadAll(drivers.NewReader(t.Context(), d, "a", 7)); string(got) != "0123456" || err != nil {
		t.Errorf("object longer than it should be: got %q, %v", got, err)
	}
}

// A tap counts the bytes that pass through Read.
type tap struct {
	*drivers.Reader
	n int
}

func (t *tap) Read(p []byte) (int, error) {
	n, err := t.Reader.Read(p)
	t.n += n
	return n, err
}

// TestReader_ServeContent serves ranges of an object, from memory and from a file, which net/http sends by sendfile(2)
// but for the 512 bytes at the start that it looks at.
func TestReader_ServeContent(t *testing.T) {
	data := strings.Repeat("0123456789", 100_000)
	for name, d := range map[string]drivers.Driver{"local": metered.New(openLocal(t)), "mem": mem.New()} {
		t.Run(name, func(t *testing.T) {
			put(t, d, "a/b", data)
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
				r := &tap{Reader: drivers.NewReader(req.Context(), d, "a/b", int64(len(data)))}
				defer r.Close()
				if req.Header.Get("Range") == "bytes=7-500006" { // one that the handler has read
					if err := r.Bound(7, 500_000); err != nil {
						t.Error(err)
					}
				}
				w.Header().Set("Content-Type", "application/octet-stream")
				http.ServeContent(w, req, "", time.Time{}, r)
				if req.Header.Get("Range") != "" {
					return
				}
				if n, err := r.Seek(0, io.SeekCurrent); n != int64(len(data)) || err != nil {
					t.Errorf("the reader stands at %d, %v, want the end", n, err)
				}
				if name == "local" && r.n > 512 {
					t.Errorf("%d bytes of a file were copied, want 512 at most", r.n)
				}
			}))
			defer srv.Close()
			for header, want := range map[string]string{
				"":               data,
				"bytes=7-500006": data[7:500_007],
				"bytes=3-600006": data[3:600_007],
				"bytes=999990-":  data[999_990:],
			} {
				if got := fetch(t, srv.URL, header); got != want {
					t.Errorf("range %q: got %d bytes beginning %.20q, want %d", header, len(got), got, len(want))
				}
			}
		})
	}
}

func fetch(t *testing.T, url, ranges string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if ranges != "" {
		req.Header.Set("Range", ranges)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}
