package legacy

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"io"

	"github.com/opencontainers/go-digest"
)

// A layer is what became of an old one.
type layer struct {
	Digest digest.Digest `json:"digest,omitempty"` // of the blob; empty if the layer has no files, and needs none
	Size   int64         `json:"size,omitempty"`   // of the blob, in bytes
	DiffID digest.Digest `json:"diff_id"`          // of the plain tar
}

// A recoder reads a layer as the old store has it, and is itself a reader of the blob that it becomes: the same bytes if
// they are gzip, or else a plain tar, compressed. While they pass, they are looked at: see result.
type recoder struct {
	body io.Reader
	sum  digest.Digester // of what was read from body
	size int64           // likewise
	read bool            // whether all of body was

	stop  func(error) error // ends the goroutine that inspects
	found chan inspection   // receives one from there
}

// An inspection is what a plain tar is found to be.
type inspection struct {
	diffID digest.Digest
	empty  bool // no file in it
	err    error
}

var errStopped = errors.New("the layer was not read to its end")

// bufferSize is how much of a layer goes from hand to hand at once.
const bufferSize = 128 << 10

// newRecoder begins to read stored. The caller calls result in the end, whether all was read or not.
func newRecoder(stored io.Reader) *recoder {
	c := &recoder{sum: digest.SHA256.Digester(), found: make(chan inspection, 1)}
	r, w := io.Pipe()
	in := bufio.NewReaderSize(stored, bufferSize)
	magic, failed := in.Peek(6)
	if failed == io.EOF {
		failed = nil // it is a short one
	}
	if failed == nil && bytes.HasPrefix(magic, []byte("\x1f\x8b")) {
		c.body, c.stop = &lender{in, w}, w.CloseWithError
		go func() {
			found := unzip(bufio.NewReaderSize(r, bufferSize))
			c.found <- found
			r.CloseWithError(found.err)
		}()
		return c
	}
	c.body, c.stop = r, r.CloseWithError
	go func() {
		found := inspection{err: failed}
		switch {
		case failed != nil:
		case string(magic) == "\xfd7zXZ\x00":
			found.err = errXZ
		default:
			found = zip(w, in)
		}
		c.found <- found
		w.CloseWithError(found.err)
	}()
	return c
}

var errXZ = errors.New("it is compressed with xz, which is no layer to Docker: put the plain tar in its place")

// unzip inspects what is in a gzip.
func unzip(r io.Reader) inspection {
	plain, err := gzip.NewReader(r)
	if err != nil {
		return inspection{err: err}
	}
	return inspect(plain)
}

// zip inspects a plain tar and compresses it to w.
func zip(w io.Writer, plain io.Reader) inspection {
	buffer := bufio.NewWriterSize(w, bufferSize)
	packed := gzip.NewWriter(buffer)
	found := inspect(io.TeeReader(plain, packed))
	if found.err == nil {
		found.err = errors.Join(packed.Close(), buffer.Flush())
	}
	return found
}

// Read reads the blob.
func (c *recoder) Read(p []byte) (int, error) {
	n, err := c.body.Read(p)
	c.sum.Hash().Write(p[:n])
	c.size += int64(n)
	c.read = c.read || err == io.EOF
	return n, err
}

// result says what the layer has become. The error is that of the layer, or errStopped if body was not read to its end.
// Nothing reads the layer any more then.
func (c *recoder) result() (layer, error) {
	if !c.read {
		c.stop(errStopped)
	}
	switch found := <-c.found; {
	case found.err != nil:
		return layer{}, found.err
	case found.empty:
		return layer{DiffID: found.diffID}, nil
	default:
		return layer{Digest: c.sum.Digest(), Size: c.size, DiffID: found.diffID}, nil
	}
}

// A lender is an io.TeeReader that tells the other side of the end, too.
type lender struct {
	r io.Reader
	w *io.PipeWriter
}

func (l *lender) Read(p []byte) (int, error) {
	n, err := l.r.Read(p)
	if n > 0 {
		if _, err := l.w.Write(p[:n]); err != nil {
			return 0, err
		}
	}
	if err != nil {
		l.w.CloseWithError(err)
	}
	return n, err
}

// inspect reads a tar to its end, with what may come after it.
func inspect(r io.Reader) inspection {
	sum := digest.SHA256.Digester()
	r = io.TeeReader(r, sum.Hash())
	found := inspection{empty: true}
	for files := tar.NewReader(r); ; found.empty = false {
		_, err := files.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return inspection{err: err}
		}
	}
	_, err := io.Copy(io.Discard, r)
	found.diffID, found.err = sum.Digest(), err
	return found
}
