package registry

import (
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"
)

// maxName bounds a repository name: clients count the registry's host into the 255 bytes that they allow, and so do
// the file systems under a store for each component.
const maxName = 255

// A Name is the valid name of a repository. Only [ParseName] makes one, so that nothing else reaches a storage key.
type Name string

// ParseName checks s against the grammar of the distribution-spec. The error has the code NAME_INVALID.
func ParseName(s string) (Name, error) {
	switch {
	case len(s) > maxName:
		return "", &Error{Code: NameInvalid,
			Message: fmt.Sprintf("repository name %.40q… has %d bytes; at most %d are allowed", s, len(s), maxName)}
	case !validName(s):
		return "", &Error{Code: NameInvalid, Detail: s, Message: fmt.Sprintf(
			"repository name %q is invalid: components of a-z and 0-9, joined by '.', '_', '__' or '-', separated by '/'", s)}
	}
	return Name(s), nil
}

// validName reports whether s matches end-to-end, without the cost of a regular expression in every request,
//
//	[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*
func validName(s string) bool {
	for component := range strings.SplitSeq(s, "/") {
		if !validComponent(component) {
			return false
		}
	}
	return true
}

func validComponent(s string) bool {
	for i := 0; ; {
		word := i
		for i < len(s) && (s[i] >= 'a' && s[i] <= 'z' || s[i] >= '0' && s[i] <= '9') {
			i++
		}
		if i == word {
			return false
		}
		if i == len(s) {
			return true
		}
		joint := i
		for i < len(s) && s[i] == s[joint] {
			i++
		}
		switch n := i - joint; {
		case s[joint] == '-', s[joint] == '_' && n <= 2, s[joint] == '.' && n == 1:
		default:
			return false
		}
	}
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
	valid := len(s) >= 1 && len(s) <= 128 && s[0] != '.' && s[0] != '-'
	for i := range len(s) {
		c := s[i]
		valid = valid && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '.' || c == '-')
	}
	if !valid {
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
	name, hex, _ := strings.Cut(s, ":")
	alg, err := ParseAlgorithm(name)
	if err != nil {
		return "", err
	}
	valid := len(hex) == 2*alg.Size()
	for i := range len(hex) {
		valid = valid && (hex[i] >= '0' && hex[i] <= '9' || hex[i] >= 'a' && hex[i] <= 'f')
	}
	if !valid {
		return "", &Error{Code: DigestInvalid,
			Message: fmt.Sprintf("digest %.150q is invalid: %s has %d of 0-9 and a-f after the colon", s, alg, 2*alg.Size())}
	}
	return digest.Digest(s), nil
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
