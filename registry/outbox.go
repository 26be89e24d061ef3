package registry

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/index"
)

// An outbox makes the store show the facts of the index: see [index.Entry]. What a request has changed is shown before
// the request is answered, but without a sync of its own. From time to time all that was shown is compared with the
// index, is synced with one call, and taken off the index's list.
//
// Several processes may write one file of the store, and one of them what the index does not say any more, because
// another has changed that meanwhile. Each process therefore looks at the index again after it has written, and writes
// again unless its entry still has that state; only then does it settle the entry. The last to write finds what it has
// written, since a change after its look would be followed by a write of that change. What is on the list for long was
// left by a process that did not end well, and is shown again by another one, or by the next one. So the store agrees
// with the index whatever happens.
type outbox struct {
	store drivers.Driver
	index *index.DB
	full  chan struct{} // receives when flush should not wait any longer

	flushing sync.Mutex // one flush at a time

	mu      sync.Mutex              // guards pending
	pending map[int64]*index.Change // what the store shows, by number of entry, which SQLite uses again once it is settled
}

// pendingMax is the number of entries from which on flush is due.
const pendingMax = 8192

func newOutbox(store drivers.Driver, db *index.DB) *outbox {
	return &outbox{store: store, index: db, full: make(chan struct{}, 1), pending: make(map[int64]*index.Change)}
}

// replay shows all that is on the index's list, while no other process uses the index.
func (o *outbox) replay(ctx context.Context) error {
	var last int64
	for {
		entries, err := o.index.Outbox(ctx, last, pendingMax)
		if err != nil || len(entries) == 0 {
			return err
		}
		last = entries[len(entries)-1].ID
		if err := o.adopt(ctx, entries); err != nil {
			return err
		}
	}
}

// takeOver shows what has been on the list for longer than age and returns how many entries that were.
func (o *outbox) takeOver(ctx context.Context, age time.Duration) (n int, err error) {
	for {
		entries, err := o.index.TakeOver(ctx, age, pendingMax)
		if err != nil || len(entries) == 0 {
			return n, err
		}
		n += len(entries)
		if err := o.adopt(ctx, entries); err != nil {
			return n, err
		}
	}
}

// adopt shows entries of which nobody knows whether the store does.
func (o *outbox) adopt(ctx context.Context, entries []index.Entry) error {
	o.mu.Lock()
	for _, e := range entries {
		if o.pending[e.ID] == nil {
			o.pending[e.ID] = &index.Change{Entry: e, State: index.State{Digest: unlike}}
		}
	}
	o.mu.Unlock()
	return o.flush(ctx)
}

// show writes the states that the caller has just committed, all at the same time. If it fails, flush goes on trying.
func (o *outbox) show(ctx context.Context, changes []index.Change) error {
	do := make([]func(context.Context) error, 0, len(changes))
	for _, c := range changes {
		do = append(do, func(ctx context.Context) error {
			err := o.write(ctx, c.Entry, c.State)
			if err != nil {
				c.Digest = unlike
			}
			o.remember(c)
			return err
		})
	}
	return atOnce(ctx, do...)
}

// unlike is no state of the index: flush writes what it is compared with.
const unlike digest.Digest = "?"

// remember notes what the store shows now.
func (o *outbox) remember(c index.Change) {
	c.Payload = nil // may be large
	o.mu.Lock()
	o.pending[c.ID] = &c
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
	if err := o.correct(ctx, batch); err != nil {
		return err
	}
	if err := drivers.Sync(ctx, o.store); err != nil {
		return err
	}
	shown := make([]index.Change, len(batch))
	for i, c := range batch {
		shown[i] = *c
	}
	if err := o.index.Settle(ctx, shown); err != nil {
		return err
	}
	o.mu.Lock()
	for _, c := range batch {
		if o.pending[c.ID] == c {
			delete(o.pending, c.ID)
		}
	}
	o.mu.Unlock()
	return nil
}

// correct writes the states of the index that are other ones than the store shows, and looks at the index again after
// each write.
func (o *outbox) correct(ctx context.Context, batch []*index.Change) error {
	const atOnce = 8
	for len(batch) > 0 {
		entries := make([]index.Entry, len(batch))
		for i, c := range batch {
			entries[i] = c.Entry
		}
		digests, err := o.index.Digests(ctx, entries)
		if err != nil {
			return err
		}
		var written []*index.Change
		g, ctx := errgroup.WithContext(ctx)
		g.SetLimit(atOnce)
		for i, c := range batch {
			if digests[i] != c.Digest {
				written = append(written, c)
				g.Go(func() error { return o.rewrite(ctx, c) })
			}
		}
		if err := g.Wait(); err != nil {
			return err
		}
		batch = written
	}
	return nil
}

// rewrite writes the state of the index.
func (o *outbox) rewrite(ctx context.Context, c *index.Change) error {
	state, err := o.index.State(ctx, c.Entry)
	if err == nil {
		err = o.write(ctx, c.Entry, state)
	}
	if err != nil {
		return fmt.Errorf("show %s of repository %s in the store: %w", c.Ref, c.Repo, err)
	}
	c.Digest = state.Digest
	return nil
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
		link := func(ctx context.Context) error { return o.link(ctx, revisionKey(repo, s.Digest), s.Digest) }
		if s.Stored {
			return link(ctx)
		}
		return atOnce(ctx, link, func(ctx context.Context) error {
			return drivers.StagePut(ctx, o.store, blobKey(s.Digest), s.Payload)
		})
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
