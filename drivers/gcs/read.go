package gcs

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"math"
	"net/http"
	"net/url"
	"strconv"

	"google.golang.org/api/googleapi"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/drivers/retry"
)

// Open implements [drivers.Driver]. The request is made here, and not by the library, whose reader asks again without
// a pause and without an end for as long as bodies break.
func (d *Driver) Open(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	if err := check(ctx, "open", key); err != nil {
		return nil, err
	}
	if off < 0 {
		return nil, failure(ctx, "open", key, fs.ErrInvalid)
	}
	if n > math.MaxInt64-off {
		n = -1
	}
	if n == 0 {
		return d.openEmpty(ctx, key, off)
	}
	g := get{d: d, key: key, off: off, n: n}
	var body io.ReadCloser
	err := retry.Do(ctx, transient, func() (err error) {
		body, err = g.from(ctx, 0)
		return err
	})
	switch {
	case status(err) == http.StatusRequestedRangeNotSatisfiable: // so it is also if off is right at the end
		return d.openEmpty(ctx, key, off)
	case err != nil:
		return nil, failure(ctx, "open", key, err)
	}
	again := func(at int64) (io.ReadCloser, error) { return g.from(ctx, at) }
	return &reader{ctx, key, retry.NewReader(ctx, body, transient, again)}, nil
}

// openEmpty returns a reader of nothing, if there is an object at key that does not end before off.
func (d *Driver) openEmpty(ctx context.Context, key string, off int64) (io.ReadCloser, error) {
	attrs, err := d.object(key).Attrs(ctx)
	if err != nil {
		return nil, failure(ctx, "open", key, err)
	}
	if off > attrs.Size {
		return nil, failure(ctx, "open", key, drivers.ErrRange)
	}
	return http.NoBody, nil
}

// A get reads n bytes, or all the rest if n < 0, from byte off of one generation of an object on.
type get struct {
	d          *Driver
	key        string
	off, n     int64
	generation string // that of the first answer
}

// from asks for what comes after the first at bytes.
func (g *get) from(ctx context.Context, at int64) (io.ReadCloser, error) {
	u := g.d.media + url.PathEscape(g.d.prefix+g.key) + "?alt=media"
	if g.generation != "" {
		u += "&generation=" + g.generation
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept-Encoding", "gzip") // or the server unpacks what was stored as gzip, and has no ranges then
	start := g.off + at
	switch {
	case g.n > 0:
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", start, g.off+g.n-1))
	case start > 0:
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", start))
	}
	resp, err := g.d.http.Do(req)
	if err != nil {
		return nil, err
	}
	if err := g.accept(req, resp); err != nil {
		resp.Body.Close()
		return nil, err
	}
	return resp.Body, nil
}

// accept checks that resp is what req asked for.
func (g *get) accept(req *http.Request, resp *http.Response) error {
	if err := googleapi.CheckResponse(resp); err != nil {
		return err
	}
	if asked := req.Header.Get("Range"); asked != "" && resp.StatusCode != http.StatusPartialContent {
		return fmt.Errorf("asked for %s, and got status %d", asked, resp.StatusCode)
	}
	generation := resp.Header.Get("X-Goog-Generation")
	if _, err := strconv.ParseUint(generation, 10, 64); err != nil {
		return fmt.Errorf("an answer of generation %q: %w", generation, err)
	}
	if g.generation != "" && g.generation != generation {
		return fmt.Errorf("the object was replaced by generation %s while it was read", generation)
	}
	g.generation = generation
	return nil
}

// A reader has the driver's errors.
type reader struct {
	ctx context.Context // of the Open that it answers
	key string
	*retry.Reader
}

func (r *reader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if err != nil && err != io.EOF {
		err = failure(r.ctx, "open", r.key, err)
	}
	return n, err
}
