package gcs

import (
	"context"
	"errors"
	"iter"
	"strings"

	"cloud.google.com/go/storage"
	"google.golang.org/api/iterator"

	"github.com/parfait-registry/parfait/drivers"
)

// List implements [drivers.Driver]. It passes over objects whose names are no keys, which are not the driver's.
func (d *Driver) List(ctx context.Context, prefix, after string) iter.Seq2[drivers.Object, error] {
	return func(yield func(drivers.Object, error) bool) {
		for o, err := range d.list(ctx, prefix, after) {
			if err != nil {
				yield(drivers.Object{}, failure(ctx, "list", prefix, err))
				return
			}
			if o.Key == after || drivers.ValidKey(o.Key) != nil {
				continue
			}
			if !yield(o, nil) {
				return
			}
		}
	}
}

// list yields the objects whose keys, valid or not, start with prefix and do not sort before from.
func (d *Driver) list(ctx context.Context, prefix, from string) iter.Seq2[drivers.Object, error] {
	return func(yield func(drivers.Object, error) bool) {
		if err := ctx.Err(); err != nil {
			yield(drivers.Object{}, err)
			return
		}
		query := &storage.Query{Prefix: d.prefix + prefix, Projection: storage.ProjectionNoACL}
		if from > prefix {
			query.StartOffset = d.prefix + from
		}
		if err := query.SetAttrSelection([]string{"Name", "Size", "Updated"}); err != nil {
			yield(drivers.Object{}, err)
			return
		}
		for page := d.bucket.Objects(ctx, query); ; {
			attrs, err := page.Next()
			if errors.Is(err, iterator.Done) {
				return
			}
			if err != nil {
				yield(drivers.Object{}, err)
				return
			}
			o := drivers.Object{Key: strings.TrimPrefix(attrs.Name, d.prefix), Size: attrs.Size, ModTime: attrs.Updated}
			if !yield(o, nil) {
				return
			}
		}
	}
}
