// Package events tells endpoints, which are URLs of other programs, what clients do: push, pull, mount and delete.
//
// A [Dispatcher] is the [registry.Witness] of a server. What it is told of waits in the index, as a row for each endpoint
// that wants to know. The row of a push, a mount or a delete is written in the transaction of its fact, so that it is there
// if and only if the fact is. Rows of pulls, which change nothing, are written together, later: those of the last second, and at
// most ten thousand, are lost with a process that is killed.
//
// Each endpoint is told at least once, and of what changes one repository in order: of the next change when it has taken the
// one before. A pull may come after what was changed up to a second later; the times are right. Repositories do not wait
// for each other, nor does an endpoint for another one. Of several processes on one index, one tells an endpoint at a time.
package events

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/parfait-registry/parfait/index"
	"github.com/parfait-registry/parfait/registry"
)

// A Dispatcher queues events and delivers them. It is safe for concurrent use.
type Dispatcher struct {
	cfg       Config
	db        *index.DB
	log       *slog.Logger
	source    source
	endpoints []*endpoint
	stop      context.CancelFunc
	work      sync.WaitGroup

	mu     sync.Mutex
	pulls  []registry.Act // that no row says yet; guarded by mu
	lost   int            // pulls that found no room; guarded by mu
	crowd  chan struct{}  // has a token when there are many pulls
	failed bool           // whether the last pulls could not be queued; of the goroutine that does it
}

// pullsMax bounds the pulls in memory, and pullsBatch is how many are queued in one transaction, for which pushes wait.
const (
	pullsMax   = 10_000
	pullsBatch = 500
)

// Open begins to deliver what is queued. It returns nil if there is nobody to tell. The caller closes the dispatcher before
// db, and when nobody tells it anything any more.
func Open(ctx context.Context, cfg Config, db *index.DB, log *slog.Logger) (*Dispatcher, error) {
	cfg = cfg.withDefaults()
	host, err := os.Hostname()
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	d := &Dispatcher{cfg: cfg, db: db, log: log, stop: stop, crowd: make(chan struct{}, 1),
		source: source{Addr: net.JoinHostPort(host, cfg.Port), InstanceID: uuid.NewString()}}
	for _, e := range cfg.Endpoints {
		if !e.Disabled {
			d.endpoints = append(d.endpoints, newEndpoint(e, cfg, db, log))
		}
	}
	if len(d.endpoints) == 0 {
		stop()
		return nil, nil
	}
	if err := d.mentionStrays(ctx); err != nil {
		stop()
		return nil, err
	}
	for _, e := range d.endpoints {
		d.work.Go(func() { e.run(ctx) })
	}
	d.work.Go(func() { d.spread(ctx) })
	d.work.Go(func() { d.keepPulls(ctx) })
	d.work.Go(func() { d.keepBounds(ctx) })
	return d, nil
}

// Close ends the deliveries, and queues what is left of the pulls. What is queued waits for the next Open.
func (d *Dispatcher) Close(ctx context.Context) error {
	d.stop()
	d.work.Wait()
	return d.queuePulls(ctx)
}

// mentionStrays tells of what is queued for nobody.
func (d *Dispatcher) mentionStrays(ctx context.Context) error {
	queued, err := d.db.NoticedEndpoints(ctx)
	if err != nil {
		return err
	}
	for _, e := range d.endpoints {
		delete(queued, e.Name)
	}
	for name, queue := range queued {
		d.log.Warn("events wait for an endpoint that is not told any more, and will be dropped when they are too old",
			"endpoint", name, "events", queue.Notices, "max_age", d.cfg.MaxAge)
	}
	return nil
}

// spread wakes the endpoints when something was queued.
func (d *Dispatcher) spread(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.db.Noticed():
			for _, e := range d.endpoints {
				e.wake()
			}
		}
	}
}

// Notices implements [registry.Witness].
func (d *Dispatcher) Notices(act registry.Act) []registry.Notice {
	var text []byte
	var notices []registry.Notice
	for _, e := range d.endpoints {
		if !e.wants(act) {
			continue
		}
		if text == nil {
			text = d.describe(act)
		}
		notices = append(notices, registry.Notice{Endpoint: e.Name, Repo: string(act.Repo), At: act.At, Event: text})
	}
	return notices
}

// Pulled implements [registry.Witness]. It costs the pull next to nothing.
func (d *Dispatcher) Pulled(act registry.Act) {
	wanted := false
	for _, e := range d.endpoints {
		wanted = wanted || e.wants(act)
	}
	if !wanted {
		return
	}
	if !d.cfg.Events.IncludeReferences {
		act.Payload = nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.pulls) >= pullsMax {
		d.lost++
		return
	}
	d.pulls = append(d.pulls, act)
	if len(d.pulls) == pullsBatch {
		select {
		case d.crowd <- struct{}{}:
		default:
		}
	}
}

// keepPulls queues pulls from time to time.
func (d *Dispatcher) keepPulls(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-d.crowd:
		}
		err := d.queuePulls(ctx)
		if err != nil && !d.failed && !errors.Is(err, context.Canceled) {
			d.log.Error("events of pulls cannot be queued", "err", err)
		}
		d.failed = err != nil
	}
}

// queuePulls queues what is in memory.
func (d *Dispatcher) queuePulls(ctx context.Context) error {
	for {
		d.mu.Lock()
		pulls := d.pulls[:min(len(d.pulls), pullsBatch)]
		lost := d.lost
		d.lost = 0
		d.mu.Unlock()
		if lost > 0 {
			d.log.Error("events of pulls were lost: there were more than could be queued", "events", lost)
			d.cfg.Observe("", Dropped, lost)
		}
		if len(pulls) == 0 {
			return nil
		}
		var notices []registry.Notice
		for _, act := range pulls {
			notices = append(notices, d.Notices(act)...)
		}
		if err := d.db.Notify(ctx, notices); err != nil {
			return err
		}
		d.mu.Lock()
		d.pulls = append([]registry.Act(nil), d.pulls[len(pulls):]...)
		d.mu.Unlock()
	}
}

// dropBatch bounds the rows that one transaction drops.
const dropBatch = 1000

// keepBounds says from time to time how much waits, and drops what of it is too old, or too much. That of endpoints that are
// not told any more goes by its age.
func (d *Dispatcher) keepBounds(ctx context.Context) {
	tick := time.NewTicker(d.cfg.TrimInterval)
	defer tick.Stop()
	for {
		if err := d.trim(ctx); err != nil && ctx.Err() == nil {
			d.log.Error("background work failed, and will be tried again", "task", "drop old events", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// trim reads the queues once, for both: to count them takes as long as they are.
func (d *Dispatcher) trim(ctx context.Context) error {
	queued, err := d.db.NoticedEndpoints(ctx)
	if err != nil {
		return err
	}
	for _, e := range d.endpoints {
		var age time.Duration
		if queue := queued[e.Name]; queue.Notices > 0 {
			age = time.Since(queue.Oldest)
		}
		d.cfg.Waiting(e.Name, queued[e.Name].Notices, age)
	}
	for name, queue := range queued {
		if err := d.drop(ctx, name, queue.Notices); err != nil {
			return err
		}
	}
	return nil
}

// drop drops what is too old of n events for an endpoint, and the oldest of what is too much then.
func (d *Dispatcher) drop(ctx context.Context, name string, n int) error {
	old, err := d.dropOf(ctx, name, time.Now().Add(-d.cfg.MaxAge), n)
	if err != nil {
		return err
	}
	many, err := d.dropOf(ctx, name, time.Now().Add(time.Hour), n-old-d.cfg.MaxQueued)
	if err != nil {
		return err
	}
	if old+many > 0 {
		d.log.Error("events were dropped before the endpoint has taken them", "endpoint", name, "too_old", old, "too_many", many,
			"max_age", d.cfg.MaxAge, "max_queued", d.cfg.MaxQueued)
		d.cfg.Observe(name, Dropped, old+many)
	}
	return nil
}

// dropOf drops what was queued before a time of the n oldest events for an endpoint.
func (d *Dispatcher) dropOf(ctx context.Context, name string, before time.Time, n int) (dropped int, err error) {
	for n > 0 {
		batch := min(n, dropBatch)
		gone, err := d.db.DropNotices(ctx, name, before, batch)
		if dropped += int(gone); err != nil || gone < int64(batch) {
			return dropped, err
		}
		n -= batch
	}
	return dropped, nil
}
