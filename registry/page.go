package registry

import (
	"context"
	"errors"
	"fmt"
	"iter"

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

// A View is what somebody is shown of the list of repositories. A nil View shows all.
type View struct {
	Sees  func(repo string) bool
	Spans iter.Seq2[string, string] // where all is that it sees: from one name on and before another, in order, not overlapping
}

// scan is how many repositories are looked at in one go for those that a View shows.
const scan = 500

// look calls take for the repositories that a View shows, that a search for term would find, and whose names come after
// last, until it returns false.
func (r *Registry) look(ctx context.Context, v *View, term, last string, take func(Found) bool) error {
	for from, before := range v.Spans {
		for from = max(from, behind(last)); from < before; {
			found, err := r.index.SearchBetween(ctx, term, from, before, scan)
			if err != nil {
				return err
			}
			for _, f := range found {
				if v.Sees(f.Name) && !take(f) {
					return nil
				}
			}
			if len(found) < scan {
				break
			}
			from = behind(found[scan-1].Name)
		}
	}
	return nil
}

// behind is where the names begin that come after name: none has a character as low as "!".
func behind(name string) string { return name + "!" }

// Repositories returns up to n names of repositories with manifests that come after last, in byte order, as far as v shows
// them. n is positive.
func (r *Registry) Repositories(ctx context.Context, last string, n int, v *View) (Page[string], error) {
	if v == nil {
		names, err := r.index.Repositories(ctx, last, n+1)
		return page(names, n), err
	}
	var names []string
	err := r.look(ctx, v, "", last, func(f Found) bool {
		names = append(names, f.Name)
		return len(names) <= n
	})
	return page(names, n), err
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
// whatever case, and how many there are in all, as far as v shows them. The description is that of the manifest that was
// pushed last, by its annotation org.opencontainers.image.description.
func (r *Registry) Search(ctx context.Context, term string, n, page int, v *View) (found []Found, total int, err error) {
	first := (page - 1) * n
	if v == nil {
		return r.index.Search(ctx, term, n, first)
	}
	err = r.look(ctx, v, term, "", func(f Found) bool {
		if total >= first && len(found) < n {
			found = append(found, f)
		}
		total++
		return true
	})
	return found, total, err
}
