package main

import (
	"context"
	"fmt"
)

const pageSize = 100

// PushTagged pushes an image to a new repository, for the tags of this round.
func pushTagged(ctx context.Context, r *round, t *target) error {
	t.image = r.forge.smallImage()
	t.tagged = r.repo(fmt.Sprintf("tags-%d", r.number))
	if err := t.pushImage(ctx, r.repo("image"), "v1", t.image); err != nil {
		return err
	}
	return copyImage(ctx, r, t, t.tagged, "t-00000")
}

// CopyImage gives a repository the image by mounts, or by pushes where the registry does not mount.
func copyImage(ctx context.Context, r *round, t *target, repo, tag string) error {
	for _, b := range t.image.blobs {
		mounted, err := t.mount(ctx, repo, r.repo("image"), b)
		if err == nil && !mounted {
			err = t.pushStream(ctx, repo, b)
		}
		if err != nil {
			return err
		}
	}
	return t.putManifest(ctx, repo, tag, t.image.manifest)
}

func tagName(i int) string { return fmt.Sprintf("t-%05d", i) }

func putTags(ctx context.Context, r *round, t *target) (work, error) {
	return spread(ctx, 8, 0, r.tags, func(ctx context.Context, _, i int) error {
		return t.putManifest(ctx, t.tagged, tagName(i), t.image.manifest)
	})
}

func hasTags(ctx context.Context, r *round, t *target) error {
	if t.tagged != "" {
		return nil
	}
	if err := pushTagged(ctx, r, t); err != nil {
		return err
	}
	_, err := putTags(ctx, r, t)
	return err
}

func tagsPage(ctx context.Context, r *round, t *target) (work, error) {
	names := make([]string, r.tags)
	for i := range names {
		names[i] = tagName(i)
	}
	return r.readPages(ctx, t, "/v2/"+t.tagged+"/tags/list", "tags", names)
}

func (r *round) catalogNames() []string {
	names := make([]string, r.repos)
	for i := range names {
		names[i] = r.repo(fmt.Sprintf("catalog/r-%05d", i))
	}
	return names
}

func hasCatalog(ctx context.Context, r *round, t *target) error {
	if t.catalog {
		return nil
	}
	if err := hasImage(ctx, r, t); err != nil {
		return err
	}
	names := r.catalogNames()
	_, err := spread(ctx, 8, 0, len(names), func(ctx context.Context, _, i int) error {
		return copyImage(ctx, r, t, names[i], "v1")
	})
	t.catalog = err == nil
	return err
}

func catalogPage(ctx context.Context, r *round, t *target) (work, error) {
	return r.readPages(ctx, t, "/v2/_catalog", "repositories", r.catalogNames())
}

// ReadPages asks for pages of names, which the list holds in a row, one after the other and from places all over it.
func (r *round) readPages(ctx context.Context, t *target, ref, key string, names []string) (work, error) {
	size := min(pageSize, len(names)/2)
	places := len(names) - size
	return spread(ctx, 1, r.time, r.pages, func(ctx context.Context, _, i int) error {
		last := i * 7919 % places
		return t.page(ctx, ref, key, names[last], names[last+1:last+1+size], last+1+size < len(names))
	})
}
