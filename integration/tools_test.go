package integration

import (
	"archive/tar"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/parfait-registry/parfait/integration/harness"
)

// TestImageBetweenPrograms pushes an image of real files with every program and in every form, and pulls each of these
// with every program.
func TestImageBetweenPrograms(t *testing.T) {
	imageBetweenPrograms(t, place(func(*testing.T, *harness.Options) {}), pushes, pulls)
}

// testImageBetweenPrograms is the same without what takes the longest and has nothing to do with the store: other forms
// of a push that is made, and programs that unpack what they pull.
func testImageBetweenPrograms(t *testing.T, on store) {
	imageBetweenPrograms(t, on,
		slices.DeleteFunc(slices.Clone(pushes), func(p imagePush) bool { return p.form }),
		slices.DeleteFunc(slices.Clone(pulls), func(p imagePull) bool { return p.unpacks }))
}

func imageBetweenPrograms(t *testing.T, on store, pushes []imagePush, pulls []imagePull) {
	s := on.start(t, harness.Options{Env: []string{"LOGLEVEL=warn"}})
	dir, want := toolchainImage(t, s)
	source := digestOf(t, imageIn(t, dir))
	var seen sync.Map // digests of manifests whose files have been compared
	for _, push := range pushes {
		t.Run(push.name, func(t *testing.T) {
			t.Parallel()
			// An address of its own keeps skopeo, podman and buildah from taking what they have seen elsewhere.
			name := harness.Record(t, s).Addr + "/go/" + strings.ReplaceAll(push.name, " ", "-")
			push.run(t, dir, name+":v1")
			crane := newProgram(t, "crane")
			if manifest := crane.run("manifest", name+":v1"); !strings.Contains(manifest, push.media) {
				t.Errorf("got manifest %s, want one with %s", manifest, push.media)
			}
			pushed := crane.run("digest", name+":v1")
			if push.same && pushed != source {
				t.Errorf("got %s, want %s", pushed, source)
			}
			for _, pull := range pulls {
				if push.same && push.name != "crane" && !pull.same {
					continue // it is the same image: to make it anew once is enough
				}
				t.Run(pull.name, func(t *testing.T) {
					out := pull.run(t, name+":v1")
					checkBlobs(t, out)
					img := imageIn(t, out)
					got := digestOf(t, img)
					if push.same && pull.same && got != pushed {
						t.Errorf("got %s, want %s", got, pushed)
					}
					if _, ok := seen.LoadOrStore(got, true); !ok {
						sameTree(t, tree(t, img), want)
					}
				})
			}
		})
	}
}

// An imagePush is a way to push the image in the folder dir.
type imagePush struct {
	name  string
	same  bool   // the manifest is not made anew
	form  bool   // of what the same program pushes otherwise
	media string // part of a media type in the manifest
	run   func(t *testing.T, dir, name string)
}

var pushes = []imagePush{
	{"crane", true, false, "oci.image.manifest.v1+json", craneOf("push")},
	{"oras", true, false, "oci.image.manifest.v1+json", orasPush},
	{"regctl", true, false, "oci.image.manifest.v1+json", regctlPush},
	{"skopeo", true, false, "oci.image.config.v1+json", skopeoOf("--format", "oci")},
	{"skopeo schema 2", false, true, "docker.distribution.manifest.v2+json", skopeoOf("--format", "v2s2")},
	{"skopeo zstd", false, true, "oci.image.layer.v1.tar+zstd", skopeoOf("--dest-compress-format", "zstd", "--dest-compress")},
	{"podman", false, false, "oci.image.layer.v1.tar+gzip", podmanOf()},
	{"podman zstd", false, true, "oci.image.layer.v1.tar+zstd", podmanOf("--compression-format", "zstd")},
	{"podman schema 2", false, true, "docker.image.rootfs.diff.tar.gzip", podmanOf("--format", "v2s2")},
	{"buildah", false, false, "oci.image.layer.v1.tar+gzip", buildahPush},
}

// An imagePull is a way to pull an image into a new folder.
type imagePull struct {
	name    string
	same    bool // the manifest is not made anew
	unpacks bool // the image, on its way
	run     func(t *testing.T, name string) (dir string)
}

var pulls = []imagePull{
	{"crane", true, false, func(t *testing.T, name string) string {
		p := newProgram(t, "crane")
		p.run("pull", "--format=oci", name, "out")
		return filepath.Join(p.home, "out")
	}},
	{"oras", true, false, func(t *testing.T, name string) string {
		p := newProgram(t, "oras")
		p.run("cp", "--from-plain-http", name, "--to-oci-layout", "out:v1")
		return filepath.Join(p.home, "out")
	}},
	{"regctl", true, false, func(t *testing.T, name string) string {
		p := newRegctl(t, name)
		p.run("image", "copy", name, "ocidir://out:v1")
		return filepath.Join(p.home, "out")
	}},
	{"skopeo", false, false, func(t *testing.T, name string) string {
		p := newProgram(t, "skopeo")
		p.run("copy", "--src-tls-verify=false", "docker://"+name, "oci:out:v1")
		return filepath.Join(p.home, "out")
	}},
	{"podman", false, true, func(t *testing.T, name string) string {
		p := newProgram(t, "podman")
		p.run("save", "--format", "oci-dir", "-o", "out", p.run("pull", "--tls-verify=false", "docker://"+name))
		return filepath.Join(p.home, "out")
	}},
	{"buildah", false, true, func(t *testing.T, name string) string {
		p := newProgram(t, "buildah")
		p.run("push", p.run("pull", "--tls-verify=false", "docker://"+name), "oci:out:v1")
		return filepath.Join(p.home, "out")
	}},
}

// toolchainImage makes an image of files of the Go toolchain and some odd ones, as the README shows it: with tar and crane.
func toolchainImage(t *testing.T, s *harness.Server) (dir string, files map[string]string) {
	t.Helper()
	crane, name := newProgram(t, "crane"), s.Addr+"/go/toolchain:v1"
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	for layer, folder := range map[string]string{"1.tar": "bin", "2.tar": "src/crypto"} {
		newProgram(t, "tar").run("-C", strings.TrimSpace(string(root)), "-cf", filepath.Join(crane.home, layer), folder)
	}
	crane.write("3.tar", string(archive(t,
		tar.Header{Name: "bin/.wh.gofmt", Typeflag: tar.TypeReg, Mode: 0o644},
		tar.Header{Name: "odd/", Typeflag: tar.TypeDir, Mode: 0o1777},
		tar.Header{Name: "odd/empty/", Typeflag: tar.TypeDir, Mode: 0o700},
		tar.Header{Name: "odd/setuid", Typeflag: tar.TypeReg, Mode: 0o4755},
		tar.Header{Name: "odd/hard", Typeflag: tar.TypeLink, Linkname: "odd/setuid", Mode: 0o4755},
		tar.Header{Name: "odd/soft", Typeflag: tar.TypeSymlink, Linkname: "../bin/go", Mode: 0o777},
		tar.Header{Name: "odd/nowhere", Typeflag: tar.TypeSymlink, Linkname: "/no/such/file", Mode: 0o777},
		tar.Header{Name: "odd/ü 漢字\t\"$", Typeflag: tar.TypeReg, Mode: 0o644},
		tar.Header{Name: "odd/" + strings.Repeat("long", 60), Typeflag: tar.TypeReg, Mode: 0o644},
	)))
	crane.run("append", "--oci-empty-base", "-f", "1.tar", "-f", "2.tar", "-f", "3.tar", "-t", name)
	crane.run("mutate", "--set-platform", "linux/"+runtime.GOARCH, "--entrypoint", "/bin/go", "-t", name, name)
	dir, _ = folderOf(t, pulled(t, name))
	files = tree(t, imageIn(t, dir))
	if len(files) < 500 || files["bin/go"] == "" || files["bin/gofmt"] != "" || files["odd/soft"] == "" {
		t.Fatalf("the image has %d files, and not the ones that it was made of", len(files))
	}
	if size := sizeOf(t, dir); size < 10<<20 {
		t.Errorf("the image has %d bytes, want some more", size)
	}
	return dir, files
}

// checkBlobs fails the test if a blob in a folder of OCI layout is not what its name says.
func checkBlobs(t *testing.T, dir string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "blobs", "sha256", "*"))
	if err != nil || len(files) < 5 {
		t.Fatalf("got blobs %q, %v, want a manifest, a configuration and three layers", files, err)
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if got := digest.FromBytes(content).Encoded(); got != filepath.Base(file) {
			t.Errorf("%s: got content with the digest %s", file, got)
		}
	}
}

func sizeOf(t *testing.T, dir string) (n int64) {
	t.Helper()
	err := filepath.WalkDir(dir, func(_ string, entry os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		i, err := entry.Info()
		n += i.Size()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}
