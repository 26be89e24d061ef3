package s3

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	api "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// maxBatch is how many objects S3 deletes with one request.
const maxBatch = 1000

// Delete implements [drivers.Driver].
func (d *Driver) Delete(ctx context.Context, key string) error {
	err := check(ctx, key)
	if err == nil {
		_, err = d.api.DeleteObject(ctx, &api.DeleteObjectInput{Bucket: &d.bucket, Key: d.key(key)})
	}
	if err != nil && code(err) != "NoSuchKey" {
		return failure(ctx, "delete", key, err)
	}
	return nil
}

// DeleteAll implements [drivers.BatchDeleter], with a request for each 1000 keys. It says [errors.ErrUnsupported] if the
// server cannot.
func (d *Driver) DeleteAll(ctx context.Context, keys ...string) error {
	for _, key := range keys {
		if err := check(ctx, key); err != nil {
			return failure(ctx, "delete", key, err)
		}
	}
	keys = slices.Compact(slices.Sorted(slices.Values(keys)))
	for batch := range slices.Chunk(keys, maxBatch) {
		if d.noBatch.Load() {
			return failure(ctx, "delete", batch[0], errors.ErrUnsupported)
		}
		if err := d.deleteBatch(ctx, batch); err != nil {
			return err
		}
	}
	return nil
}

func (d *Driver) deleteBatch(ctx context.Context, keys []string) error {
	objects := make([]types.ObjectIdentifier, len(keys))
	for i, key := range keys {
		objects[i].Key = d.key(key)
	}
	out, err := d.api.DeleteObjects(ctx, &api.DeleteObjectsInput{
		Bucket: &d.bucket, Delete: &types.Delete{Objects: objects, Quiet: aws.Bool(true)},
	}, sumMD5)
	if incapable(err) {
		d.noBatch.Store(true)
		err = errors.ErrUnsupported
	}
	if err != nil {
		return failure(ctx, "delete", keys[0], err)
	}
	for _, left := range out.Errors { // one by one, to be repeated, or to learn why not
		key := strings.TrimPrefix(aws.ToString(left.Key), d.prefix)
		if err := d.Delete(ctx, key); err != nil {
			return err
		}
	}
	return nil
}
