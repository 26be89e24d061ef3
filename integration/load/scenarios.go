package main

import (
	"context"
	"fmt"
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
)

// Work is what was done in a measurement.
type work struct {
	ops     int
	bytes   int64
	elapsed time.Duration
	latency []float64 // of each operation in milliseconds; only where the unit is millisecond
}

var scenarios = []scenario{
	{"images", "small images, 8 clients", perSecond, true, false, nil, pushImages},
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
}

// A round is one pass through all scenarios and targets.
type round struct {
	limits
	number int
	forge  *forge
}

// Repo is the name of a repository that no other run uses.
func (r *round) repo(name string) string { return fmt.Sprintf("load/%016x/%s", r.forge.nonce, name) }

const pageSize = 100

// Spread has workers call op with numbers from 0 on, until the time is up, most calls are done or one fails. No time
// means no end of it.
func spread(ctx context.Context, workers int, limit time.Duration, most int, op func(ctx context.Context, worker, i int) error) (work, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next, done atomic.Int64
	var wg sync.WaitGroup
	start := time.Now()
	for worker := range workers {
		wg.Go(func() {
			for limit == 0 || time.Since(start) < limit {
				i := int(next.Add(1)) - 1
				if i >= most || ctx.Err() != nil {
					return
				}
				if err := op(ctx, worker, i); err != nil {
					cancel(err)
					return
				}
				done.Add(1)
			}
		})
	}
	wg.Wait()
	return work{ops: int(done.Load()), elapsed: time.Since(start)}, context.Cause(ctx)
}

const unlimited = 1 << 40

func noBig(_ context.Context, r *round, t *target) error {
	t.big = r.forge.blob(r.blob)
	return nil
}

func pushStream(ctx context.Context, r *round, t *target) (work, error) {
	w, err := spread(ctx, 1, 0, 1, func(ctx context.Context, _, _ int) error {
		return t.pushStream(ctx, r.repo("big"), t.big)
	})
	w.bytes = t.big.size
	return w, err
}

func pushPut(ctx context.Context, r *round, t *target) (work, error) {
	w, err := spread(ctx, 1, 0, 1, func(ctx context.Context, _, _ int) error {
		return t.pushWhole(ctx, r.repo("big"), t.big)
	})
	w.bytes = t.big.size
	return w, err
}

// Crowd has each of many clients push a big blob of its own.
func crowd(ctx context.Context, r *round, t *target) (work, error) {
	blobs := make([]*blob, r.clients)
	for i := range blobs {
		blobs[i] = r.forge.blob(r.blob)
	}
	w, err := spread(ctx, r.clients, 0, r.clients, func(ctx context.Context, _, i int) error {
		if i%2 == 0 {
			return t.pushStream(ctx, r.repo("crowd"), blobs[i])
		}
		return t.pushWhole(ctx, r.repo("crowd"), blobs[i])
	})
	w.bytes = int64(w.ops) * r.blob
	return w, err
}

func hasBig(ctx context.Context, r *round, t *target) error {
	if t.big != nil {
		return nil
	}
	t.big = r.forge.blob(r.blob)
	return t.pushStream(ctx, r.repo("big"), t.big)
}

// Pull has each client pull the big blob up to four times.
func pull(clients int) func(context.Context, *round, *target) (work, error) {
	return func(ctx context.Context, r *round, t *target) (work, error) {
		w, err := spread(ctx, clients, r.time, 4*clients, func(ctx context.Context, _, _ int) error {
			return t.pullBlob(ctx, r.repo("big"), t.big)
		})
		w.bytes = int64(w.ops) * t.big.size
		return w, err
	}
}

func pushImages(ctx context.Context, r *round, t *target) (work, error) {
	return spread(ctx, 8, r.time, r.images, func(ctx context.Context, worker, i int) error {
		repo := r.repo(fmt.Sprintf("images-%d", worker))
		return t.pushImage(ctx, repo, fmt.Sprintf("v%d-%d", r.number, i), r.forge.image())
	})
}

func hasImage(ctx context.Context, r *round, t *target) error {
	if t.image != nil {
		return nil
	}
	t.image = r.forge.image()
	return t.pushImage(ctx, r.repo("image"), "v1", t.image)
}

func getManifest(ctx context.Context, r *round, t *target) (work, error) {
	repo := r.repo("image")
	return spread(ctx, 32, r.time, unlimited, func(ctx context.Context, _, _ int) error {
		return t.pullManifest(ctx, repo, "v1", t.image.manifest)
	})
}

func headBlob(ctx context.Context, r *round, t *target) (work, error) {
	repo := r.repo("image")
	return spread(ctx, 32, r.time, unlimited, func(ctx context.Context, _, _ int) error {
		has, err := t.hasBlob(ctx, repo, t.image.blobs[0])
		if err == nil && !has {
			err = fmt.Errorf("%s lost %s", t.name, t.image.blobs[0].digest)
		}
		return err
	})
}

// PushTagged pushes an image to a new repository, for the tags of this round.
func pushTagged(ctx context.Context, r *round, t *target) error {
	t.image = r.forge.image()
	t.tagged = r.repo(fmt.Sprintf("tags-%d", r.number))
	if err := t.pushImage(ctx, r.repo("image"), "v1", t.image); err != nil {
		return err
	}
	return copyImage(ctx, r, t, t.tagged, "t-00000")
}

// CopyImage gives a repository the image by mounts, or by pushes where the registry does not mount.
func copyImage(ctx context.Context, r *round, t *target, repo, tag string) error {
	for _, b := range t.image.blobs {
		mounted, err := t.mount(ctx, repo, r.repo("image"), b)
		if err == nil && !mounted {
			err = t.pushStream(ctx, repo, b)
		}
		if err != nil {
			return err
		}
	}
	return t.putManifest(ctx, repo, tag, t.image.manifest)
}

func tagName(i int) string { return fmt.Sprintf("t-%05d", i) }

func putTags(ctx context.Context, r *round, t *target) (work, error) {
	return spread(ctx, 8, 0, r.tags, func(ctx context.Context, _, i int) error {
		return t.putManifest(ctx, t.tagged, tagName(i), t.image.manifest)
	})
}

func hasTags(ctx context.Context, r *round, t *target) error {
	if t.tagged != "" {
		return nil
	}
	if err := pushTagged(ctx, r, t); err != nil {
		return err
	}
	_, err := putTags(ctx, r, t)
	return err
}

func tagsPage(ctx context.Context, r *round, t *target) (work, error) {
	names := make([]string, r.tags)
	for i := range names {
		names[i] = tagName(i)
	}
	return r.readPages(ctx, t, "/v2/"+t.tagged+"/tags/list", "tags", names)
}

func (r *round) catalogNames() []string {
	names := make([]string, r.repos)
	for i := range names {
		names[i] = r.repo(fmt.Sprintf("catalog/r-%05d", i))
	}
	return names
}

func hasCatalog(ctx context.Context, r *round, t *target) error {
	if t.catalog {
		return nil
	}
	if err := hasImage(ctx, r, t); err != nil {
		return err
	}
	names := r.catalogNames()
	_, err := spread(ctx, 8, 0, len(names), func(ctx context.Context, _, i int) error {
		return copyImage(ctx, r, t, names[i], "v1")
	})
	t.catalog = err == nil
	return err
}

func catalogPage(ctx context.Context, r *round, t *target) (work, error) {
	return r.readPages(ctx, t, "/v2/_catalog", "repositories", r.catalogNames())
}

// ReadPages asks for pages of names, which the list holds in a row, one after the other and from places all over it.
func (r *round) readPages(ctx context.Context, t *target, ref, key string, names []string) (work, error) {
	size := min(pageSize, len(names)/2)
	places := len(names) - size
	var latency []float64
	w, err := spread(ctx, 1, r.time, r.pages, func(ctx context.Context, _, i int) error {
		last := i * 7919 % places
		start := time.Now()
		err := t.page(ctx, ref, key, names[last], names[last+1:last+1+size], last+1+size < len(names))
		latency = append(latency, time.Since(start).Seconds()*1000)
		return err
	})
	w.latency = latency
	return w, err
}
