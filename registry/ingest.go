package registry

import (
	"errors"
	"fmt"
	"hash"
	"io"
	"sync"

	"github.com/parfait-registry/parfait/drivers"
)

// bufferSize is how many bytes of an upload are read, hashed and written in one piece.
const bufferSize = 128 << 10

// buffers holds *[bufferSize]byte. An upload uses one, and a large one three.
var buffers = sync.Pool{New: func() any { return new([bufferSize]byte) }}

// ingest copies a body to w and h and returns how many bytes it had. Hashing and writing overlap, so that a large
// body takes as long as the slower of the two. If the client fails, the error has the code BLOB_UPLOAD_INVALID.
func ingest(w io.Writer, h hash.Hash, body io.Reader) (int64, error) {
	beside := io.Writer(h)
	if s, ok := w.(drivers.Summer); ok && s.SumWith(h) {
		w, beside = io.Discard, w // which hashes, and overlaps with reading the body
	}
	buf := buffers.Get().(*[bufferSize]byte)
	n, err := fill(body, buf[:])
	if err == io.EOF {
		defer buffers.Put(buf)
		if _, err := beside.Write(buf[:n]); err != nil {
			return int64(n), err
		}
		_, err = w.Write(buf[:n])
		return int64(n), err
	}
	if err != nil {
		buffers.Put(buf)
		return int64(n), bodyError(err)
	}
	return ingestLarge(w, beside, body, buf)
}

// A piece is a buffer on its way to the writer that runs beside, or back from it.
type piece struct {
	buf *[bufferSize]byte
	n   int
	err error // of the writer, on the way back
}

// ingestLarge goes on after first, which is full.
func ingestLarge(w, beside io.Writer, body io.Reader, first *[bufferSize]byte) (total int64, err error) {
	pieces, free := make(chan piece, 1), make(chan piece, 3)
	free <- piece{buf: buffers.Get().(*[bufferSize]byte)}
	free <- piece{buf: buffers.Get().(*[bufferSize]byte)}
	go writeAll(beside, pieces, free)
	defer func() {
		close(pieces)
		for p := range free { // the writer is not touched any more when this ends
			buffers.Put(p.buf)
			if err == nil {
				err = p.err
			}
		}
	}()
	p := piece{buf: first, n: bufferSize}
	for {
		pieces <- p
		if _, err := w.Write(p.buf[:p.n]); err != nil {
			return total, err
		}
		total += int64(p.n)
		if err == io.EOF {
			return total, nil
		}
		if p = <-free; p.err != nil {
			free <- p
			return total, p.err
		}
		if p.n, err = fill(body, p.buf[:]); err != nil && err != io.EOF {
			free <- p
			return total, bodyError(err)
		}
	}
}

// writeAll writes pieces to w until there are no more, and frees their buffers. After an error of w it only does that.
func writeAll(w io.Writer, pieces <-chan piece, free chan<- piece) {
	defer close(free)
	var err error
	for p := range pieces {
		if err == nil {
			_, err = w.Write(p.buf[:p.n])
		}
		free <- piece{buf: p.buf, err: err}
	}
}

// fill reads until buf is full or the body ends, which is io.EOF. Unlike io.ReadFull it tells a body that was cut
// short, which is what io.ErrUnexpectedEOF means here, from one that is over.
func fill(body io.Reader, buf []byte) (n int, err error) {
	for n < len(buf) && err == nil {
		var m int
		m, err = body.Read(buf[n:])
		n += m
	}
	if n == len(buf) && err == io.EOF {
		return n, nil // the next call finds the end
	}
	return n, err
}

// bodyError says that the client has not sent what it announced.
func bodyError(err error) error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	return &Error{Code: BlobUploadInvalid, Message: "the upload was cut short", Err: fmt.Errorf("read the body: %w", err)}
}

// bound returns c such that it fails once the blob, which has size bytes already, is longer than it may be.
func (r *Registry) bound(c Chunk, size int64) (Chunk, error) {
	most := r.cfg().MaxBlobSize
	if most <= 0 {
		return c, nil
	}
	b := &boundedReader{Reader: c.Body, left: most - size, most: most}
	if c.Length > b.left {
		return c, b.tooLarge()
	}
	c.Body = b
	return c, nil
}

// A boundedReader fails instead of reading on.
type boundedReader struct {
	io.Reader
	left, most int64 // bytes: until it fails, and of the blob
}

func (b *boundedReader) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, b.tooLarge()
	}
	return n, err
}

func (b *boundedReader) tooLarge() error {
	return &Error{Code: SizeInvalid, Message: fmt.Sprintf("the blob is longer than %d bytes", b.most), Err: ErrTooLarge}
}
