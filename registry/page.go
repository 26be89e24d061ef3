package registry

import (
	"context"
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/parfait-registry/parfait/index"
)

// A Page is a part of a list in a fixed order.
type Page[T any] struct {
	Items []T
	More  bool // whether a next page begins after the last item
}

// page cuts the one item more that was asked for.
func page[T any](items []T, n int) Page[T] {
	if len(items) > n {
		return Page[T]{items[:n], true}
	}
	return Page[T]{Items: items}
}

// Tags returns up to n tags of a repository that come after last, in byte order (end-8). n is positive. The error has
// the code NAME_UNKNOWN if there is no such repository.
func (r *Registry) Tags(ctx context.Context, repo Name, last string, n int) (Page[string], error) {
	if err := r.adoption.repository(ctx, repo); err != nil {
		return Page[string]{}, err
	}
	tags, err := r.index.Tags(ctx, string(repo), last, n+1)
	if errors.Is(err, index.ErrNotFound) {
		err = &Error{Code: NameUnknown, Detail: map[string]string{"name": string(repo)},
			Message: fmt.Sprintf("there is no repository %q", repo)}
	}
	return page(tags, n), err
}

// How many repositories are looked at in one go for those that somebody may see. A search looks for all each time.
const (
	scan       = 500
	searchScan = 2000
)

// Repositories returns up to n names of repositories with manifests that come after last, in byte order: those that
// sees reports true for, or all if it is nil. n is positive.
func (r *Registry) Repositories(ctx context.Context, last string, n int, sees func(repo string) bool) (Page[string], error) {
	if sees == nil {
		names, err := r.index.Repositories(ctx, last, n+1)
		return page(names, n), err
	}
	var seen []string
	for {
		names, err := r.index.Repositories(ctx, last, scan)
		if err != nil {
			return Page[string]{}, err
		}
		for _, name := range names {
			if sees(name) {
				seen = append(seen, name)
			}
		}
		if len(seen) > n || len(names) < scan {
			return page(seen, n), nil
		}
		last = names[len(names)-1]
	}
}

// Referrers returns up to n manifests of a repository whose subject is subject (end-12), in the order of their
// digests, after the digest last, which is "" for the first page. Only those of artifactType, unless that is "".
func (r *Registry) Referrers(ctx context.Context, repo Name, subject digest.Digest, artifactType string, last digest.Digest, n int) (Page[v1.Descriptor], error) {
	if err := r.adoption.repository(ctx, repo); err != nil {
		return Page[v1.Descriptor]{}, err
	}
	referrers, err := r.index.Referrers(ctx, string(repo), subject, artifactType, last, n+1)
	descriptors := make([]v1.Descriptor, len(referrers))
	for i, m := range referrers {
		descriptors[i] = v1.Descriptor{MediaType: m.MediaType, Digest: m.Digest, Size: m.Size,
			ArtifactType: m.ArtifactType, Annotations: m.Annotations}
	}
	return page(descriptors, n), err
}

// A Found is a repository that a search has found.
type Found = index.Found

// Search returns the page-th page, counted from 1, of n repositories whose name or description contains term in
// whatever case, and how many there are in all; only those that sees reports true for, unless it is nil. The
// description is that of the manifest that was pushed last, by its annotation org.opencontainers.image.description.
func (r *Registry) Search(ctx context.Context, term string, n, page int, sees func(repo string) bool) (found []Found, total int, err error) {
	first := (page - 1) * n
	if sees == nil {
		return r.index.Search(ctx, term, n, first)
	}
	for offset := 0; ; offset += searchScan {
		all, _, err := r.index.Search(ctx, term, searchScan, offset)
		if err != nil {
			return nil, 0, err
		}
		for _, f := range all {
			if !sees(f.Name) {
				continue
			}
			if total >= first && len(found) < n {
				found = append(found, f)
			}
			total++
		}
		if len(all) < searchScan {
			return found, total, nil
		}
	}
}
