package index

import (
	"context"
	"time"

	"github.com/opencontainers/go-digest"
)

// Collection takes blobs away that nothing refers to. A claim takes one out of all repositories; from then on nobody can
// refer to it, and whoever pushes it waits. Then its bytes are deleted, and last its row is forgotten. Whoever finds a
// claim, such as one of a process that has died, can go on with it.

// A Queue is what waits to be collected.
type Queue struct {
	Blobs   int       // that nothing refers to
	Claimed int       // of these, and of those that a verification has found to be bad
	Oldest  time.Time // when the one that waits longest was seen last; zero if there is none
}

// Queue looks up what waits to be collected.
func (db *DB) Queue(ctx context.Context) (q Queue, err error) {
	var oldest int64
	err = db.ask(ctx, "queue").Scan(&q.Blobs, &oldest, &q.Claimed)
	if q.Blobs > 0 {
		q.Oldest = fromMilli(oldest)
	}
	return q, err
}

// Expired is the time such that what was seen last before it can be claimed.
func (db *DB) Expired() time.Time { return time.Now().Add(-db.grace - db.grace/renewals) }

// A Place is where a page of Garbage ends.
type Place struct {
	seen   int64
	digest digest.Digest
}

// Garbage returns up to n blobs that can be claimed, after a mark, and the mark after them.
func (db *DB) Garbage(ctx context.Context, after Place, n int) ([]Blob, Place, error) {
	args := []any{db.Expired().UnixMilli(), after.seen, packAfter(after.digest), n}
	blobs, err := collect(db.ask(ctx, "garbage", args...), func(row scanner) (b Blob, err error) {
		b, err = scanBlob(row, &after.seen)
		after.digest = b.Digest
		return b, err
	})
	return blobs, after, err
}

// Claim claims up to n blobs, those first that were seen last longest ago, and returns the changes that the store has to
// follow before their bytes go. claimed is how many there were; those that the store does not show as the index has it
// yet are left for later. The error is ErrLeased if l has expired.
func (db *DB) Claim(ctx context.Context, l *Lease, n int) (claimed int, changes []Change, err error) {
	var last *tx
	err = db.commit(ctx, "claim", mode{durable: true}, func(t *tx) error {
		last, claimed = t, 0
		if err := t.check(l); err != nil {
			return err
		}
		found, err := collect(t.ask("hold-garbage", db.Expired().UnixMilli(), n), scanPacked)
		if err != nil {
			return err
		}
		unsettled, err := scanUnsettled(t.ask("unsettled-digests"))
		if err != nil {
			return err
		}
		repos := make(map[digest.Digest]*[]string)
		for _, d := range found {
			if !unsettled[d] {
				t.do("claim-blob", pack(d), now())
				repos[d] = t.list("unlink-everywhere", pack(d))
			}
		}
		if err := t.flush(); err != nil {
			return err
		}
		for d, names := range repos {
			for _, repo := range *names {
				t.post(repo, Layer, d.String(), State{})
			}
		}
		claimed = len(repos)
		return t.flush()
	})
	if err != nil {
		return 0, nil, err
	}
	for _, c := range last.changes {
		db.cache.changed(c.Repo)
	}
	return claimed, last.changes, nil
}

// scanUnsettled returns the blobs and manifests of which the store may not show what the index has.
func scanUnsettled(ask question) (map[digest.Digest]bool, error) {
	refs, err := collect(ask, scanText)
	unsettled := make(map[digest.Digest]bool, len(refs))
	for _, ref := range refs {
		unsettled[digest.Digest(ref)] = true
	}
	return unsettled, err
}

// Claimed returns those of up to n claimed blobs that no repository in the store shows any more, in the order of their
// digests after the digest after, and where the next page begins, which is "" if there is none.
func (db *DB) Claimed(ctx context.Context, after digest.Digest, n int) (claimed []Blob, next digest.Digest, err error) {
	all, err := collect(db.ask(ctx, "claimed", packAfter(after), n), func(row scanner) (Blob, error) { return scanBlob(row) })
	if err != nil || len(all) == 0 {
		return nil, "", err
	}
	if len(all) == n {
		next = all[n-1].Digest
	}
	unsettled, err := scanUnsettled(db.ask(ctx, "unsettled-digests"))
	for _, b := range all {
		if !unsettled[b.Digest] {
			claimed = append(claimed, b)
		}
	}
	return claimed, next, err
}

// Forget says that the bytes of claimed blobs are gone. The error is ErrLeased if l has expired.
func (db *DB) Forget(ctx context.Context, l *Lease, blobs []Blob) error {
	return db.note(ctx, "forget", func(t *tx) error {
		if err := t.check(l); err != nil {
			return err
		}
		for _, b := range blobs {
			t.do("forget-blob", pack(b.Digest))
			t.do("forget-bytes", pack(b.Digest)) // of layers that a manifest has come to name as being elsewhere
		}
		return nil
	})
}

// scanBlob reads a digest, a size, and more.
func scanBlob(row scanner, more ...any) (b Blob, err error) {
	var packed []byte
	if err := row.Scan(append([]any{&packed, &b.Size}, more...)...); err != nil {
		return Blob{}, err
	}
	b.Digest, err = unpack(packed)
	return b, err
}

// scanPacked scans a row of one digest.
func scanPacked(row scanner) (digest.Digest, error) {
	packed, err := scanBytes(row)
	if err != nil {
		return "", err
	}
	return unpack(packed)
}

// list runs a statement and returns the texts that it yields, which are known after the next flush.
func (t *tx) list(query string, args ...any) *[]string {
	texts := new([]string)
	t.later(statement{query: query, args: args, read: func(r rows) (err error) {
		*texts, err = readAll(r, scanText)
		return err
	}})
	return texts
}
