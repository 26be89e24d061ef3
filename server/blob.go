package server

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/parfait-registry/parfait/registry"
)

// repoAndDigest parses what the paths of blobs and referrers have in common.
func repoAndDigest(w http.ResponseWriter) (registry.Name, digest.Digest, error) {
	rw := wrap(w)
	repo, err := registry.ParseName(rw.repository)
	if err != nil {
		return "", "", err
	}
	d, err := registry.ParseDigest(rw.param)
	return repo, d, err
}

// headBlob answers end-2: one look-up, the store is not asked.
func (s *Server) headBlob(w http.ResponseWriter, r *http.Request) error {
	repo, d, err := repoAndDigest(w)
	if err != nil {
		return err
	}
	b, err := s.reg.Blob(r.Context(), repo, d)
	if err != nil {
		return err
	}
	h := w.Header()
	setContentHeaders(h, d, blobMaxAge)
	if notModified(r, d) {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	v := [...]string{"application/octet-stream", strconv.FormatInt(b.Size, 10), "bytes"}
	h["Content-Type"], h["Content-Length"], h["Accept-Ranges"] = v[0:1:1], v[1:2:2], v[2:3:3]
	w.WriteHeader(http.StatusOK)
	s.pulled(w, r, registry.Act{Repo: repo, Digest: d, Size: b.Size})
	return nil
}

// getBlob answers end-2, with the blob, a range of it, or the place where the store itself serves it.
func (s *Server) getBlob(w http.ResponseWriter, r *http.Request) error {
	repo, d, err := repoAndDigest(w)
	if err != nil {
		return err
	}
	b, err := s.reg.Blob(r.Context(), repo, d)
	if err != nil {
		return err
	}
	if notModified(r, d) {
		setContentHeaders(w.Header(), d, blobMaxAge)
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	if err := s.sendBlob(w, r, b); err != nil {
		return err
	}
	s.pulled(w, r, registry.Act{Repo: repo, Digest: d, Size: b.Size})
	return nil
}

// sendBlob answers with the blob, or where it is.
func (s *Server) sendBlob(w http.ResponseWriter, r *http.Request, b registry.Blob) error {
	switch url, ok, err := s.reg.BlobURL(r.Context(), b, r.Method); {
	case err != nil:
		return err
	case ok:
		w.Header().Set("Location", url)
		w.Header().Set("Docker-Content-Digest", b.Digest.String())
		w.Header().Set("Content-Length", "0")
		w.WriteHeader(http.StatusTemporaryRedirect)
		return nil
	}
	if rw := wrap(w); s.accelerates(rw) {
		return s.accelBlob(rw, r, b)
	}
	ranges, err := requestRanges(r, b.Digest, b.Size)
	if err != nil {
		w.Header().Set("Content-Range", fmt.Sprintf("bytes */%d", b.Size))
		return err
	}
	return s.serveBlob(w, r, b, ranges)
}

// deleteBlob answers end-10.
func (s *Server) deleteBlob(w http.ResponseWriter, r *http.Request) error {
	repo, d, err := repoAndDigest(w)
	if err != nil {
		return err
	}
	if err := s.acting(w, r).DeleteBlob(r.Context(), repo, d); err != nil {
		return err
	}
	w.Header().Set("Content-Length", "0")
	w.WriteHeader(http.StatusAccepted)
	return nil
}

// serveBlob writes the ranges of a blob, or all of it if there are none. It finds out whether the object is there
// before http.ServeContent promises it.
func (s *Server) serveBlob(w http.ResponseWriter, r *http.Request, b registry.Blob, ranges []byteRange) error {
	c := &content{BlobReader: s.reg.OpenBlob(r.Context(), b), size: b.Size, ranges: ranges}
	defer c.Close()
	first := byteRange{0, b.Size}
	if len(ranges) > 0 {
		first = ranges[0]
	}
	if err := c.Bound(first.off, first.n); err != nil {
		return fmt.Errorf("open blob %s: %w", b.Digest, err)
	}
	setContentHeaders(w.Header(), b.Digest, blobMaxAge)
	w.Header()["Content-Type"] = []string{"application/octet-stream"}
	setRange(r.Header, ranges)
	rw := wrap(w)
	http.ServeContent(rw, r, "", time.Time{}, c)
	if err := rw.complete(r, c); err != nil {
		return fmt.Errorf("send blob %s: %w", b.Digest, err)
	}
	return nil
}

// complete returns an error if http.ServeContent wrote less than it announced, which it keeps to itself.
func (w *response) complete(r *http.Request, c *content) error {
	want, err := strconv.ParseInt(w.Header().Get("Content-Length"), 10, 64)
	if err != nil || r.Method == http.MethodHead || w.bytes >= want || w.status >= http.StatusMultipleChoices {
		return nil
	}
	cause := c.failure()
	switch {
	case r.Context().Err() != nil:
		return &sendError{r.Context().Err()}
	case cause == nil && w.err == nil:
		cause = io.ErrUnexpectedEOF // the store has less than the index says
	case cause == nil && cut(w.err):
		return &sendError{w.err}
	case cause == nil:
		cause = w.err
	}
	return fmt.Errorf("%d of %d bytes: %w", w.bytes, want, cause)
}

// A content gives a blob to http.ServeContent such that each range costs the back end one read of its length. What it
// embeds is a file to the network if it is one, for sendfile. Its lock is for the goroutine in which http.ServeContent
// reads several ranges, and which it leaves behind when the client goes.
type content struct {
	registry.BlobReader // read and closed under mu
	size                int64
	ranges              []byteRange

	mu     sync.Mutex
	bound  int   // the range that the reader is bound to; guarded by mu
	read   bool  // whether that was read; guarded by mu
	err    error // of the back end; guarded by mu
	closed bool  // guarded by mu
}

// Seek does what http.ServeContent needs: to the end for the size, back to the start, and to each range in turn. Of
// these only the ranges behind the first, which is bound already, mean anything to the back end.
func (c *content) Seek(off int64, whence int) (int64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed:
		return 0, os.ErrClosed
	case whence == io.SeekEnd:
		return c.size + off, nil
	case whence != io.SeekStart:
		return 0, errors.ErrUnsupported
	}
	if !c.read {
		return off, nil
	}
	c.bound, c.read = c.bound+1, false
	if c.bound >= len(c.ranges) || c.ranges[c.bound].off != off {
		return 0, errors.ErrUnsupported
	}
	return off, c.failed(c.Bound(off, c.ranges[c.bound].n))
}

// Read reads from the current position on.
func (c *content) Read(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return 0, os.ErrClosed
	}
	c.read = true
	n, err := c.BlobReader.Read(p)
	return n, c.failed(err)
}

// Close closes the blob.
func (c *content) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	return c.BlobReader.Close()
}

// failed keeps the first error. mu is held.
func (c *content) failed(err error) error {
	if c.err == nil && err != io.EOF {
		c.err = err
	}
	return err
}

func (c *content) failure() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// blobMaxAge lets caches keep what can never change for a year.
const blobMaxAge = "max-age=31536000"

// setContentHeaders sets what names the content of digest d. An empty cacheControl sets none.
func setContentHeaders(h http.Header, d digest.Digest, cacheControl string) {
	v := [...]string{d.String(), `"` + d.String() + `"`, cacheControl}
	h["Docker-Content-Digest"], h["Etag"] = v[0:1:1], v[1:2:2]
	if cacheControl != "" {
		h["Cache-Control"] = v[2:3:3]
	}
}

// notModified reports whether If-None-Match has d. Clients send the digest with quotes, as HTTP wants it, and without.
func notModified(r *http.Request, d digest.Digest) bool {
	for _, line := range r.Header["If-None-Match"] {
		for tag := range strings.SplitSeq(line, ",") {
			tag = strings.Trim(strings.TrimPrefix(strings.TrimSpace(tag), "W/"), `"`)
			if tag == "*" || tag == string(d) {
				return true
			}
		}
	}
	return false
}
