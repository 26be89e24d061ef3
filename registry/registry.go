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
	"sync/atomic"
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
	// MaxBlobSize bounds a blob that is pushed, in bytes. Default: any size.
	MaxBlobSize int64 `yaml:"max_blob_size" flavor:"bytes"`
	// DeleteDisabled refuses to delete tags, manifests and blobs.
	DeleteDisabled bool `yaml:"delete_disabled"`
	// ReadOnly refuses all that clients may change, and pauses the background work that removes something.
	ReadOnly bool `yaml:"read_only"`
	// Redirect sends clients to the back end for blobs, if the back end can sign URLs.
	Redirect bool `yaml:"storage_redirect"`
	// RedirectTTL is how long such a URL is good for. Default 20m.
	RedirectTTL time.Duration `yaml:"storage_redirect_ttl"`
	// VerifyInterval is the time between two verifications of the whole store in the background. 0, the default, is never.
	VerifyInterval time.Duration `yaml:"verify_interval"`
	// VerifyRate bounds what they read, in bytes a second. Default 20MiB.
	VerifyRate int64 `yaml:"verify_rate" flavor:"bytes"`

	// GCDisabled keeps whatever nothing refers to any more.
	GCDisabled bool `yaml:"gc_disabled"`
	// GCLeftOut collects although the index has left out things of a store that was another registry's. What they need is
	// lost then.
	GCLeftOut bool `yaml:"gc_left_out"`
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

	// LeaseLife is how long a process keeps the store after it was killed, from processes with other indexes. Default 1m.
	LeaseLife time.Duration `yaml:"-"`
}

// withDefaults returns c with the defaults in the place of zero values.
func (c Config) withDefaults() Config {
	c.UploadTTL = cmp.Or(c.UploadTTL, 24*time.Hour)
	c.MaxManifestSize = cmp.Or(c.MaxManifestSize, 4<<20)
	c.RedirectTTL = cmp.Or(c.RedirectTTL, 20*time.Minute)
	c.VerifyRate = cmp.Or(c.VerifyRate, 20<<20)
	c.GCInterval = cmp.Or(c.GCInterval, time.Minute)
	c.GCSweepInterval = cmp.Or(c.GCSweepInterval, 24*time.Hour)
	c.TakeOver = cmp.Or(c.TakeOver, 2*time.Minute)
	c.LeaseLife = cmp.Or(c.LeaseLife, leaseLife)
	return c
}

// Check looks for values that are none.
func (c Config) Check() error {
	for _, t := range []struct {
		key   string
		value time.Duration
	}{{"gc_interval", c.GCInterval}, {"gc_untagged", c.GCUntagged}, {"gc_sweep_interval", c.GCSweepInterval}} {
		if t.value < 0 {
			return fmt.Errorf("%s: %v is less than nothing: give a time such as 24h", t.key, t.value)
		}
	}
	return nil
}

// A Registry serves what is in a store and its index. It is safe for concurrent use.
type Registry struct {
	*core
	by      Client
	witness Witness // is told of what by does; nil if nobody is
}

// A core is what a registry has in common with those that [Registry.For] makes of it.
type core struct {
	config    atomic.Pointer[Config]
	store     drivers.Driver
	index     *index.DB
	log       *slog.Logger
	outbox    *outbox
	lease     *lease
	adoption  *adoption
	verified  verifiedSoFar
	collected collected
	stop      context.CancelFunc // ends the background work
	work      sync.WaitGroup
}

// Open returns a registry. First it takes the store, which no other index may have then; the error wraps [ErrRefused] if
// one has, or if the index is not of this store. Then it brings the store up to date with the index, if no other process
// can be doing so, and if the index is new, it begins to adopt what the store has. The caller closes the registry, then db.
func Open(ctx context.Context, cfg Config, store drivers.Driver, db *index.DB, log *slog.Logger) (_ *Registry, err error) {
	cfg = cfg.withDefaults()
	// A process that was killed may have left directories that are not on disk yet, and be it that of a new index.
	// Nobody syncs them again who finds them there.
	if err := drivers.Sync(ctx, store); err != nil {
		return nil, err
	}
	lease, _, err := takeLease(ctx, store, db, cfg.LeaseLife, false, log)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			lease.release(ctx)
		}
	}()
	db.Fence(lease.check)
	r := newRegistry(cfg, store, db, log)
	r.lease = lease
	if db.Exclusive() {
		if err := r.outbox.replay(ctx); err != nil {
			return nil, err
		}
	}
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	r.stop = stop
	if r.adoption, err = newAdoption(ctx, background, &r.work, store, db, log); err != nil {
		stop()
		return nil, err
	}
	for _, j := range r.jobs() {
		r.work.Go(func() { r.repeat(background, j) })
	}
	return r, nil
}

// newRegistry returns a registry without a lease and without background work.
func newRegistry(cfg Config, store drivers.Driver, db *index.DB, log *slog.Logger) *Registry {
	cfg = cfg.withDefaults()
	r := &Registry{core: &core{store: store, index: db, log: log, outbox: newOutbox(store, db)}}
	r.config.Store(&cfg)
	return r
}

// Close ends the background work, keeps the upload sessions, brings the store up to date, and gives it up. Calls that run
// must have ended.
func (r *Registry) Close(ctx context.Context) error {
	r.stop()
	r.work.Wait()
	err := r.index.SaveSessions(ctx)
	if r.lease.check() == nil {
		err = errors.Join(err, r.outbox.flush(ctx))
	}
	r.lease.release(ctx)
	return err
}

// Check reports whether store and index answer. The store has to list what nobody writes: that tells as well as any other
// list whether it is there, and costs the same however much it holds.
func (r *Registry) Check(ctx context.Context) error {
	if err := r.index.Check(ctx); err != nil {
		return err
	}
	for _, err := range r.store.List(ctx, root+"nothing/", "") {
		return err
	}
	return nil
}

// MaxManifestSize is the size in bytes that PutManifest accepts at the most.
func (r *Registry) MaxManifestSize() int64 { return r.cfg().MaxManifestSize }

// cfg is the configuration as it is now.
func (r *Registry) cfg() *Config { return r.config.Load() }

// Reload makes cfg the configuration, for what begins from now on. How often background work is done stays as it was.
func (r *Registry) Reload(cfg Config) {
	old := r.cfg()
	cfg.TakeOver, cfg.LeaseLife = old.TakeOver, old.LeaseLife
	cfg = cfg.withDefaults()
	r.config.Store(&cfg)
}

// A job is work that is done from time to time.
type job struct {
	task   string // for the log
	every  time.Duration
	now    <-chan struct{} // receives when it should be done sooner; nil if it never should
	paused func() error    // it is not done while this returns an error
	do     func(context.Context) error
}

// jobs are all the background work. What changes what clients see, or might want to, is paused with them by Writable;
// what brings the store up to date only while the store may be another server's.
func (r *Registry) jobs() []job {
	jobs := []job{
		{"bring the store up to date", 10 * time.Second, r.outbox.full, r.lease.check, r.outbox.flush},
		{"expire uploads", min(time.Minute, r.cfg().UploadTTL), nil, r.Writable, r.expireUploads},
		{"collect", r.cfg().GCInterval, nil, r.Writable, r.collectInBackground},
		{"sweep the store", min(time.Hour, r.cfg().GCSweepInterval), nil, r.Writable, r.sweepInBackground},
	}
	if !r.adoption.over.Load() {
		jobs = append(jobs, job{"adopt what the store has", 10 * time.Second, atOnceToo(), r.lease.check, r.adoption.run})
	}
	if r.cfg().VerifyInterval > 0 {
		jobs = append(jobs, job{"verify the store", min(r.cfg().VerifyInterval, 10*time.Minute), atOnceToo(), r.lease.check, r.verify})
	}
	if !r.index.Exclusive() {
		jobs = append(jobs, job{"take over what other processes have left undone", r.cfg().TakeOver / 2, atOnceToo(), r.lease.check, r.takeOver})
	}
	return jobs
}

// atOnceToo is for a job that is also done at the start.
func atOnceToo() <-chan struct{} {
	now := make(chan struct{}, 1)
	now <- struct{}{}
	return now
}

// Writable returns an error unless clients may change something now. It has the code UNSUPPORTED if the configuration
// forbids that, and UNAVAILABLE if the store may be another server's. What was begun before is brought to its end, unless
// the store is not this server's any more.
func (r *Registry) Writable() error {
	if r.cfg().ReadOnly {
		return &Error{Code: Unsupported, Message: "the registry is read-only: the operator has set read_only"}
	}
	return r.lease.check()
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
		if j.paused() != nil {
			continue
		}
		if err := j.do(ctx); err != nil && !errors.Is(err, context.Canceled) {
			r.log.Error("background work failed, and will be tried again", "task", j.task, "err", err)
		}
	}
}

// takeOver brings the store up to date with what processes that were killed have changed.
func (r *Registry) takeOver(ctx context.Context) error {
	n, err := r.outbox.takeOver(ctx, r.cfg().TakeOver)
	if n > 0 {
		r.log.Info("brought the store up to date for another process", "entries", n)
	}
	return err
}

// checkDeletes returns an error if the configuration refuses deletes.
func (r *Registry) checkDeletes() error {
	if r.cfg().DeleteDisabled {
		return &Error{Code: Unsupported, Message: "deletes are disabled: the operator has set delete_disabled"}
	}
	return nil
}
