package legacy_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parfait-registry/parfait/drivers"
)

// files are the files of a layer by path, or of a whole image. A path that ends in a slash is a directory.
type files map[string]string

// An oldStore is what docker-registry 0.9 leaves behind, by key.
type oldStore struct {
	t       testing.TB
	objects map[string]string
	rand    *rand.Rand
	images  map[string]files // what a container of an image sees
}

func newOldStore(t testing.TB) *oldStore {
	return &oldStore{t: t, objects: make(map[string]string), rand: rand.New(rand.NewPCG(1, 9)), images: make(map[string]files)}
}

// A form is how a client sends a layer.
type form int

const (
	asGzip form = iota
	asTar
	asNothing // an empty tar, compressed, as for each line of a Dockerfile that changes no file
)

// image adds an image with one layer, and returns its id.
func (o *oldStore) image(parent string, how form, content files) string {
	o.t.Helper()
	layer := []byte(pack(o.t, content))
	if how != asTar {
		layer = []byte(zipped(o.t, string(layer)))
	}
	id := o.id()
	sees := maps.Clone(o.images[parent])
	if sees == nil {
		sees = files{}
	}
	for name, data := range content {
		if gone, ok := strings.CutPrefix(path.Base(name), ".wh."); ok {
			delete(sees, path.Join(path.Dir(name), gone))
		} else {
			sees[name] = data
		}
	}
	o.images[id] = sees
	o.push(id, parent, layer)
	return id
}

func (o *oldStore) id() string {
	var id [32]byte
	for i := range id {
		id[i] = byte(o.rand.Uint32())
	}
	return fmt.Sprintf("%x", id)
}

// push is what the old registry did when a client pushed an image: PUT json, layer and checksum.
func (o *oldStore) push(id, parent string, layer []byte) {
	o.t.Helper()
	n := len(o.objects)
	config := map[string]any{
		"id": id, "created": time.Date(2014, 5, 1, 12, 0, n, 5, time.UTC), "author": "A. Maintainer <a@example.com>",
		"container": o.id(), "docker_version": "1.2.0", "architecture": "amd64", "os": "linux", "Size": len(layer), "comment": "",
		"container_config": map[string]any{"Cmd": []string{"/bin/sh", "-c", fmt.Sprintf("#(nop) STEP %d <&>", n)}, "Memory": 0},
		"config": map[string]any{
			"Env": []string{"PATH=/usr/bin:/bin"}, "Cmd": []string{"/bin/sh"}, "Entrypoint": nil, "PortSpecs": nil,
			"ExposedPorts": map[string]any{"80/tcp": struct{}{}}, "Volumes": map[string]any{"/data": struct{}{}},
			"OnBuild": []string{"ADD . /app"}, "WorkingDir": "/", "NetworkDisabled": false,
		},
	}
	ancestry := []string{id}
	if parent != "" {
		config["parent"] = parent
		var older []string
		if err := json.Unmarshal([]byte(o.objects["images/"+parent+"/ancestry"]), &older); err != nil {
			o.t.Fatal(err)
		}
		ancestry = append(ancestry, older...)
	}
	dir := "images/" + id + "/"
	text := o.json(config)
	o.objects[dir+"json"] = text
	o.objects[dir+"ancestry"] = o.json(ancestry)
	o.objects[dir+"layer"] = string(layer)
	sum := sha256.Sum256([]byte(text + "\n" + string(layer)))
	o.objects[dir+"_checksum"] = fmt.Sprintf(`["sha256:%x", "tarsum+sha256:%s"]`, sum, o.id())
	o.objects[dir+"_files"] = `[["/", "d", false, 0, 0, 493, 0, 0]]`
}

// tag points a tag of a repository, by their keys, to an image.
func (o *oldStore) tag(repo, tag, id string) {
	dir := "repositories/" + repo + "/"
	about := o.json(map[string]any{"last_update": 1399000000, "docker_version": "1.2.0", "docker_go_version": "go1.3.1",
		"arch": "amd64", "os": "linux", "kernel": "3.16.0"})
	o.objects[dir+"tag_"+tag] = id
	o.objects[dir+"tag"+tag+"_json"] = about
	if tag == "latest" {
		o.objects[dir+"json"] = about
	}
	o.objects[dir+"_index_images"] = o.json([]map[string]string{{"id": id, "Tag": tag}})
}

func (o *oldStore) json(v any) string {
	o.t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		o.t.Fatal(err)
	}
	return string(data)
}

// inFolder writes the store to a new folder.
func (o *oldStore) inFolder() string {
	o.t.Helper()
	dir := o.t.TempDir()
	o.addTo(dir)
	return dir
}

func (o *oldStore) addTo(dir string) {
	o.t.Helper()
	for key, data := range o.objects {
		name := filepath.Join(dir, key)
		if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
			o.t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(data), 0o666); err != nil {
			o.t.Fatal(err)
		}
	}
}

// putTo writes the store to a driver, save for what has no key there.
func (o *oldStore) putTo(d drivers.Driver) {
	o.t.Helper()
	for key, data := range o.objects {
		if drivers.ValidKey(key) != nil {
			continue
		}
		if err := drivers.Put(o.t.Context(), d, key, []byte(data)); err != nil {
			o.t.Fatal(err)
		}
	}
}

// pack makes a tar, in the order of the names.
func pack(t testing.TB, content files) string {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, name := range slices.Sorted(maps.Keys(content)) {
		h := &tar.Header{Name: name, Mode: 0o644, Size: int64(len(content[name])), ModTime: time.Unix(1399000000, 0)}
		if strings.HasSuffix(name, "/") {
			h.Typeflag, h.Mode = tar.TypeDir, 0o755
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(content[name])); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func zipped(t testing.TB, s string) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write([]byte(s)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// snapshot is all that can be seen of a folder: names, modes, times and bytes.
func snapshot(t testing.TB, dir string) map[string]string {
	t.Helper()
	seen := make(map[string]string)
	err := filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		seen[name] = fmt.Sprint(info.Mode(), info.ModTime().UnixNano())
		if info.Mode().IsRegular() {
			data, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			seen[name] += fmt.Sprintf(" %x", sha256.Sum256(data))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return seen
}
