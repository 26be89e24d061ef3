package index

import (
	"cmp"
	"context"
	"fmt"
	"iter"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// A Builder fills the index from what the store shows. Blobs come first, those that manifests are included, and tags
// after the manifest they point to. It is quickest if a repository comes in one go.
type Builder struct {
	t *tx

	// Of the repository that came last.
	repo        string
	id          int64
	description string
}

// Rebuild replaces all facts by those that fill adds, or leaves the index as it is if fill fails. Upload sessions are
// kept. fill may run more than once. Nobody changes the index meanwhile.
func (db *DB) Rebuild(ctx context.Context, fill func(*Builder) error) error {
	return db.alone(ctx, "rebuild", func(t *tx) error { return t.rebuild(fill) })
}

// Fill is Rebuild if the index has no repository, and does nothing if it has: of several processes that find an empty
// index, one fills it.
func (db *DB) Fill(ctx context.Context, fill func(*Builder) error) error {
	return db.alone(ctx, "fill", func(t *tx) error {
		var empty bool
		if err := t.ask("is-empty").Scan(&empty); err != nil || !empty {
			return err
		}
		return t.rebuild(fill)
	})
}

// alone runs do, which may change all facts, while nobody else changes one.
func (db *DB) alone(ctx context.Context, call string, do func(*tx) error) error {
	err := db.commit(ctx, call, mode{durable: true, alone: true}, func(t *tx) error {
		t.do("hold-facts")
		return do(t)
	})
	db.cache.changed(allRepositories)
	return err
}

func (t *tx) rebuild(fill func(*Builder) error) error {
	for _, table := range []string{"tags", "manifest-refs", "manifests", "repository-blobs", "blobs", "repositories"} {
		t.do("clear-" + table)
	}
	b := &Builder{t: t}
	if err := fill(b); err != nil {
		return err
	}
	b.describe()
	// To count while the facts come would change one row again and again, of which PostgreSQL keeps all versions until
	// the transaction ends.
	t.do("add-named-blobs", now())
	t.do("count-refs")
	t.do("count-manifests")
	t.do("drop-unnamed-blobs")
	t.do("clear-outbox") // the store shows these facts, that is where they are from
	return nil
}

// repository makes repo the one that came last.
func (b *Builder) repository(repo string) error {
	if b.id != 0 && repo == b.repo {
		return nil
	}
	b.describe()
	id, err := b.t.addRepository(repo)
	b.repo, b.id = repo, id
	return err
}

// describe notes the description of the repository that came last.
func (b *Builder) describe() {
	if b.description != "" {
		b.t.do("describe", b.id, b.description)
		b.description = ""
	}
}

// Stored says that the store has the bytes of a blob.
func (b *Builder) Stored(blob Blob) error {
	b.t.do("add-blob", pack(blob.Digest), blob.Size, now(), true)
	return b.t.err
}

// Size returns the size of a blob that was Stored; the error is ErrNotFound for others.
func (b *Builder) Size(d digest.Digest) (size int64, err error) {
	err = b.t.ask("blob-size", pack(d)).Scan(&size)
	return size, err
}

// Layer says that a repository has a blob.
func (b *Builder) Layer(repo string, d digest.Digest) error {
	if err := b.repository(repo); err != nil {
		return err
	}
	b.t.do("link-blob", repo, pack(d))
	return b.t.err
}

// Manifest says that a repository has a manifest.
func (b *Builder) Manifest(repo string, m Manifest) error {
	if err := b.repository(repo); err != nil {
		return err
	}
	return b.t.insertManifest(b.id, m, new(now()))
}

// Tag says that a tag points to a manifest of the repository, and is newer than those before. The error is ErrNotFound
// if the repository has no such manifest.
func (b *Builder) Tag(repo, tag string, d digest.Digest) error {
	if err := b.repository(repo); err != nil {
		return err
	}
	var text string
	if err := b.t.ask("annotations", b.id, pack(d)).Scan(&text); err != nil {
		return err
	}
	annotations, err := decodeAnnotations(text)
	if err != nil {
		return err
	}
	b.t.putTag(b.id, tag, d)
	b.description = cmp.Or(annotations[v1.AnnotationDescription], b.description)
	return nil
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
			facts, err := collect(db.ask(ctx, list.query), list.scan)
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
