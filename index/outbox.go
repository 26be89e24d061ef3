package index

import (
	"context"
	"fmt"

	"github.com/opencontainers/go-digest"
)

// A Kind is a kind of fact that the store shows, too.
type Kind int

// The kinds, with what Entry.Ref is for each. The numbers are in the database.
const (
	Layer    Kind = 1 // the repository has the blob; Ref is its digest
	Revision Kind = 2 // the repository has the manifest; Ref is its digest
	Tag      Kind = 3 // the repository has the tag; Ref is its name
)

// An Entry of the outbox names a fact that has changed. The store does not necessarily show it yet.
type Entry struct {
	ID   int64
	Repo string
	Kind Kind
	Ref  string
}

// A State is what the index says of the fact that an entry names.
type State struct {
	Digest  digest.Digest // of the blob, the manifest, or what the tag points to; empty if the fact is none (any more)
	Payload []byte        // of a manifest
}

// post leaves an entry in the outbox.
func (t *tx) post(repo string, kind Kind, ref string) (Entry, error) {
	id, err := t.insert("post", repo, kind, ref)
	return Entry{ID: id, Repo: repo, Kind: kind, Ref: ref}, err
}

// Outbox returns up to n entries with numbers above after, in their order.
func (db *DB) Outbox(ctx context.Context, after int64, n int) ([]Entry, error) {
	rows, err := db.rows(ctx, "outbox", after, n)
	return collect(rows, err, func(row scanner) (e Entry, err error) {
		err = row.Scan(&e.ID, &e.Repo, &e.Kind, &e.Ref)
		return e, err
	})
}

// State looks up what the store has to show for e.
func (db *DB) State(ctx context.Context, e Entry) (State, error) {
	var s State
	var err error
	switch e.Kind {
	case Layer:
		_, err = db.Blob(ctx, e.Repo, digest.Digest(e.Ref))
		s.Digest = digest.Digest(e.Ref)
	case Revision:
		var m Manifest
		m, err = db.ManifestByDigest(ctx, e.Repo, digest.Digest(e.Ref))
		s = State{Digest: m.Digest, Payload: m.Payload}
	case Tag:
		var packed []byte
		if err = found(db.row(ctx, "tag", e.Repo, e.Ref).Scan(&packed)); err == nil {
			s.Digest, err = unpack(packed)
		}
	default:
		return State{}, fmt.Errorf("outbox entry %d has the unknown kind %d", e.ID, e.Kind)
	}
	if err == ErrNotFound {
		return State{}, nil
	}
	return s, err
}

// settleBatch bounds the entries of one transaction of Settle, so that pushes do not wait for it for long.
const settleBatch = 500

// Settle removes entries of which the store shows the state of the index, durably.
func (db *DB) Settle(ctx context.Context, ids []int64) error {
	for len(ids) > 0 {
		n := min(len(ids), settleBatch)
		err := db.note(ctx, "settle", func(t *tx) error {
			for _, id := range ids[:n] {
				if _, err := t.exec("settle", id); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		ids = ids[n:]
	}
	return nil
}
