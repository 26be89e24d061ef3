package index

import (
	"context"
	"crypto/rand"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// ErrLeased says that somebody else has a lease.
var ErrLeased = errors.New("somebody else is doing that")

// A Lease says who does what one at a time may do, in this process or another. Who dies without ending it is followed by
// somebody else when it expires. The clocks of processes have to agree to a fraction of its time.
type Lease struct {
	db           *DB
	name, holder string
	ttl          time.Duration
	until        atomic.Int64
}

// Lease takes the lease of that name for ttl. The error is ErrLeased if somebody else has it.
func (db *DB) Lease(ctx context.Context, name string, ttl time.Duration) (*Lease, error) {
	l := &Lease{db: db, name: name, holder: rand.Text(), ttl: ttl}
	return l, l.Renew(ctx)
}

// Renew makes the lease last for its time from now on. The error is ErrLeased if it had expired and somebody else has it
// by now.
func (l *Lease) Renew(ctx context.Context) error {
	var until int64
	err := l.db.commit(ctx, "lease", mode{durable: true}, func(t *tx) error {
		at := now()
		until = at + l.ttl.Milliseconds()
		taken, err := t.exec("take-lease", l.name, l.holder, until, at)
		if err == nil && taken == 0 {
			err = ErrLeased
		}
		return err
	})
	if err == nil {
		l.until.Store(until)
	}
	return err
}

// Keep renews the lease from time to time until stop is called. The context that it returns ends when the lease is lost,
// or has expired as it could not be renewed.
func (l *Lease) Keep(ctx context.Context) (_ context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	var renewing sync.WaitGroup
	renewing.Go(func() {
		tick := time.NewTicker(l.ttl / 3)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			if err := l.Renew(ctx); errors.Is(err, ErrLeased) || time.Now().After(l.Until()) {
				cancel(err)
			}
		}
	})
	return ctx, func() {
		cancel(context.Canceled)
		renewing.Wait()
	}
}

// Until is when the lease expires.
func (l *Lease) Until() time.Time { return fromMilli(l.until.Load()) }

// End lets others have the lease.
func (l *Lease) End(ctx context.Context) error {
	return l.db.note(ctx, "end-lease", func(t *tx) error {
		t.do("end-lease", l.name, l.holder)
		return nil
	})
}

// check returns ErrLeased unless l lasts until the transaction ends.
func (t *tx) check(l *Lease) error {
	holds, err := t.ask("hold-lease", l.name, l.holder, now()).exists()
	if err == nil && !holds {
		err = ErrLeased
	}
	return err
}

// clearLeases ends those of processes that were killed.
func (db *DB) clearLeases(ctx context.Context) error {
	return db.transact(ctx, mode{}, func(t *tx) error {
		t.do("clear-leases")
		return nil
	})
}
