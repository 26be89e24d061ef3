package index

import (
	"context"
	"time"

	"github.com/opencontainers/go-digest"
)

// A manifest is untagged if no tag points to it, no image index names it, and it is no referrer of a manifest that is
// there. To find those, it is noted of a manifest when it may have become untagged: it was pushed without a tag, or a
// tag, an index or a subject of it went. Whether it has is looked at when that is long enough ago.

// An Untagged is a manifest that nothing in its repository needs.
type Untagged struct {
	Repo   string
	Digest digest.Digest
	Size   int64 // bytes
}

// Untagged returns the manifests that are untagged since a time before before, and all those that would go after them.
func (db *DB) Untagged(ctx context.Context, before time.Time) ([]Untagged, error) {
	all, err := collect(db.ask(ctx, "untagged", before.UnixMilli()), scanUntagged)
	if err != nil {
		return nil, err
	}
	for i := 0; i < len(all); i++ { // which grows
		referrers, err := collect(db.ask(ctx, "untagged-referrers", all[i].Repo, pack(all[i].Digest)), scanUntagged)
		if err != nil {
			return nil, err
		}
		all = append(all, referrers...)
	}
	return all, nil
}

func scanUntagged(row scanner) (u Untagged, err error) {
	var packed []byte
	if err := row.Scan(&u.Repo, &packed, &u.Size); err != nil {
		return Untagged{}, err
	}
	u.Digest, err = unpack(packed)
	return u, err
}

// A MaybeUntagged is a manifest of which it is not known whether it is untagged.
type MaybeUntagged struct {
	Untagged
	repo  int64 // number
	since int64
}

// MaybeUntagged returns up to n manifests that may be untagged since a time before before.
func (db *DB) MaybeUntagged(ctx context.Context, before time.Time, n int) ([]MaybeUntagged, error) {
	return collect(db.ask(ctx, "maybe-untagged", before.UnixMilli(), n), func(row scanner) (m MaybeUntagged, err error) {
		var packed []byte
		if err := row.Scan(&m.repo, &m.Repo, &packed, &m.Size, &m.since); err != nil {
			return MaybeUntagged{}, err
		}
		m.Digest, err = unpack(packed)
		return m, err
	})
}

// RemoveUntagged removes m if it is untagged, and notes that it is not if it is not. Its referrers are untagged as long
// as it was; the children of an index begin to be. The changes are those that the store has to follow, none if m stays.
// The error is ErrLeased if l has expired.
func (db *DB) RemoveUntagged(ctx context.Context, l *Lease, m MaybeUntagged) ([]Change, error) {
	return db.update(ctx, "remove-untagged", m.Repo, func(t *tx) error {
		if err := t.check(l); err != nil {
			return err
		}
		t.do("hold-blob", pack(m.Digest)) // as who comes to need m does
		var needed bool
		err := t.ask("is-needed", m.repo, pack(m.Digest), m.since).Scan(&needed)
		switch {
		case err == ErrNotFound: // it went meanwhile, or was noted again
			return nil
		case err != nil:
			return err
		case needed:
			t.do("note-needed", m.repo, pack(m.Digest), m.since)
			return nil
		default:
			return t.removeManifest(m.Repo, m.repo, m.Digest, m.since)
		}
	})
}
