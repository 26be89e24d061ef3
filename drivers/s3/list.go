package s3

import (
	"context"
	"iter"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	api "github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/parfait-registry/parfait/drivers"
)

// List implements [drivers.Driver]. Objects whose names are no keys are passed over: others put them there.
func (d *Driver) List(ctx context.Context, prefix, after string) iter.Seq2[drivers.Object, error] {
	return func(yield func(drivers.Object, error) bool) {
		asked, ok := listable(prefix)
		if err := ctx.Err(); err != nil {
			yield(drivers.Object{}, failure(ctx, "list", prefix, err))
			return
		}
		input := &api.ListObjectsV2Input{Bucket: &d.bucket, Prefix: optional(d.prefix + asked)}
		switch {
		case !ok || after > asked && !strings.HasPrefix(after, asked): // all that begin with asked sort before it
			return
		case after != "" && strings.HasPrefix(after, asked):
			input.StartAfter = optional(d.prefix + after)
		}
		for {
			page, err := d.api.ListObjectsV2(ctx, input)
			if err != nil {
				yield(drivers.Object{}, failure(ctx, "list", prefix, err))
				return
			}
			for _, o := range page.Contents {
				key, ok := strings.CutPrefix(aws.ToString(o.Key), d.prefix)
				if !ok || !strings.HasPrefix(key, prefix) || drivers.ValidKey(key) != nil {
					continue
				}
				if !yield(drivers.Object{Key: key, Size: aws.ToInt64(o.Size), ModTime: aws.ToTime(o.LastModified)}, nil) {
					return
				}
			}
			if !aws.ToBool(page.IsTruncated) || aws.ToString(page.NextContinuationToken) == "" {
				return
			}
			input.ContinuationToken = page.NextContinuationToken
		}
	}
}

// listable returns what to ask for to see all that begins with prefix, if a key can. Servers refuse prefixes that no key
// of theirs has, and some refuse dots for the last component, with which one may begin.
func listable(prefix string) (asked string, ok bool) {
	if drivers.ValidKey(prefix) != nil && drivers.ValidKey(prefix+"x") != nil {
		return "", false
	}
	dir := prefix[:strings.LastIndexByte(prefix, '/')+1]
	if last := prefix[len(dir):]; last == "." || last == ".." {
		return dir, true
	}
	return prefix, true
}
