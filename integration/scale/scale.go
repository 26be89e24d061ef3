// Package scale fills an index with as much as a large registry has.
package scale

import (
	"context"
	"fmt"

	"github.com/opencontainers/go-digest"

	"github.com/parfait-registry/parfait/index"
)

// A Registry says how much there is to be. Full has a million blobs.
type Registry struct {
	Repositories int // each with a manifest, by the tag v1, of ten layers that no other repository has
	Tags         int // in the repository [TagsRepository], all of one manifest
	Garbage      int // blobs in the repository [GarbageRepository] that no manifest names
}

// Full is the scale at which pages, pulls and collections are measured.
var Full = Registry{Repositories: 100_000, Tags: 100_000, Garbage: 10_000}

// The repositories that are like no others.
const (
	TagsRepository    = "many/tags"
	GarbageRepository = "garbage"
)

const layers = 10

// Repository is the name of the i-th repository.
func Repository(i int) string { return fmt.Sprintf("team%03d/app%06d", i%1000, i) }

// Tag is the i-th tag of TagsRepository.
func Tag(i int) string { return fmt.Sprintf("v%06d", i) }

// Garbage is the content of the i-th garbage blob.
func Garbage(i int) []byte { return fmt.Appendf(nil, "garbage %d %4000d", i, i) }

// Fill replaces all that db has by the registry.
func (r Registry) Fill(ctx context.Context, db *index.DB) error {
	return db.Rebuild(ctx, func(b *index.Builder) error {
		for i := range r.Repositories {
			if err := add(ctx, b, image(i)); err != nil {
				return err
			}
		}
		if err := add(ctx, b, tags(r.Tags)); err != nil {
			return err
		}
		garbage := index.Batch{Repo: GarbageRepository}
		for i := range r.Garbage {
			content := Garbage(i)
			garbage.Layers = append(garbage.Layers, index.Blob{Digest: digest.FromBytes(content), Size: int64(len(content))})
		}
		return add(ctx, b, garbage)
	})
}

// add adds a repository, of which the store has all bytes.
func add(ctx context.Context, b *index.Builder, repo index.Batch) error {
	var manifests []index.Blob
	for _, m := range repo.Manifests {
		manifests = append(manifests, index.Blob{Digest: m.Digest, Size: int64(len(m.Payload))})
	}
	if err := b.Shown(ctx, manifests); err != nil {
		return err
	}
	_, err := b.Adopt(ctx, repo)
	return err
}

// image is a repository with an image.
func image(number int) index.Batch {
	m := manifest(fmt.Sprint("image ", number))
	repo := index.Batch{Repo: Repository(number), Tags: []index.TagTarget{{Tag: "v1", Digest: m.Digest}}}
	for i := range layers {
		d := digest.FromString(fmt.Sprint("layer ", number, i))
		repo.Layers = append(repo.Layers, index.Blob{Digest: d, Size: 1 << 20})
		m.Blobs = append(m.Blobs, d)
	}
	repo.Manifests = []index.Manifest{m}
	return repo
}

// tags is the repository with n tags.
func tags(n int) index.Batch {
	m := manifest("tagged")
	repo := index.Batch{Repo: TagsRepository, Manifests: []index.Manifest{m}}
	for i := range n {
		repo.Tags = append(repo.Tags, index.TagTarget{Tag: Tag(i), Digest: m.Digest})
	}
	return repo
}

// manifest is one of the usual size.
func manifest(name string) index.Manifest {
	payload := fmt.Appendf(nil, "%-2000s", name)
	return index.Manifest{Digest: digest.FromBytes(payload), MediaType: "application/vnd.oci.image.manifest.v1+json", Payload: payload}
}
