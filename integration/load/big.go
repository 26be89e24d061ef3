package main

import (
	"context"
	"math/rand/v2"
)

func noBig(_ context.Context, r *round, t *target) error {
	t.big = r.forge.blob(r.blob)
	return nil
}

func pushStream(ctx context.Context, r *round, t *target) (work, error) {
	w, err := spread(ctx, 1, 0, 1, func(ctx context.Context, _, _ int) error {
		return t.pushStream(ctx, r.repo("big"), t.big)
	})
	w.bytes = t.big.size
	return w, err
}

func pushPut(ctx context.Context, r *round, t *target) (work, error) {
	w, err := spread(ctx, 1, 0, 1, func(ctx context.Context, _, _ int) error {
		return t.pushWhole(ctx, r.repo("big"), t.big)
	})
	w.bytes = t.big.size
	return w, err
}

// Crowd has each of many clients push a big blob of its own.
func crowd(ctx context.Context, r *round, t *target) (work, error) {
	blobs := make([]*blob, r.clients)
	for i := range blobs {
		blobs[i] = r.forge.blob(r.blob)
	}
	w, err := spread(ctx, r.clients, 0, r.clients, func(ctx context.Context, _, i int) error {
		if i%2 == 0 {
			return t.pushStream(ctx, r.repo("crowd"), blobs[i])
		}
		return t.pushWhole(ctx, r.repo("crowd"), blobs[i])
	})
	w.bytes = int64(w.ops) * r.blob
	return w, err
}

func hasBig(ctx context.Context, r *round, t *target) error {
	if t.big != nil {
		return nil
	}
	t.big = r.forge.blob(r.blob)
	return t.pushStream(ctx, r.repo("big"), t.big)
}

// Pull has each client pull the big blob up to four times.
func pull(clients int) func(context.Context, *round, *target) (work, error) {
	return func(ctx context.Context, r *round, t *target) (work, error) {
		w, err := spread(ctx, clients, r.time, 4*clients, func(ctx context.Context, _, _ int) error {
			return t.pullBlob(ctx, r.repo("big"), t.big)
		})
		w.bytes = int64(w.ops) * t.big.size
		return w, err
	}
}

// ReadRanges has clients read as lazy pullers do, which fetch the parts of a layer as a program opens its files.
func readRanges(ctx context.Context, r *round, t *target) (work, error) {
	repo, n := r.repo("big"), min(64<<10, t.big.size)
	return spread(ctx, 32, r.time, unlimited, func(ctx context.Context, _, _ int) error {
		return t.pullRange(ctx, repo, t.big, rand.Int64N(t.big.size-n+1), n)
	})
}
