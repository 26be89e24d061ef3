package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
)

// PushImages has each client push images, as the forge makes them, to a repository of its own.
func pushImages(name string, next func(*forge) *image) func(context.Context, *round, *target) (work, error) {
	return func(ctx context.Context, r *round, t *target) (work, error) {
		return spread(ctx, 8, r.time, r.images, func(ctx context.Context, worker, i int) error {
			repo := r.repo(fmt.Sprintf("%s-%d", name, worker))
			return t.pushImage(ctx, repo, fmt.Sprintf("v%d-%d", r.number, i), next(r.forge))
		})
	}
}

func pushRepositories(ctx context.Context, r *round, t *target) (work, error) {
	return spread(ctx, 8, r.time, r.images, func(ctx context.Context, _, i int) error {
		name := fmt.Sprintf("r%d-%d", r.number, i)
		return t.pushImage(ctx, r.repo("many/"+name), name, r.forge.smallImage())
	})
}

// PushAndPull has half of the clients push small images, and half of them pull any that is there.
func pushAndPull(ctx context.Context, r *round, t *target) (work, error) {
	type pushed struct {
		tag   string
		image *image
	}
	repo := r.repo("mixed")
	first := pushed{fmt.Sprintf("v%d", r.number), r.forge.smallImage()}
	if err := t.pushImage(ctx, repo, first.tag, first.image); err != nil {
		return work{}, err
	}
	var mu sync.Mutex
	there := []pushed{first}
	return spread(ctx, 8, r.time, unlimited, func(ctx context.Context, worker, i int) error {
		if worker%2 == 0 {
			p := pushed{fmt.Sprintf("v%d-%d", r.number, i), r.forge.smallImage()}
			if err := t.pushImage(ctx, repo, p.tag, p.image); err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			there = append(there, p)
			return nil
		}
		mu.Lock()
		p := there[rand.IntN(len(there))]
		mu.Unlock()
		return t.pullImage(ctx, repo, p.tag, p.image)
	})
}

func hasImage(ctx context.Context, r *round, t *target) error {
	if t.image != nil {
		return nil
	}
	t.image = r.forge.smallImage()
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

// GetBesideDeletes gets a manifest while one more client pushes images and deletes their manifests. A server that is set
// up for it collects them all the time.
func getBesideDeletes(ctx context.Context, r *round, t *target) (work, error) {
	repo := r.repo("deleted")
	return beside(ctx, func(ctx context.Context, i int) error {
		img := r.forge.smallImage()
		if err := t.pushImage(ctx, repo, fmt.Sprintf("v%d-%d", r.number, i), img); err != nil {
			return err
		}
		return t.deleteManifest(ctx, repo, img.manifest)
	}, func(ctx context.Context) (work, error) { return getManifest(ctx, r, t) })
}
