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
			if err := image(b, Repository(i), i); err != nil {
				return err
			}
		}
		if err := tags(b, r.Tags); err != nil {
			return err
		}
		for i := range r.Garbage {
			content := Garbage(i)
			if err := layer(b, GarbageRepository, index.Blob{Digest: digest.FromBytes(content), Size: int64(len(content))}); err != nil {
				return err
			}
		}
		return nil
	})
}

func layer(b *index.Builder, repo string, blob index.Blob) error {
	if err := b.Stored(blob); err != nil {
		return err
	}
	return b.Layer(repo, blob.Digest)
}

// image adds a repository with an image.
func image(b *index.Builder, repo string, number int) error {
	m := manifest(fmt.Sprint("image ", number))
	for i := range layers {
		d := digest.FromString(fmt.Sprint("layer ", number, i))
		if err := layer(b, repo, index.Blob{Digest: d, Size: 1 << 20}); err != nil {
			return err
		}
		m.Blobs = append(m.Blobs, d)
	}
	if err := put(b, repo, m); err != nil {
		return err
	}
	return b.Tag(repo, "v1", m.Digest)
}

func tags(b *index.Builder, n int) error {
	m := manifest("tagged")
	if err := put(b, TagsRepository, m); err != nil {
		return err
	}
	for i := range n {
		if err := b.Tag(TagsRepository, Tag(i), m.Digest); err != nil {
			return err
		}
	}
	return nil
}

// manifest is one of the usual size.
func manifest(name string) index.Manifest {
	payload := fmt.Appendf(nil, "%-2000s", name)
	return index.Manifest{Digest: digest.FromBytes(payload), MediaType: "application/vnd.oci.image.manifest.v1+json", Payload: payload}
}

func put(b *index.Builder, repo string, m index.Manifest) error {
	if err := b.Stored(index.Blob{Digest: m.Digest, Size: int64(len(m.Payload))}); err != nil {
		return err
	}
	return b.Manifest(repo, m)
}
