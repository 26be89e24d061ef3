package index

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"math"
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
	t.addBlobs(b)
	if b.empty() {
		return nil, t.flush()
	}
	id, err := t.addRepository(b.Repo)
	if err != nil {
		return nil, err
	}
	t.linkLayers(b)
	for _, m := range b.Manifests {
		if err := t.adoptManifest(id, m); err != nil {
			return nil, err
		}
	}
	if b.Description != "" {
		t.do("describe-first", id, b.Description)
	}
	return t.addTags(id, b)
}

// addBlobs adds the rows of all that b has and names, and locks them in the order in which pushes do: manifests before what
// they name, and that in the order of digests.
func (t *tx) addBlobs(b Batch) {
	ranks := b.ranks()
	first := func(x, y digest.Digest) int {
		return cmp.Or(cmp.Compare(ranks[x], ranks[y]), cmp.Compare(x, y))
	}
	manifests, layers := make(map[digest.Digest]Manifest), make(map[digest.Digest]Blob)
	for _, m := range b.Manifests {
		manifests[m.Digest] = m
	}
	for _, layer := range b.Layers {
		layers[layer.Digest] = layer
	}
	for _, d := range slices.SortedFunc(maps.Keys(ranks), first) {
		if m, ok := manifests[d]; ok {
			t.do("add-blob", pack(d), len(m.Payload), now(), false)
		}
		if layer, ok := layers[d]; ok {
			t.addShown([]Blob{layer})
		} else if !slices.Contains(b.Broken, d) {
			t.do("add-found-blob", pack(d), 0, now())
		}
		if t.do("count-blob", pack(d)); slices.Contains(b.Broken, d) {
			t.distrust([]digest.Digest{d})
		}
	}
}

// ranks returns all digests that b has and names. Manifests that name others rank before these, and all rank before blobs.
func (b Batch) ranks() map[digest.Digest]int {
	ranks := make(map[digest.Digest]int)
	for _, layer := range b.Layers {
		ranks[layer.Digest] = lastRank
	}
	for _, m := range b.Manifests {
		for _, d := range m.named() {
			ranks[d] = lastRank
		}
	}
	for _, d := range b.Broken {
		ranks[d] = 0
	}
	for _, m := range b.Manifests {
		ranks[m.Digest] = 0
		for _, child := range m.Manifests {
			ranks[child] = 0
		}
	}
	for deeper := true; deeper; { // no digest can be that of what names it, so there is an end to it
		deeper = false
		for _, m := range b.Manifests {
			for _, child := range m.Manifests {
				if ranks[child] <= ranks[m.Digest] {
					ranks[child], deeper = ranks[m.Digest]+1, true
				}
			}
		}
	}
	return ranks
}

// lastRank is that of blobs.
const lastRank = math.MaxInt

// addLayers gives the repository of b, which there is, its layers.
func (t *tx) addLayers(b Batch) {
	t.addShown(b.Layers)
	t.linkLayers(b)
}

func (t *tx) linkLayers(b Batch) {
	for _, layer := range b.Layers {
		t.do("link-blob", b.Repo, pack(layer.Digest))
	}
}

// adoptManifest adds m, whose row in blobs is locked, to the repository with the number id, unless that has it.
func (t *tx) adoptManifest(id int64, m Manifest) error {
	if has, err := t.ask("has-revision", id, pack(m.Digest)).exists(); has || err != nil {
		return err
	}
	return t.newManifest(id, m, new(now()))
}

// addTags adds those tags of b that are new, if the repository has what they point to, and returns those of which it has
// not.
func (t *tx) addTags(id int64, b Batch) (dangling []TagTarget, err error) {
	for _, tag := range b.Tags {
		has, err := t.ask("has-revision", id, pack(tag.Digest)).exists()
		if err != nil {
			return nil, err
		}
		if !has {
			dangling = append(dangling, tag)
			continue
		}
		t.do("add-tag", id, tag.Tag, pack(tag.Digest), now())
	}
	return dangling, t.flush()
}

// distrust has manifests written to the store again when they are pushed.
func (t *tx) distrust(digests []digest.Digest) {
	for _, d := range digests {
		t.do("distrust-blob", pack(d))
	}
}
