package index

import (
	"context"
	"fmt"
	"iter"

	"github.com/opencontainers/go-digest"
)

// A Builder fills the index from what the store shows. Blobs come first, those that manifests are included.
type Builder struct {
	Counts string // what [DB.Walk] says of the adoption afterwards

	t *tx
}

// Rebuild replaces all facts by those that fill adds, or leaves the index as it is if fill fails. Upload sessions are
// kept. fill may run more than once. Nobody changes the index meanwhile.
func (db *DB) Rebuild(ctx context.Context, fill func(*Builder) error) error {
	err := db.alone(ctx, "rebuild", func(t *tx) error { return t.rebuild(fill) })
	if err == nil && !db.Exclusive() {
		// PostgreSQL does this by itself, but not at once. Until then the garbage is among all blobs, none of which had been
		// counted when it came.
		_ = db.ask(ctx, "tidy")(func(r rows) error { return r.Err() }, false)
	}
	return err
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

// clear removes all facts, which are to be adopted anew.
func (t *tx) clear() {
	t.do("reset-walk", Adoption)
	t.do("clear-adopted")
	for _, table := range []string{"tags", "manifest-refs", "manifests", "repository-blobs", "blobs", "repositories"} {
		t.do("clear-" + table)
	}
}

func (t *tx) rebuild(fill func(*Builder) error) error {
	t.clear()
	b := &Builder{t: t}
	if err := fill(b); err != nil {
		return err
	}
	// To count while the facts come would change one row again and again, of which PostgreSQL keeps all versions until
	// the transaction ends.
	t.do("add-named-blobs", now())
	t.do("count-refs")
	t.do("count-manifests")
	t.do("drop-unnamed-blobs")
	t.do("clear-outbox") // the store shows these facts, that is where they are from
	t.finishWalk(Adoption, b.Counts)
	return nil
}

// Shown says that the store has the bytes of blobs.
func (b *Builder) Shown(_ context.Context, blobs []Blob) error {
	b.t.addShown(blobs)
	return b.t.err
}

// Size returns the size of a blob that was Shown; the error is ErrNotFound for others.
func (b *Builder) Size(_ context.Context, d digest.Digest) (size int64, err error) {
	err = b.t.ask("blob-size", pack(d)).Scan(&size)
	return size, err
}

// Adopt adds a batch, in which nothing is that was in another one. It returns the tags that point to manifests that
// the repository lacks, which are not added.
func (b *Builder) Adopt(_ context.Context, batch Batch) (dangling []TagTarget, err error) {
	t := b.t
	t.distrust(batch.Broken)
	if batch.empty() {
		return nil, t.err
	}
	id, err := t.addRepository(batch.Repo)
	if err != nil {
		return nil, err
	}
	t.addLayers(batch)
	for _, m := range batch.Manifests {
		t.do("add-blob", pack(m.Digest), len(m.Payload), now(), false)
		if err := t.insertManifest(id, m, new(now())); err != nil {
			return nil, err
		}
	}
	if batch.Description != "" {
		t.do("describe", id, batch.Description)
	}
	return t.addTags(id, batch)
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
