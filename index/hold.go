package index

import (
	"context"
	"errors"
	"time"

	"github.com/opencontainers/go-digest"
)

// An unreferenced blob is kept for a grace period, which begins anew when somebody asks for it. That is written down
// when a part of it, one in renewals, has gone by since it was written last, so that most look-ups change nothing; and
// a blob is claimed that part later, so that whoever was told of it has the whole period nonetheless.
const renewals = 4

var (
	// ErrClaimed says that the bytes of a blob are being deleted. It takes little time, after which they can be pushed.
	ErrClaimed = errors.New("the blob is being deleted")
	// ErrStale says that what a Hold says may not be so any more.
	ErrStale = errors.New("the blob may have been deleted meanwhile")
)

// A Hold is a look at a blob that is about to be pushed. Until the push ends, nobody takes away the bytes that the look
// has found, nor those that are written after it.
type Hold struct {
	Stored bool // whether some repository has the blob, so that its bytes are durable

	until time.Time // when collectors may have what was written after the look; zero for ever
}

// A look is a Hold that is being read.
type look struct {
	at     time.Time
	before int64 // when what is unreferenced was seen last that has to be seen again
	stored bool
	due    bool // whether it is claimed, or to be seen again
}

func (db *DB) look() look {
	at := time.Now()
	return look{at: at, before: at.Add(-db.grace / renewals).UnixMilli()}
}

// hold is what was seen. Half the grace period is left for clocks that differ.
func (l look) hold(db *DB) Hold {
	return Hold{Stored: l.stored, until: l.at.Add(db.grace / 2)}
}

// Hold looks for the blob before a push. The bytes of a manifest, or of what was one, do not count as Stored: they are in
// the store as a file that can be derived from the index. The error is ErrClaimed if they are being deleted.
func (db *DB) Hold(ctx context.Context, d digest.Digest) (Hold, error) {
	l := db.look()
	if err := db.ask(ctx, "hold", pack(d), l.before).Scan(&l.stored, &l.due); err != nil {
		return Hold{}, err
	}
	return db.held(ctx, d, l)
}

// held is the hold of l, which it renews if that is due.
func (db *DB) held(ctx context.Context, d digest.Digest, l look) (Hold, error) {
	if !l.due {
		return l.hold(db), nil
	}
	err := db.renew(ctx, func(t *tx) error {
		l = db.look()
		t.do("see-blob", pack(d), l.at.UnixMilli())
		if err := t.ask("hold", pack(d), l.before).Scan(&l.stored, &l.due); err != nil {
			return err
		}
		if l.due {
			return ErrClaimed
		}
		return nil
	})
	return l.hold(db), err
}

// renew runs do, which begins a grace period anew.
func (db *DB) renew(ctx context.Context, do func(*tx) error) error {
	return db.commit(ctx, "renew", mode{durable: true}, do)
}

// addBytes says that the bytes of b are stored, as h has seen or as they were written since. After the next flush, there
// reports whether they still are.
func (t *tx) addBytes(b Blob, h Hold) (there func() bool) {
	if h.Stored {
		known := t.count("add-known-blob", pack(b.Digest), now())
		return func() bool { return *known > 0 }
	}
	var stored bool
	unclaimed := t.find("add-blob", []any{pack(b.Digest), b.Size, now(), true}, &stored)
	return func() bool { return *unclaimed && (h.until.IsZero() || time.Now().Before(h.until)) }
}
