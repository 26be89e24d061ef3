package legacy

import (
	"context"
	"errors"
	"io/fs"
	"slices"

	"golang.org/x/sync/errgroup"
)

func imageKey(id, file string) string { return "images/" + id + "/" + file }

// ancestry returns the images that the image id is made of, the oldest first.
func (x *importer) ancestry(ctx context.Context, id string) ([]step, error) {
	data, err := readAll(ctx, x.From.source, imageKey(id, "ancestry"))
	if errors.Is(err, fs.ErrNotExist) {
		return x.parents(ctx, id)
	}
	if err != nil {
		return nil, err
	}
	ids, err := parseAncestry(id, data)
	if err != nil {
		return nil, err
	}
	slices.Reverse(ids)
	steps := make([]step, len(ids))
	g, look := errgroup.WithContext(ctx)
	g.SetLimit(readsAtOnce)
	for i, id := range ids {
		g.Go(func() (err error) {
			steps[i], err = x.step(look, id)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	for _, s := range steps {
		if s.err != nil {
			return nil, s.err
		}
	}
	return steps, nil
}

// parents goes from parent to parent, where there is no list of them.
func (x *importer) parents(ctx context.Context, id string) ([]step, error) {
	var steps []step
	seen := make(map[string]bool)
	for id != "" {
		if seen[id] {
			return nil, problem("image %s is its own ancestor", id)
		}
		seen[id] = true
		s, err := x.step(ctx, id)
		if err != nil {
			return nil, err
		}
		if s.err != nil {
			return nil, s.err
		}
		steps = append(steps, s)
		id = s.image.Parent
	}
	slices.Reverse(steps)
	return steps, nil
}

// step looks at one image, once in a run.
func (x *importer) step(ctx context.Context, id string) (step, error) {
	x.mu.Lock()
	s, known := x.steps[id]
	x.mu.Unlock()
	if known {
		return s, nil
	}
	s, err := x.look(ctx, id)
	if isProblem(err) {
		s, err = step{err: err}, nil
	}
	if err == nil {
		x.mu.Lock()
		x.steps[id] = s
		x.mu.Unlock()
	}
	return s, err
}

// look sees what there is of an image.
func (x *importer) look(ctx context.Context, id string) (step, error) {
	sizes := map[string]int64{}
	for o, err := range x.From.source.List(ctx, imageKey(id, ""), "") {
		if err != nil {
			return step{}, sourceError(ctx, err)
		}
		sizes[o.Key[len(imageKey(id, "")):]] = o.Size
	}
	if _, unfinished := sizes["_inprogress"]; unfinished {
		return step{}, problem("image %s: its push has never ended", id)
	}
	stored, ok := sizes["layer"]
	if !ok {
		return step{}, problem("image %s: there is no layer", id)
	}
	data, err := readAll(ctx, x.From.source, imageKey(id, "json"))
	if err != nil {
		return step{}, err
	}
	i, err := parseImage(id, data)
	return step{image: i, stored: stored}, err
}
