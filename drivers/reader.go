package drivers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// A Reader reads and seeks in one object. It opens the object when something is read, at the place where it is read,
// and again only after a Seek to elsewhere; this is what http.ServeContent needs. It is not safe for concurrent use.
//
// Where the driver hands out the object as an [*os.File], as package local does, net/http sends a whole object with
// sendfile(2) instead of copying it through this process.
type Reader struct {
	ctx  context.Context // of the request that the reader serves
	d    Driver
	key  string
	size int64

	pos int64         // where the next Read begins
	rc  io.ReadCloser // nil while nothing is open
	at  int64         // where rc stands
	end int64         // where rc ends; size, unless Bound said otherwise
}

// NewReader returns a reader of the object at key, which has size bytes. Nothing is opened yet: an object that is not
// there is an error of the first Read or of Bound. An object that turns out shorter than size ends in
// [io.ErrUnexpectedEOF]; of a longer one, size bytes are read. ctx governs the reader until Close.
func NewReader(ctx context.Context, d Driver, key string, size int64) *Reader {
	return &Reader{ctx: ctx, d: d, key: key, size: size}
}

// Bound opens the object at off, for n bytes or up to its end if that comes first, so that what is missing is an
// error before anything is answered, and so that an object store need not open to the end for a small range. The next
// Read begins at off. Reads past the n bytes open the object anew. An off outside the object is [ErrRange].
func (r *Reader) Bound(off, n int64) error {
	if off < 0 || off > r.size {
		return fmt.Errorf("bound %q to offset %d of %d: %w", r.key, off, r.size, ErrRange)
	}
	r.pos = off
	return r.open(max(n, 0))
}

// Read reads from the current position on.
func (r *Reader) Read(p []byte) (int, error) {
	if r.pos >= r.size {
		return 0, io.EOF
	}
	if err := r.ready(); err != nil {
		return 0, err
	}
	p = p[:min(int64(len(p)), r.end-r.at)]
	n, err := r.rc.Read(p)
	r.at += int64(n)
	r.pos = r.at
	if err == io.EOF {
		err = nil
		if n == 0 && len(p) > 0 {
			err = fmt.Errorf("read %q: ends after %d of %d bytes: %w", r.key, r.at, r.size, io.ErrUnexpectedEOF)
		}
	}
	return n, err
}

// Seek moves the position of the next Read, which alone may fail for want of the object.
func (r *Reader) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += r.pos
	case io.SeekEnd:
		offset += r.size
	}
	if offset < 0 {
		return 0, fmt.Errorf("seek %q to %d: %w", r.key, offset, fs.ErrInvalid)
	}
	r.pos = offset
	return offset, nil
}

// Close releases what is open.
func (r *Reader) Close() error {
	if r.rc == nil {
		return nil
	}
	err := r.rc.Close()
	r.rc = nil
	return err
}

// ready sees to it that rc is open and stands at pos.
func (r *Reader) ready() error {
	if r.rc != nil && r.at == r.pos && r.at < r.end {
		return nil
	}
	return r.open(r.size - r.pos)
}

// open opens the object at pos for n bytes.
func (r *Reader) open(n int64) error {
	if err := r.Close(); err != nil {
		return err
	}
	n = min(n, r.size-r.pos)
	r.at, r.end = r.pos, r.pos+n
	if r.end == r.size {
		n = -1 // whoever asks for a whole object may get a file
	}
	rc, err := r.d.Open(r.ctx, r.key, r.pos, n)
	if err != nil {
		return err
	}
	r.rc = rc
	return nil
}

// SyscallConn is what package net looks for when it can send a file without copying it. It fails with
// [errors.ErrUnsupported], and net reads as usual, if what is open is no file.
func (r *Reader) SyscallConn() (syscall.RawConn, error) {
	if r.pos >= r.size {
		return nil, errors.ErrUnsupported
	}
	if err := r.ready(); err != nil {
		return nil, err
	}
	f, ok := r.rc.(*os.File)
	if !ok {
		return nil, errors.ErrUnsupported
	}
	raw, err := f.SyscallConn()
	return &fileConn{RawConn: raw, f: f, r: r}, err
}

// A fileConn lends a reader's file to the kernel and then notes how far the kernel has read.
type fileConn struct {
	syscall.RawConn
	f *os.File
	r *Reader
}

func (c *fileConn) Read(f func(fd uintptr) bool) error {
	before, err := c.f.Seek(0, io.SeekCurrent)
	if err != nil {
		return err
	}
	err = c.RawConn.Read(f)
	after, seekErr := c.f.Seek(0, io.SeekCurrent)
	c.r.at += after - before
	c.r.pos = c.r.at
	return errors.Join(err, seekErr)
}
