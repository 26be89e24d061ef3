package index

import (
	"cmp"
	"context"
	"slices"
	"time"

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
	Stored  bool          // whether the store has the payload already, durably: it must be left alone then
}

// A Change is an entry with the state that its own transaction has left. It may be another one by now.
type Change struct {
	Entry
	State
}

// post leaves an entry in the outbox. Its ID is known after the next flush.
func (t *tx) post(repo string, kind Kind, ref string, s State) {
	i := len(t.changes)
	t.changes = append(t.changes, Change{Entry{Repo: repo, Kind: kind, Ref: ref}, s})
	t.later(statement{query: "post", args: []any{repo, kind, ref, now()}, one: true, read: func(r rows) error {
		return scanOne(r, &t.changes[i].ID)
	}})
}

// Outbox returns up to n entries with numbers above after, in their order.
func (db *DB) Outbox(ctx context.Context, after int64, n int) ([]Entry, error) {
	return collect(db.ask(ctx, "outbox", after, n), scanEntry)
}

// TakeOver returns up to n entries that were posted, or taken over, more than age ago. They are this process's then:
// others do not get them before they have aged as much again.
func (db *DB) TakeOver(ctx context.Context, age time.Duration, n int) (entries []Entry, err error) {
	err = db.note(ctx, "take-over", func(t *tx) error {
		entries, err = collect(t.ask("take-over", now()-age.Milliseconds(), now(), n), scanEntry)
		return err
	})
	return entries, err
}

func scanEntry(row scanner) (e Entry, err error) {
	err = row.Scan(&e.ID, &e.Repo, &e.Kind, &e.Ref)
	return e, err
}

// stateQuery yields the digest of a State.
func (e Entry) stateQuery() string {
	switch e.Kind {
	case Layer:
		return "layer-state"
	case Revision:
		return "revision-state"
	default:
		return "tag-state"
	}
}

// ref is what a query is asked for.
func (e Entry) ref() any {
	if e.Kind == Tag {
		return e.Ref
	}
	return pack(digest.Digest(e.Ref))
}

// Digests returns what State would have as digests.
func (db *DB) Digests(ctx context.Context, entries []Entry) ([]digest.Digest, error) {
	digests := make([]digest.Digest, len(entries))
	var statements []statement
	for i, e := range entries {
		statements = append(statements, statement{query: e.stateQuery(), args: []any{e.Repo, e.ref()}, one: true,
			read: func(r rows) (err error) {
				digests[i], err = scanDigest(r)
				return err
			}})
	}
	err := db.watched(ctx, Statement, "digests", func(ctx context.Context) error {
		for batch := range slices.Chunk(statements, waitingMax) {
			if err := db.lookUp(ctx, batch...); err != nil {
				return err
			}
		}
		return nil
	})
	return digests, err
}

// scanDigest reads a digest, or none.
func scanDigest(r rows) (digest.Digest, error) {
	var packed []byte
	err := scanOne(r, &packed)
	if err != nil && err != ErrNotFound {
		return "", err
	}
	return unpack(packed)
}

// State looks up what the store has to show for e.
func (db *DB) State(ctx context.Context, e Entry) (s State, err error) {
	if e.Kind != Revision {
		digests, err := db.Digests(ctx, []Entry{e})
		if err != nil {
			return State{}, err
		}
		return State{Digest: digests[0]}, nil
	}
	var packed []byte
	err = db.ask(ctx, "revision", e.Repo, e.ref()).Scan(&packed, &s.Payload, &s.Stored)
	if err == ErrNotFound {
		return State{}, nil
	}
	if err == nil {
		s.Digest, err = unpack(packed)
	}
	return s, err
}

// settleBatch bounds the entries of one transaction of Settle, so that pushes do not wait for it for long.
const settleBatch = 500

// Settle says that the store shows, durably, the states of changes, and that the index has had these since they were
// written. It removes the entries.
func (db *DB) Settle(ctx context.Context, changes []Change) error {
	changes = slices.SortedFunc(slices.Values(changes), func(a, b Change) int { return cmp.Compare(a.Digest, b.Digest) })
	for batch := range slices.Chunk(changes, settleBatch) {
		err := db.note(ctx, "settle", func(t *tx) error {
			for _, c := range batch {
				if c.Kind == Revision && c.Digest != "" {
					t.do("blob-is-stored", pack(c.Digest))
				}
				t.do("settle", c.ID)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
