// Package legacy brings the images of a docker-registry 0.x, the registry that spoke v1, into a registry of today.
//
// [Scan] the old store, then run an [Import]. It only ever reads the old store, and what it has done it does not do
// again, so that it can be stopped at any time, and run again while the old registry is still in use.
//
// # What becomes of it
//
// The repository library/app, which clients pulled as host/app, becomes app; all others keep their names, and tags
// keep theirs. What is no valid name today is left out, unless [Tree.Rename] gives it another one.
//
// An image becomes one manifest of Docker's schema 2, not of OCI: these are Docker's images, and OCI's config has no
// ONBUILD, which many of their time have and builders drop under that name. All clients since 2016 pull it. The config
// is the JSON of the image with the history of its ancestry. The manifest has an annotation with the id of the old
// image: it tells what was imported from what somebody has pushed since, which is never replaced.
//
// A layer that was sent as gzip keeps its bytes. A plain tar is compressed: every client takes gzip and not all take
// plain, and it is read more often than it is imported. A layer without a file in it, as each line of a Dockerfile made
// one, becomes a mark in the history, as builders of today have it.
//
// # What is left out
//
// An image is left out if the push of a part of it never ended, or if a layer is not there, cut short, or not what its
// SHA-256 check sum says; the tarsums that still older clients sent are not looked at. Images that no tag leads to stay
// behind. There are no descriptions in the old store: those were in a database beside it, and empty. Whether a
// repository was private was for the old index to enforce, and is reported, not kept.
//
// Names of more than two components have a '%' in their keys. A [Folder] has such keys; drivers do not, and pass over
// them.
package legacy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/parfait-registry/parfait/drivers"
)

// A Source is the store of the old registry: a [Folder], or any [drivers.Driver], of which it has the verbs that change
// nothing.
type Source interface {
	Open(ctx context.Context, key string, off, n int64) (io.ReadCloser, error)
	List(ctx context.Context, prefix, after string) iter.Seq2[drivers.Object, error]
}

// A Problem is what keeps a tag or a repository of the old store from being imported, and none but that. All other
// errors end the import.
type Problem struct{ err error }

func (p *Problem) Error() string { return p.err.Error() }

// Unwrap returns the cause.
func (p *Problem) Unwrap() error { return p.err }

func problem(format string, args ...any) error { return &Problem{fmt.Errorf(format, args...)} }

func isProblem(err error) bool {
	_, ok := errors.AsType[*Problem](err)
	return ok
}

// sourceError is the error of a look at the old store. One thing that cannot be read is a problem of that thing; a store
// that does not answer is one of all.
func sourceError(ctx context.Context, err error) error {
	switch {
	case err == nil || isProblem(err):
		return err
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, drivers.ErrUnavailable):
		return err
	}
	return &Problem{err}
}

// readAll reads a small object of the old store.
func readAll(ctx context.Context, s Source, key string) ([]byte, error) {
	const limit = 8 << 20
	r, err := s.Open(ctx, key, 0, limit+1)
	if err != nil {
		return nil, sourceError(ctx, err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err == nil && len(data) > limit {
		err = problem("%s: more than %d bytes", key, limit)
	}
	return data, sourceError(ctx, err)
}
