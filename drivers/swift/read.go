package swift

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/drivers/retry"
)

// Open implements [drivers.Driver]. It is one request; a body that breaks off is asked for again from there on, if the
// object is still the same.
func (d *Driver) Open(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	if err := check(ctx, "open", key); err != nil {
		return nil, err
	}
	if off < 0 {
		return nil, failure(ctx, "open", key, fs.ErrInvalid)
	}
	if n == 0 {
		return d.openNothing(ctx, key, off)
	}
	r := request{method: http.MethodGet, object: d.name(key), header: ranged(off, n)}
	var resp *http.Response
	err := d.client.do(ctx, r, func(answer *http.Response) error {
		resp = answer
		return checkBody(answer, off)
	})
	if size, ok := pastEnd(err); ok && off == size {
		return http.NoBody, nil
	}
	if err != nil {
		return nil, failure(ctx, "open", key, err)
	}
	o := &object{ctx: ctx, d: d, key: key, off: off, n: n, etag: resp.Header.Get("Etag")}
	o.Reader = retry.NewReader(ctx, resp.Body, transient, o.reopen)
	return o, nil
}

// openNothing is for readers of nothing, which is more than a range can say.
func (d *Driver) openNothing(ctx context.Context, key string, off int64) (io.ReadCloser, error) {
	o, err := d.stat(ctx, key)
	if err == nil && off > o.Size {
		err = drivers.ErrRange
	}
	if err != nil {
		return nil, failure(ctx, "open", key, err)
	}
	return http.NoBody, nil
}

// ranged is the header that asks for n bytes from off on, or for all the rest if n < 0.
func ranged(off, n int64) map[string]string {
	switch {
	case n >= 0 && n <= math.MaxInt64-off:
		return map[string]string{"Range": fmt.Sprintf("bytes=%d-%d", off, off+n-1)}
	case off > 0:
		return map[string]string{"Range": fmt.Sprintf("bytes=%d-", off)}
	}
	return map[string]string{}
}

var (
	// errBegin says that an answer is not what was asked for, as may be when an object is replaced at that moment.
	errBegin = fmt.Errorf("the answer begins elsewhere: %w", io.ErrUnexpectedEOF)
	// errLength says that something between Swift and here changes what Swift answers.
	errLength = errors.New("the answer does not tell the length of the object: is there a proxy that compresses?")
)

// checkBody makes sure that the body of resp begins at off, and that an early end of it will be noticed. It closes the
// body if not.
func checkBody(resp *http.Response, off int64) error {
	begins := "bytes 0-"
	if resp.StatusCode == http.StatusPartialContent {
		begins = resp.Header.Get("Content-Range")
	}
	switch {
	case resp.ContentLength < 0:
		resp.Body.Close()
		return errLength
	case !strings.HasPrefix(begins, fmt.Sprintf("bytes %d-", off)):
		resp.Body.Close()
		return errBegin
	}
	return nil
}

// pastEnd returns the size of the object if err says that a range begins at its end or after it.
func pastEnd(err error) (size int64, ok bool) {
	e, ok := errors.AsType[*statusError](err)
	if !ok || e.code != http.StatusRequestedRangeNotSatisfiable {
		return 0, false
	}
	_, total, _ := strings.Cut(e.header.Get("Content-Range"), "*/")
	size, err = strconv.ParseInt(total, 10, 64)
	return size, err == nil
}

// An object is one that is being read.
type object struct {
	*retry.Reader
	ctx  context.Context // of the Open that the reader answers
	d    *Driver
	key  string
	off  int64
	n    int64 // bytes; < 0: all the rest
	etag string
}

// reopen asks once for what is left after the first read bytes.
func (o *object) reopen(read int64) (io.ReadCloser, error) {
	n := o.n
	if n > 0 {
		n -= read
	}
	header := ranged(o.off+read, n)
	header["If-Match"] = `"` + strings.Trim(o.etag, `"`) + `"`
	resp, err := o.d.client.send(o.ctx, request{method: http.MethodGet, object: o.d.name(o.key), header: header})
	if status(err) == http.StatusPreconditionFailed {
		return nil, errors.New("the object was replaced while it was read")
	}
	if err != nil {
		return nil, err
	}
	if err := checkBody(resp, o.off+read); err != nil {
		return nil, err
	}
	return resp.Body, nil
}

func (o *object) Read(p []byte) (int, error) {
	n, err := o.Reader.Read(p)
	if err != nil && err != io.EOF {
		err = failure(o.ctx, "open", o.key, err)
	}
	return n, err
}

// Stat implements [drivers.Driver].
func (d *Driver) Stat(ctx context.Context, key string) (drivers.Object, error) {
	if err := check(ctx, "stat", key); err != nil {
		return drivers.Object{}, err
	}
	o, err := d.stat(ctx, key)
	if err != nil {
		return drivers.Object{}, failure(ctx, "stat", key, err)
	}
	return o, nil
}

func (d *Driver) stat(ctx context.Context, key string) (o drivers.Object, err error) {
	err = d.client.do(ctx, request{method: http.MethodHead, object: d.name(key)}, func(resp *http.Response) error {
		resp.Body.Close()
		if resp.ContentLength < 0 {
			return errLength
		}
		o = drivers.Object{Key: key, Size: resp.ContentLength, ModTime: modTime(resp.Header)}
		return nil
	})
	return o, err
}

// modTime prefers the time that has fractions of a second.
func modTime(h http.Header) time.Time {
	if stamp, err := strconv.ParseFloat(h.Get("X-Timestamp"), 64); err == nil {
		return time.UnixMicro(int64(stamp * 1e6))
	}
	t, _ := http.ParseTime(h.Get("Last-Modified")) // what can be had
	return t
}
