package index

import (
	"context"
	"time"

	"github.com/opencontainers/go-digest"
)

// A Blob is what the index knows of stored bytes.
type Blob struct {
	Digest digest.Digest
	Size   int64 // bytes
}

// A sighting is a blob that was found, and until when whoever is told of it can be sure of it for a whole grace period.
type sighting struct {
	Blob
	until time.Time
}

func (s sighting) sure() bool { return time.Now().Before(s.until) }

// Blob looks up a blob of a repository. The error is ErrNotFound if the repository has none of this digest. A blob that
// nothing refers to is kept for another grace period.
func (db *DB) Blob(ctx context.Context, repo string, d digest.Digest) (Blob, error) {
	key := cacheKey{"blob", repo, d.String()}
	s, err := recall(db.cache, key, sighting.sure, func() (sighting, error) {
		return db.sight(d, db.ask(ctx, key.query, repo, pack(d)))
	})
	if err == nil && !s.sure() {
		return s.Blob, db.renew(ctx, func(t *tx) error {
			t.do("see-blob", pack(d), now())
			_, err := db.sight(d, t.ask(key.query, repo, pack(d)))
			return err
		})
	}
	return s.Blob, err
}

// sight reads a blob. What is referenced stays for a grace period after that ends.
func (db *DB) sight(d digest.Digest, row scanner) (sighting, error) {
	s := sighting{Blob: Blob{Digest: d}}
	seen := now()
	var refs, unreferencedSeen int64
	err := row.Scan(&s.Size, &refs, &unreferencedSeen)
	if refs == 0 {
		seen = unreferencedSeen
	}
	s.until = fromMilli(seen).Add(db.grace / renewals)
	return s, err
}

// AddBlob says that the bytes of b are stored, and that repo, which is made if need be, has them. It ends session,
// unless that has no ID. The changes are those that the store has to follow; none if the repository had the blob. The
// error is ErrStale if the bytes may not be what session.Hold says of them any more.
func (db *DB) AddBlob(ctx context.Context, repo string, b Blob, session Session) (changes []Change, err error) {
	err = db.young.ending(session, func(young bool) error {
		hold := session.Hold
		if young {
			session = Session{}
		}
		changes, err = db.update(ctx, "add-blob", repo, func(t *tx) error {
			there := t.addBytes(b, hold)
			ended := t.endSession(session)
			if err := t.linkBlob(repo, b.Digest); err != nil {
				return err
			}
			if !there() {
				return ErrStale
			}
			return ended()
		})
		return err
	})
	return changes, err
}

// MountBlob gives repo a blob that the repository from has; any repository if from is "". The error is ErrNotFound
// if it does not.
func (db *DB) MountBlob(ctx context.Context, repo, from string, d digest.Digest) (Blob, []Change, error) {
	b := Blob{Digest: d}
	changes, err := db.update(ctx, "mount-blob", repo, func(t *tx) error {
		query, args := "blob-linked-anywhere", []any{pack(d)}
		if from != "" {
			query, args = "blob", []any{from, pack(d)}
		}
		t.do("keep-blob", pack(d))
		s, err := db.sight(d, t.ask(query, args...))
		if err != nil {
			return err
		}
		b, t.mounted = s.Blob, s.Blob
		t.do("see-blob", pack(d), now())
		return t.linkBlob(repo, d)
	})
	return b, changes, err
}

// BlobRepositories returns up to n repositories that have the blob, the oldest first.
func (db *DB) BlobRepositories(ctx context.Context, d digest.Digest, n int) ([]string, error) {
	return collect(db.ask(ctx, "blob-repositories", pack(d), n), scanText)
}

// linkBlob gives repo, which is made if need be, the blob.
func (t *tx) linkBlob(repo string, d digest.Digest) error {
	t.do("add-repository", repo, now())
	added, err := t.exec("link-blob", repo, pack(d))
	if added > 0 {
		t.post(repo, Layer, d.String(), State{Digest: d})
	}
	return err
}

// A NamedError says that something cannot go, because a manifest of the repository names it.
type NamedError struct{ Manifest digest.Digest }

func (e *NamedError) Error() string { return "manifest " + e.Manifest.String() + " names it" }

// RemoveBlob takes the blob from the repository. The error is ErrNotFound if it has none of this digest, and a
// *NamedError if one of its manifests names it.
func (db *DB) RemoveBlob(ctx context.Context, repo string, d digest.Digest) ([]Change, error) {
	return db.update(ctx, "remove-blob", repo, func(t *tx) error {
		t.do("hold-blob", pack(d))
		if err := t.checkUnnamed(repo, d); err != nil {
			return err
		}
		removed, err := t.exec("unlink-blob", repo, pack(d))
		if err != nil {
			return err
		}
		if removed == 0 {
			return ErrNotFound
		}
		t.post(repo, Layer, d.String(), State{})
		return nil
	})
}

// checkUnnamed returns a *NamedError if a manifest of repo names d.
func (t *tx) checkUnnamed(repo string, d digest.Digest) error {
	var packed []byte
	switch err := t.ask("parent", repo, pack(d)).Scan(&packed); err {
	case nil:
		parent, err := unpack(packed)
		if err != nil {
			return err
		}
		return &NamedError{Manifest: parent}
	case ErrNotFound:
		return nil
	default:
		return err
	}
}
