package index

import (
	"context"
	"encoding/json"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// A Manifest is what a repository holds under a digest. A look-up fills the first four fields.
type Manifest struct {
	Digest    digest.Digest
	MediaType string
	Payload   []byte
	Subject   digest.Digest // empty if it has none

	ArtifactType string // as the referrers API shows it
	Annotations  map[string]string
	Config       digest.Digest   // empty if it has none
	Blobs        []digest.Digest // that the repository must have: config and layers
	Manifests    []digest.Digest // that the repository must have, as manifests or as blobs: children of an index
	Elsewhere    []digest.Digest // that it need not have: layers that are not to be distributed
}

// Manifest looks up the manifest that a tag points to. The error is ErrNotFound if there is none.
func (db *DB) Manifest(ctx context.Context, repo, tag string) (Manifest, error) {
	return db.manifest(ctx, cacheKey{"manifest-by-tag", repo, tag}, tag)
}

// ManifestByDigest looks up a manifest. The error is ErrNotFound if the repository has none of this digest.
func (db *DB) ManifestByDigest(ctx context.Context, repo string, d digest.Digest) (Manifest, error) {
	return db.manifest(ctx, cacheKey{"manifest-by-digest", repo, d.String()}, pack(d))
}

// manifest runs the query of key for ref, if need be.
func (db *DB) manifest(ctx context.Context, key cacheKey, ref any) (Manifest, error) {
	small := func(m Manifest) bool { return len(m.Payload) <= cachePayload }
	return lookUp(db.cache, key, small, func() (Manifest, error) {
		return scanManifest(db.row(ctx, key.query, key.repo, ref))
	})
}

func scanManifest(row scanner) (m Manifest, err error) {
	var packed, subject []byte
	if err := found(row.Scan(&packed, &m.MediaType, &m.Payload, &subject)); err != nil {
		return Manifest{}, err
	}
	if m.Digest, err = unpack(packed); err != nil {
		return Manifest{}, err
	}
	m.Subject, err = unpack(subject)
	return m, err
}

// A MissingError names what a manifest needs and its repository lacks.
type MissingError struct{ Digests []digest.Digest }

func (e *MissingError) Error() string { return "the repository lacks what the manifest names" }

// PutManifest gives a repository a manifest, and tags that point to it. The error is a *MissingError if the
// repository lacks what the manifest needs; nothing is changed then. The entries are those that the store has to
// follow.
func (db *DB) PutManifest(ctx context.Context, repo string, m Manifest, tags ...string) (entries []Entry, err error) {
	err = db.update(ctx, "put-manifest", repo, func(t *tx) error {
		entries = nil
		id, err := t.repositoryID(repo)
		if err != nil && err != ErrNotFound {
			return err
		}
		if err := t.checkNamed(id, m); err != nil { // no repository has the number 0
			return err
		}
		if id, err = t.repository(repo); err != nil {
			return err
		}
		if entries, err = t.addManifest(id, repo, m); err != nil {
			return err
		}
		for _, tag := range tags {
			e, err := t.putTag(id, repo, tag, m.Digest)
			if err != nil {
				return err
			}
			entries = append(entries, e)
		}
		if len(tags) > 0 {
			return t.describe(id, m.Annotations)
		}
		return nil
	})
	return entries, err
}

// describe takes over what the manifest that was tagged last says of its repository, if it says something.
func (t *tx) describe(id int64, annotations map[string]string) error {
	text := annotations[v1.AnnotationDescription]
	if text == "" {
		return nil
	}
	_, err := t.exec("describe", id, text)
	return err
}

// checkNamed returns a *MissingError unless the repository has all that m names.
func (t *tx) checkNamed(repositoryID int64, m Manifest) error {
	var missing []digest.Digest
	need := func(d digest.Digest, queries ...string) error {
		for _, q := range queries {
			if has, err := t.has(q, repositoryID, pack(d)); has || err != nil {
				return err
			}
		}
		missing = append(missing, d)
		return nil
	}
	for _, d := range m.Blobs {
		if err := need(d, "has-blob"); err != nil {
			return err
		}
	}
	for _, d := range m.Manifests {
		if err := need(d, "has-manifest", "has-blob"); err != nil {
			return err
		}
	}
	if missing != nil {
		return &MissingError{Digests: missing}
	}
	return nil
}

// addManifest adds m or, if the repository has it, notes that it was pushed again.
func (t *tx) addManifest(id int64, repo string, m Manifest) ([]Entry, error) {
	again, err := t.exec("touch-manifest", id, pack(m.Digest), m.MediaType, m.ArtifactType, now())
	if err != nil || again > 0 {
		return nil, err
	}
	if _, err := t.exec("insert-blob", pack(m.Digest), len(m.Payload), now()); err != nil {
		return nil, err
	}
	annotations, err := encodeAnnotations(m.Annotations)
	if err != nil {
		return nil, err
	}
	if _, err := t.exec("insert-manifest", id, pack(m.Digest), m.MediaType, m.Payload, pack(m.Subject),
		m.ArtifactType, annotations, pack(m.Config), now()); err != nil {
		return nil, err
	}
	if err := t.addRefs(id, m); err != nil {
		return nil, err
	}
	if _, err := t.exec("count-manifest", id, 1); err != nil {
		return nil, err
	}
	e, err := t.post(repo, Revision, m.Digest.String())
	return []Entry{e}, err
}

// addRefs notes what m names, each once, and counts it.
func (t *tx) addRefs(id int64, m Manifest) error {
	for _, list := range [][]digest.Digest{m.Blobs, m.Manifests, m.Elsewhere} {
		for _, d := range list {
			added, err := t.exec("insert-ref", pack(d), id, pack(m.Digest))
			if err != nil {
				return err
			}
			if _, err := t.exec("add-refs", pack(d), added); err != nil {
				return err
			}
		}
	}
	_, err := t.exec("add-refs", pack(m.Digest), 1)
	return err
}

// RemoveManifest takes a manifest from a repository, with the tags that point to it. The error is ErrNotFound if the
// repository has none of this digest, and a *NamedError if another of its manifests, an index, names it.
func (db *DB) RemoveManifest(ctx context.Context, repo string, d digest.Digest) (entries []Entry, err error) {
	err = db.update(ctx, "remove-manifest", repo, func(t *tx) error {
		entries = nil
		id, err := t.repositoryID(repo)
		if err != nil {
			return err
		}
		if has, err := t.has("has-manifest", id, pack(d)); err != nil || !has {
			return orNotFound(err)
		}
		if err := t.checkUnnamed(id, d); err != nil {
			return err
		}
		if entries, err = t.removeTags(id, repo, d); err != nil {
			return err
		}
		if err := t.removeRefs(id, d); err != nil {
			return err
		}
		if _, err := t.exec("delete-manifest", id, pack(d)); err != nil {
			return err
		}
		if _, err := t.exec("count-manifest", id, -1); err != nil {
			return err
		}
		e, err := t.post(repo, Revision, d.String())
		entries = append(entries, e)
		return err
	})
	return entries, err
}

// removeRefs uncounts what the manifest d names, and d itself.
func (t *tx) removeRefs(id int64, d digest.Digest) error {
	rows, err := t.rows("children", id, pack(d))
	children, err := collect(rows, err, func(row scanner) (b []byte, err error) {
		err = row.Scan(&b)
		return b, err
	})
	if err != nil {
		return err
	}
	for _, child := range append(children, pack(d)) {
		if _, err := t.exec("add-refs", child, -1); err != nil {
			return err
		}
		if _, err := t.exec("see-blob", child, now()); err != nil { // the grace period begins
			return err
		}
	}
	_, err = t.exec("delete-refs", id, pack(d))
	return err
}

// orNotFound returns err, or ErrNotFound if that is nil.
func orNotFound(err error) error {
	if err == nil {
		return ErrNotFound
	}
	return err
}

// A Referrer is a manifest as the referrers API shows it.
type Referrer struct {
	Digest       digest.Digest
	MediaType    string
	Size         int64 // bytes
	ArtifactType string
	Annotations  map[string]string
}

// Referrers returns up to n manifests of the repository whose subject is subject, in the order of their digests,
// after the digest last. Only those of artifactType, unless it is "".
func (db *DB) Referrers(ctx context.Context, repo string, subject digest.Digest, artifactType string, last digest.Digest, n int) ([]Referrer, error) {
	after := pack(last)
	if after == nil {
		after = []byte{}
	}
	rows, err := db.rows(ctx, "referrers", repo, pack(subject), artifactType, after, n)
	return collect(rows, err, func(row scanner) (r Referrer, err error) {
		var packed []byte
		var annotations string
		if err := row.Scan(&packed, &r.MediaType, &r.Size, &r.ArtifactType, &annotations); err != nil {
			return r, err
		}
		if r.Annotations, err = decodeAnnotations(annotations); err != nil {
			return r, err
		}
		r.Digest, err = unpack(packed)
		return r, err
	})
}

func encodeAnnotations(a map[string]string) (string, error) {
	if len(a) == 0 {
		return "", nil
	}
	b, err := json.Marshal(a) // in the order of the keys
	return string(b), err
}

func decodeAnnotations(s string) (a map[string]string, err error) {
	if s == "" {
		return nil, nil
	}
	err = json.Unmarshal([]byte(s), &a)
	return a, err
}
