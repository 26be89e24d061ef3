package registry

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/index"
)

// A Report says what Reindex has found in a store.
type Report struct {
	Repositories, Layers, Manifests, Tags int
	Problems                              []string // what was left out, and why
}

// Reindex replaces the facts of an index by those that the store shows. Nothing may use the index meanwhile. Broken
// things in the store are left out and reported. progress, unless it is nil, is called with each object that was
// looked at.
//
// First the store gets what the index has noted that it may lack: after a crash it need not show all that was
// acknowledged, and what it does not show would be lost here.
func Reindex(ctx context.Context, store drivers.Driver, db *index.DB, progress func(key string)) (Report, error) {
	if err := newOutbox(store, db).replay(ctx); err != nil {
		return Report{}, err
	}
	// What is read must not be lost in a power cut after the index has it.
	if err := drivers.Sync(ctx, store); err != nil {
		return Report{}, err
	}
	return reindex(ctx, store, db.Rebuild, progress)
}

// Rebuild is Reindex for an index that may be that of another store, or older than this one, and which it makes this
// store's. What such an index has noted is not shown: it is dropped, and named in the report. The error wraps [ErrRefused]
// if another index has the store.
func Rebuild(ctx context.Context, store drivers.Driver, db *index.DB, log *slog.Logger, progress func(key string)) (Report, error) {
	lease, dropped, err := takeLease(ctx, store, db, leaseLife, true, log)
	if err != nil {
		return Report{}, err
	}
	defer lease.release(context.WithoutCancel(ctx))
	report, err := Reindex(ctx, store, db, progress)
	for _, e := range dropped {
		report.Problems = append(report.Problems, fmt.Sprintf("%s of repository %s: the old index had a change of it that the store may lack", e.Ref, e.Repo))
	}
	return report, err
}

// reindex has rebuild fill an index with what the store shows.
func reindex(ctx context.Context, store drivers.Driver, rebuild func(context.Context, func(*index.Builder) error) error,
	progress func(key string)) (Report, error) {
	var report Report
	err := rebuild(ctx, func(b *index.Builder) error {
		x := &reindexer{ctx: ctx, store: store, b: b, progress: progress}
		if err := x.blobs(); err != nil {
			return err
		}
		if err := x.repositories(); err != nil {
			return err
		}
		report = x.report
		return nil
	})
	return report, err
}

type reindexer struct {
	ctx      context.Context
	store    drivers.Driver
	b        *index.Builder
	progress func(key string)
	report   Report

	// Of the repository that is being read. Its links come in the order of their keys, in which tags come after
	// revisions, and are told apart by time only when all are known.
	repo Name
	tags []taggedAt
}

type taggedAt struct {
	tag    string
	digest digest.Digest
	at     time.Time
}

// each calls do with the objects under prefix.
func (x *reindexer) each(prefix string, do func(drivers.Object) error) error {
	for object, err := range x.store.List(x.ctx, prefix, "") {
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

func (x *reindexer) problem(format string, args ...any) {
	x.report.Problems = append(x.report.Problems, fmt.Sprintf(format, args...))
}

func (x *reindexer) blobs() error {
	return x.each(root+"blobs/", func(o drivers.Object) error {
		d, ok := parseBlobKey(o.Key)
		if !ok {
			x.problem("%s: not a key of the layout", o.Key)
			return nil
		}
		return x.b.Stored(index.Blob{Digest: d, Size: o.Size})
	})
}

func (x *reindexer) repositories() error {
	err := x.each(root+"repositories/", func(o drivers.Object) error {
		l, err := parseLink(o.Key)
		if err != nil {
			x.problem("%v", err)
			return nil
		}
		if l.kind == otherLink {
			return nil
		}
		if l.repo != x.repo {
			if err := x.finishRepository(); err != nil {
				return err
			}
			x.repo = l.repo
			x.report.Repositories++
		}
		return x.link(o, l)
	})
	if err != nil {
		return err
	}
	return x.finishRepository()
}

// link adds the fact that a link shows.
func (x *reindexer) link(o drivers.Object, l link) error {
	switch l.kind {
	case layerLink:
		return x.layer(o, l)
	case revisionLink:
		return x.manifest(o, l)
	default:
		d, ok, err := x.target(o)
		if ok {
			x.tags = append(x.tags, taggedAt{l.tag, d, o.ModTime})
		}
		return err
	}
}

// target reads the digest that a link holds.
func (x *reindexer) target(o drivers.Object) (d digest.Digest, ok bool, err error) {
	const longest = 200 // bytes; a digest has 71 or 135
	text, err := drivers.ReadAll(x.ctx, x.store, o.Key, longest)
	if errors.Is(err, fs.ErrNotExist) {
		return "", false, nil // went meanwhile
	}
	if err != nil {
		return "", false, err
	}
	d, err = ParseDigest(string(text))
	if err != nil {
		x.problem("%s: %v", o.Key, err)
		return "", false, nil
	}
	return d, true, nil
}

func (x *reindexer) layer(o drivers.Object, l link) error {
	if _, err := x.b.Size(l.digest); errors.Is(err, index.ErrNotFound) {
		x.problem("%s: the store lacks the blob", o.Key)
		return nil
	} else if err != nil {
		return err
	}
	x.report.Layers++
	return x.b.Layer(string(l.repo), l.digest)
}

// manifest reads a manifest from its bytes. Whoever wrote it has checked what it names.
func (x *reindexer) manifest(o drivers.Object, l link) error {
	size, err := x.b.Size(l.digest)
	if errors.Is(err, index.ErrNotFound) {
		x.problem("%s: the store lacks the manifest", o.Key)
		return nil
	}
	if err != nil {
		return err
	}
	payload, err := drivers.ReadAll(x.ctx, x.store, blobKey(l.digest), size)
	if err != nil {
		return err
	}
	if got := l.digest.Algorithm().FromBytes(payload); got != l.digest {
		x.problem("%s: the manifest has the digest %s", o.Key, got)
		return nil
	}
	m, err := parseManifest("", payload)
	if err != nil {
		x.problem("%s: %v", o.Key, err)
		return nil
	}
	m.Digest = l.digest
	x.report.Manifests++
	return x.b.Manifest(string(l.repo), m)
}

// finishRepository adds the tags of the repository, the newest last, whose description stays.
func (x *reindexer) finishRepository() error {
	slices.SortFunc(x.tags, func(a, b taggedAt) int { return a.at.Compare(b.at) })
	for _, t := range x.tags {
		err := x.b.Tag(string(x.repo), t.tag, t.digest)
		if errors.Is(err, index.ErrNotFound) {
			x.problem("repository %s: tag %s points to %s, which it does not have", x.repo, t.tag, t.digest)
			continue
		}
		if err != nil {
			return err
		}
		x.report.Tags++
	}
	x.tags = nil
	return nil
}
