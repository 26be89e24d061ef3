package index

import (
	"context"

	"github.com/opencontainers/go-digest"
)

// A BlobFact is what the index says of bytes in the store.
type BlobFact struct {
	Blob
	Stored bool // whether the store has them
	Linked bool // whether a repository has the blob
}

// BlobFacts returns up to n of all that is known of blobs, in the order of their digests, after the digest after, which
// is "" at the beginning. Blobs are among them that are only named, and need not be in the store.
func (db *DB) BlobFacts(ctx context.Context, after digest.Digest, n int) ([]BlobFact, error) {
	last := pack(after)
	if last == nil {
		last = []byte{}
	}
	return collect(db.ask(ctx, "blob-facts", last, n), scanBlobFact)
}

// BlobFact looks up what is known of one blob. The error is ErrNotFound if that is nothing.
func (db *DB) BlobFact(ctx context.Context, d digest.Digest) (BlobFact, error) {
	var f BlobFact
	err := db.ask(ctx, "blob-fact", pack(d))(func(r rows) (err error) {
		if !r.Next() {
			return ErrNotFound
		}
		f, err = scanBlobFact(r)
		return err
	}, true)
	return f, err
}

func scanBlobFact(row scanner) (f BlobFact, err error) {
	var packed []byte
	if err := row.Scan(&packed, &f.Size, &f.Stored, &f.Linked); err != nil {
		return f, err
	}
	f.Digest, err = unpack(packed)
	return f, err
}

// Payload returns the bytes of a manifest that any repository has. The error is ErrNotFound if none has. It reads all
// manifests to find it.
func (db *DB) Payload(ctx context.Context, d digest.Digest) (payload []byte, err error) {
	err = db.ask(ctx, "payload", pack(d)).Scan(&payload)
	return payload, err
}

// Resize notes the size of a blob, which was wrong.
func (db *DB) Resize(ctx context.Context, b Blob) error {
	err := db.commit(ctx, "resize", mode{durable: true}, func(t *tx) error {
		t.do("resize-blob", pack(b.Digest), b.Size)
		return nil
	})
	db.cache.changed(allRepositories)
	return err
}

// Distrust notes that the store does not have the bytes of a blob that no repository has, or has other ones: they are
// written if it is pushed.
func (db *DB) Distrust(ctx context.Context, d digest.Digest) error {
	return db.note(ctx, "distrust", func(t *tx) error {
		t.distrust([]digest.Digest{d})
		return nil
	})
}

// LoseBlob takes a blob from all repositories, though manifests name it: its bytes are not what they should be. They are
// claimed until BytesAreGone or FindBlob. It is theirs again once it is pushed. l is the lease of those who collect, since a
// collector would take the claim for its own; the error is ErrLeased if it has expired.
func (db *DB) LoseBlob(ctx context.Context, l *Lease, d digest.Digest) ([]Change, error) {
	changes, err := db.update(ctx, "lose-blob", allRepositories, func(t *tx) error {
		if err := t.check(l); err != nil {
			return err
		}
		t.do("hold-blob", pack(d))
		t.do("lose-bytes", pack(d), now())
		repos, err := collect(t.ask("blob-repositories", pack(d), maxRepositories), scanText)
		if err != nil {
			return err
		}
		for _, repo := range repos {
			t.do("unlink-blob", repo, pack(d))
			t.post(repo, Layer, d.String(), State{})
		}
		return t.flush()
	})
	return changes, err
}

// FindBlob gives a blob that was lost back to those repositories that LoseBlob has taken it from: its bytes were found to
// be right after all.
func (db *DB) FindBlob(ctx context.Context, l *Lease, b Blob, lost []Change) ([]Change, error) {
	return db.update(ctx, "find-blob", allRepositories, func(t *tx) error {
		if err := t.check(l); err != nil {
			return err
		}
		t.do("bytes-are-found", pack(b.Digest), b.Size)
		for _, c := range lost {
			t.do("link-blob", c.Repo, pack(b.Digest))
			t.post(c.Repo, Layer, b.Digest.String(), State{Digest: b.Digest})
		}
		return t.flush()
	})
}

// BytesAreGone says that the bytes of a blob that was lost are not in their place any more.
func (db *DB) BytesAreGone(ctx context.Context, l *Lease, d digest.Digest) error {
	return db.commit(ctx, "bytes-are-gone", mode{durable: true}, func(t *tx) error {
		if err := t.check(l); err != nil {
			return err
		}
		t.do("bytes-are-gone", pack(d))
		return nil
	})
}

// maxRepositories is no bound.
const maxRepositories = 1 << 31

// Entries returns up to n facts of one kind that a repository has, in a fixed order, after the one whose Ref is after,
// which is "" at the beginning.
func (db *DB) Entries(ctx context.Context, repo string, kind Kind, after string, n int) ([]Entry, error) {
	e := Entry{Repo: repo, Kind: kind, Ref: after}
	var last any = after
	query, scan := "tag-entries", scanText
	if kind != Tag {
		if last = any(pack(digest.Digest(after))); after == "" {
			last = []byte{}
		}
		query, scan = map[Kind]string{Layer: "layer-entries", Revision: "revision-entries"}[kind], scanDigestText
	}
	return collect(db.ask(ctx, query, repo, last, n), func(row scanner) (Entry, error) {
		e := e
		var err error
		e.Ref, err = scan(row)
		return e, err
	})
}

func scanDigestText(row scanner) (string, error) {
	packed, err := scanBytes(row)
	if err != nil {
		return "", err
	}
	d, err := unpack(packed)
	return d.String(), err
}

// AllRepositories returns up to n names of repositories that sort after last, in byte order, with manifests or without.
func (db *DB) AllRepositories(ctx context.Context, last string, n int) ([]string, error) {
	return collect(db.ask(ctx, "all-repositories", last, n), scanText)
}

// Post has the fact of e shown in the store again, and returns the entry of the outbox that says so.
func (db *DB) Post(ctx context.Context, e Entry) (Entry, error) {
	changes, err := db.update(ctx, "post", e.Repo, func(t *tx) error {
		t.post(e.Repo, e.Kind, e.Ref, State{})
		return t.flush()
	})
	if err != nil {
		return Entry{}, err
	}
	return changes[0].Entry, nil
}

// Posted reports whether the outbox has an entry for the fact of e: the store may show something else for now.
func (db *DB) Posted(ctx context.Context, e Entry) (bool, error) {
	return db.ask(ctx, "posted", e.Repo, e.Kind, e.Ref).exists()
}
