package registry

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/index"
)

// facts take what a reader finds: an [index.Builder] or an [adopter].
type facts interface {
	// Shown takes blobs of which the store has the bytes.
	Shown(ctx context.Context, blobs []index.Blob) error
	// Size returns the size of such a blob. The error is index.ErrNotFound for others.
	Size(ctx context.Context, d digest.Digest) (int64, error)
	// Adopt takes a part of a repository. It returns tags that point to manifests which that lacks.
	Adopt(ctx context.Context, b index.Batch) (dangling []index.TagTarget, err error)
}

// A reader reads the layout of a store, whoever has written that, in the order of its keys. Broken things are left out
// and reported.
type reader struct {
	store drivers.Driver
	facts facts

	copies   bool                                                     // whether the bytes of a blob may be copied to a second digest
	progress func(key string)                                         // is called with each object that was looked at; may be nil
	reached  func(ctx context.Context, key string) error              // is called when all up to key is taken; may be nil
	known    func(context.Context, Name, digest.Digest) (bool, error) // tells whether a manifest needs no bytes in the store; may be nil
	broken   func(problem string)                                     // is told of each problem
	report   Report                                                   // without the problems

	blobs []index.Blob // wait to be taken

	// Of the repository that is being read. Its links come in the order of their keys, in which tags come after
	// revisions, and are told apart by time only when all are known.
	repo         Name
	last         string // key
	links        int
	waiting      []found // to be looked up together
	batch        index.Batch
	payloads     int // bytes in the batch
	tags         []taggedAt
	descriptions map[digest.Digest]string
}

// A found link is one that the store has.
type found struct {
	drivers.Object
	link
}

type taggedAt struct {
	index.TagTarget
	at time.Time
}

const (
	batchFacts    = 256     // of one transaction, which clients may wait for
	batchPayloads = 4 << 20 // bytes, of which there are about twice as many in memory
	batchLookups  = 64
	batchBlobs    = 1000
	lookupsAtOnce = 8
)

// read reads the whole store from after the key after on.
func (x *reader) read(ctx context.Context, after string) error {
	err := x.each(ctx, root, after, func(o drivers.Object) error {
		switch {
		case strings.HasPrefix(o.Key, root+"blobs/"):
			return x.blob(ctx, o)
		case strings.HasPrefix(o.Key, root+"repositories/"):
			return x.object(ctx, o)
		}
		x.problem("%s: not a key of the layout", o.Key)
		return nil
	})
	if err != nil {
		return err
	}
	if err := x.flushBlobs(ctx, ""); err != nil {
		return err
	}
	return x.finishRepository(ctx)
}

// readRepository reads one repository and reports whether the store has anything of it.
func (x *reader) readRepository(ctx context.Context, repo Name) (some bool, err error) {
	err = x.each(ctx, repositoryKey(repo)+"_", "", func(o drivers.Object) error {
		some = true
		return x.object(ctx, o)
	})
	if !some || err != nil {
		return some, err
	}
	x.repo = repo // also if all of it is broken
	return true, x.finishRepository(ctx)
}

// each calls do with the objects under prefix.
func (x *reader) each(ctx context.Context, prefix, after string, do func(drivers.Object) error) error {
	for object, err := range x.store.List(ctx, prefix, after) {
		if err != nil {
			return err
		}
		if x.progress != nil {
			x.progress(object.Key)
		}
		if err := do(object); err != nil {
			return err
		}
	}
	return nil
}

func (x *reader) problem(format string, args ...any) { x.broken(fmt.Sprintf(format, args...)) }

// blob takes an object below blobs/.
func (x *reader) blob(ctx context.Context, o drivers.Object) error {
	d, ok := parseBlobKey(o.Key)
	if !ok {
		x.problem("%s: not a key of the layout", o.Key)
		return nil
	}
	x.blobs = append(x.blobs, index.Blob{Digest: d, Size: o.Size})
	if len(x.blobs) < batchBlobs {
		return nil
	}
	return x.flushBlobs(ctx, o.Key)
}

// flushBlobs hands over the blobs that wait, the last of which is at key.
func (x *reader) flushBlobs(ctx context.Context, key string) error {
	if len(x.blobs) > 0 {
		if err := x.facts.Shown(ctx, x.blobs); err != nil {
			return err
		}
	}
	x.blobs = nil
	return x.reach(ctx, key)
}

func (x *reader) reach(ctx context.Context, key string) error {
	if x.reached == nil || key == "" {
		return nil
	}
	return x.reached(ctx, key)
}

// object takes an object below repositories/.
func (x *reader) object(ctx context.Context, o drivers.Object) error {
	if err := x.flushBlobs(ctx, ""); err != nil { // which come before
		return err
	}
	l, err := parseLink(o.Key)
	if err != nil {
		x.problem("%v", err)
		return nil
	}
	if l.repo != x.repo {
		if err := x.finishRepository(ctx); err != nil {
			return err
		}
		x.repo = l.repo
	}
	x.last = o.Key
	if l.kind == otherLink {
		return nil
	}
	x.links++
	x.waiting = append(x.waiting, found{o, l})
	if len(x.waiting) < batchLookups {
		return nil
	}
	return x.lookUp(ctx)
}

// lookUp adds the facts that waiting links show to the batch.
func (x *reader) lookUp(ctx context.Context) error {
	all := make([]shown, len(x.waiting))
	for i, f := range x.waiting { // one after the other: the facts may be a transaction
		all[i].found = f
		if f.kind != layerLink {
			continue
		}
		size, err := x.facts.Size(ctx, f.digest)
		if err != nil && !errors.Is(err, index.ErrNotFound) {
			return err
		}
		all[i].has, all[i].size = err == nil, size
	}
	x.waiting = x.waiting[:0]
	g, groupCtx := errgroup.WithContext(ctx)
	g.SetLimit(lookupsAtOnce)
	for i := range all {
		g.Go(func() error { return x.resolve(groupCtx, &all[i]) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for _, s := range all {
		if err := x.add(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// add takes what a link shows.
func (x *reader) add(ctx context.Context, s shown) error {
	if s.broken {
		x.batch.Broken = append(x.batch.Broken, s.digest)
	}
	switch {
	case s.problem != "":
		x.problem("%s: %s", s.Key, s.problem)
	case !s.has:
	case s.kind == layerLink:
		x.batch.Layers = append(x.batch.Layers, index.Blob{Digest: s.digest, Size: s.size})
		x.report.Layers++
	case s.kind == revisionLink:
		x.batch.Manifests = append(x.batch.Manifests, s.manifest)
		x.payloads += len(s.manifest.Payload)
		x.report.Manifests++
		if text := s.manifest.Annotations[v1.AnnotationDescription]; text != "" {
			if x.descriptions == nil {
				x.descriptions = make(map[digest.Digest]string)
			}
			x.descriptions[s.digest] = text
		}
	case s.kind == tagLink:
		x.tags = append(x.tags, taggedAt{index.TagTarget{Tag: s.tag, Digest: s.target}, s.ModTime})
	}
	if len(x.batch.Layers)+len(x.batch.Manifests) < batchFacts && x.payloads < batchPayloads {
		return nil
	}
	return x.flush(ctx)
}

// flush hands over the batch.
func (x *reader) flush(ctx context.Context) error {
	b := x.batch
	b.Repo = string(x.repo)
	x.batch, x.payloads = index.Batch{}, 0
	dangling, err := x.facts.Adopt(ctx, b)
	for _, t := range dangling {
		x.problem("repository %s: tag %s points to %s, which it does not have", x.repo, t.Tag, t.Digest)
	}
	x.report.Tags += len(b.Tags) - len(dangling)
	return err
}

// finishRepository adds the tags of the repository, and its description, which is that of the newest tag that has one.
func (x *reader) finishRepository(ctx context.Context) error {
	if x.repo == "" {
		return nil
	}
	if err := x.lookUp(ctx); err != nil {
		return err
	}
	if x.links > 0 {
		x.report.Repositories++
	}
	slices.SortFunc(x.tags, func(a, b taggedAt) int { return b.at.Compare(a.at) })
	for _, t := range x.tags {
		if x.batch.Description = x.descriptions[t.Digest]; x.batch.Description != "" {
			break
		}
	}
	for tags := range slices.Chunk(x.tags, batchFacts) {
		for _, t := range tags {
			x.batch.Tags = append(x.batch.Tags, t.TagTarget)
		}
		if err := x.flush(ctx); err != nil {
			return err
		}
	}
	x.batch.Last = true
	if err := x.flush(ctx); err != nil {
		return err
	}
	x.repo, x.links, x.tags, x.descriptions = "", 0, nil, nil
	return x.reach(ctx, x.last)
}

// shown is what a link shows.
type shown struct {
	found
	has      bool           // whether it shows anything
	size     int64          // of a layer, in bytes
	manifest index.Manifest // of a revision
	target   digest.Digest  // of a tag
	problem  string         // why it shows nothing, if somebody should know
	broken   bool           // whether the manifest has another digest
}

// resolve looks in the store for what a link shows.
func (x *reader) resolve(ctx context.Context, s *shown) error {
	var err error
	switch s.kind {
	case layerLink:
		err = x.layer(ctx, s)
	case revisionLink:
		err = x.manifest(ctx, s)
	case tagLink:
		s.target, err = readLink(ctx, x.store, s.Key)
		s.has = err == nil
	}
	wrong, is := errors.AsType[*Error](err)
	switch {
	case is:
		s.problem = wrong.Message
	case errors.Is(err, fs.ErrPermission):
		s.problem = err.Error()
	case s.kind == tagLink && errors.Is(err, fs.ErrNotExist): // went meanwhile
	default:
		return err
	}
	return nil
}

// layer finds the bytes of a layer.
func (x *reader) layer(ctx context.Context, s *shown) error {
	if s.has {
		return nil
	}
	size, err := findBlob(ctx, x.store, s.Key, s.digest, x.copies)
	if errors.Is(err, fs.ErrNotExist) {
		s.problem = "the store lacks the blob"
		return nil
	}
	s.has, s.size = err == nil, size
	return err
}

// manifest reads a manifest from its bytes. Whoever wrote it has checked what it names.
func (x *reader) manifest(ctx context.Context, s *shown) (err error) {
	s.manifest, err = readManifest(ctx, x.store, s.digest)
	s.has = err == nil
	if wrong, is := errors.AsType[*Error](err); is {
		s.broken = wrong.Code == DigestInvalid
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if x.known != nil {
		if known, err := x.known(ctx, s.repo, s.digest); known || err != nil {
			return err
		}
	}
	s.problem = "the store lacks the manifest"
	return nil
}
