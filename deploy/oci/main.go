// Command oci makes the container image of a release, for several architectures, without an engine: an index in a folder
// of OCI layout, which crane and skopeo push as it is. The same programs make the same bytes.
//
//	go run ./deploy/oci -version v1.2.3 dist/image amd64=dist/amd64/parfait arm64=dist/arm64/parfait
//
// It is what the Dockerfile makes of bin/rootfs.tar.
package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// user is the user and the group that the server runs as, and that own what it writes to.
const user = 65532

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	flags := flag.NewFlagSet("oci", flag.ContinueOnError)
	version := flags.String("version", "unknown", "`version` for the labels")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	if flags.NArg() < 2 {
		fmt.Fprintln(os.Stderr, "usage: oci [-version VERSION] FOLDER ARCHITECTURE=PROGRAM...")
		return 2
	}
	if err := write(flags.Arg(0), *version, flags.Args()[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "oci:", err)
		return 1
	}
	return 0
}

// write makes the folder, with the index as the only thing in it.
func write(folder, version string, programs []string) error {
	if _, err := os.Stat(folder); err == nil {
		return fmt.Errorf("%s is there already: remove it first", folder)
	}
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, program := range programs {
		architecture, path, ok := strings.Cut(program, "=")
		if !ok {
			return fmt.Errorf("%q is not of the form ARCHITECTURE=PROGRAM", program)
		}
		img, err := image(architecture, version, path)
		if err != nil {
			return fmt.Errorf("%s: %w", architecture, err)
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add: img, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: architecture}}})
	}
	_, err := layout.Write(folder, index)
	return err
}

// image is that of one architecture.
func image(architecture, version, program string) (v1.Image, error) {
	files, err := rootfs(program)
	if err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(files)), nil },
		tarball.WithMediaType(types.OCILayer))
	if err != nil {
		return nil, err
	}
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	if img, err = mutate.Append(img, mutate.Addendum{Layer: layer, History: v1.History{CreatedBy: "go run ./deploy/oci"}}); err != nil {
		return nil, err
	}
	file, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	file = file.DeepCopy()
	file.OS, file.Architecture = "linux", architecture
	file.Config = v1.Config{
		User:         fmt.Sprintf("%d:%[1]d", user),
		Env:          []string{"REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY=/var/lib/registry", "XDG_DATA_HOME=/var/lib/registry"},
		Entrypoint:   []string{"/parfait"},
		Cmd:          []string{"serve"},
		ExposedPorts: map[string]struct{}{"5000/tcp": {}},
		Volumes:      map[string]struct{}{"/var/lib/registry": {}},
		Labels: map[string]string{
			"org.opencontainers.image.title":    "Parfait",
			"org.opencontainers.image.version":  version,
			"org.opencontainers.image.licenses": "Apache-2.0",
		},
		Healthcheck: &v1.HealthConfig{Test: []string{"CMD", "/parfait", "healthcheck"},
			Interval: 5 * time.Second, Timeout: 5 * time.Second, StartPeriod: 10 * time.Second},
	}
	return mutate.ConfigFile(img, file)
}

// rootfs is an archive of all the files of the image.
func rootfs(program string) ([]byte, error) {
	text, err := os.ReadFile(program)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range []*tar.Header{
		{Name: "parfait", Typeflag: tar.TypeReg, Mode: 0o755, Size: int64(len(text))},
		{Name: "usr/", Typeflag: tar.TypeDir, Mode: 0o755},
		{Name: "usr/bin/", Typeflag: tar.TypeDir, Mode: 0o755},
		{Name: "usr/bin/htpasswd", Typeflag: tar.TypeSymlink, Mode: 0o777, Linkname: "../../parfait"},
		{Name: "tmp/", Typeflag: tar.TypeDir, Mode: 0o1777},
		{Name: "var/", Typeflag: tar.TypeDir, Mode: 0o755},
		{Name: "var/lib/", Typeflag: tar.TypeDir, Mode: 0o755},
		{Name: "var/lib/registry/", Typeflag: tar.TypeDir, Mode: 0o755, Uid: user, Gid: user},
	} {
		h.ModTime, h.Format = time.Unix(0, 0), tar.FormatUSTAR
		err = errors.Join(err, w.WriteHeader(h))
		if h.Size > 0 {
			_, writeErr := w.Write(text)
			err = errors.Join(err, writeErr)
		}
	}
	return b.Bytes(), errors.Join(err, w.Close())
}
