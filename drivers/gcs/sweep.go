package gcs

import (
	"context"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// Sweep implements [drivers.Sweeper]: it removes temporary objects, and those of probes. Uploads that were abandoned are
// no objects, and Google's to forget.
func (d *Driver) Sweep(ctx context.Context, age time.Duration) (int, error) {
	var old []string
	for _, folder := range []string{tempFolder, probeFolder} {
		for o, err := range d.list(ctx, folder, "") {
			if err != nil {
				return 0, failure(ctx, "list", folder, err)
			}
			if time.Since(o.ModTime) >= age {
				old = append(old, o.Key)
			}
		}
	}
	return d.removeTemps(ctx, old)
}

// removeTemps removes temporary objects, as many as it can, and returns how many it has removed.
func (d *Driver) removeTemps(ctx context.Context, keys []string) (int, error) {
	var removed atomic.Int64
	var g errgroup.Group
	g.SetLimit(requestsAtOnce)
	for _, key := range keys {
		g.Go(func() error {
			err := d.remove(ctx, key)
			if err == nil {
				removed.Add(1)
			}
			return err
		})
	}
	err := g.Wait()
	return int(removed.Load()), err
}
