package index

import (
	"context"
	"encoding/json"
	"slices"

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

// named returns all that m names, each once, in the order in which transactions lock it.
func (m Manifest) named() []digest.Digest {
	all := slices.Concat(m.Blobs, m.Manifests, m.Elsewhere)
	slices.Sort(all)
	return slices.Compact(all)
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
	return recall(db.cache, key, small, func() (Manifest, error) {
		return scanManifest(db.ask(ctx, key.query, key.repo, ref))
	})
}

func scanManifest(row scanner) (m Manifest, err error) {
	var packed, subject []byte
	if err := row.Scan(&packed, &m.MediaType, &m.Payload, &subject); err != nil {
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
// repository lacks what the manifest needs, and ErrClaimed if its own bytes, of a time when it was here before, are being
// deleted; nothing is changed then. The changes are those that the store has to follow.
func (db *DB) PutManifest(ctx context.Context, repo string, m Manifest, tags ...string) ([]Change, error) {
	return db.update(ctx, "put-manifest", repo, func(t *tx) error {
		id, err := t.checkNamed(repo, m)
		if err != nil {
			return err
		}
		var untaggedAt *int64
		if len(tags) == 0 {
			untaggedAt = new(now())
		}
		added, stored, err := t.addManifest(id, m, untaggedAt)
		if err != nil {
			return err
		}
		if added {
			t.post(repo, Revision, m.Digest.String(), State{Digest: m.Digest, Payload: m.Payload, Stored: stored})
		}
		for _, tag := range tags {
			t.putTag(id, tag, m.Digest)
			t.post(repo, Tag, tag, State{Digest: m.Digest})
		}
		if !added { // after the tags, by which others come to the same rows
			t.do("touch-manifest", id, pack(m.Digest), m.MediaType, m.ArtifactType, now(), untaggedAt)
		}
		if len(tags) > 0 {
			t.describe(id, m.Annotations)
		}
		return nil
	})
}

// describe takes over what the manifest that was tagged last says of its repository, if it says something.
func (t *tx) describe(id int64, annotations map[string]string) {
	if text := annotations[v1.AnnotationDescription]; text != "" {
		t.do("describe", id, text)
	}
}

// checkNamed returns a *MissingError unless the repository has all that m names. It returns the number of the
// repository, which is made if need be.
func (t *tx) checkNamed(repo string, m Manifest) (id int64, err error) {
	for _, d := range m.named() {
		t.do("keep-blob", pack(d))
	}
	has := make(map[digest.Digest]*bool)
	for _, d := range m.Blobs {
		has[d] = t.find("has-blob", []any{repo, pack(d)})
	}
	for _, d := range m.Manifests {
		has[d] = t.find("has-child", []any{repo, pack(d)})
	}
	known := t.find("repository-id", []any{repo}, &id)
	if err := t.flush(); err != nil {
		return 0, err
	}
	var missing []digest.Digest
	for _, d := range slices.Concat(m.Blobs, m.Manifests) {
		if !*has[d] {
			missing = append(missing, d)
		}
	}
	switch {
	case missing != nil:
		return 0, &MissingError{Digests: missing}
	case *known:
		return id, nil
	}
	return t.addRepository(repo)
}

// addRepository makes a repository, unless there is one by now, and returns its number.
func (t *tx) addRepository(repo string) (id int64, err error) {
	t.do("add-repository", repo, now())
	err = t.ask("repository-id", repo).Scan(&id)
	return id, err
}

// addManifest adds m to the repository with the number id, unless that has it. stored says whether the store has its
// payload.
func (t *tx) addManifest(id int64, m Manifest, untaggedAt *int64) (added, stored bool, err error) {
	unclaimed := t.find("add-blob", []any{pack(m.Digest), len(m.Payload), now(), false}, &stored)
	has, err := t.ask("has-revision", id, pack(m.Digest)).exists()
	if err == nil && !*unclaimed {
		err = ErrClaimed
	}
	if has || err != nil {
		return false, stored, err
	}
	return true, stored, t.newManifest(id, m, untaggedAt)
}

// newManifest adds m, and counts it and what it names. untaggedAt is nil if it will have a tag.
func (t *tx) newManifest(id int64, m Manifest, untaggedAt *int64) error {
	if err := t.insertManifest(id, m, untaggedAt); err != nil {
		return err
	}
	t.do("add-ref", pack(m.Digest), now())
	for _, d := range m.named() {
		t.do("add-ref", pack(d), now())
	}
	t.do("count-manifest", id, 1)
	return t.err
}

// insertManifest adds m and what it names, and counts nothing. untaggedAt is nil if it will have a tag.
func (t *tx) insertManifest(id int64, m Manifest, untaggedAt *int64) error {
	annotations, err := encodeAnnotations(m.Annotations)
	if err != nil {
		return err
	}
	t.do("insert-manifest", id, pack(m.Digest), m.MediaType, m.Payload, pack(m.Subject), m.ArtifactType, annotations,
		pack(m.Config), now(), untaggedAt)
	for _, d := range m.named() {
		t.do("insert-ref", pack(d), id, pack(m.Digest))
	}
	return t.err
}

// RemoveManifest takes a manifest from a repository, with the tags that point to it. The error is ErrNotFound if the
// repository has none of this digest, and a *NamedError if another of its manifests, an index, names it.
func (db *DB) RemoveManifest(ctx context.Context, repo string, d digest.Digest) ([]Change, error) {
	return db.update(ctx, "remove-manifest", repo, func(t *tx) error {
		t.do("hold-blob", pack(d))
		var id int64
		found := t.find("has-manifest", []any{repo, pack(d)}, &id)
		if err := t.checkUnnamed(repo, d); err != nil {
			return err
		}
		if !*found {
			return ErrNotFound
		}
		return t.removeManifest(repo, id, d, now())
	})
}

// removeManifest removes the manifest d with its tags, and uncounts it and what it names. Its referrers may be untagged
// since referrersAt, and its children from now on.
func (t *tx) removeManifest(repo string, id int64, d digest.Digest, referrersAt int64) error {
	children, err := collect(t.ask("children", id, pack(d)), scanBytes)
	if err != nil {
		return err
	}
	for _, child := range append(children, pack(d)) {
		t.do("drop-ref", child, now()) // the grace period begins
	}
	t.do("count-manifest", id, -1)
	tags, err := collect(t.ask("delete-tags-of", id, pack(d)), scanText)
	if err != nil {
		return err
	}
	for _, tag := range tags {
		t.post(repo, Tag, tag, State{})
	}
	t.post(repo, Revision, d.String(), State{})
	t.do("untag-children", id, pack(d), now())
	t.do("untag-referrers", id, pack(d), referrersAt)
	t.do("delete-manifest", id, pack(d))
	t.do("delete-refs", id, pack(d))
	return t.err
}

func scanBytes(row scanner) (b []byte, err error) {
	err = row.Scan(&b)
	return b, err
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
	return collect(db.ask(ctx, "referrers", repo, pack(subject), artifactType, packAfter(last), n), func(row scanner) (r Referrer, err error) {
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
