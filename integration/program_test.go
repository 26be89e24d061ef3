package integration

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	ggcr "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/parfait-registry/parfait/integration/harness"
)

// A program is a client that is run as a person would run it, in a home of its own.
type program struct {
	t    *testing.T
	home string // and working directory
	path string
	args []string // that come before all others
	env  []string // NAME=value
}

// newProgram finds or builds a client, with the flags that keep it in its home.
func newProgram(t *testing.T, name string) *program {
	t.Helper()
	p := &program{t: t, home: t.TempDir()}
	switch name {
	case "skopeo":
		p.path, p.args = harness.Command(t, name), []string{"--insecure-policy"}
	case "podman", "buildah":
		p.path = harness.Command(t, name)
		run, err := os.MkdirTemp("", "run-") // podman takes no path of more than 50 bytes
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(run) })
		p.args = []string{"--root", filepath.Join(p.home, "store"), "--runroot", run, "--storage-driver", "vfs"}
	case "docker", "sh", "tar":
		p.path = harness.Command(t, name)
	default:
		p.path = harness.Tool(t, name)
	}
	p.env = []string{"HOME=" + p.home}
	for _, name := range []string{"PATH", "TMPDIR", "XDG_RUNTIME_DIR"} {
		if value, ok := os.LookupEnv(name); ok {
			p.env = append(p.env, name+"="+value)
		}
	}
	return p
}

// run runs the program and returns what it printed, without the white space around that.
func (p *program) run(args ...string) string { p.t.Helper(); return p.pipe("", args...) }

// pipe is run with something to read.
func (p *program) pipe(stdin string, args ...string) string {
	p.t.Helper()
	stdout, stderr, err := p.try(stdin, args...)
	if err != nil {
		p.t.Fatalf("%s: %v\n%s%s", p.line(args), err, stdout, stderr)
	}
	return strings.TrimSpace(stdout)
}

// fails runs the program, which has to fail, and returns what it printed on both outputs.
func (p *program) fails(args ...string) string {
	p.t.Helper()
	stdout, stderr, err := p.try("", args...)
	if _, ok := errors.AsType[*exec.ExitError](err); !ok {
		p.t.Fatalf("%s: got %v, want a failure\n%s%s", p.line(args), err, stdout, stderr)
	}
	return stdout + stderr
}

func (p *program) try(stdin string, args ...string) (stdout, stderr string, err error) {
	cmd := exec.CommandContext(p.t.Context(), p.path, append(slices.Clip(p.args), args...)...)
	cmd.Dir, cmd.Env = p.home, p.env
	var out, errs strings.Builder
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errs
	err = cmd.Run()
	return out.String(), errs.String(), err
}

// line is what a person would type.
func (p *program) line(args []string) string {
	return filepath.Base(p.path) + " " + strings.Join(args, " ")
}

// write makes a file in the home of the program and returns its path.
func (p *program) write(name, text string) string {
	p.t.Helper()
	path := filepath.Join(p.home, name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		p.t.Fatal(err)
	}
	return path
}

// link gives a folder a name in the home of the program: podman takes no path with capitals in it for one.
func (p *program) link(name, dir string) {
	p.t.Helper()
	if err := os.Symlink(dir, filepath.Join(p.home, name)); err != nil {
		p.t.Fatal(err)
	}
}

// read returns a file in the home of the program.
func (p *program) read(name string) string {
	p.t.Helper()
	text, err := os.ReadFile(filepath.Join(p.home, name))
	if err != nil {
		p.t.Fatal(err)
	}
	return string(text)
}

// lines splits what a program printed.
func lines(output string) []string { return strings.Fields(output) }

// folder writes a random image to a new folder of OCI layout, and returns that and the digest of the image.
func folder(t *testing.T, size, layers int64) (dir, digest string) {
	t.Helper()
	return folderOf(t, randomImage(t, size, layers, types.OCIManifestSchema1))
}

func folderOf(t *testing.T, img ggcr.Image) (dir, digest string) {
	t.Helper()
	dir = t.TempDir()
	idx := mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex), mutate.IndexAddendum{
		Add: img, Descriptor: ggcr.Descriptor{Annotations: map[string]string{"org.opencontainers.image.ref.name": "v1"}}})
	if _, err := layout.Write(dir, idx); err != nil {
		t.Fatal(err)
	}
	return dir, digestOf(t, img)
}

// imageIn returns the one image in a folder of OCI layout.
func imageIn(t *testing.T, dir string) ggcr.Image {
	t.Helper()
	idx, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	m, err := idx.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Manifests) != 1 {
		t.Fatalf("%s: got %d manifests, want one", dir, len(m.Manifests))
	}
	img, err := idx.Image(m.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// tree lists the files of an image, each with all that a client has to preserve.
func tree(t *testing.T, img ggcr.Image) map[string]string {
	t.Helper()
	flat := mutate.Extract(img)
	defer flat.Close()
	files := make(map[string]string)
	for r := tar.NewReader(flat); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.New()
		if _, err := io.Copy(sum, r); err != nil {
			t.Fatal(err)
		}
		name := strings.Trim(strings.TrimPrefix(h.Name, "./"), "/")
		files[name] = fmt.Sprintf("%c %o %d %x %s", h.Typeflag, h.Mode&0o7777, h.Size, sum.Sum(nil)[:8], h.Linkname)
	}
}

// sameTree fails the test if two images do not have the same files.
func sameTree(t *testing.T, got, want map[string]string) {
	t.Helper()
	differ := 0
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if got[name] != want[name] {
			t.Errorf("%s: got %q, want %q", name, got[name], want[name])
			differ++
		}
		if differ > 5 {
			t.Fatal("and more")
		}
	}
	if len(got) != len(want) {
		t.Errorf("got %d files, want %d", len(got), len(want))
	}
}

// archive makes a tar archive. A file holds its name, but for those that stand for a deletion.
func archive(t *testing.T, entries ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range entries {
		content := ""
		if h.Typeflag == tar.TypeReg && !strings.Contains(h.Name, ".wh.") {
			content = h.Name
		}
		h.Size = int64(len(content))
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
