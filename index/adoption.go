package index

import (
	"context"
	"errors"
	"slices"

	"github.com/opencontainers/go-digest"
)

// A Batch is what a store shows of a repository, or a part of that.
type Batch struct {
	Repo      string
	Layers    []Blob // whose bytes the store has
	Manifests []Manifest
	Tags      []TagTarget
	Broken    []digest.Digest // manifests whose bytes in the store are other ones

	Last        bool   // whether the index has all of the repository after this
	Description string // of the repository; only with Last
}

// empty reports whether b has no fact that the index keeps.
func (b Batch) empty() bool {
	return len(b.Layers)+len(b.Manifests)+len(b.Tags) == 0 && b.Description == ""
}

// A TagTarget is a tag with the manifest that it points to.
type TagTarget struct {
	Tag    string
	Digest digest.Digest
}

// ErrAdopted says that the index has all of a repository, and knows better than the store.
var ErrAdopted = errors.New("the repository is adopted")

// Unadopted reports whether the store may show facts of a repository that the index lacks.
func (db *DB) Unadopted(ctx context.Context, repo string) (bool, error) {
	var unadopted bool
	err := db.ask(ctx, "unadopted", repo).Scan(&unadopted)
	return unadopted, err
}

// Shown says that the store has the bytes of blobs.
func (db *DB) Shown(ctx context.Context, blobs []Blob) error {
	return db.note(ctx, "shown", func(t *tx) error {
		t.addShown(blobs)
		return nil
	})
}

func (t *tx) addShown(blobs []Blob) {
	for _, b := range blobs {
		t.do("blob-is-shown", pack(b.Digest), b.Size, now())
	}
}

// Size returns the size of a blob that the store has; the error is ErrNotFound for others.
func (db *DB) Size(ctx context.Context, d digest.Digest) (size int64, err error) {
	err = db.ask(ctx, "blob-size", pack(d)).Scan(&size)
	return size, err
}

// Adopt adds what the index lacks of b, and changes nothing that it has: clients may have changed it meanwhile. It
// returns the tags that point to manifests that the repository lacks, which are not added. The error is ErrAdopted if
// the repository is adopted already.
func (db *DB) Adopt(ctx context.Context, b Batch) (dangling []TagTarget, err error) {
	err = db.note(ctx, "adopt", func(t *tx) error { // what a power cut takes away is adopted again
		if err := t.holdUnadopted(b.Repo); err != nil {
			return err
		}
		dangling, err = t.adopt(b)
		return err
	})
	db.cache.changed(b.Repo)
	return dangling, err
}

// holdUnadopted keeps others from adopting repo, and from declaring that all are adopted, until the transaction ends.
func (t *tx) holdUnadopted(repo string) error {
	var complete bool
	underWay := t.find("keep-adoption", nil)
	if err := t.ask("hold-adopted", repo).Scan(&complete); err != nil {
		return err
	}
	if complete || !*underWay {
		return ErrAdopted
	}
	return nil
}

func (t *tx) adopt(b Batch) (dangling []TagTarget, err error) {
	if b.Last {
		t.do("complete-adopted", b.Repo)
	}
	t.distrust(b.Broken)
	if b.empty() {
		return nil, t.flush()
	}
	t.lockCounts(b.Manifests)
	id, err := t.addRepository(b.Repo)
	if err != nil {
		return nil, err
	}
	t.addLayers(b)
	for _, m := range b.Manifests {
		if err := t.adoptManifest(id, b.Repo, m); err != nil {
			return nil, err
		}
	}
	if b.Description != "" {
		t.do("describe-first", id, b.Description)
	}
	return t.addTags(id, b, "adopt-tag")
}

// lockCounts locks what manifests count, in the order in which a push does: manifests before what they name.
func (t *tx) lockCounts(manifests []Manifest) {
	var first, then []digest.Digest
	for _, m := range manifests {
		first, then = append(first, m.Digest), append(then, m.named()...)
	}
	for _, digests := range [][]digest.Digest{first, then} {
		slices.Sort(digests)
		for _, d := range slices.Compact(digests) {
			t.do("count-blob", pack(d))
		}
	}
}

// addLayers gives the repository of b, which there is, its layers.
func (t *tx) addLayers(b Batch) {
	t.addShown(b.Layers)
	for _, layer := range b.Layers {
		t.do("link-blob", b.Repo, pack(layer.Digest))
	}
}

// adoptManifest adds m, unless the repository has it.
func (t *tx) adoptManifest(id int64, repo string, m Manifest) error {
	t.do("add-blob", pack(m.Digest), len(m.Payload), now(), false) // which locks the row ahead of the look
	if has, err := t.ask("has-manifest", repo, pack(m.Digest)).exists(); has || err != nil {
		return err
	}
	return t.newManifest(id, m, new(now()))
}

// addTags adds the tags of b by a statement, if the repository has what they point to, and returns the others.
func (t *tx) addTags(id int64, b Batch, statement string) (dangling []TagTarget, err error) {
	for _, tag := range b.Tags {
		has, err := t.ask("has-manifest", b.Repo, pack(tag.Digest)).exists()
		if err != nil {
			return nil, err
		}
		if !has {
			dangling = append(dangling, tag)
			continue
		}
		t.do(statement, id, tag.Tag, pack(tag.Digest), now())
	}
	return dangling, t.flush()
}

// distrust has manifests written to the store again when they are pushed.
func (t *tx) distrust(digests []digest.Digest) {
	for _, d := range digests {
		t.do("distrust-blob", pack(d))
	}
}
