package registry

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/index"
)

// An outbox makes the store show the facts of the index: see [index.Entry]. What a request has changed is shown before
// the request is answered, but without a sync of its own. From time to time all that was shown is compared with the
// index, since two requests that change one fact may have reached the store in the other order, is synced with one
// call, and taken off the index's list. What is on that list when a process begins was left by one that did not end
// well, and is shown again. So the store agrees with the index whatever happens.
type outbox struct {
	store drivers.Driver
	index *index.DB
	full  chan struct{} // receives when flush should not wait any longer

	flushing sync.Mutex // one flush at a time

	mu      sync.Mutex
	pending map[int64]*shown // by number of entry; the database may use that again when the entry is settled
}

// A shown is an entry and what the store shows of it.
type shown struct {
	index.Entry
	digest digest.Digest
}

// pendingMax is the number of entries from which on flush is due.
const pendingMax = 8192

func newOutbox(store drivers.Driver, db *index.DB) *outbox {
	return &outbox{store: store, index: db, full: make(chan struct{}, 1), pending: make(map[int64]*shown)}
}

// replay shows all that is on the index's list.
func (o *outbox) replay(ctx context.Context) error {
	var last int64
	for {
		entries, err := o.index.Outbox(ctx, last, pendingMax)
		if err != nil || len(entries) == 0 {
			return err
		}
		last = entries[len(entries)-1].ID
		for _, e := range entries {
			o.pending[e.ID] = &shown{Entry: e, digest: unlike}
		}
		if err := o.flush(ctx); err != nil {
			return err
		}
	}
}

// show writes the state that the caller has just committed, of all entries at the same time. If it fails, flush goes
// on trying.
func (o *outbox) show(ctx context.Context, states map[index.Entry]index.State) error {
	do := make([]func(context.Context) error, 0, len(states))
	for e, s := range states {
		do = append(do, func(ctx context.Context) error {
			err := o.write(ctx, e, s)
			if err != nil {
				s.Digest = unlike
			}
			o.remember(&shown{Entry: e, digest: s.Digest})
			return err
		})
	}
	return atOnce(ctx, do...)
}

// unlike is no state of the index: flush writes what it is compared with.
const unlike digest.Digest = "?"

// remember notes what the store shows now.
func (o *outbox) remember(s *shown) {
	o.mu.Lock()
	o.pending[s.ID] = s
	full := len(o.pending) >= pendingMax
	o.mu.Unlock()
	if full {
		select {
		case o.full <- struct{}{}:
		default: // flush knows already
		}
	}
}

// flush compares all that is pending with the index and corrects it, makes it durable, and takes it off the list.
func (o *outbox) flush(ctx context.Context) error {
	o.flushing.Lock()
	defer o.flushing.Unlock()
	o.mu.Lock()
	batch := slices.Collect(maps.Values(o.pending))
	o.mu.Unlock()
	if len(batch) == 0 {
		return nil
	}
	ids := make([]int64, 0, len(batch))
	for _, s := range batch {
		if err := o.correct(ctx, s); err != nil {
			return fmt.Errorf("show %s of repository %s in the store: %w", s.Ref, s.Repo, err)
		}
		ids = append(ids, s.ID)
	}
	if err := drivers.Sync(ctx, o.store); err != nil {
		return err
	}
	if err := o.index.Settle(ctx, ids); err != nil {
		return err
	}
	o.mu.Lock()
	for _, s := range batch {
		if o.pending[s.ID] == s {
			delete(o.pending, s.ID)
		}
	}
	o.mu.Unlock()
	return nil
}

// correct writes the state of the index as often as it is another one than the store shows.
func (o *outbox) correct(ctx context.Context, s *shown) error {
	for {
		state, err := o.index.State(ctx, s.Entry)
		if err != nil || state.Digest == s.digest {
			return err
		}
		if err := o.write(ctx, s.Entry, state); err != nil {
			return err
		}
		s.digest = state.Digest
	}
}

// write makes the store show s.
func (o *outbox) write(ctx context.Context, e index.Entry, s index.State) error {
	repo := Name(e.Repo) // was parsed before it got into the index
	switch e.Kind {
	case index.Layer:
		if s.Digest == "" {
			return drivers.Unstage(ctx, o.store, layerKey(repo, digest.Digest(e.Ref)))
		}
		return o.link(ctx, layerKey(repo, s.Digest), s.Digest)
	case index.Revision:
		if s.Digest == "" {
			return drivers.Unstage(ctx, o.store, revisionKey(repo, digest.Digest(e.Ref)))
		}
		return atOnce(ctx,
			func(ctx context.Context) error { return drivers.StagePut(ctx, o.store, blobKey(s.Digest), s.Payload) },
			func(ctx context.Context) error { return o.link(ctx, revisionKey(repo, s.Digest), s.Digest) })
	case index.Tag:
		if s.Digest == "" {
			return o.removeTag(ctx, repo, e.Ref)
		}
		return atOnce(ctx,
			func(ctx context.Context) error { return o.link(ctx, tagIndexKey(repo, e.Ref, s.Digest), s.Digest) },
			func(ctx context.Context) error { return o.link(ctx, tagKey(repo, e.Ref), s.Digest) })
	}
	return fmt.Errorf("outbox entry %d has the unknown kind %d", e.ID, e.Kind)
}

// link writes a file that points to d.
func (o *outbox) link(ctx context.Context, key string, d digest.Digest) error {
	return drivers.StagePut(ctx, o.store, key, []byte(d))
}

// removeTag removes all that is under the tag, what it points to first.
func (o *outbox) removeTag(ctx context.Context, repo Name, tag string) error {
	if err := drivers.Unstage(ctx, o.store, tagKey(repo, tag)); err != nil {
		return err
	}
	for object, err := range o.store.List(ctx, tagPrefix(repo, tag), "") {
		if err == nil {
			err = drivers.Unstage(ctx, o.store, object.Key)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// atOnce runs all of do at the same time.
func atOnce(ctx context.Context, do ...func(context.Context) error) error {
	if len(do) == 1 {
		return do[0](ctx)
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, f := range do {
		g.Go(func() error { return f(ctx) })
	}
	return g.Wait()
}
