package legacy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/registry"
)

// An Import is to be run. All fields but DryRun have to be set.
type Import struct {
	From   *Tree
	To     *registry.Registry
	Store  drivers.Driver // of To, for notes on layers
	Watch  Watcher
	DryRun bool // write nothing, and read no layers
}

// A Watcher is told how an import goes, by one call at a time.
type Watcher interface {
	// Progress is called often.
	Progress(Progress)
	// Imported is called for each tag that was imported, or would be. d is empty in a dry run.
	Imported(name, id string, to registry.Name, d digest.Digest)
	// LeftOut is called for each tag or repository that is not imported.
	LeftOut(name string, why error)
	// Private is called for each repository that was private.
	Private(name string)
}

// Progress is how far an import is.
type Progress struct {
	Done, Repositories int   // repositories
	Bytes              int64 // of layers, read
}

// A Report says what an import has come to.
type Report struct {
	Repositories int
	Imported     int   // tags, or in a dry run those that would be
	Present      int   // tags that were imported before
	LeftOut      int   // tags and repositories
	Layers       int   // that were read, or in a dry run would be
	Bytes        int64 // of them, in the old store
}

// Run imports all that was not imported before. After an error, such as that of a ctx that has ended, the next run goes
// on where this one stopped. What is wrong with a single tag or repository is no error: see [Watcher] and [Report].
func (i Import) Run(ctx context.Context) (Report, error) {
	x := &importer{Import: i, steps: make(map[string]step), layers: make(map[string]layer), broken: make(map[string]error)}
	for _, o := range i.From.odd {
		x.leaveOut(o.key, o.err)
	}
	i.From.checkTargets()
	for n, r := range i.From.repos {
		x.progress(func(p *Progress) { p.Done, p.Repositories = n, len(i.From.repos) })
		if err := x.repository(ctx, r); err != nil {
			return x.report, err
		}
	}
	return x.report, nil
}

// An importer is a run of an Import.
type importer struct {
	Import
	mu     sync.Mutex // guards what follows, and calls of Watch, while layers are on their way
	report Report
	far    Progress
	steps  map[string]step  // by image
	layers map[string]layer // by image; those that are in the new store
	broken map[string]error // by image; those whose layers cannot be

	// Of the repository that is being imported.
	repo registry.Name
	here map[digest.Digest]bool       // layers that it has; mu guards it, too
	made map[string]registry.Manifest // by image
}

// A step is one image of an ancestry.
type step struct {
	image  image
	stored int64 // size of the layer in the old store, in bytes
	err    error // a [*Problem], if the image is of no use
}

func (x *importer) leaveOut(name string, why error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.report.LeftOut++
	x.Watch.LeftOut(name, why)
}

func (x *importer) progress(change func(*Progress)) {
	x.mu.Lock()
	defer x.mu.Unlock()
	change(&x.far)
	x.Watch.Progress(x.far)
}

func (x *importer) repository(ctx context.Context, r *repository) error {
	if r.err != nil {
		x.leaveOut(r.name, r.err)
		return nil
	}
	tags, err := x.From.tags(ctx, r)
	if err != nil {
		return err
	}
	x.report.Repositories++
	if r.private {
		x.Watch.Private(r.name)
	}
	x.repo, x.made, x.here = r.to, make(map[string]registry.Manifest), make(map[digest.Digest]bool)
	for _, t := range tags {
		name := r.name + ":" + t.name
		switch err := x.tag(ctx, name, t); {
		case isProblem(err):
			x.leaveOut(name, err)
		case err != nil:
			return fmt.Errorf("import %s: %w", name, err)
		}
	}
	return nil
}

// tag imports one tag.
func (x *importer) tag(ctx context.Context, name string, t tag) error {
	if t.err != nil {
		return t.err
	}
	ref := registry.Reference{Tag: t.name}
	if present, err := x.present(ctx, ref, t.id); present || err != nil {
		if present {
			x.report.Present++
		}
		return err
	}
	m, known := x.made[t.id]
	if !known {
		var err error
		if m, err = x.image(ctx, t.id); err != nil {
			return err
		}
		x.made[t.id] = m
	}
	if !x.DryRun {
		if _, err := x.To.PutManifest(ctx, x.repo, ref, m.MediaType, m.Payload); err != nil {
			return err
		}
	}
	x.report.Imported++
	x.Watch.Imported(name, t.id, x.repo, m.Digest)
	return nil
}

// present reports whether the tag was imported before, and still is the image id. Another one that was imported is to be
// replaced: the old registry was still in use.
func (x *importer) present(ctx context.Context, ref registry.Reference, id string) (bool, error) {
	m, err := x.To.Manifest(ctx, x.repo, ref)
	if e, ok := errors.AsType[*registry.Error](err); ok && e.Code == registry.ManifestUnknown {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	origin := originOf(m.Payload)
	if origin == "" {
		return false, problem("%s:%s was pushed to the new registry: delete it there to have the old one", x.repo, ref)
	}
	return origin == id, nil
}

// image makes the manifest of an image, with all that it names. In a dry run it says whether that could be.
func (x *importer) image(ctx context.Context, id string) (registry.Manifest, error) {
	steps, err := x.ancestry(ctx, id)
	if err != nil {
		return registry.Manifest{}, err
	}
	all, err := x.allLayers(ctx, steps)
	if err != nil || x.DryRun {
		return registry.Manifest{}, err
	}
	var layers []layer
	history := make([]v1.History, 0, len(steps))
	for i, s := range steps {
		line := s.image.history()
		if line.EmptyLayer = all[i].Digest == ""; !line.EmptyLayer {
			layers = append(layers, all[i])
		}
		history = append(history, line)
	}
	top, err := readAll(ctx, x.From.source, imageKey(id, "json"))
	if err != nil {
		return registry.Manifest{}, err
	}
	config, err := newConfig(top, layers, history)
	if err != nil {
		return registry.Manifest{}, problem("image %s: %w", id, err)
	}
	descriptor := v1.Descriptor{MediaType: typeConfig, Digest: digest.FromBytes(config), Size: int64(len(config))}
	chunk := registry.Chunk{Body: bytes.NewReader(config), Length: descriptor.Size}
	if _, err := x.To.PushBlob(ctx, x.repo, descriptor.Digest, chunk); err != nil {
		return registry.Manifest{}, err
	}
	payload, err := newManifest(id, descriptor, layers)
	return registry.Manifest{Digest: digest.FromBytes(payload), MediaType: typeManifest, Payload: payload}, err
}

// layersAtOnce bounds how many layers are read at the same time: to unpack one keeps a processor busy.
func layersAtOnce() int { return min(4, max(2, runtime.GOMAXPROCS(0))) }

// allLayers gives the repository the layers of steps.
func (x *importer) allLayers(ctx context.Context, steps []step) ([]layer, error) {
	layers := make([]layer, len(steps))
	var g errgroup.Group // an error does not end the others, which may be half-way
	g.SetLimit(layersAtOnce())
	for i, s := range steps {
		g.Go(func() (err error) {
			layers[i], err = x.layer(ctx, s)
			return err
		})
	}
	return layers, g.Wait()
}
