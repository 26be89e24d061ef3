package registry

import (
	"fmt"
	"regexp"

	"github.com/opencontainers/go-digest"
)

// maxName bounds a repository name: clients count the registry's host into the 255 bytes that they allow, and so do
// the file systems under a store for each component.
const maxName = 255

var (
	namePattern = regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)
	tagPattern  = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)
)

// A Name is the valid name of a repository. Only [ParseName] makes one, so that nothing else reaches a storage key.
type Name string

// ParseName checks s against the grammar of the distribution-spec. The error has the code NAME_INVALID.
func ParseName(s string) (Name, error) {
	switch {
	case len(s) > maxName:
		return "", &Error{Code: NameInvalid,
			Message: fmt.Sprintf("repository name %.40q… has %d bytes; at most %d are allowed", s, len(s), maxName)}
	case !namePattern.MatchString(s):
		return "", &Error{Code: NameInvalid, Detail: s, Message: fmt.Sprintf(
			"repository name %q is invalid: components of a-z and 0-9, joined by '.', '_', '__' or '-', separated by '/'", s)}
	}
	return Name(s), nil
}

// A Reference is what stands behind /manifests/ in a URL: a tag or a digest, never both, never neither.
type Reference struct {
	Tag    string
	Digest digest.Digest
}

// ParseReference tells a tag from a digest. The error has the code DIGEST_INVALID if s has a colon, as only digests
// have, and MANIFEST_INVALID otherwise.
func ParseReference(s string) (Reference, error) {
	for i := range len(s) {
		if s[i] == ':' {
			d, err := ParseDigest(s)
			return Reference{Digest: d}, err
		}
	}
	if err := ParseTag(s); err != nil {
		return Reference{}, err
	}
	return Reference{Tag: s}, nil
}

// ParseTag checks s against the grammar of the distribution-spec. The error has the code MANIFEST_INVALID.
func ParseTag(s string) error {
	if !tagPattern.MatchString(s) {
		return &Error{Code: ManifestInvalid, Message: fmt.Sprintf(
			"tag %.140q is invalid: 1 to 128 of a-z, A-Z, 0-9, '_', '.' and '-', not beginning with '.' or '-'", s)}
	}
	return nil
}

// String returns the tag or the digest.
func (r Reference) String() string {
	if r.Tag != "" {
		return r.Tag
	}
	return r.Digest.String()
}

// ParseDigest accepts the two algorithms of the image-spec, sha256 and sha512, in lower-case hexadecimal. The error
// has the code DIGEST_INVALID.
func ParseDigest(s string) (digest.Digest, error) {
	d := digest.Digest(s)
	if err := d.Validate(); err != nil {
		return "", &Error{Code: DigestInvalid, Message: fmt.Sprintf("digest %.150q is invalid: %v", s, err), Err: err}
	}
	if _, err := ParseAlgorithm(d.Algorithm().String()); err != nil {
		return "", err
	}
	return d, nil
}

// ParseAlgorithm accepts sha256 and sha512. The error has the code DIGEST_INVALID.
func ParseAlgorithm(s string) (digest.Algorithm, error) {
	switch a := digest.Algorithm(s); a {
	case digest.SHA256, digest.SHA512:
		return a, nil
	default:
		return "", &Error{Code: DigestInvalid,
			Message: fmt.Sprintf("digest algorithm %.40q is not supported: use sha256 or sha512", s)}
	}
}
