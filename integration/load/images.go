package main

import (
	"context"
	"fmt"
)

func pushImages(ctx context.Context, r *round, t *target) (work, error) {
	return spread(ctx, 8, r.time, r.images, func(ctx context.Context, worker, i int) error {
		repo := r.repo(fmt.Sprintf("images-%d", worker))
		return t.pushImage(ctx, repo, fmt.Sprintf("v%d-%d", r.number, i), r.forge.image())
	})
}

func hasImage(ctx context.Context, r *round, t *target) error {
	if t.image != nil {
		return nil
	}
	t.image = r.forge.image()
	return t.pushImage(ctx, r.repo("image"), "v1", t.image)
}

func getManifest(ctx context.Context, r *round, t *target) (work, error) {
	repo := r.repo("image")
	return spread(ctx, 32, r.time, unlimited, func(ctx context.Context, _, _ int) error {
		return t.pullManifest(ctx, repo, "v1", t.image.manifest)
	})
}

func headBlob(ctx context.Context, r *round, t *target) (work, error) {
	repo := r.repo("image")
	return spread(ctx, 32, r.time, unlimited, func(ctx context.Context, _, _ int) error {
		has, err := t.hasBlob(ctx, repo, t.image.blobs[0])
		if err == nil && !has {
			err = fmt.Errorf("%s lost %s", t.name, t.image.blobs[0].digest)
		}
		return err
	})
}
