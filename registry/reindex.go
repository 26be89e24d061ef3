package registry

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/index"
)

// A Report says what was found in a store.
type Report struct {
	Repositories, Layers, Manifests, Tags int
	Problems                              []string // what was left out, and why
}

// Reindex replaces the facts of an index by those that the store shows. Nothing may use the index meanwhile. Broken
// things in the store are left out and reported. progress, unless it is nil, is called with each object that was
// looked at.
//
// First the store gets what the index has noted that it may lack: after a crash it need not show all that was
// acknowledged, and what it does not show would be lost here.
func Reindex(ctx context.Context, store drivers.Driver, db *index.DB, progress func(key string)) (Report, error) {
	if err := newOutbox(store, db).replay(ctx); err != nil {
		return Report{}, err
	}
	// What is read must not be lost in a power cut after the index has it.
	if err := drivers.Sync(ctx, store); err != nil {
		return Report{}, err
	}
	return rebuild(ctx, store, db, reader{copies: true, progress: progress})
}

// Rebuild is Reindex for an index that may be that of another store, or older than this one, and which it makes this
// store's. What such an index has noted is not shown: it is dropped, and named in the report. The error wraps [ErrRefused]
// if another index has the store.
func Rebuild(ctx context.Context, store drivers.Driver, db *index.DB, log *slog.Logger, progress func(key string)) (Report, error) {
	lease, dropped, err := takeLease(ctx, store, db, leaseLife, true, log)
	if err != nil {
		return Report{}, err
	}
	defer lease.release(context.WithoutCancel(ctx))
	report, err := Reindex(ctx, store, db, progress)
	for _, e := range dropped {
		report.Problems = append(report.Problems, fmt.Sprintf("%s of repository %s: the old index had a change of it that the store may lack", e.Ref, e.Repo))
	}
	return report, err
}

// Read is Reindex for an index that is not going to be used with the store, in which nothing is changed.
func Read(ctx context.Context, store drivers.Driver, db *index.DB) (Report, error) {
	return rebuild(ctx, store, db, reader{})
}

// Look returns a registry that knows what the store shows, to look it up and for nothing else: it takes nothing from
// others, and changes nothing in the store. All is read into db first, which is of no use with the store afterwards. The
// registry is not closed.
func Look(ctx context.Context, cfg Config, store drivers.Driver, db *index.DB, log *slog.Logger) (*Registry, error) {
	if _, err := Read(ctx, store, db); err != nil {
		return nil, err
	}
	cfg.ReadOnly = true
	r := newRegistry(cfg, store, db, log)
	r.adoption = new(adoption)
	r.adoption.over.Store(true)
	return r, nil
}

func rebuild(ctx context.Context, store drivers.Driver, db *index.DB, how reader) (report Report, err error) {
	err = db.Rebuild(ctx, func(b *index.Builder) error {
		x, problems := how, []string(nil)
		x.store, x.facts = store, b
		x.broken = func(problem string) { problems = append(problems, problem) }
		if err := x.read(ctx, ""); err != nil {
			return err
		}
		report = x.report
		report.Problems = problems
		b.Counts = Adoption{Problems: len(problems)}.String()
		return nil
	})
	return report, err
}
