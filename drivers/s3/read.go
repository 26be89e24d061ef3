package s3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"net/http"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	api "github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/drivers/retry"
)

// Open implements [drivers.Driver]. It is one request, or two where the range is empty.
func (d *Driver) Open(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	err := check(ctx, key)
	switch {
	case err != nil:
	case off < 0:
		err = fs.ErrInvalid
	case n == 0:
		return d.openEmpty(ctx, key, off, math.MaxInt64)
	}
	if err != nil {
		return nil, failure(ctx, "open", key, err)
	}
	out, err := d.get(ctx, key, off, n, "")
	switch {
	case status(err) == http.StatusRequestedRangeNotSatisfiable:
		return d.openEmpty(ctx, key, off, off)
	case err != nil:
		return nil, failure(ctx, "open", key, err)
	}
	etag := aws.ToString(out.ETag)
	rest := func(read int64) (io.ReadCloser, error) {
		left := n
		if n > 0 {
			left = n - read
		}
		out, err := d.get(ctx, key, off+read, left, etag, once)
		if err != nil {
			return nil, err
		}
		return out.Body, nil
	}
	return &reader{retry.NewReader(ctx, out.Body, transient, rest), ctx, key}, nil
}

// get asks for n bytes from off on, or all the rest if n < 0, of the object that has etag if that is not empty.
func (d *Driver) get(ctx context.Context, key string, off, n int64, etag string, opts ...func(*api.Options)) (*api.GetObjectOutput, error) {
	input := &api.GetObjectInput{Bucket: &d.bucket, Key: d.key(key), IfMatch: optional(etag)}
	switch {
	case n >= 0 && n <= math.MaxInt64-off:
		input.Range = aws.String(fmt.Sprintf("bytes=%d-%d", off, off+n-1))
	case off > 0:
		input.Range = aws.String(fmt.Sprintf("bytes=%d-", off))
	}
	out, err := d.api.GetObject(ctx, input, opts...)
	if err != nil {
		return nil, err
	}
	if off > 0 && !strings.HasPrefix(aws.ToString(out.ContentRange), fmt.Sprintf("bytes %d-", off)) {
		out.Body.Close()
		return nil, errNoRange
	}
	return out, nil
}

var errNoRange = errors.New("the server ignores ranges")

// openEmpty opens an object at off where there is nothing to read, which S3 cannot express. An object of more than most
// bytes is not the one that was asked before.
func (d *Driver) openEmpty(ctx context.Context, key string, off, most int64) (io.ReadCloser, error) {
	o, err := d.stat(ctx, key)
	switch {
	case err != nil:
	case off > o.Size:
		err = drivers.ErrRange
	case o.Size > most:
		err = errReplaced
	}
	if err != nil {
		return nil, failure(ctx, "open", key, err)
	}
	return io.NopCloser(strings.NewReader("")), nil
}

// A reader says what goes wrong with the object in the words of package drivers.
type reader struct {
	*retry.Reader
	ctx context.Context // of the Open
	key string
}

func (r *reader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	switch {
	case err == nil || err == io.EOF:
		return n, err
	case conflict(err):
		err = errReplaced
	}
	return n, failure(r.ctx, "read", r.key, err)
}

var errReplaced = errors.New("the object was replaced while it was read")

// Stat implements [drivers.Driver].
func (d *Driver) Stat(ctx context.Context, key string) (drivers.Object, error) {
	if err := check(ctx, key); err != nil {
		return drivers.Object{}, failure(ctx, "stat", key, err)
	}
	o, err := d.stat(ctx, key)
	if err != nil {
		return drivers.Object{}, failure(ctx, "stat", key, err)
	}
	return o, nil
}

func (d *Driver) stat(ctx context.Context, key string) (drivers.Object, error) {
	out, err := d.api.HeadObject(ctx, &api.HeadObjectInput{Bucket: &d.bucket, Key: d.key(key)})
	if err != nil {
		return drivers.Object{}, err
	}
	return drivers.Object{Key: key, Size: aws.ToInt64(out.ContentLength), ModTime: aws.ToTime(out.LastModified)}, nil
}
