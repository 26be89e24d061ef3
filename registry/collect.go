package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/index"
)

const (
	// collectLease is who collects; sweepLease lasts from one sweep to the next.
	collectLease = "collect"
	sweepLease   = "sweep"

	// claimBatch bounds how many blobs are claimed, and pushes of them wait, at a time. Between batches a collection rests
	// for twice as long as it has worked: pulls and pushes come first.
	claimBatch = 100
	// showBatch bounds the links that are removed at the same time.
	showBatch = 4
	// untaggedBatch bounds the manifests that are looked for at a time.
	untaggedBatch = 100
)

// Collected is what a collection has taken away.
type Collected struct {
	Manifests int64 // that were untagged for too long
	Blobs     int64
	Bytes     int64 // of the blobs
}

func (c *Collected) add(more Collected) {
	c.Manifests += more.Manifests
	c.Blobs += more.Blobs
	c.Bytes += more.Bytes
}

// Collection says what collections in this process have done since its start, and what waits for the next one.
type Collection struct {
	Collected
	Runs   int64         // that found something to do
	Queue  int           // blobs that nothing refers to
	Oldest time.Duration // since the one that waits longest was seen last; 0 if none waits
}

// collected is what Collection is made of.
type collected struct {
	mu    sync.Mutex // guards all
	sum   Collected
	runs  int64
	queue index.Queue

	warned sync.Once // that nothing is collected
}

// Collection returns the figures of collection. The queue is as the last look of the background work found it.
func (r *Registry) Collection() Collection {
	c := &r.collected
	c.mu.Lock()
	defer c.mu.Unlock()
	figures := Collection{Collected: c.sum, Runs: c.runs, Queue: c.queue.Blobs}
	if c.queue.Blobs > 0 {
		figures.Oldest = time.Since(c.queue.Oldest)
	}
	return figures
}

// collects reports whether bytes may be taken away now: when the index knows all that is in the store, also what it has
// left out, such as images of schema 1 that another registry serves.
func (r *Registry) collects(ctx context.Context) (bool, error) {
	if r.cfg().GCDisabled {
		return false, nil
	}
	switch left, err := leftOut(ctx, r.index); {
	case errors.Is(err, ErrAdopting):
		return false, nil
	case err != nil:
		return false, err
	case left == 0 || r.cfg().GCLeftOut:
		return true, nil
	default:
		r.collected.warned.Do(func() {
			r.log.Warn("nothing is collected: the index has left out things of the store that may need blobs; look at them in the log of the "+
				"adoption or with parfait verify, then set gc_left_out", "left_out", left)
		})
		return false, nil
	}
}

// leftOut returns how many things of the store the index could not take over. The error is ErrAdopting if it has not come
// to the end yet.
func leftOut(ctx context.Context, db *index.DB) (int, error) {
	w, err := db.Walk(ctx, index.Adoption)
	if err == nil && w.UnderWay {
		err = ErrAdopting
	}
	var found Adoption
	if err == nil && w.Counts != "" {
		err = json.Unmarshal([]byte(w.Counts), &found)
	}
	return found.Problems, err
}

// collectInBackground collects, unless another process does.
func (r *Registry) collectInBackground(ctx context.Context) error {
	if may, err := r.collects(ctx); !may || err != nil {
		return err
	}
	queue, err := r.index.Queue(ctx)
	if err != nil {
		return err
	}
	r.collected.mu.Lock()
	r.collected.queue = queue
	r.collected.mu.Unlock()
	due := queue.Blobs > 0 && queue.Oldest.Before(r.index.Expired())
	if !due && queue.Claimed == 0 && r.cfg().GCUntagged == 0 {
		return nil
	}
	_, err = r.collect(ctx, nil)
	if err == index.ErrLeased {
		return nil
	}
	return err
}

// A collector that has died is followed by another process when Config.TakeOver has gone by. Until then it renews its
// lease after each third of that, and it begins no delete in the last third.
const leaseParts = 3

// collect takes away what nothing refers to any more. progress, unless it is nil, is called with the number of blobs of
// which the bytes have gone. The error is index.ErrLeased if somebody else is collecting.
func (r *Registry) collect(ctx context.Context, progress func(blobs int)) (done Collected, err error) {
	began := time.Now()
	lease, err := r.index.Lease(ctx, collectLease, r.cfg().TakeOver)
	if err != nil {
		return Collected{}, err
	}
	defer func() { err = errors.Join(err, lease.End(context.WithoutCancel(ctx))) }()
	ctx, stop := lease.Keep(ctx)
	defer stop()
	c := &collector{Registry: r, lease: lease, progress: progress}
	err = c.run(ctx)
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		err = fmt.Errorf("the lease to collect was lost: %w", cause)
	}
	if c.done != (Collected{}) {
		r.collected.mu.Lock()
		r.collected.runs++
		r.collected.mu.Unlock()
		r.log.Info("collected", "manifests", c.done.Manifests, "blobs", c.done.Blobs, "bytes", c.done.Bytes,
			"duration", time.Since(began).Round(time.Millisecond))
	}
	return c.done, err
}

// inTime returns a context for a delete, which must have come to its end, one way or the other, when a lease of that time
// has expired.
func inTime(ctx context.Context, lease *index.Lease, ttl time.Duration) (context.Context, context.CancelFunc) {
	return context.WithDeadline(ctx, lease.Until().Add(-ttl/leaseParts))
}

// A collector does one collection.
type collector struct {
	*Registry
	lease    *index.Lease
	progress func(blobs int)
	done     Collected
}

func (c *collector) run(ctx context.Context) error {
	if c.cfg().GCUntagged > 0 {
		if err := c.removeUntagged(ctx); err != nil {
			return err
		}
	}
	if err := c.outbox.flush(ctx); err != nil { // what is on its list cannot be claimed
		return err
	}
	if err := c.finish(ctx); err != nil { // the claims of a collector that has died
		return err
	}
	for {
		began := time.Now()
		claimed, changes, err := c.index.Claim(ctx, c.lease, claimBatch)
		if err != nil || claimed == 0 {
			return err
		}
		for some := range slices.Chunk(changes, showBatch) {
			err = errors.Join(err, c.outbox.show(ctx, some)) // all of them, so that the outbox knows of those that fail
		}
		if err != nil {
			return err
		}
		if err := c.outbox.flush(ctx); err != nil {
			return err
		}
		if err := c.finish(ctx); err != nil {
			return err
		}
		if err := rest(ctx, 2*time.Since(began)); err != nil {
			return err
		}
	}
}

// rest waits.
func rest(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// removeUntagged takes the manifests away that have been untagged for too long.
func (c *collector) removeUntagged(ctx context.Context) error {
	before := time.Now().Add(-c.cfg().GCUntagged)
	for {
		found, err := c.index.MaybeUntagged(ctx, before, untaggedBatch)
		if err != nil || len(found) == 0 {
			return err
		}
		for _, m := range found {
			changes, err := c.index.RemoveUntagged(ctx, c.lease, m)
			if err != nil {
				return err
			}
			if len(changes) > 0 {
				c.count(Collected{Manifests: 1})
				c.log.Debug("untagged manifest removed", "repository", m.Repo, "digest", m.Digest)
			}
			if err := c.outbox.show(ctx, changes); err != nil {
				return err
			}
		}
	}
}

// finish deletes the bytes of all that is claimed.
func (c *collector) finish(ctx context.Context) error {
	for next := digest.Digest(""); ; {
		claimed, after, err := c.index.Claimed(ctx, next, claimBatch)
		if err != nil {
			return err
		}
		if err := c.delete(ctx, claimed); err != nil {
			return err
		}
		if next = after; next == "" {
			return nil
		}
	}
}

// delete deletes the bytes of claimed blobs, then forgets them. Of a layer that was named as being elsewhere there may be
// none.
func (c *collector) delete(ctx context.Context, blobs []Blob) error {
	if len(blobs) == 0 {
		return nil
	}
	keys := make([]string, len(blobs))
	for i, b := range blobs {
		keys[i] = blobKey(b.Digest)
	}
	inTime, cancel := inTime(ctx, c.lease, c.cfg().TakeOver)
	defer cancel()
	if err := drivers.DeleteAll(inTime, c.store, keys...); err != nil {
		return err
	}
	if err := c.index.Forget(ctx, c.lease, blobs); err != nil {
		return err
	}
	var gone Collected
	for _, b := range blobs {
		if b.Size > 0 {
			gone.Blobs++
			gone.Bytes += b.Size
		}
	}
	c.count(gone)
	if c.progress != nil {
		c.progress(len(blobs))
	}
	return nil
}

// count adds to the figures of this collection, and of all.
func (c *collector) count(more Collected) {
	c.collected.mu.Lock()
	defer c.collected.mu.Unlock()
	c.done.add(more)
	c.collected.sum.add(more)
}
