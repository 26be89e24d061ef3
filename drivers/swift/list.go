package swift

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/parfait-registry/parfait/drivers"
)

// A row is what a listing tells of an object.
type row struct {
	Name         string `json:"name"`
	Bytes        int64  `json:"bytes"`
	LastModified string `json:"last_modified"` // UTC, without saying so
}

func (r row) modTime() time.Time {
	t, _ := time.Parse("2006-01-02T15:04:05", strings.TrimSuffix(r.LastModified, "Z")) // what can be had
	return t
}

// List implements [drivers.Driver]. Objects whose names are no keys, which others have put there, are left out.
func (d *Driver) List(ctx context.Context, prefix, after string) iter.Seq2[drivers.Object, error] {
	return func(yield func(drivers.Object, error) bool) {
		for r, err := range d.rows(ctx, prefix, after, segments) {
			if err != nil {
				yield(drivers.Object{}, failure(ctx, "list", prefix, err))
				return
			}
			key := strings.TrimPrefix(r.Name, d.prefix)
			if drivers.ValidKey(key) != nil {
				continue
			}
			o := drivers.Object{Key: key, Size: r.Bytes, ModTime: r.modTime()}
			if o.Size == 0 {
				// A dynamic large object, such as the Swift driver of registry:2 wrote, is listed so as well.
				if o, err = d.stat(ctx, key); errors.Is(classify(ctx, err), fs.ErrNotExist) {
					continue
				}
			}
			if err != nil {
				yield(drivers.Object{}, failure(ctx, "list", prefix, err))
				return
			}
			if !yield(o, nil) {
				return
			}
		}
	}
}

// rows yields the rows of the names that begin with the driver's prefix and prefix, and sort after after and before
// before, which follow the driver's prefix as well. An empty after or before bounds nothing.
func (d *Driver) rows(ctx context.Context, prefix, after, before string) iter.Seq2[row, error] {
	return func(yield func(row, error) bool) {
		query := url.Values{"format": {"json"}, "prefix": {d.prefix + prefix}, "limit": {strconv.Itoa(d.limits.rows)}}
		if after != "" {
			query.Set("marker", d.prefix+after)
		}
		if before != "" {
			query.Set("end_marker", d.prefix+before)
		}
		for {
			page, err := d.page(ctx, query)
			if err != nil {
				yield(row{}, err)
				return
			}
			for _, r := range page {
				if !yield(r, nil) {
					return
				}
			}
			if len(page) < d.limits.rows {
				return
			}
			query.Set("marker", page[len(page)-1].Name)
		}
	}
}

func (d *Driver) page(ctx context.Context, query url.Values) (page []row, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	err = d.client.do(ctx, request{method: http.MethodGet, query: query}, func(resp *http.Response) error {
		defer drain(resp.Body)
		page = nil
		if resp.StatusCode == http.StatusNoContent {
			return nil
		}
		return json.NewDecoder(resp.Body).Decode(&page)
	})
	return page, err
}
