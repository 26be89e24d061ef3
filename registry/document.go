package registry

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/parfait-registry/parfait/index"
)

// The media types of manifests, besides those of the image-spec.
const (
	dockerManifest     = "application/vnd.docker.distribution.manifest.v2+json"
	dockerManifestList = "application/vnd.docker.distribution.manifest.list.v2+json"
	dockerForeignLayer = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
	dockerSchema1      = "application/vnd.docker.distribution.manifest.v1+" // +json or +prettyjws
)

// A document is what the registry reads of a manifest: of an image manifest or an image index, in the words of OCI
// or of Docker.
type document struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType"`
	ArtifactType  string            `json:"artifactType"`
	Config        *v1.Descriptor    `json:"config"`
	Layers        []v1.Descriptor   `json:"layers"`
	Manifests     []v1.Descriptor   `json:"manifests"`
	Subject       *v1.Descriptor    `json:"subject"`
	Annotations   map[string]string `json:"annotations"`
}

// parseManifest checks a manifest and reads what the index has to know of it, save its digest. mediaType is what the
// client calls it, or "". The error has the code MANIFEST_INVALID.
func parseManifest(mediaType string, payload []byte) (index.Manifest, error) {
	var doc document
	if strings.HasPrefix(mediaType, dockerSchema1) {
		return index.Manifest{}, invalid("schema 1 manifests are not supported: push it with a client that is newer than 2017")
	}
	if err := json.Unmarshal(payload, &doc); err != nil {
		return index.Manifest{}, invalid("the manifest is not the JSON that it should be: %v", err)
	}
	if mediaType == "" {
		mediaType = doc.mediaType()
	}
	if doc.MediaType != "" && doc.MediaType != mediaType {
		return index.Manifest{}, invalid("the Content-Type is %q, but the manifest's mediaType is %q", mediaType, doc.MediaType)
	}
	if err := doc.check(mediaType); err != nil {
		return index.Manifest{}, err
	}
	m := index.Manifest{MediaType: mediaType, Payload: payload, ArtifactType: doc.ArtifactType, Annotations: doc.Annotations}
	return m, doc.read(&m)
}

// mediaType is what the document says of itself, or what its shape tells.
func (doc *document) mediaType() string {
	switch {
	case doc.MediaType != "":
		return doc.MediaType
	case doc.Manifests != nil:
		return v1.MediaTypeImageIndex
	default:
		return v1.MediaTypeImageManifest
	}
}

// check looks at the shape of the document.
func (doc *document) check(mediaType string) error {
	if doc.SchemaVersion != 2 {
		return invalid("schemaVersion is %d; only 2 is supported", doc.SchemaVersion)
	}
	if doc.MediaType == "" && (mediaType == dockerManifest || mediaType == dockerManifestList) {
		return invalid("a manifest of Docker's media types has to have a mediaType, or it could not be told from OCI's")
	}
	switch mediaType {
	case v1.MediaTypeImageManifest, dockerManifest:
		switch {
		case doc.Config == nil:
			return invalid("an image manifest needs a config")
		case doc.Manifests != nil:
			return invalid("an image manifest cannot have manifests: two clients would take it for two different images")
		}
	case v1.MediaTypeImageIndex, dockerManifestList:
		switch {
		case doc.Config != nil || doc.Layers != nil:
			return invalid("an image index cannot have a config or layers: two clients would take it for two different images")
		case doc.Manifests == nil:
			return invalid("an image index needs manifests, if only an empty list")
		}
	default:
		return invalid("manifests of the media type %q are not supported: use %s or %s",
			mediaType, v1.MediaTypeImageManifest, v1.MediaTypeImageIndex)
	}
	return nil
}

// read fills m with what the document names.
func (doc *document) read(m *index.Manifest) error {
	if doc.Config != nil {
		if err := checkDescriptor("config", *doc.Config); err != nil {
			return err
		}
		m.Config = doc.Config.Digest
		m.Blobs = append(m.Blobs, doc.Config.Digest)
		if m.ArtifactType == "" {
			m.ArtifactType = doc.Config.MediaType // as end-12a has it
		}
	}
	for i, layer := range doc.Layers {
		if err := checkDescriptor(fmt.Sprintf("layers[%d]", i), layer); err != nil {
			return err
		}
		if distributable(layer) {
			m.Blobs = appendNew(m.Blobs, layer.Digest)
		} else {
			m.Elsewhere = appendNew(m.Elsewhere, layer.Digest)
		}
	}
	for i, child := range doc.Manifests {
		if err := checkDescriptor(fmt.Sprintf("manifests[%d]", i), child); err != nil {
			return err
		}
		m.Manifests = appendNew(m.Manifests, child.Digest)
	}
	if doc.Subject != nil {
		m.Subject = doc.Subject.Digest
		return checkDescriptor("subject", *doc.Subject)
	}
	return nil
}

// appendNew keeps each digest once: a manifest may name a layer many times.
func appendNew(list []digest.Digest, d digest.Digest) []digest.Digest {
	if slices.Contains(list, d) {
		return list
	}
	return append(list, d)
}

// distributable reports whether a layer has to be in the registry.
func distributable(layer v1.Descriptor) bool {
	return layer.MediaType != dockerForeignLayer && !strings.HasPrefix(layer.MediaType, "application/vnd.oci.image.layer.nondistributable.")
}

func checkDescriptor(where string, d v1.Descriptor) error {
	if _, err := ParseDigest(d.Digest.String()); err != nil {
		return invalid("%s: %v", where, err)
	}
	if d.Size < 0 {
		return invalid("%s: the size is %d", where, d.Size)
	}
	return nil
}

func invalid(format string, args ...any) error {
	return &Error{Code: ManifestInvalid, Message: fmt.Sprintf(format, args...)}
}
