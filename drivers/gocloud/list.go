package gocloud

import (
	"context"
	"iter"
	"strings"

	"cloud.google.com/go/storage"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"gocloud.dev/blob"

	"github.com/parfait-registry/parfait/drivers"
)

// pageSize is what S3 and Google give at most.
const pageSize = 1000

// List implements [drivers.Driver].
func (d *Driver) List(ctx context.Context, prefix, after string) iter.Seq2[drivers.Object, error] {
	return func(yield func(drivers.Object, error) bool) {
		if drivers.ValidKey(prefix) != nil && drivers.ValidKey(prefix+"x") != nil {
			return // no key begins so, and some servers mind
		}
		if after > prefix && !strings.HasPrefix(after, prefix) {
			return // all that has the prefix comes before
		}
		opts := &blob.ListOptions{Prefix: d.prefix + listable(prefix), BeforeList: d.startAfter(after)}
		for token := blob.FirstPageToken; len(token) > 0; {
			page, next, err := d.page(ctx, token, opts)
			if err != nil {
				yield(drivers.Object{}, d.failure(ctx, "list", prefix, err))
				return
			}
			for _, o := range page {
				key := strings.TrimPrefix(o.Key, d.prefix)
				if key <= after || !strings.HasPrefix(key, prefix) || drivers.ValidKey(key) != nil {
					continue // others may have put there what is no key
				}
				if !yield(drivers.Object{Key: key, Size: o.Size, ModTime: o.ModTime}, nil) {
					return
				}
			}
			token = next
		}
	}
}

// listable is what to ask for to see all that begins with prefix. Dots alone for the last component, with which one may
// begin, are refused by some servers.
func listable(prefix string) string {
	dir := prefix[:strings.LastIndexByte(prefix, '/')+1]
	if last := prefix[len(dir):]; last == "." || last == ".." {
		return dir
	}
	return prefix
}

func (d *Driver) page(ctx context.Context, token []byte, opts *blob.ListOptions) ([]*blob.ListObject, []byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	return d.bucket.ListPage(ctx, token, pageSize, opts)
}

// startAfter returns what has those services that can begin at a key do so.
func (d *Driver) startAfter(after string) func(as func(any) bool) error {
	if after == "" || strings.Contains(after, "../") || strings.Contains(after, "__0x") { // gocloud has another name for it
		return nil
	}
	start := d.prefix + after
	return func(as func(any) bool) error {
		var fromS3 *s3.ListObjectsV2Input
		if as(&fromS3) && fromS3.ContinuationToken == nil {
			fromS3.StartAfter = &start
		}
		var fromGoogle *storage.Query
		if as(&fromGoogle) {
			fromGoogle.StartOffset = start
		}
		return nil
	}
}
