package gocloud

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"net/http"

	"cloud.google.com/go/storage"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	azblob "github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"gocloud.dev/blob"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/drivers/retry"
)

// Open implements [drivers.Driver].
func (d *Driver) Open(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	r, err := d.open(ctx, key, off, n)
	if err != nil {
		return nil, d.failure(ctx, "open", key, err)
	}
	return r, nil
}

func (d *Driver) open(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	if err := check(ctx, key); err != nil {
		return nil, err
	}
	switch {
	case off < 0:
		return nil, fs.ErrInvalid
	case n == 0:
		return d.openEmpty(ctx, key, off)
	case n > math.MaxInt64-off:
		n = -1
	}
	body, err := d.bucket.NewRangeReader(ctx, d.prefix+key, off, n, nil)
	switch {
	case status(err) == http.StatusRequestedRangeNotSatisfiable: // so it is also if off is right at the end
		return d.openEmpty(ctx, key, off)
	case err != nil:
		return nil, err
	case off > body.Size():
		return nil, errors.Join(drivers.ErrRange, body.Close())
	}
	end := body.Size()
	if n > 0 {
		end = min(end, off+n)
	}
	same := &blob.ReaderOptions{BeforeRead: pin(body)}
	rest := func(done int64) (io.ReadCloser, error) {
		if off+done == end {
			return http.NoBody, nil
		}
		return d.bucket.NewRangeReader(once(ctx), d.prefix+key, off+done, end-off-done, same)
	}
	return &reader{retry.NewReader(ctx, body, transient, rest), ctx, d, key}, nil
}

// openEmpty returns a reader of nothing, if there is an object at key that does not end before off.
func (d *Driver) openEmpty(ctx context.Context, key string, off int64) (io.ReadCloser, error) {
	attrs, err := d.bucket.Attributes(ctx, d.prefix+key)
	if err != nil {
		return nil, err
	}
	if off > attrs.Size {
		return nil, drivers.ErrRange
	}
	return http.NoBody, nil
}

// once makes Azure's library try once, where somebody else has the policy.
func once(ctx context.Context) context.Context {
	return policy.WithRetryOptions(ctx, policy.RetryOptions{MaxRetries: -1})
}

// pin returns what makes another read fail if the object that r reads has been replaced. It is nil where a read does not
// break.
func pin(r *blob.Reader) func(as func(any) bool) error {
	var (
		fromAzure  azblob.DownloadStreamResponse
		fromS3     s3.GetObjectOutput
		fromGoogle *storage.Reader
	)
	switch {
	case r.As(&fromAzure):
		return func(as func(any) bool) error {
			var get *azblob.DownloadStreamOptions
			if as(&get) {
				get.AccessConditions = &azblob.AccessConditions{
					ModifiedAccessConditions: &azblob.ModifiedAccessConditions{IfMatch: fromAzure.ETag}}
			}
			return nil
		}
	case r.As(&fromS3):
		return func(as func(any) bool) error {
			var get *s3.GetObjectInput
			if as(&get) {
				get.IfMatch = fromS3.ETag
			}
			return nil
		}
	case r.As(&fromGoogle):
		return func(as func(any) bool) error {
			var object **storage.ObjectHandle
			if as(&object) {
				*object = (*object).Generation(fromGoogle.Attrs.Generation)
			}
			return nil
		}
	}
	return nil
}

// A reader has the driver's errors.
type reader struct {
	*retry.Reader
	ctx context.Context // of the Open that it answers
	d   *Driver
	key string
}

func (r *reader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if err != nil && err != io.EOF {
		if status(err) == http.StatusPreconditionFailed {
			err = fmt.Errorf("replaced while it was read: %w", brief(err))
		}
		err = r.d.failure(r.ctx, "open", r.key, err)
	}
	return n, err
}
