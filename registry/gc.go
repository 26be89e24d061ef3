package registry

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/index"
)

// A GC runs collections by hand, beside the servers if there are any.
type GC struct {
	r *Registry
}

// OpenGC returns a GC. The index must have been filled, and the store is the caller's, or that of a server on the same index.
func OpenGC(ctx context.Context, cfg Config, store drivers.Driver, db *index.DB, log *slog.Logger) (*GC, error) {
	r := newRegistry(cfg, store, db, log)
	left, err := leftOut(ctx, db)
	if err != nil {
		return nil, err
	}
	if left > 0 && !cfg.GCLeftOut {
		return nil, fmt.Errorf("the index has left out %d things of the store that may need blobs: see parfait reindex --check, then set gc_left_out", left)
	}
	empty, err := db.Empty(ctx)
	if err != nil {
		return nil, err
	}
	if empty {
		return nil, errors.New("the index is empty: start the server, or run parfait reindex, and then collect")
	}
	return &GC{r}, nil
}

// Take takes the store for a process that has no Registry on it. No other index may have it then: the error wraps
// [ErrRefused] if one has, or if the index is not of this store. The caller gives it back.
func (g *GC) Take(ctx context.Context) (release func(), err error) {
	lease, _, err := takeLease(ctx, g.r.store, g.r.index, g.r.cfg().LeaseLife, false, g.r.log)
	if err != nil {
		return nil, err
	}
	return func() { lease.release(context.WithoutCancel(ctx)) }, nil
}

// collectWait is how long a collection by hand waits for that of a server to end.
const collectWait = 30 * time.Second

// Collect takes away what nothing refers to any more. progress is called with numbers of blobs of which the bytes have
// gone.
func (g *GC) Collect(ctx context.Context, progress func(blobs int)) (Collected, error) {
	if err := g.replay(ctx); err != nil {
		return Collected{}, err
	}
	for limit := time.Now().Add(collectWait); ; {
		done, err := g.r.collect(ctx, progress)
		if err != index.ErrLeased {
			return done, err
		}
		if time.Now().After(limit) {
			return done, errors.New("a server is collecting: let it, or try again later")
		}
		if err := rest(ctx, 100*time.Millisecond); err != nil {
			return done, err
		}
	}
}

// Sweep compares all that is in the store with the index, and has what the index does not know on its way out: it is
// collected a grace period later. progress is called with each object.
func (g *GC) Sweep(ctx context.Context, progress func()) (Swept, error) {
	if err := g.replay(ctx); err != nil {
		return Swept{}, err
	}
	if err := g.r.sweepUnfinished(ctx); err != nil {
		return Swept{}, err
	}
	return g.r.sweep(ctx, sweepOptions{progress: progress})
}

// replay brings the store up to date if no other process does.
func (g *GC) replay(ctx context.Context) error {
	if !g.r.index.Exclusive() {
		return nil
	}
	return g.r.outbox.replay(ctx)
}

// The kinds of Doomed things.
const (
	DoomedManifest = "manifest"     // untagged for too long
	DoomedLayer    = "layer"        // a repository's link to a blob that goes
	DoomedBlob     = "blob"         // bytes
	DoomedUnknown  = "unknown blob" // bytes that the index does not know
	DoomedLink     = "link"         // of a fact that is none
	DoomedPart     = "upload part"  // of an upload that is over
)

// A Doomed thing would go.
type Doomed struct {
	Kind   string
	Repo   string        // empty for bytes
	Digest digest.Digest // empty for what has none
	Key    string        // in the store, or what a link is named after; empty for what has a digest
	Size   int64         // bytes
}

func (d Doomed) String() string {
	name := d.Key
	if d.Digest != "" {
		name = d.Digest.String()
	}
	if d.Repo != "" {
		name = d.Repo + "@" + name
	}
	if d.Kind == DoomedLayer || d.Kind == DoomedLink {
		return d.Kind + " " + name
	}
	return fmt.Sprintf("%s %s %d bytes", d.Kind, name, d.Size)
}

// Doomed yields what Collect would take away: manifests, blobs of repositories, and bytes.
func (g *GC) Doomed(ctx context.Context) iter.Seq2[Doomed, error] {
	return func(yield func(Doomed, error) bool) {
		if g.r.cfg().GCUntagged > 0 {
			manifests, err := g.r.index.Untagged(ctx, time.Now().Add(-g.r.cfg().GCUntagged))
			if err != nil {
				yield(Doomed{}, err)
				return
			}
			for _, m := range manifests {
				if !yield(Doomed{Kind: DoomedManifest, Repo: m.Repo, Digest: m.Digest, Size: m.Size}, nil) {
					return
				}
			}
		}
		for d, err := range g.doomedBlobs(ctx) {
			if !yield(d, err) {
				return
			}
		}
	}
}

// doomedBlobs yields each blob after the repositories that it would go from.
func (g *GC) doomedBlobs(ctx context.Context) iter.Seq2[Doomed, error] {
	return func(yield func(Doomed, error) bool) {
		var after index.Place
		for {
			blobs, next, err := g.r.index.Garbage(ctx, after, claimBatch)
			if err != nil {
				yield(Doomed{}, err)
				return
			}
			for _, b := range blobs {
				repos, err := g.r.index.BlobRepositories(ctx, b.Digest, maxSources)
				for _, repo := range repos {
					if !yield(Doomed{Kind: DoomedLayer, Repo: repo, Digest: b.Digest, Size: b.Size}, nil) {
						return
					}
				}
				if !yield(Doomed{Kind: DoomedBlob, Digest: b.Digest, Size: b.Size}, err) || err != nil {
					return
				}
			}
			if len(blobs) < claimBatch {
				return
			}
			after = next
		}
	}
}

// Sweepable yields what Sweep would find, and changes nothing. progress is called with each object.
func (g *GC) Sweepable(ctx context.Context, found func(Doomed), progress func()) (Swept, error) {
	return g.r.sweep(ctx, sweepOptions{dry: true, report: found, progress: progress})
}
