package legacy

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// The media types of Docker's schema 2.
const (
	typeManifest = "application/vnd.docker.distribution.manifest.v2+json"
	typeConfig   = "application/vnd.docker.container.image.v1+json"
	typeLayer    = "application/vnd.docker.image.rootfs.diff.tar.gzip"
)

// annotationID is on each manifest that was made here: the id of the image that it was.
const annotationID = "com.github.parfait-registry.import-v1.image"

// An image is what is of use in the JSON of an old one, which described one layer and how it was made.
type image struct {
	ID              string     `json:"id"`
	Parent          string     `json:"parent"`
	Created         *time.Time `json:"created"`
	Author          string     `json:"author"`
	Comment         string     `json:"comment"`
	ContainerConfig struct {
		Cmd command `json:"Cmd"`
	} `json:"container_config"`
}

// A command is a list of words, which some clients wrote as one.
type command []string

func (c *command) UnmarshalJSON(data []byte) error {
	var word string
	if json.Unmarshal(data, &word) == nil {
		*c = command{word}
		if word == "" {
			*c = nil
		}
		return nil
	}
	return json.Unmarshal(data, (*[]string)(c))
}

// parseImage reads the JSON of the image id.
func parseImage(id string, data []byte) (image, error) {
	var i image
	if err := json.Unmarshal(data, &i); err != nil {
		return image{}, problem("image %s: its JSON: %w", id, err)
	}
	if i.ID != id {
		return image{}, problem("image %s: its JSON has the id %.70q", id, i.ID)
	}
	if i.Parent != "" && !validID(i.Parent) {
		return image{}, problem("image %s: its parent %.70q is no image id", id, i.Parent)
	}
	return i, nil
}

// history is the line of i in that of the images that build on it.
func (i image) history() v1.History {
	return v1.History{Created: i.Created, Author: i.Author, Comment: i.Comment, CreatedBy: strings.Join(i.ContainerConfig.Cmd, " ")}
}

// parseAncestry reads the list of the images that the image id is made of, itself first.
func parseAncestry(id string, data []byte) ([]string, error) {
	var ids []string
	if err := json.Unmarshal(data, &ids); err != nil {
		return nil, problem("image %s: its ancestry: %w", id, err)
	}
	seen := make(map[string]bool)
	for i, ancestor := range ids {
		if !validID(ancestor) || seen[ancestor] || (i == 0) != (ancestor == id) {
			return nil, problem("image %s: its ancestry is wrong: %.70q is at place %d", id, ancestor, i)
		}
		seen[ancestor] = true
	}
	if len(ids) == 0 {
		return nil, problem("image %s: its ancestry is empty", id)
	}
	return ids, nil
}

// parseChecksums returns the SHA-256 sums in hexadecimal of a file _checksum: a list of sums of several kinds, or one.
func parseChecksums(data []byte) []string {
	var all []string
	var one string
	if json.Unmarshal(data, &all) != nil {
		if json.Unmarshal(data, &one) != nil {
			one = strings.TrimSpace(string(data))
		}
		all = []string{one}
	}
	var sums []string
	for _, sum := range all {
		if hex, ok := strings.CutPrefix(sum, digest.SHA256.String()+":"); ok {
			sums = append(sums, hex)
		}
	}
	return sums
}

// ofOldRegistry are the fields of an image's JSON that a config does not have, or has from here. Clients do not mind the
// case.
func ofOldRegistry() []string {
	return []string{"id", "parent", "parent_id", "layer_id", "size", "throwaway", "rootfs", "history"}
}

// newConfig turns the JSON of an image into its config. layers and history begin with the oldest; those of the history
// without a layer are marked.
func newConfig(top []byte, layers []layer, history []v1.History) ([]byte, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(top, &fields); err != nil {
		return nil, err
	}
	for name := range fields {
		if slices.ContainsFunc(ofOldRegistry(), func(old string) bool { return strings.EqualFold(old, name) }) {
			delete(fields, name)
		}
	}
	rootfs := v1.RootFS{Type: "layers", DiffIDs: []digest.Digest{}}
	for _, l := range layers {
		rootfs.DiffIDs = append(rootfs.DiffIDs, l.DiffID)
	}
	for name, value := range map[string]any{"rootfs": rootfs, "history": history} {
		data, err := json.Marshal(value)
		if err != nil {
			return nil, err
		}
		fields[name] = data
	}
	for name, value := range map[string]string{"architecture": "amd64", "os": "linux"} { // all there was at first
		if have := string(fields[name]); have == "" || have == `""` || have == "null" {
			fields[name] = json.RawMessage(`"` + value + `"`)
		}
	}
	data, err := json.Marshal(fields)
	if err != nil {
		return nil, err
	}
	var client v1.Image // what clients will make of it
	if err := json.Unmarshal(data, &client); err != nil {
		return nil, fmt.Errorf("its JSON is none of an image: %w", err)
	}
	return data, nil
}

// newManifest returns the manifest of the image id.
func newManifest(id string, config v1.Descriptor, layers []layer) ([]byte, error) {
	m := v1.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: typeManifest,
		Config: config, Layers: []v1.Descriptor{},
		Annotations: map[string]string{annotationID: id},
	}
	for _, l := range layers {
		m.Layers = append(m.Layers, v1.Descriptor{MediaType: typeLayer, Digest: l.Digest, Size: l.Size})
	}
	return json.Marshal(m)
}

// originOf returns the id of the old image that a manifest was made from, and "" if it was not made here.
func originOf(manifest []byte) string {
	var m struct{ Annotations map[string]string }
	if err := json.Unmarshal(manifest, &m); err != nil {
		return "" // somebody's own kind
	}
	return m.Annotations[annotationID]
}
