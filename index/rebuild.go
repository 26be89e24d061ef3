package index

import (
	"context"
	"fmt"
	"iter"

	"github.com/opencontainers/go-digest"
)

// A Builder fills the index from what the store shows. Blobs come first, and tags after the manifest they point to.
type Builder struct{ t *tx }

// Rebuild replaces all facts by those that fill adds, or leaves the index as it is if fill fails. Upload sessions are
// kept. fill may run more than once.
func (db *DB) Rebuild(ctx context.Context, fill func(*Builder) error) error {
	return db.update(ctx, "rebuild", allRepositories, func(t *tx) error {
		for _, table := range []string{"tags", "manifest-refs", "manifests", "repository-blobs", "blobs", "repositories"} {
			if _, err := t.exec("clear-" + table); err != nil {
				return err
			}
		}
		if err := fill(&Builder{t}); err != nil {
			return err
		}
		if _, err := t.exec("drop-unnamed-blobs"); err != nil {
			return err
		}
		_, err := t.exec("clear-outbox") // the store shows these facts, that is where they are from
		return err
	})
}

// Stored says that the store has the bytes of a blob.
func (b *Builder) Stored(blob Blob) error {
	_, err := b.t.exec("insert-blob", pack(blob.Digest), blob.Size, now())
	return err
}

// Size returns the size of a blob that was Stored; the error is ErrNotFound for others.
func (b *Builder) Size(d digest.Digest) (size int64, err error) {
	err = found(b.t.row("blob-size", pack(d)).Scan(&size))
	return size, err
}

// Layer says that a repository has a blob.
func (b *Builder) Layer(repo string, d digest.Digest) error {
	id, err := b.t.repository(repo)
	if err != nil {
		return err
	}
	_, err = b.t.exec("link-blob", id, pack(d))
	return err
}

// Manifest says that a repository has a manifest.
func (b *Builder) Manifest(repo string, m Manifest) error {
	id, err := b.t.repository(repo)
	if err != nil {
		return err
	}
	_, err = b.t.addManifest(id, repo, m)
	return err
}

// Tag says that a tag points to a manifest of the repository, and is newer than those before. The error is ErrNotFound
// if the repository has no such manifest.
func (b *Builder) Tag(repo, tag string, d digest.Digest) error {
	id, err := b.t.repositoryID(repo)
	if err != nil {
		return err
	}
	var text string
	if err := found(b.t.row("annotations", id, pack(d)).Scan(&text)); err != nil {
		return err
	}
	if _, err = b.t.putTag(id, repo, tag, d); err != nil {
		return err
	}
	annotations, err := decodeAnnotations(text)
	if err != nil {
		return err
	}
	return b.t.describe(id, annotations)
}

// Facts yields a line for each fact, in a fixed order and without times, so that two indexes can be compared: layers
// and manifests with their sizes, tags, and how often each blob is referenced.
func (db *DB) Facts(ctx context.Context) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for _, list := range []struct {
			query string
			scan  func(scanner) (string, error)
		}{
			{"all-layers", scanLayerFact},
			{"all-manifests", scanManifestFact},
			{"all-tags", scanTagFact},
			{"all-refs", scanRefFact},
		} {
			rows, err := db.rows(ctx, list.query)
			facts, err := collect(rows, err, list.scan)
			if err != nil {
				yield("", err)
				return
			}
			for _, fact := range facts {
				if !yield(fact, nil) {
					return
				}
			}
		}
	}
}

func scanLayerFact(row scanner) (string, error) {
	var repo string
	var packed []byte
	var size *int64
	if err := row.Scan(&repo, &packed, &size); err != nil {
		return "", err
	}
	d, err := unpack(packed)
	return fmt.Sprintf("layer %s@%s %s", repo, d, sizeFact(size)), err
}

func scanManifestFact(row scanner) (string, error) {
	var repo, mediaType string
	var packed, payload []byte
	var size *int64
	if err := row.Scan(&repo, &packed, &mediaType, &payload, &size); err != nil {
		return "", err
	}
	d, err := unpack(packed)
	if d.Algorithm().FromBytes(payload) != d {
		return "", fmt.Errorf("the payload of %s@%s has another digest", repo, d)
	}
	return fmt.Sprintf("manifest %s@%s %s %s", repo, d, mediaType, sizeFact(size)), err
}

func scanTagFact(row scanner) (string, error) {
	var repo, tag string
	var packed []byte
	if err := row.Scan(&repo, &tag, &packed); err != nil {
		return "", err
	}
	d, err := unpack(packed)
	return fmt.Sprintf("tag %s:%s %s", repo, tag, d), err
}

func scanRefFact(row scanner) (string, error) {
	var packed []byte
	var refs int64
	if err := row.Scan(&packed, &refs); err != nil {
		return "", err
	}
	d, err := unpack(packed)
	return fmt.Sprintf("blob %s referenced %d times", d, refs), err
}

func sizeFact(size *int64) string {
	if size == nil {
		return "without a size"
	}
	return fmt.Sprintf("%d bytes", *size)
}
