// Command images makes what the servers of docker-compose.yml are built from, so that no image has to be pulled: for each
// a folder with a Dockerfile and an archive of all its files.
//
//	go run ./integration/images -parfait bin/rootfs/parfait bin/images
//
// The images have no shell and no curl. Parfait is in them, which asks the servers over HTTP whether they are well.
package main

import (
	"context"
	"embed"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path"
	"path/filepath"

	"github.com/parfait-registry/parfait/integration/harness"
)

//go:embed minio fake-gcs postgres
var files embed.FS

// user is the user and the group that servers run as, and that own what they write to. The Dockerfiles name it, too.
const user = 65532

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	flags := flag.NewFlagSet("images", flag.ContinueOnError)
	parfait := flags.String("parfait", "", "`path` of parfait, built for Linux")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	if flags.NArg() != 1 || *parfait == "" {
		fmt.Fprintln(os.Stderr, "usage: images -parfait PATH FOLDER")
		return 2
	}
	b := &builder{parfait: *parfait, folder: flags.Arg(0)}
	err := errors.Join(
		b.build("minio", func(r *rootfs) error { return b.store(ctx, r, "minio") }),
		b.build("fake-gcs", func(r *rootfs) error { return b.store(ctx, r, "fake-gcs-server") }),
		b.build("postgres", postgres),
	)
	if err != nil {
		fmt.Fprintln(os.Stderr, "images:", err)
		return 1
	}
	return 0
}

type builder struct{ parfait, folder string }

// build makes the folder of an image. If its programs are not on this machine, that has a Dockerfile alone, of which
// docker makes nothing: the folder of every image has to be there for docker-compose to take the file at all.
func (b *builder) build(name string, fill func(r *rootfs) error) error {
	folder := filepath.Join(b.folder, name)
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	dockerfile, err := files.ReadFile(path.Join(name, "Dockerfile"))
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(folder, "Dockerfile"), dockerfile, 0o644); err != nil {
		return err
	}
	archive := filepath.Join(folder, "rootfs.tar")
	err = write(archive, fill)
	if errors.Is(err, errNotInstalled) {
		fmt.Fprintf(os.Stderr, "images: no image %s: %v\n", name, err)
		err = nil
	}
	return err
}

// store fills the image of an object store that has a bucket from the first start on: a new volume begins with what the
// image has in its place.
func (b *builder) store(ctx context.Context, r *rootfs, tool string) error {
	program, err := harness.Build(ctx, tool, "linux", func(format string, args ...any) {
		fmt.Fprintf(os.Stderr, "images: "+format+"\n", args...)
	})
	if err != nil {
		return err
	}
	r.file(program, "/"+tool)
	r.file(b.parfait, "/parfait")
	r.folder("/tmp", 0, 0o1777)
	r.folder("/data", user, 0o755)
	r.folder("/data/parfait", user, 0o755)
	return r.err
}
