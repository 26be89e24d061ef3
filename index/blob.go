package index

import (
	"context"

	"github.com/opencontainers/go-digest"
)

// A Blob is what the index knows of stored bytes.
type Blob struct {
	Digest digest.Digest
	Size   int64 // bytes
}

// Blob looks up a blob of a repository. The error is ErrNotFound if the repository has none of this digest.
func (db *DB) Blob(ctx context.Context, repo string, d digest.Digest) (Blob, error) {
	key := cacheKey{"blob", repo, d.String()}
	return lookUp(db.cache, key, func(Blob) bool { return true }, func() (Blob, error) {
		b := Blob{Digest: d}
		err := found(db.row(ctx, key.query, repo, pack(d)).Scan(&b.Size))
		return b, err
	})
}

// Stored reports whether some repository has the blob, so that its bytes are durable. Those of a manifest, or of what
// was one, are not necessarily: they are in the store as a file that can be derived from the index.
func (db *DB) Stored(ctx context.Context, d digest.Digest) (bool, error) {
	return exists(db.row(ctx, "blob-linked-anywhere", pack(d)))
}

// AddBlob says that the bytes of b are stored, and that repo, which is made if need be, has them. It ends session,
// unless that is "". The entries are those that the store has to follow; none if the repository had the blob.
func (db *DB) AddBlob(ctx context.Context, repo string, b Blob, session Session) (entries []Entry, err error) {
	err = db.update(ctx, "add-blob", repo, func(t *tx) error {
		entries = nil
		if _, err := t.exec("insert-blob", pack(b.Digest), b.Size, now()); err != nil {
			return err
		}
		if err := t.endSession(session); err != nil {
			return err
		}
		entries, err = t.linkBlob(repo, b.Digest)
		return err
	})
	return entries, err
}

// MountBlob gives repo a blob that the repository from has; any repository if from is "". The error is ErrNotFound
// if it does not.
func (db *DB) MountBlob(ctx context.Context, repo, from string, d digest.Digest) (b Blob, entries []Entry, err error) {
	b.Digest = d
	err = db.update(ctx, "mount-blob", repo, func(t *tx) error {
		entries = nil
		query, args := "blob-linked-anywhere", []any{pack(d)}
		if from != "" {
			query, args = "blob", []any{from, pack(d)}
		}
		if err := found(t.row(query, args...).Scan(&b.Size)); err != nil {
			return err
		}
		if _, err := t.exec("see-blob", pack(d), now()); err != nil {
			return err
		}
		entries, err = t.linkBlob(repo, d)
		return err
	})
	return b, entries, err
}

// BlobRepositories returns up to n repositories that have the blob, the oldest first.
func (db *DB) BlobRepositories(ctx context.Context, d digest.Digest, n int) ([]string, error) {
	rows, err := db.rows(ctx, "blob-repositories", pack(d), n)
	return collect(rows, err, scanText)
}

// linkBlob gives repo, which is made if need be, the blob.
func (t *tx) linkBlob(repo string, d digest.Digest) ([]Entry, error) {
	id, err := t.repository(repo)
	if err != nil {
		return nil, err
	}
	added, err := t.exec("link-blob", id, pack(d))
	if err != nil || added == 0 {
		return nil, err
	}
	e, err := t.post(repo, Layer, d.String())
	return []Entry{e}, err
}

// A NamedError says that something cannot go, because a manifest of the repository names it.
type NamedError struct{ Manifest digest.Digest }

func (e *NamedError) Error() string { return "manifest " + e.Manifest.String() + " names it" }

// RemoveBlob takes the blob from the repository. The error is ErrNotFound if it has none of this digest, and a
// *NamedError if one of its manifests names it.
func (db *DB) RemoveBlob(ctx context.Context, repo string, d digest.Digest) (entries []Entry, err error) {
	err = db.update(ctx, "remove-blob", repo, func(t *tx) error {
		id, err := t.repositoryID(repo)
		if err != nil {
			return err
		}
		if err := t.checkUnnamed(id, d); err != nil {
			return err
		}
		removed, err := t.exec("unlink-blob", id, pack(d))
		if err != nil {
			return err
		}
		if removed == 0 {
			return ErrNotFound
		}
		e, err := t.post(repo, Layer, d.String())
		entries = []Entry{e}
		return err
	})
	return entries, err
}

// checkUnnamed returns a *NamedError if a manifest of the repository with the number id names d.
func (t *tx) checkUnnamed(id int64, d digest.Digest) error {
	var packed []byte
	switch err := found(t.row("parent", pack(d), id).Scan(&packed)); err {
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

// repositoryID returns the number of a repository, or ErrNotFound.
func (t *tx) repositoryID(repo string) (id int64, err error) {
	err = found(t.row("repository-id", repo).Scan(&id))
	return id, err
}

// repository returns the number of a repository, which is made if need be.
func (t *tx) repository(repo string) (int64, error) {
	id, err := t.repositoryID(repo)
	if err == ErrNotFound {
		return t.insert("insert-repository", repo, now())
	}
	return id, err
}
