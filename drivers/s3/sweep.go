package s3

import (
	"context"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	api "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// Sweep implements [drivers.Sweeper]: it aborts multipart uploads below the prefix in which nothing was stored for age,
// and deletes the probes of Open. MinIO tells only of uploads that began since it was started; the others it aborts
// itself after a day.
func (d *Driver) Sweep(ctx context.Context, age time.Duration) (int, error) {
	before := time.Now().Add(-age)
	n, err := d.sweepUploads(ctx, before)
	if err != nil {
		return n, failure(ctx, "list", "", err)
	}
	for o, err := range d.List(ctx, probes, "") {
		if err != nil {
			return n, err
		}
		if o.ModTime.After(before) {
			continue
		}
		if err := d.Delete(ctx, o.Key); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// sweepUploads looks through all uploads of the bucket, as MinIO knows no prefixes here.
func (d *Driver) sweepUploads(ctx context.Context, before time.Time) (n int, err error) {
	pages := api.NewListMultipartUploadsPaginator(d.api, &api.ListMultipartUploadsInput{Bucket: &d.bucket})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return n, err
		}
		for _, u := range page.Uploads {
			if !strings.HasPrefix(aws.ToString(u.Key), d.prefix) || aws.ToTime(u.Initiated).After(before) {
				continue
			}
			aborted, err := d.sweepUpload(ctx, u, before)
			if err != nil {
				return n, err
			}
			if aborted {
				n++
			}
		}
	}
	return n, nil
}

// sweepUpload aborts u unless somebody has stored a part lately, or has ended it meanwhile.
func (d *Driver) sweepUpload(ctx context.Context, u types.MultipartUpload, before time.Time) (bool, error) {
	pages := api.NewListPartsPaginator(d.api, &api.ListPartsInput{Bucket: &d.bucket, Key: u.Key, UploadId: u.UploadId})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if code(err) == "NoSuchUpload" {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		for _, part := range page.Parts {
			if aws.ToTime(part.LastModified).After(before) {
				return false, nil
			}
		}
	}
	_, err := d.api.AbortMultipartUpload(ctx, &api.AbortMultipartUploadInput{
		Bucket: &d.bucket, Key: u.Key, UploadId: u.UploadId,
	})
	if code(err) == "NoSuchUpload" {
		return false, nil
	}
	return err == nil, err
}
