package s3

import (
	"bytes"
	"cmp"
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	api "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/drivers/parts"
)

const (
	// maxParts is how many parts S3 allows an object.
	maxParts = 10_000

	// settle is how long the server gets to notice that nobody sends a part any more.
	settle = 200 * time.Millisecond
)

// Create implements [drivers.Driver].
func (d *Driver) Create(ctx context.Context, key string) (drivers.Writer, error) {
	if err := check(ctx, key); err != nil {
		return nil, failure(ctx, "create", key, err)
	}
	return parts.NewWriter(ctx, d.pool, &upload{d: d, key: key}, parts.Options{Sums: d.sums}), nil
}

// CreateNew implements [drivers.ConditionalCreator]. It says [errors.ErrUnsupported] if the server cannot.
func (d *Driver) CreateNew(ctx context.Context, key string) (drivers.Writer, error) {
	err := check(ctx, key)
	if err == nil && d.noCreate {
		err = errors.ErrUnsupported
	}
	if err != nil {
		return nil, failure(ctx, "create", key, err)
	}
	return parts.NewWriter(ctx, d.pool, &upload{d: d, key: key, onlyNew: true}, parts.Options{Sums: d.sums}), nil
}

// An upload is the [parts.Sink] of one object.
type upload struct {
	d       *Driver
	key     string
	onlyNew bool
	id      string      // S3's
	cut     atomic.Bool // whether a part was cut off on its way

	mu   sync.Mutex
	done []types.CompletedPart // mu guards done
	size int64                 // mu guards size: bytes in the parts that are done
	etag string                // of the object, once it is complete
}

var _ parts.Sink = (*upload)(nil)

func (u *upload) Failure(op string, err error) error {
	return &drivers.Error{Driver: "s3", Op: op, Key: u.key, Err: err}
}

func (u *upload) Whole(ctx context.Context, p parts.Part) error {
	put := u.d.put
	if u.onlyNew {
		put = u.d.putNew
	}
	if err := put(ctx, u.key, p); err != nil {
		return failure(ctx, "commit", u.key, err)
	}
	return nil
}

// putInput is a request to store data at key.
func (d *Driver) putInput(key string, data []byte) *api.PutObjectInput {
	return &api.PutObjectInput{
		Bucket: &d.bucket, Key: d.key(key), Body: bytes.NewReader(data), ContentLength: aws.Int64(int64(len(data))),
		ServerSideEncryption: d.encrypt, SSEKMSKeyId: optional(d.kmsKey), StorageClass: d.class,
	}
}

func (d *Driver) put(ctx context.Context, key string, p parts.Part) error {
	_, err := d.api.PutObject(ctx, d.putInput(key, p.Data), d.summed(p))
	return err
}

// putNew stores p at key if there is nothing. When a second try finds the object there, it may be that of the first,
// whose answer was lost.
func (d *Driver) putNew(ctx context.Context, key string, p parts.Part) error {
	summed := d.summed(p)
	tries, err := repeat(ctx, func() error {
		input := d.putInput(key, p.Data)
		input.IfNoneMatch = aws.String("*")
		_, err := d.api.PutObject(ctx, input, summed, once)
		return err
	})
	switch {
	case !conflict(err):
		return err
	case tries > 1 && d.holds(ctx, key, p.Data):
		return nil
	}
	return fs.ErrExist
}

// holds reports whether the object at key is data.
func (d *Driver) holds(ctx context.Context, key string, data []byte) bool {
	r, err := d.Open(ctx, key, 0, int64(len(data))+1)
	if err != nil {
		return false
	}
	defer r.Close()
	got, err := io.ReadAll(r)
	return err == nil && bytes.Equal(got, data)
}

func (u *upload) Begin(ctx context.Context) error {
	if err := u.begin(ctx); err != nil {
		return failure(ctx, "write", u.key, err)
	}
	return nil
}

func (u *upload) begin(ctx context.Context) error {
	out, err := u.d.api.CreateMultipartUpload(ctx, &api.CreateMultipartUploadInput{
		Bucket: &u.d.bucket, Key: u.d.key(u.key),
		ServerSideEncryption: u.d.encrypt, SSEKMSKeyId: optional(u.d.kmsKey), StorageClass: u.d.class,
	})
	if err != nil {
		return err
	}
	u.id = aws.ToString(out.UploadId)
	return nil
}

func (u *upload) Part(ctx context.Context, p parts.Part) error {
	if p.N >= maxParts {
		return u.Failure("write", fmt.Errorf("an object of more than %d bytes: raise storage_part_size, of which there are %d at most",
			maxParts*u.d.pool.PartSize(), maxParts))
	}
	if err := u.part(ctx, p); err != nil {
		return failure(ctx, "write", u.key, err)
	}
	return nil
}

func (u *upload) part(ctx context.Context, p parts.Part) error {
	out, err := u.d.api.UploadPart(ctx, &api.UploadPartInput{
		Bucket: &u.d.bucket, Key: u.d.key(u.key), UploadId: &u.id, PartNumber: aws.Int32(int32(p.N) + 1),
		Body: bytes.NewReader(p.Data), ContentLength: aws.Int64(int64(len(p.Data))),
	}, u.d.summed(p))
	if err != nil {
		u.lost(ctx)
		return err
	}
	u.add(p.N, out.ETag, int64(len(p.Data)))
	return nil
}

// lost notes that a part has failed, which may be because nobody waits for it any more.
func (u *upload) lost(ctx context.Context) {
	if ctx.Err() != nil {
		u.cut.Store(true)
	}
}

// add notes that part n is stored.
func (u *upload) add(n int, etag *string, size int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.done = append(u.done, types.CompletedPart{PartNumber: aws.Int32(int32(n) + 1), ETag: etag})
	u.size += size
}

func (u *upload) Complete(ctx context.Context, _ int) error {
	if err := u.complete(ctx); err != nil {
		return failure(ctx, "commit", u.key, err)
	}
	if u.size > copyPart && u.etag != "" {
		u.d.large.Add(u.key, large{u.size, u.etag})
	}
	return nil
}

// complete makes the parts the object. No part may be under way.
func (u *upload) complete(ctx context.Context) error {
	slices.SortFunc(u.done, func(a, b types.CompletedPart) int { return cmp.Compare(*a.PartNumber, *b.PartNumber) })
	input := &api.CompleteMultipartUploadInput{
		Bucket: &u.d.bucket, Key: u.d.key(u.key), UploadId: &u.id,
		MultipartUpload: &types.CompletedMultipartUpload{Parts: u.done},
	}
	if u.onlyNew {
		input.IfNoneMatch = aws.String("*")
	}
	tries, err := repeat(ctx, func() error {
		out, err := u.d.api.CompleteMultipartUpload(ctx, input, u.d.clients.slowly, once)
		if err == nil {
			u.etag = aws.ToString(out.ETag)
		}
		return err
	})
	there := u.onlyNew && conflict(err)
	switch {
	case !there && code(err) != "NoSuchUpload":
		return err
	case tries > 1 && u.completed(ctx): // by the first try, whose answer was lost
		return nil
	case there:
		return fs.ErrExist
	}
	return err
}

// completed reports whether the object is there, made of these parts.
func (u *upload) completed(ctx context.Context) bool {
	out, err := u.d.api.HeadObject(ctx, &api.HeadObjectInput{Bucket: &u.d.bucket, Key: u.d.key(u.key)})
	if err != nil || aws.ToInt64(out.ContentLength) != u.size {
		return false
	}
	etag := strings.Trim(aws.ToString(out.ETag), `"`)
	_, count, ofParts := strings.Cut(etag, "-")
	if sum, ok := sumOfSums(u.done); ok && ofParts {
		return etag == sum
	}
	return !ofParts || count == strconv.Itoa(len(u.done))
}

// sumOfSums is the ETag of an object of parts whose ETags are check sums, as nearly all servers make it.
func sumOfSums(done []types.CompletedPart) (string, bool) {
	h := md5.New()
	for _, part := range done {
		sum, err := hex.DecodeString(strings.Trim(aws.ToString(part.ETag), `"`))
		if err != nil || len(sum) != md5.Size {
			return "", false
		}
		h.Write(sum)
	}
	return fmt.Sprintf("%x-%d", h.Sum(nil), len(done)), true
}

func (u *upload) Abort(ctx context.Context) error {
	err := u.abort(ctx)
	if u.cut.Load() { // the server may still have been busy with the part, and have begun anew after that
		timer := time.NewTimer(settle)
		defer timer.Stop()
		select {
		case <-timer.C:
			err = u.abort(ctx)
		case <-ctx.Done():
		}
	}
	if err != nil {
		return failure(ctx, "write", u.key, err)
	}
	return nil
}

func (u *upload) abort(ctx context.Context) error {
	_, err := u.d.api.AbortMultipartUpload(ctx, &api.AbortMultipartUploadInput{
		Bucket: &u.d.bucket, Key: u.d.key(u.key), UploadId: &u.id,
	})
	if code(err) == "NoSuchUpload" {
		return nil
	}
	return err
}
