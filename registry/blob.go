package registry

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/index"
)

// A Blob is stored bytes under their digest.
type Blob = index.Blob

// Blob looks up a blob of a repository (end-2). It costs one statement, and no call to the store once that is adopted.
// The error has the code BLOB_UNKNOWN if the repository has no such blob.
func (r *Registry) Blob(ctx context.Context, repo Name, d digest.Digest) (Blob, error) {
	b, err := orAdopt(ctx, r.adoption, repo,
		func() (Blob, error) { return r.index.Blob(ctx, string(repo), d) },
		func() error { return r.adoption.blob(ctx, repo, d) })
	return b, blobError(err, repo, d)
}

// A BlobReader reads and seeks in a blob. Bound opens it right away, for what is going to be read, so that a missing
// object is an error before anything is answered.
type BlobReader struct{ *drivers.Reader }

// OpenBlob returns a reader of a blob that Blob has found. The caller closes it; ctx governs it until then.
func (r *Registry) OpenBlob(ctx context.Context, b Blob) BlobReader {
	return BlobReader{drivers.NewReader(ctx, r.store, blobKey(b.Digest), b.Size)}
}

// BlobKey returns the key under which the store has a blob, for those who serve from the store beside the registry.
func (r *Registry) BlobKey(b Blob) string { return blobKey(b.Digest) }

// BlobURL returns a URL under which the back end itself serves the blob to a GET or HEAD. ok is false if the client
// is to get it from here.
func (r *Registry) BlobURL(ctx context.Context, b Blob, method string) (url string, ok bool, err error) {
	if !r.cfg().Redirect {
		return "", false, nil
	}
	signer, ok := drivers.As[drivers.URLSigner](r.store)
	if !ok {
		return "", false, nil
	}
	url, err = signer.SignURL(ctx, method, blobKey(b.Digest), r.cfg().RedirectTTL)
	if errors.Is(err, errors.ErrUnsupported) {
		return "", false, nil // as it is where the credentials do not sign
	}
	return url, err == nil, err
}

// MountBlob gives repo a blob that the repository from has (end-11), or any repository if from is "": one that pulls
// reports true for, unless that is nil. The error has the code BLOB_UNKNOWN if there is none.
func (r *Registry) MountBlob(ctx context.Context, repo Name, d digest.Digest, from Name, pulls func(repo string) bool) (Blob, error) {
	if pulls != nil {
		var err error
		if from, err = r.source(ctx, d, from, pulls); err != nil {
			return Blob{}, err
		}
	}
	var changes []index.Change
	db := r.telling(Act{Action: Mount, Repo: repo, Digest: d, MediaType: BlobMediaType, From: from})
	b, err := orAdopt(ctx, r.adoption, from, func() (b Blob, err error) {
		b, changes, err = db.MountBlob(ctx, string(repo), string(from), d)
		return b, err
	}, func() error {
		if from == "" {
			return nil // somebody else's blob is not looked for
		}
		return r.adoption.blob(ctx, from, d)
	})
	if err != nil {
		return Blob{}, blobError(err, from, d)
	}
	return b, r.outbox.show(ctx, changes)
}

// maxSources bounds how many of the repositories that have a blob are asked about. Who may pull from none of them has to
// push the blob, as if nobody had it.
const maxSources = 1000

// source returns a repository with the blob that pulls reports true for, which is from unless that is "".
func (r *Registry) source(ctx context.Context, d digest.Digest, from Name, pulls func(repo string) bool) (Name, error) {
	if from != "" {
		if !pulls(string(from)) {
			return "", blobError(index.ErrNotFound, from, d)
		}
		return from, nil
	}
	repos, err := r.index.BlobRepositories(ctx, d, maxSources)
	if err != nil {
		return "", err
	}
	i := slices.IndexFunc(repos, pulls)
	if i < 0 {
		return "", blobError(index.ErrNotFound, "", d)
	}
	return Name(repos[i]), nil
}

// DeleteBlob takes a blob from a repository (end-10). Its bytes stay for as long as another repository has them. The
// error has the code BLOB_UNKNOWN if the repository has no such blob, and UNSUPPORTED if one of its manifests names
// it: that would be a manifest that cannot be pulled.
func (r *Registry) DeleteBlob(ctx context.Context, repo Name, d digest.Digest) error {
	if err := r.checkDeletes(); err != nil {
		return err
	}
	if err := r.adoption.repository(ctx, repo); err != nil {
		return err
	}
	changes, err := r.telling(Act{Action: Delete, Repo: repo, Digest: d}).RemoveBlob(ctx, string(repo), d)
	if named, ok := errors.AsType[*index.NamedError](err); ok {
		return &Error{Code: Unsupported, Detail: d,
			Message: fmt.Sprintf("blob %s is part of manifest %s: delete that first", d, named.Manifest)}
	}
	if err != nil {
		return blobError(err, repo, d)
	}
	return r.outbox.show(ctx, changes)
}

// blobError says in the spec's words that a repository lacks a blob.
func blobError(err error, repo Name, d digest.Digest) error {
	if !errors.Is(err, index.ErrNotFound) {
		return err
	}
	return &Error{Code: BlobUnknown, Detail: d, Message: fmt.Sprintf("repository %q has no blob %s", repo, d)}
}
