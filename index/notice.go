package index

import (
	"context"
	"time"
)

// A Notice is an event that waits until an endpoint has been told of it. Notices of a repository are in the order of their
// numbers, which is one in which its facts may have changed: what was acknowledged before something else began comes
// before that.
type Notice struct {
	ID       int64 // given when it is queued
	Endpoint string
	Repo     string
	At       time.Time // to the millisecond
	Event    []byte
}

// Done is what a transaction has come to when it is about to commit.
type Done struct {
	Changes []Change // without their IDs
	Blob    Blob     // that was mounted; else zero
}

// Telling returns the same index, which asks notices, in each transaction that changes a repository, what to queue with
// it. If the change is durable, so are they. notices may be called more than once for one change.
func (db *DB) Telling(notices func(Done) []Notice) *DB {
	telling := *db
	telling.notices = notices
	return &telling
}

// Noticed receives after something was queued by this process. One that asks whenever it receives misses nothing.
func (db *DB) Noticed() <-chan struct{} { return db.noticed }

// Notify queues what belongs to no change. It survives a crash of the process, but not necessarily a power cut.
func (db *DB) Notify(ctx context.Context, notices []Notice) error {
	err := db.note(ctx, "notify", func(t *tx) error {
		t.notify(notices)
		return nil
	})
	db.wake(len(notices))
	return err
}

func (t *tx) notify(notices []Notice) {
	for _, n := range notices {
		t.do("notify", n.Endpoint, n.Repo, n.At.UnixMilli(), n.Event)
	}
}

// tell queues what a change is to be told by, as the last thing in its transaction: whatever that has had to wait for has
// lower numbers.
func (t *tx) tell(ask func(Done) []Notice) (queued int) {
	if ask == nil {
		return 0
	}
	notices := ask(Done{Changes: t.changes, Blob: t.mounted})
	t.notify(notices)
	return len(notices)
}

func (db *DB) wake(queued int) {
	if queued == 0 {
		return
	}
	select {
	case db.noticed <- struct{}{}:
	default:
	}
}

// NoticedRepositories returns up to n repositories with notices for an endpoint that sort after last, in byte order.
func (db *DB) NoticedRepositories(ctx context.Context, endpoint, last string, n int) ([]string, error) {
	return collect(db.ask(ctx, "noticed-repositories", endpoint, last, n), scanText)
}

// Notices returns the first n notices of a repository for an endpoint, in their order.
func (db *DB) Notices(ctx context.Context, endpoint, repo string, n int) ([]Notice, error) {
	return collect(db.ask(ctx, "notices", endpoint, repo, n), func(row scanner) (Notice, error) {
		notice := Notice{Endpoint: endpoint, Repo: repo}
		var at int64
		err := row.Scan(&notice.ID, &at, &notice.Event)
		notice.At = fromMilli(at)
		return notice, err
	})
}

// Told removes notices from the queue. They may be there again after a power cut.
func (db *DB) Told(ctx context.Context, notices []Notice) error {
	if len(notices) == 0 {
		return nil
	}
	return db.note(ctx, "told", func(t *tx) error {
		for _, n := range notices {
			t.do("told", n.ID)
		}
		return nil
	})
}

// A NoticeQueue is what one endpoint has not been told yet.
type NoticeQueue struct {
	Notices int
	Oldest  time.Time // when the first of them was queued; zero if there is none
}

// NoticedEndpoints returns the queues of the endpoints with notices.
func (db *DB) NoticedEndpoints(ctx context.Context) (map[string]NoticeQueue, error) {
	queues := make(map[string]NoticeQueue)
	err := db.ask(ctx, "noticed-endpoints")(func(r rows) error {
		clear(queues)
		for r.Next() {
			var endpoint string
			var n int
			var oldest int64
			if err := r.Scan(&endpoint, &n, &oldest); err != nil {
				return err
			}
			queues[endpoint] = NoticeQueue{n, fromMilli(oldest)}
		}
		return r.Err()
	}, false)
	return queues, err
}

// DropNotices removes those of the n oldest notices for an endpoint that were queued before a time, and returns how many
// they were.
func (db *DB) DropNotices(ctx context.Context, endpoint string, before time.Time, n int) (dropped int64, err error) {
	err = db.note(ctx, "drop-notices", func(t *tx) (err error) {
		dropped, err = t.exec("drop-notices", endpoint, before.UnixMilli(), n)
		return err
	})
	return dropped, err
}
