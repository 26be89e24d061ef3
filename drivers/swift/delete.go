package swift

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
)

const (
	deletesAtOnce = 16 // of single objects
	batchesAtOnce = 4  // in each of which Swift deletes some at once itself
)

// Delete implements [drivers.Driver]. The segments of a large object stay until they are swept.
func (d *Driver) Delete(ctx context.Context, key string) error {
	if err := check(ctx, "delete", key); err != nil {
		return err
	}
	if err := d.remove(ctx, d.name(key)); err != nil {
		return failure(ctx, "delete", key, err)
	}
	return nil
}

// DeleteAll implements [drivers.BatchDeleter].
func (d *Driver) DeleteAll(ctx context.Context, keys ...string) error {
	names := make([]string, len(keys))
	for i, key := range keys {
		if err := check(ctx, "delete", key); err != nil {
			return err
		}
		names[i] = d.name(key)
	}
	if err := d.removeAll(ctx, names); err != nil {
		return failure(ctx, "delete", keys[0], err)
	}
	return nil
}

func (d *Driver) remove(ctx context.Context, name string) error {
	err := d.client.do(ctx, request{method: http.MethodDelete, object: name}, nil)
	if status(err) == http.StatusNotFound {
		return nil
	}
	return err
}

// removeAll removes what is under names of the container, in batches if the cluster has such a request.
func (d *Driver) removeAll(ctx context.Context, names []string) error {
	g, ctx := errgroup.WithContext(ctx)
	if d.limits.deletes > 0 && len(names) > 1 {
		g.SetLimit(batchesAtOnce)
		for batch := range slices.Chunk(names, d.limits.deletes) {
			g.Go(func() error { return d.removeBatch(ctx, batch) })
		}
		return g.Wait()
	}
	g.SetLimit(deletesAtOnce)
	for _, name := range names {
		g.Go(func() error { return d.remove(ctx, name) })
	}
	return g.Wait()
}

func (d *Driver) removeBatch(ctx context.Context, names []string) error {
	var list strings.Builder
	for _, name := range names {
		fmt.Fprintln(&list, escape(d.client.path(name)))
	}
	return d.client.do(ctx, request{
		method: http.MethodPost, query: url.Values{"bulk-delete": {"1"}}, body: []byte(list.String()),
		header: map[string]string{"Content-Type": "text/plain", "Accept": "application/json"},
	}, batchResult)
}

// batchResult reads how a batch went: its answer begins with success before anything is deleted.
func batchResult(resp *http.Response) error {
	defer drain(resp.Body)
	var result struct {
		Status string      `json:"Response Status"`
		Errors [][2]string // name and status
	}
	if err := json.NewDecoder(resp.Body).Decode(&result); err != nil {
		return err
	}
	if len(result.Errors) > 0 {
		result.Status = result.Errors[0][1]
	}
	code := 0
	if _, err := fmt.Sscan(result.Status, &code); err != nil {
		return fmt.Errorf("delete in a batch: status %q", result.Status)
	}
	if code < 200 || code > 299 {
		return &statusError{code: code}
	}
	return nil
}
