// Package registry is the domain: repositories with their blobs, manifests, tags and upload sessions, in the words of
// the OCI distribution-spec. It knows nothing of HTTP, nor which back end stores the bytes.
//
// Its invariant: bytes are durable in the store before the fact that names them is committed to the index, and the
// fact goes before its bytes do. A crash at any point leaves bytes that nobody names, never a name without bytes. A
// manifest is the one exception, in appearance: its payload is in the index as well, and is copied to the store right
// after the commit, or at the next start.
//
// [Open] a registry with a store and an index, and close it before them. Errors that are the client's to know are of
// type [*Error], or [Errors].
package registry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/index"
)

// Config has the keys of a flavor that this package reads. Zero means the default.
type Config struct {
	// UploadTTL is how long an upload session that nothing is added to is kept. Default 24h.
	UploadTTL time.Duration `yaml:"upload_ttl"`
	// MaxManifestSize bounds a manifest, in bytes. Default 4MiB, what the distribution-spec asks for at least.
	MaxManifestSize int64 `yaml:"max_manifest_size" flavor:"bytes"`
	// DeleteDisabled refuses to delete tags, manifests and blobs.
	DeleteDisabled bool `yaml:"delete_disabled"`
	// Redirect sends clients to the back end for blobs, if the back end can sign URLs.
	Redirect bool `yaml:"storage_redirect"`
	// RedirectTTL is how long such a URL is good for. Default 20m.
	RedirectTTL time.Duration `yaml:"storage_redirect_ttl"`

	// GCDisabled keeps whatever nothing refers to any more.
	GCDisabled bool `yaml:"gc_disabled"`
	// GCInterval is how long after a collection the next one begins. Default 1m.
	GCInterval time.Duration `yaml:"gc_interval"`
	// GCUntagged is how long a manifest is kept that nothing needs: no tag, no image index, and no subject that it is a
	// referrer of. Default 0, which keeps it for ever.
	GCUntagged time.Duration `yaml:"gc_untagged"`
	// GCSweepInterval is how often all that is in the store is compared with the index, so that what nobody knows of is
	// found. Default 24h.
	GCSweepInterval time.Duration `yaml:"gc_sweep_interval"`

	// TakeOver is how long another process on the same index may take to bring the store up to date, or be silent in the
	// middle of a collection, before this one does it. Default 2m.
	TakeOver time.Duration `yaml:"-"`
}

// Check looks for values that are none.
func (cfg Config) Check() error {
	for _, c := range []struct {
		key   string
		value time.Duration
	}{{"gc_interval", cfg.GCInterval}, {"gc_untagged", cfg.GCUntagged}, {"gc_sweep_interval", cfg.GCSweepInterval}} {
		if c.value < 0 {
			return fmt.Errorf("%s: %v is less than nothing: give a time such as 24h", c.key, c.value)
		}
	}
	return nil
}

// A Registry serves what is in a store and its index. It is safe for concurrent use.
type Registry struct {
	cfg    Config
	store  drivers.Driver
	index  *index.DB
	log    *slog.Logger
	outbox *outbox
	stop   context.CancelFunc // ends the background work
	work   sync.WaitGroup

	collected collected
}

// Open returns a registry. First it brings the store up to date with the index, if no other process can be doing so,
// or, if the index is empty, fills that from the store. The caller closes the registry, then db.
func Open(ctx context.Context, cfg Config, store drivers.Driver, db *index.DB, log *slog.Logger) (*Registry, error) {
	// A process that was killed may have left directories that are not on disk yet, and be it that of a new index.
	// Nobody syncs them again who finds them there.
	if err := drivers.Sync(ctx, store); err != nil {
		return nil, err
	}
	empty, err := db.Empty(ctx)
	if err != nil {
		return nil, err
	}
	if empty {
		if err := adopt(ctx, store, db, log); err != nil {
			return nil, err
		}
	}
	r := newRegistry(cfg, store, db, log)
	if db.Exclusive() {
		if err := r.outbox.replay(ctx); err != nil {
			return nil, err
		}
	}
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	r.stop = stop
	for _, j := range r.jobs() {
		r.work.Go(func() { r.repeat(background, j) })
	}
	return r, nil
}

// newRegistry returns a registry without background work.
func newRegistry(cfg Config, store drivers.Driver, db *index.DB, log *slog.Logger) *Registry {
	cfg.UploadTTL = cmp.Or(cfg.UploadTTL, 24*time.Hour)
	cfg.MaxManifestSize = cmp.Or(cfg.MaxManifestSize, 4<<20)
	cfg.RedirectTTL = cmp.Or(cfg.RedirectTTL, 20*time.Minute)
	cfg.GCInterval = cmp.Or(cfg.GCInterval, time.Minute)
	cfg.GCSweepInterval = cmp.Or(cfg.GCSweepInterval, 24*time.Hour)
	cfg.TakeOver = cmp.Or(cfg.TakeOver, 2*time.Minute)
	return &Registry{cfg: cfg, store: store, index: db, log: log, outbox: newOutbox(store, db)}
}

// adopt fills an empty index from a store that may have been somebody else's.
func adopt(ctx context.Context, store drivers.Driver, db *index.DB, log *slog.Logger) error {
	report, err := reindex(ctx, store, db.Fill, nil)
	if err != nil {
		return err
	}
	for _, problem := range report.Problems {
		log.Warn("left out of the index", "problem", problem)
	}
	if report.Repositories > 0 {
		log.Info("index filled from the store", "repositories", report.Repositories, "manifests", report.Manifests,
			"tags", report.Tags, "layers", report.Layers, "problems", len(report.Problems))
	}
	return nil
}

// Close ends the background work, keeps the upload sessions, and brings the store up to date. Calls that run must have ended.
func (r *Registry) Close(ctx context.Context) error {
	r.stop()
	r.work.Wait()
	return errors.Join(r.index.SaveSessions(ctx), r.outbox.flush(ctx))
}

// Check reports whether store and index answer.
func (r *Registry) Check(ctx context.Context) error {
	if err := r.index.Check(ctx); err != nil {
		return err
	}
	for _, err := range r.store.List(ctx, root+"repositories/", "") {
		return err
	}
	return nil
}

// MaxManifestSize is the size in bytes that PutManifest accepts at the most.
func (r *Registry) MaxManifestSize() int64 { return r.cfg.MaxManifestSize }

// A job is work that is done from time to time.
type job struct {
	task  string // for the log
	every time.Duration
	now   <-chan struct{} // receives when it should be done sooner; nil if it never should
	do    func(context.Context) error
}

func (r *Registry) jobs() []job {
	jobs := []job{
		{"bring the store up to date", 10 * time.Second, r.outbox.full, r.outbox.flush},
		{"expire uploads", min(time.Minute, r.cfg.UploadTTL), nil, r.expireUploads},
		{"collect", r.cfg.GCInterval, nil, r.collectInBackground},
		{"sweep the store", min(time.Hour, r.cfg.GCSweepInterval), nil, r.sweepInBackground},
	}
	if !r.index.Exclusive() {
		now := make(chan struct{}, 1)
		now <- struct{}{}
		jobs = append(jobs, job{"take over what other processes have left undone", r.cfg.TakeOver / 2, now, r.takeOver})
	}
	return jobs
}

// repeat does a job until ctx ends.
func (r *Registry) repeat(ctx context.Context, j job) {
	tick := time.NewTicker(j.every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-j.now:
		}
		if err := j.do(ctx); err != nil && !errors.Is(err, context.Canceled) {
			r.log.Error("background work failed, and will be tried again", "task", j.task, "err", err)
		}
	}
}

// takeOver brings the store up to date with what processes that were killed have changed.
func (r *Registry) takeOver(ctx context.Context) error {
	n, err := r.outbox.takeOver(ctx, r.cfg.TakeOver)
	if n > 0 {
		r.log.Info("brought the store up to date for another process", "entries", n)
	}
	return err
}

// checkDeletes returns an error if the configuration refuses deletes.
func (r *Registry) checkDeletes() error {
	if r.cfg.DeleteDisabled {
		return &Error{Code: Unsupported, Message: "deletes are disabled: the operator has set delete_disabled"}
	}
	return nil
}
