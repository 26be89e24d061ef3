package registry

import (
	"context"
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"

	"github.com/parfait-registry/parfait/index"
)

// A Manifest is a document that a repository holds, byte for byte as it was pushed.
type Manifest struct {
	Digest    digest.Digest
	MediaType string
	Payload   []byte        // not to be changed
	Subject   digest.Digest // empty if it has none
}

// Manifest looks up a manifest (end-3). It costs one statement, and no call to the store once that is adopted. The
// error has the code MANIFEST_UNKNOWN if there is none.
func (r *Registry) Manifest(ctx context.Context, repo Name, ref Reference) (Manifest, error) {
	look := func() (index.Manifest, error) {
		if ref.Tag != "" {
			return r.index.Manifest(ctx, string(repo), ref.Tag)
		}
		return r.index.ManifestByDigest(ctx, string(repo), ref.Digest)
	}
	m, err := orAdopt(ctx, r.adoption, repo, look, func() error { return r.adoption.reference(ctx, repo, ref) })
	if err != nil {
		return Manifest{}, manifestError(err, repo, ref)
	}
	return Manifest{Digest: m.Digest, MediaType: m.MediaType, Payload: m.Payload, Subject: m.Subject}, nil
}

// PutManifest gives a repository a manifest (end-7), under the tag or digest ref, and under more tags if ref is a
// digest. The error has the code MANIFEST_INVALID, DIGEST_INVALID, or it is an [Errors] with a MANIFEST_BLOB_UNKNOWN
// for each blob or manifest that the manifest names and the repository lacks; nothing is stored then.
func (r *Registry) PutManifest(ctx context.Context, repo Name, ref Reference, mediaType string, payload []byte, tags ...string) (Manifest, error) {
	m, err := parseManifest(mediaType, payload)
	if err != nil {
		return Manifest{}, err
	}
	m.Digest = digest.FromBytes(payload)
	if ref.Tag != "" {
		tags = append(tags, ref.Tag)
	} else if m.Digest = ref.Digest.Algorithm().FromBytes(payload); m.Digest != ref.Digest {
		return Manifest{}, &Error{Code: DigestInvalid,
			Message: fmt.Sprintf("the manifest has the digest %s, not %s", m.Digest, ref.Digest)}
	}
	changes, err := patiently(ctx, m.Digest, func() ([]index.Change, error) { return r.putManifest(ctx, repo, m, tags) })
	if missing, ok := errors.AsType[*index.MissingError](err); ok {
		return Manifest{}, missingError(repo, missing.Digests)
	}
	if err != nil {
		return Manifest{}, err
	}
	stored := Manifest{Digest: m.Digest, MediaType: m.MediaType, Payload: payload, Subject: m.Subject}
	return stored, r.outbox.show(ctx, changes)
}

// putManifest adopts what the manifest needs, if need be.
func (r *Registry) putManifest(ctx context.Context, repo Name, m index.Manifest, tags []string) ([]index.Change, error) {
	over := r.adoption.over.Load()
	db := r.telling(pushes(repo, m, tags)...)
	changes, err := db.PutManifest(ctx, string(repo), m, tags...)
	missing, ok := errors.AsType[*index.MissingError](err)
	if over || !ok {
		return changes, err
	}
	if err := r.adoption.named(ctx, repo, missing.Digests); err != nil {
		return nil, err
	}
	return db.PutManifest(ctx, string(repo), m, tags...)
}

// missingError names all that is missing, each once.
func missingError(repo Name, digests []digest.Digest) Errors {
	var all Errors
	for _, d := range digests {
		all = append(all, &Error{Code: ManifestBlobUnknown, Detail: map[string]string{"digest": d.String()},
			Message: fmt.Sprintf("the manifest names %s, which repository %q does not have: push it first", d, repo)})
	}
	return all
}

// DeleteManifest takes a manifest from a repository, with all tags that point to it, or, if ref is a tag, only that
// (end-9). The error has the code MANIFEST_UNKNOWN if there is none, and UNSUPPORTED if an image index of the
// repository names it: that would be an index that cannot be pulled.
func (r *Registry) DeleteManifest(ctx context.Context, repo Name, ref Reference) error {
	if err := r.checkDeletes(); err != nil {
		return err
	}
	if err := r.adoption.repository(ctx, repo); err != nil {
		return err
	}
	var changes []index.Change
	var err error
	db := r.telling(Act{Action: Delete, Repo: repo, Tag: ref.Tag, Digest: ref.Digest})
	if ref.Tag != "" {
		changes, err = db.RemoveTag(ctx, string(repo), ref.Tag)
	} else {
		changes, err = db.RemoveManifest(ctx, string(repo), ref.Digest)
	}
	if named, ok := errors.AsType[*index.NamedError](err); ok {
		return &Error{Code: Unsupported, Detail: ref.Digest,
			Message: fmt.Sprintf("manifest %s is part of the index %s: delete that first", ref, named.Manifest)}
	}
	if err != nil {
		return manifestError(err, repo, ref)
	}
	return r.outbox.show(ctx, changes)
}

// manifestError says in the spec's words that a repository lacks a manifest.
func manifestError(err error, repo Name, ref Reference) error {
	if !errors.Is(err, index.ErrNotFound) {
		return err
	}
	return &Error{Code: ManifestUnknown, Detail: map[string]string{"name": string(repo), "reference": ref.String()},
		Message: fmt.Sprintf("repository %q has no manifest %s", repo, ref)}
}
