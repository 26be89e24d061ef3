package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A scenario is one kind of work. Prepare is not timed; measure is.
type scenario struct {
	name    string
	title   string
	unit    unit
	onEmpty bool // whether the empty handler can do it
	asked   bool // whether it only runs when it is named
	prepare func(ctx context.Context, r *round, t *target) error
	measure func(ctx context.Context, r *round, t *target) (work, error)
}

// Unit is what a scenario's value counts.
type unit int

const (
	perSecond   unit = iota // operations a second
	megabytes               // 10^6 bytes a second
	millisecond             // median time of an operation
	slowest                 // time in milliseconds that 99 of 100 operations keep
)

// Work is what was done in a measurement.
type work struct {
	ops     int
	bytes   int64
	elapsed time.Duration
	latency []float64 // of each operation, in milliseconds
}

var scenarios = []scenario{
	{"images", "small images, 8 clients", perSecond, true, false, nil, pushImages("images", (*forge).smallImage)},
	{"push-stream", "push of a big blob, POST+PATCH+PUT", megabytes, true, false, noBig, pushStream},
	{"push-put", "push of a big blob, POST+PUT", megabytes, true, false, noBig, pushPut},
	{"pull-1", "pull of a big blob, 1 client", megabytes, false, false, hasBig, pull(1)},
	{"pull-4", "pull of a big blob, 4 clients", megabytes, false, false, hasBig, pull(4)},
	{"get-manifest", "GET manifest by tag, 32 clients", perSecond, true, false, hasImage, getManifest},
	{"head-blob", "HEAD blob, 32 clients", perSecond, true, false, hasImage, headBlob},
	{"put-tags", "PUT of tags on one manifest, 8 clients", perSecond, true, false, pushTagged, putTags},
	{"tags-page", "a page of 100 tags", millisecond, false, false, hasTags, tagsPage},
	{"crowd", "pushes of big blobs at once, half of them POST+PUT", megabytes, true, true, nil, crowd},
	{"catalog-page", "a page of 100 repositories", millisecond, false, false, hasCatalog, catalogPage},
	{"ranges", "64 KiB from anywhere in a big blob, 32 clients", perSecond, false, false, hasBig, readRanges},
	{"layers", "images of 60 layers of 16 KiB, 8 clients", perSecond, true, false, nil, pushImages("layers", (*forge).layeredImage)},
	{"mixed", "small images, 4 clients push and 4 pull", perSecond, false, false, hasImage, pushAndPull},
	{"repositories", "small images, each in a new repository, 8 clients", perSecond, true, false, nil, pushRepositories},
	{"collect", "GET manifest by tag, 32 clients, while one pushes and deletes", perSecond, false, true, hasImage, getBesideDeletes},
	{"collect-p99", "the same: 99 % of the GETs take at most", slowest, false, true, hasImage, getBesideDeletes},
}

// A round is one pass through all scenarios and targets.
type round struct {
	limits
	number int
	forge  *forge
}

// Repo is the name of a repository that no other run uses.
func (r *round) repo(name string) string { return fmt.Sprintf("load/%016x/%s", r.forge.nonce, name) }

// Spread has workers call op with numbers from 0 on, until the time is up, most calls are done or one fails. No time
// means no end of it.
func spread(ctx context.Context, workers int, limit time.Duration, most int, op func(ctx context.Context, worker, i int) error) (work, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	var wg sync.WaitGroup
	latency := make([][]float64, workers)
	start := time.Now()
	for worker := range workers {
		wg.Go(func() {
			for began := start; limit == 0 || began.Sub(start) < limit; {
				i := int(next.Add(1)) - 1
				if i >= most || ctx.Err() != nil {
					return
				}
				if err := op(ctx, worker, i); err != nil {
					cancel(err)
					return
				}
				ended := time.Now()
				latency[worker] = append(latency[worker], ended.Sub(began).Seconds()*1000)
				began = ended
			}
		})
	}
	wg.Wait()
	w := work{elapsed: time.Since(start), latency: slices.Concat(latency...)}
	w.ops = len(w.latency)
	return w, context.Cause(ctx)
}

// Beside has other called over and over, from 0 on, until do has returned. It is not cut off in the middle.
func beside(ctx context.Context, other func(ctx context.Context, i int) error, do func(ctx context.Context) (work, error)) (work, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var done atomic.Bool
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 0; !done.Load(); i++ {
			if err := other(ctx, i); err != nil {
				cancel(err)
				return
			}
		}
	})
	w, err := do(ctx)
	done.Store(true)
	wg.Wait()
	if err == nil {
		err = context.Cause(ctx)
	}
	return w, err
}

const unlimited = 1 << 40
