package events

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/parfait-registry/parfait/index"
)

const (
	// parallel bounds the requests to one endpoint that are under way.
	parallel = 8

	// tellBatch is how many events of one repository are read, and removed, at once. So many are sent again if the process
	// is killed, or cannot remove them.
	tellBatch = 50

	// forget is how long it is remembered that an event of a repository was not taken, if none is left.
	forget = time.Minute

	// lookBatch is how many repositories are read at once.
	lookBatch = 100
)

// An endpoint is told what is queued for it. Each repository with something has a worker, as long as there are not too
// many; one whose event was not taken rests.
type endpoint struct {
	Endpoint
	cfg    Config
	db     *index.DB
	log    *slog.Logger
	client *http.Client
	woken  chan struct{} // has a token when there may be something to do

	mu       sync.Mutex
	repos    map[string]*repository // that have a worker, or have failed; guarded by mu
	workers  int                    // guarded by mu
	failures int                    // in a row; guarded by mu
	rests    time.Time              // nobody is told before; guarded by mu
	last     string                 // the repository that was given a worker last; guarded by mu
}

// A repository is what an endpoint is told of one.
type repository struct {
	busy     bool // a worker tells it
	failures int  // in a row
	rests    time.Time
}

func newEndpoint(e Endpoint, cfg Config, db *index.DB, log *slog.Logger) *endpoint {
	return &endpoint{Endpoint: e, cfg: cfg, db: db, log: log.With("endpoint", e.Name), client: newClient(),
		woken: make(chan struct{}, 1), repos: make(map[string]*repository)}
}

// wake has the endpoint look for something to do.
func (e *endpoint) wake() {
	select {
	case e.woken <- struct{}{}:
	default:
	}
}

// run tells the endpoint until ctx ends, whenever no other process does.
func (e *endpoint) run(ctx context.Context) {
	if e.db.Exclusive() {
		e.deliver(ctx, func() time.Time { return time.Now().Add(time.Hour) })
		return
	}
	for ctx.Err() == nil {
		lease, err := e.db.Lease(ctx, "events for "+e.Name, e.cfg.LeaseLife)
		switch {
		case err == nil:
			e.deliverLeased(ctx, lease)
		case !errors.Is(err, index.ErrLeased) && ctx.Err() == nil:
			e.log.Error("background work failed, and will be tried again", "task", "tell an endpoint", "err", err)
		}
		rest(ctx, e.cfg.LeaseLife/3)
	}
}

// deliverLeased delivers until the lease is lost.
func (e *endpoint) deliverLeased(ctx context.Context, lease *index.Lease) {
	leased, stop := lease.Keep(ctx)
	e.deliver(leased, lease.Until)
	stop()
	_ = lease.End(context.WithoutCancel(ctx)) // it expires
}

// rest waits for d, or until ctx ends.
func rest(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// deliver has workers tell the endpoint until ctx ends. No request lasts beyond until.
func (e *endpoint) deliver(ctx context.Context, until func() time.Time) {
	var work sync.WaitGroup
	defer work.Wait()
	failed := false
	for ctx.Err() == nil {
		err := e.start(ctx, func(repo string) {
			work.Go(func() {
				defer e.wake()
				e.tell(ctx, repo, until)
			})
		})
		if err != nil && !failed && ctx.Err() == nil {
			e.log.Error("events cannot be read, and wait", "err", err)
		}
		failed = err != nil
		timer := time.NewTimer(e.pause())
		select {
		case <-ctx.Done():
		case <-e.woken:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// pause is how long nothing has to be done unless somebody wakes the endpoint: until a rest is over, or for the interval at
// which it looks for what others have queued. A rest that was over before has been looked at.
func (e *endpoint) pause() time.Duration {
	e.mu.Lock()
	defer e.mu.Unlock()
	next := e.cfg.PollInterval
	sooner := func(rests time.Time) {
		if left := time.Until(rests); left > 0 {
			next = min(next, left)
		}
	}
	sooner(e.rests)
	for name, r := range e.repos {
		if sooner(r.rests); !r.busy && !r.rests.IsZero() && time.Since(r.rests) > forget {
			delete(e.repos, name) // its events were dropped
		}
	}
	return next
}

// start gives workers to repositories with something to tell, going on behind the last one that got one.
func (e *endpoint) start(ctx context.Context, work func(repo string)) error {
	e.mu.Lock()
	began := e.last
	e.mu.Unlock()
	if more, err := e.startAfter(ctx, began, "", work); !more || err != nil || began == "" {
		return err
	}
	_, err := e.startAfter(ctx, "", began, work)
	return err
}

// startAfter gives workers to repositories behind after, up to end unless that is empty. more is false if there can be no
// more workers now.
func (e *endpoint) startAfter(ctx context.Context, after, end string, work func(repo string)) (more bool, err error) {
	for e.hasRoom() {
		repos, err := e.db.NoticedRepositories(ctx, e.Name, after, lookBatch)
		if err != nil {
			return false, err
		}
		for _, repo := range repos {
			if end != "" && repo > end {
				return true, nil
			}
			if e.take(repo) {
				work(repo)
			}
			after = repo
		}
		if len(repos) < lookBatch {
			return true, nil
		}
	}
	return false, nil
}

// hasRoom reports whether another worker may begin. An endpoint that takes nothing gets one event at a time, to see.
func (e *endpoint) hasRoom() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.roomy()
}

// roomy needs e.mu.
func (e *endpoint) roomy() bool {
	if e.failures < e.Threshold {
		return e.workers < parallel
	}
	return e.workers == 0 && !time.Now().Before(e.rests)
}

// take gives repo a worker, if that may be.
func (e *endpoint) take(repo string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	r := e.repos[repo]
	if r == nil {
		r = new(repository)
	}
	if r.busy || time.Now().Before(r.rests) || !e.roomy() {
		return false
	}
	r.busy = true
	e.repos[repo] = r
	e.workers++
	e.last = repo
	return true
}

// tell is a worker: it tells the endpoint the next events of a repository.
func (e *endpoint) tell(ctx context.Context, repo string, until func() time.Time) {
	defer e.release(repo)
	notices, err := e.db.Notices(ctx, e.Name, repo, tellBatch)
	if err != nil {
		e.restRepository(repo) // the next look says what is wrong
		return
	}
	told := 0
	for _, n := range notices {
		if err := e.send(ctx, n, until()); err != nil {
			e.failedToTell(ctx, repo, err)
			break
		}
		told++
		e.hasTaken(repo)
	}
	if err := e.db.Told(context.WithoutCancel(ctx), notices[:told]); err != nil {
		e.log.Error("events that the endpoint has taken are sent again, since they cannot be removed",
			"repository", repo, "err", err)
		e.restRepository(repo)
	}
}

// release ends the worker of a repository.
func (e *endpoint) release(repo string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.workers--
	r := e.repos[repo]
	if r.busy = false; r.failures == 0 && r.rests.IsZero() {
		delete(e.repos, repo)
	}
}

// hasTaken notes that the endpoint has taken an event.
func (e *endpoint) hasTaken(repo string) {
	e.cfg.Observe(e.Name, Delivered, 1)
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.failures >= e.Threshold {
		e.log.Info("the endpoint takes events again")
	}
	e.failures, e.rests = 0, time.Time{}
	r := e.repos[repo]
	r.failures, r.rests = 0, time.Time{}
}

// failedToTell notes that the endpoint has not taken an event. It is tried again at once until the endpoint has failed too
// often in a row, with this repository or with all, and from time to time then.
func (e *endpoint) failedToTell(ctx context.Context, repo string, err error) {
	if ctx.Err() != nil {
		return // it was not the endpoint's fault
	}
	e.cfg.Observe(e.Name, Failed, 1)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.failures++
	r := e.repos[repo]
	r.failures++
	switch {
	case e.failures >= e.Threshold:
		if e.failures == e.Threshold {
			e.log.LogAttrs(ctx, slog.LevelWarn, "the endpoint takes no events: they wait", slog.Any("err", err))
		}
		e.rests = time.Now().Add(e.jitter())
		r.failures, r.rests = 0, time.Time{} // this is about the endpoint
	case r.failures >= e.Threshold:
		if r.failures == e.Threshold {
			e.log.LogAttrs(ctx, slog.LevelWarn, "the endpoint does not take an event: those of the repository wait",
				slog.String("repository", repo), slog.Any("err", err))
		}
		r.rests = time.Now().Add(e.jitter())
	}
}

// restRepository leaves a repository alone for a while.
func (e *endpoint) restRepository(repo string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.repos[repo].rests = time.Now().Add(e.jitter())
}

// jitter returns about the time of the back-off: many processes that wait for one endpoint do not come at once.
func (e *endpoint) jitter() time.Duration { return e.Backoff/2 + rand.N(e.Backoff) }
