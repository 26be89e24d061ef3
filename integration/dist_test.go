package integration

import (
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	ggcr "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/parfait-registry/parfait/integration/harness"
)

// TestDist makes a release, and a part of it again in a copy of the tree in another folder, and looks at what is in it.
func TestDist(t *testing.T) {
	if testing.Short() {
		t.Skip("it builds the program five times")
	}
	first, second := release(t, "one", "dist"), release(t, "another/one", "build", "package", "ARCH=amd64")
	sums, err := os.ReadFile(filepath.Join(first, "SHA256SUMS"))
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(sums), "\n"); n != 6 {
		t.Errorf("got %d sums, want those of two archives, two bills, the image and the chart:\n%s", n, sums)
	}
	for line := range strings.Lines(string(sums)) {
		fields := strings.Fields(line)
		if got := sumOf(t, filepath.Join(first, fields[1])); got != fields[0] {
			t.Errorf("%s: got %s, want %s", fields[1], got, fields[0])
		}
	}
	for _, name := range []string{"parfait-linux-amd64/parfait", "parfait-linux-amd64.tar.gz", "parfait-linux-amd64.cdx.json"} {
		if sumOf(t, filepath.Join(first, name)) != sumOf(t, filepath.Join(second, name)) {
			t.Errorf("two builds of one source differ in %s", name)
		}
	}
	for _, arch := range []string{"amd64", "arm64"} {
		t.Run(arch, func(t *testing.T) {
			checkArchive(t, filepath.Join(first, "parfait-linux-"+arch+".tar.gz"))
			checkBill(t, filepath.Join(first, "parfait-linux-"+arch+".cdx.json"), filepath.Join(first, "parfait-linux-"+arch, "parfait"))
			checkRuns(t, arch, filepath.Join(first, "parfait-linux-"+arch, "parfait"))
		})
	}
	t.Run("image", func(t *testing.T) { checkImageIndex(t, filepath.Join(first, "image")) })
}

func sumOf(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// release runs make in a copy of the tree, and returns the folder that it makes.
func release(t *testing.T, name string, targets ...string) (dist string) {
	t.Helper()
	cyclonedx := harness.Tool(t, "cyclonedx-gomod")
	dir := filepath.Join(t.TempDir(), name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	cp := exec.CommandContext(t.Context(), "sh", "-euc", `git ls-files -z --cached --others --exclude-standard | tar --null -T - -cf - | tar -xf - -C "$1"`, "sh", dir)
	cp.Dir = harness.Root(t)
	if out, err := cp.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	make := exec.CommandContext(t.Context(), "make", append(targets, "VERSION=v1.2.3", "EPOCH=1", "CYCLONEDX="+cyclonedx)...)
	make.Dir = dir
	make.Env = append(os.Environ(), "MAKEFLAGS=")
	if out, err := make.CombinedOutput(); err != nil {
		t.Fatalf("make %q: %v\n%s", targets, err, out)
	}
	return filepath.Join(dir, "dist")
}

// checkArchive looks for what comes with the program.
func checkArchive(t *testing.T, path string) {
	t.Helper()
	names := lines(newProgram(t, "tar").run("-tf", path))
	top := strings.TrimSuffix(filepath.Base(path), ".tar.gz") + "/"
	for _, want := range []string{
		"parfait", "LICENSE", "README.md", "config_sample.yml", "parfait.service", "docs/configuration.md", "docs/access.md", "docs/operations.md",
		"completions/parfait.bash", "completions/parfait.zsh", "completions/parfait.fish",
		"man/man1/parfait.1", "man/man1/parfait-serve.1", "man/man1/parfait-doctor.1", "man/man1/parfait-config-check.1",
	} {
		if !slices.Contains(names, top+want) {
			t.Errorf("there is no %s", want)
		}
	}
}

// checkBill looks for each module of a program in its bill of materials.
func checkBill(t *testing.T, path, program string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var bill struct {
		BOMFormat  string `json:"bomFormat"`
		Components []struct{ Name, Version, PURL string }
	}
	if err := json.Unmarshal(text, &bill); err != nil || bill.BOMFormat != "CycloneDX" {
		t.Fatalf("got %q, %v", bill.BOMFormat, err)
	}
	listed := make(map[string]bool)
	for _, c := range bill.Components {
		listed[c.Name+" "+c.Version] = true
	}
	info, err := buildinfo.ReadFile(program)
	if err != nil || len(info.Deps) < 20 {
		t.Fatalf("got %v, %v", info, err)
	}
	for _, m := range info.Deps {
		if !listed[m.Path+" "+m.Version] {
			t.Errorf("the bill of materials has no %s %s", m.Path, m.Version)
		}
	}
}

// checkRuns runs a program, by the emulator of its architecture if that is another one.
func checkRuns(t *testing.T, arch, path string) {
	t.Helper()
	args := []string{path, "version"}
	if arch != runtime.GOARCH {
		emulator := map[string]string{"arm64": "qemu-aarch64-static", "amd64": "qemu-x86_64-static"}[arch]
		args = append([]string{harness.Command(t, emulator)}, args...)
	}
	out, err := exec.CommandContext(t.Context(), args[0], args[1:]...).CombinedOutput()
	if err != nil || strings.TrimSpace(string(out)) != "parfait v1.2.3" {
		t.Errorf("got %q, %v", out, err)
	}
	if text, err := exec.CommandContext(t.Context(), "go", "version", "-m", path).Output(); err != nil || strings.Contains(string(text), t.TempDir()) {
		t.Errorf("got %s, %v, want nothing of the folder it was built in", text, err)
	}
}

// checkImageIndex pushes the image to Parfait itself, and looks at what comes back.
func checkImageIndex(t *testing.T, dir string) {
	s := harness.StartParfait(t, harness.Options{Env: []string{"LOGLEVEL=warn"}})
	crane, name := newProgram(t, "crane"), s.Addr+"/parfait:v1.2.3"
	crane.run("push", "--index", dir, name)
	crane.run("validate", "--remote", name)
	idx, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(idx); err != nil {
		t.Error(err)
	}
	for _, arch := range []string{"amd64", "arm64"} {
		var file struct {
			Architecture string
			Config       struct {
				User                 string
				Entrypoint, Cmd, Env []string
			}
		}
		if err := json.Unmarshal([]byte(crane.run("config", "--platform", "linux/"+arch, name)), &file); err != nil {
			t.Fatal(err)
		}
		img, err := remote.Image(reference(t, name), remote.WithContext(t.Context()), remote.WithPlatform(ggcr.Platform{OS: "linux", Architecture: arch}))
		if err != nil {
			t.Fatal(err)
		}
		if c := file.Config; file.Architecture != arch || c.User != "65532:65532" || !slices.Equal(c.Entrypoint, []string{"/parfait"}) || !slices.Equal(c.Cmd, []string{"serve"}) {
			t.Errorf("%s: got %+v", arch, file)
		}
		files := tree(t, img)
		if len(files) != 8 || !strings.HasPrefix(files["parfait"], "0 755") || !strings.Contains(files["usr/bin/htpasswd"], "../../parfait") || !strings.HasPrefix(files["tmp"], "5 1777") {
			t.Errorf("%s: got %q", arch, files)
		}
	}
}
