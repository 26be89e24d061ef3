package index

import (
	"context"

	"github.com/opencontainers/go-digest"
)

// A Listed is a blob as a list of all has it.
type Listed struct {
	Blob
	Stored  bool // whether the store has to have its bytes
	Claimed bool // whether they are being deleted
}

// Blobs returns up to n blobs of all repositories, and of none, in the order of their keys in the store, after the
// digest after.
func (db *DB) Blobs(ctx context.Context, after digest.Digest, n int) ([]Listed, error) {
	return collect(db.ask(ctx, "blobs", packAfter(after), n), func(row scanner) (l Listed, err error) {
		l.Blob, err = scanBlob(row, &l.Stored, &l.Claimed)
		return l, err
	})
}

// Stored reports whether the store has to have the bytes of d.
func (db *DB) Stored(ctx context.Context, d digest.Digest) (bool, error) {
	return db.ask(ctx, "blob-size", pack(d)).exists()
}

// AddFound adds blobs that were found in the store and that nobody knows of. A grace period from now they are collected,
// unless they are pushed.
func (db *DB) AddFound(ctx context.Context, blobs []Blob) error {
	return db.note(ctx, "add-found", func(t *tx) error {
		for _, b := range blobs {
			t.do("add-found-blob", pack(b.Digest), b.Size, now())
		}
		return nil
	})
}

// Doubt posts entries for facts that the store may not show as the index has them, whatever it is that the index has.
func (db *DB) Doubt(ctx context.Context, facts []Entry) ([]Entry, error) {
	var last *tx
	err := db.note(ctx, "doubt", func(t *tx) error {
		last = t
		for _, f := range facts {
			t.post(f.Repo, f.Kind, f.Ref, State{})
		}
		return t.flush()
	})
	if err != nil {
		return nil, err
	}
	entries := make([]Entry, len(facts))
	for i, c := range last.changes {
		entries[i] = c.Entry
	}
	return entries, nil
}
