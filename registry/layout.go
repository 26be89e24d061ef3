package registry

import (
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"
)

// root is where the store begins, in the layout of the registry:2 image.
const root = "docker/registry/v2/"

// blobKey is where the bytes of a blob or manifest are.
func blobKey(d digest.Digest) string {
	hex := d.Encoded()
	return root + "blobs/" + d.Algorithm().String() + "/" + hex[:2] + "/" + hex + "/data"
}

// The keys of a repository's facts. Each holds the digest that it points to.

func layerKey(repo Name, d digest.Digest) string {
	return repositoryKey(repo) + "_layers/" + linkKey(d)
}

func revisionKey(repo Name, d digest.Digest) string {
	return repositoryKey(repo) + "_manifests/revisions/" + linkKey(d)
}

func tagKey(repo Name, tag string) string {
	return tagPrefix(repo, tag) + "current/link"
}

// tagIndexKey remembers that the tag has pointed to d.
func tagIndexKey(repo Name, tag string, d digest.Digest) string {
	return tagPrefix(repo, tag) + "index/" + linkKey(d)
}

func tagPrefix(repo Name, tag string) string {
	return repositoryKey(repo) + "_manifests/tags/" + tag + "/"
}

// uploadPrefix is how the keys of the parts of an upload begin. The offset of the part's first byte is next. There is no
// folder for each upload, as registry:2 has it: to make and remove one was a third of the work of a small push.
func uploadPrefix(repo Name, session string) string {
	return repositoryKey(repo) + "_uploads/" + session + "."
}

func repositoryKey(repo Name) string {
	return root + "repositories/" + string(repo) + "/"
}

func linkKey(d digest.Digest) string {
	return d.Algorithm().String() + "/" + d.Encoded() + "/link"
}

// A link is a key below repositories/, read.
type link struct {
	repo   Name
	kind   linkKind
	digest digest.Digest // of a layer or revision
	tag    string
}

type linkKind int

const (
	otherLink linkKind = iota // uploads, former targets of tags, and what is not ours
	layerLink
	revisionLink
	tagLink
)

// parseLink reads a key below repositories/. Keys that have no place in the layout are an error.
func parseLink(key string) (link, error) {
	rest, ok := strings.CutPrefix(key, root+"repositories/")
	i := strings.Index(rest, "/_")
	if !ok || i < 0 {
		return link{}, fmt.Errorf("%s: not a key of the layout", key)
	}
	repo, err := ParseName(rest[:i])
	if err != nil {
		return link{}, fmt.Errorf("%s: %w", key, err)
	}
	l := link{repo: repo}
	switch parts := strings.Split(rest[i+1:], "/"); {
	case len(parts) == 4 && parts[0] == "_layers" && parts[3] == "link":
		l.kind = layerLink
		l.digest, err = ParseDigest(parts[1] + ":" + parts[2])
	case len(parts) == 5 && parts[0] == "_manifests" && parts[1] == "revisions" && parts[4] == "link":
		l.kind = revisionLink
		l.digest, err = ParseDigest(parts[2] + ":" + parts[3])
	case len(parts) == 5 && parts[0] == "_manifests" && parts[1] == "tags" && parts[3] == "current" && parts[4] == "link":
		l.kind, l.tag = tagLink, parts[2]
		err = ParseTag(l.tag)
	}
	if err != nil {
		return link{}, fmt.Errorf("%s: %w", key, err)
	}
	return l, nil
}

// parseBlobKey reads a key below blobs/. ok is false for keys that are no blob's.
func parseBlobKey(key string) (d digest.Digest, ok bool) {
	parts := strings.Split(strings.TrimPrefix(key, root+"blobs/"), "/")
	if len(parts) != 4 || parts[3] != "data" {
		return "", false
	}
	d, err := ParseDigest(parts[0] + ":" + parts[2])
	return d, err == nil && blobKey(d) == key
}
