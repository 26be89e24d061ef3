package registry

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"time"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/index"
)

// ErrRefused says that a store must not be served with an index, or not now. It is for the operator, in one line.
var ErrRefused = errors.New("the store is not served")

// claimTries bounds how often others may come first.
const claimTries = 10

// takeLease takes a store for the process that has db, which is empty, or has what the store shows, when takeLease returns
// nil. The error wraps [ErrRefused] if another index has the store; if the facts are those of another store; or if they
// are older than the store's, which was served with another index since, and the outbox has changes that the store may
// never have shown. Without such changes nothing is lost with old facts: the index is emptied.
//
// With force facts that are not the store's are dropped in any case, and so is what is in the outbox then: it is returned.
func takeLease(ctx context.Context, store drivers.Driver, db *index.DB, life time.Duration, force bool, log *slog.Logger) (
	_ *lease, dropped []index.Entry, err error) {
	l := newLease(store, db, life, log)
	if err := l.takeLock(ctx); err != nil {
		return nil, nil, err
	}
	for range claimTries {
		start := time.Since(l.began)
		var more []index.Entry
		more, err = l.claim(ctx, db, force)
		dropped = append(dropped, more...)
		if err == nil {
			l.renewed.Store(int64(start))
			background, stop := context.WithCancel(context.WithoutCancel(ctx))
			l.stop = stop
			l.work.Go(func() { l.keep(background) })
			return l, dropped, nil
		}
		if !errors.Is(err, index.ErrMarked) && !errors.Is(err, fs.ErrExist) {
			break
		}
	}
	if l.lock != nil {
		err = errors.Join(err, l.lock.Close())
	}
	if errors.Is(err, fs.ErrPermission) {
		err = fmt.Errorf("%w: it has to be written to, even to serve it with read_only: %w", ErrRefused, err)
	}
	return nil, dropped, err
}

// takeLock takes the lock of the store, if that has one.
func (l *lease) takeLock(ctx context.Context) error {
	locker, ok := drivers.As[drivers.Locker](l.store)
	if !ok {
		return nil
	}
	var err error
	l.lock, err = locker.Lock(ctx, lockKey, l.mine.Shared)
	switch {
	case errors.Is(err, errors.ErrUnsupported):
		return nil
	case errors.Is(err, drivers.ErrLocked):
		now, err := newest(ctx, l.store)
		if err != nil {
			return err
		}
		return fmt.Errorf("%w: %s has it, %s", ErrRefused, now.record, oneIndex)
	}
	return err
}

// oneIndex tells why another index is refused, and what to do.
const oneIndex = "and another index would not know what is changed there: stop that server first, " +
	"or have both use one PostgreSQL as index_database"

// claim is one try to take the store. The error wraps [index.ErrMarked] or [fs.ErrExist] if another process was first.
func (l *lease) claim(ctx context.Context, db *index.DB, force bool) (dropped []index.Entry, err error) {
	now, err := newest(ctx, l.store)
	if err != nil {
		return nil, err
	}
	marks, err := db.Marks(ctx)
	if err != nil {
		return nil, err
	}
	known := slices.ContainsFunc(marks, func(m index.Mark) bool { return m.Mark == now.Mark })
	if l.mine.Store = now.Store; now.number == 0 {
		l.mine.Store = rand.Text()
	}
	if known && now.Shared {
		l.mine.Mark = now.Mark
		return nil, l.write(ctx, now.number, l.mine)
	}
	// The lock of an index file says that whoever had the store with that file has ended, and a lock of the store itself
	// that everybody has.
	predecessor := known && now.Holder == l.mine.Holder
	if l.lock == nil && !predecessor {
		if err := l.refuseWhileHeld(ctx, now); err != nil {
			return nil, err
		}
	}
	if !known && (len(marks) > 0 || now.number > 0) {
		if dropped, err = l.distrust(ctx, db, marks, now, force); err != nil {
			return nil, err
		}
	}
	if err := db.AddMark(ctx, index.Mark{Mark: l.mine.Mark, Store: l.mine.Store}); err != nil {
		return nil, err
	}
	if err := l.create(ctx, now.number+1); err != nil {
		return nil, err
	}
	return dropped, db.KeepMark(ctx, l.mine.Mark)
}

// refuseWhileHeld returns an error if the holder of the store has shown itself lately.
func (l *lease) refuseWhileHeld(ctx context.Context, now holding) error {
	left, err := now.left(ctx, l.store)
	if err != nil || left <= 0 {
		return err
	}
	return fmt.Errorf("%w: %s has it, %s; if it was killed, its hold ends in %v", ErrRefused, now.record, oneIndex, left.Round(time.Second))
}

// distrust empties an index that is not the one that has written to the store last.
func (l *lease) distrust(ctx context.Context, db *index.DB, marks []index.Mark, now holding, force bool) ([]index.Entry, error) {
	empty, err := db.Empty(ctx)
	if err != nil || empty {
		return nil, err
	}
	unshown, err := db.Outbox(ctx, 0, pendingMax)
	if err != nil {
		return nil, err
	}
	foreign := len(marks) > 0 && !slices.ContainsFunc(marks, func(m index.Mark) bool { return m.Store == now.Store })
	switch {
	case force:
	case foreign:
		return nil, fmt.Errorf("%w: the index %s is that of another store: name another one in index_database, "+
			"or make it anew with parfait reindex", ErrRefused, db.Place())
	case len(unshown) > 0:
		return nil, fmt.Errorf("%w: the index %s is older than the store, which %s had since, and has changes that may have got lost: "+
			"parfait reindex makes it anew, and names them", ErrRefused, db.Place(), now.record)
	default:
		l.log.Warn("the index is older than the store, and is made anew", "index", db.Place(), "holder_since", now.record.String())
	}
	return unshown, db.Clear(ctx, marks)
}
