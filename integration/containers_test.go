package integration

import (
	"encoding/json"
	"fmt"
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

func testSkopeo(t *testing.T, on store) {
	s := on.start(t, harness.Options{Env: []string{"LOGLEVEL=warn"}})
	dir, digest := folder(t, 10<<10, 2)
	p := newProgram(t, "skopeo")
	p.follow(s.Addr, digest, dir, []step{
		{line: "copy --dest-tls-verify=false oci:F:v1 docker://P/skopeo/s:v1"},
		{line: "copy --dest-tls-verify=false --format v2s2 oci:F:v1 docker://P/skopeo/s:docker"},
		{line: "copy --dest-tls-verify=false --format v2s1 oci:F:v1 docker://P/skopeo/s:old", stat: "fails", want: "schema"},
		{line: "inspect --tls-verify=false docker://P/skopeo/s:v1", want: digest},
		{line: "inspect --tls-verify=false --raw docker://P/skopeo/s:docker", want: "application/vnd.docker.distribution.manifest.v2+json"},
		{line: "inspect --tls-verify=false --config docker://P/skopeo/s:v1", want: `"rootfs"`},
		{line: "list-tags --tls-verify=false docker://P/skopeo/s", want: `"docker"`},
		{line: "list-tags --tls-verify=false docker://P/skopeo/s", want: `!"old"`},
		{line: "copy --src-tls-verify=false docker://P/skopeo/s:v1 dir:d"},
		{line: "manifest-digest d/manifest.json", want: digest},
		{line: "copy --dest-tls-verify=false --preserve-digests dir:d docker://P/skopeo/back:v1"},
		{line: "inspect --tls-verify=false docker://P/skopeo/back@D", want: digest},
		{line: "copy --src-tls-verify=false --dest-tls-verify=false docker://P/skopeo/s:v1 docker://P/skopeo/s@D"},
		{line: "copy --src-tls-verify=false docker://P/skopeo/s@D docker-archive:out.tar:a:v1"},
		{line: "copy --dest-tls-verify=false docker-archive:out.tar docker://P/skopeo/archive:v1"},
		{line: "sync --src docker --dest dir --src-tls-verify=false P/skopeo/s synced"},
		{line: "sync --src dir --dest docker --dest-tls-verify=false synced P/skopeo/synced"},
		{line: "list-tags --tls-verify=false docker://P/skopeo/synced/s", want: `"docker"`},
		{line: "delete --tls-verify=false docker://P/skopeo/s:v1"},
		{line: "list-tags --tls-verify=false docker://P/skopeo/s", want: `!"v1"`},
		{line: "inspect --tls-verify=false docker://P/skopeo/s@D", stat: "fails", want: "manifest unknown"},
		{line: "inspect --tls-verify=false docker://P/skopeo/s:docker", want: `"docker"`},
		{line: "inspect --tls-verify=false docker://P/skopeo/back:v1", want: digest},
		{line: "list-tags --tls-verify=false docker://P/skopeo/nobody", stat: "fails"},
	})
}

// testSkopeoIndex copies an index with all that is in it, from one form to the other.
func testSkopeoIndex(t *testing.T, on store) {
	s := on.start(t, harness.Options{Env: []string{"LOGLEVEL=warn"}})
	var idx ggcr.ImageIndex = empty.Index
	for range 3 {
		idx = mutate.AppendManifests(idx, mutate.IndexAddendum{Add: randomImage(t, 1<<10, 2, types.OCIManifestSchema1),
			Descriptor: ggcr.Descriptor{Platform: &ggcr.Platform{OS: "linux", Architecture: "amd64"}}})
	}
	dir := t.TempDir()
	if _, err := layout.Write(dir, idx); err != nil {
		t.Fatal(err)
	}
	crane, skopeo := newProgram(t, "crane"), newProgram(t, "skopeo")
	name := s.Addr + "/skopeo/index"
	crane.run("push", "--index", dir, name+":v1")
	for _, format := range []string{"oci", "v2s2"} {
		skopeo.run("copy", "--all", "--format", format, "--src-tls-verify=false", "--dest-tls-verify=false",
			"docker://"+name+":v1", "docker://"+name+"/"+format+":v1")
		if got := crane.run("validate", "--remote", name+"/"+format+":v1"); !strings.Contains(got, "PASS") {
			t.Errorf("%s: got %s", format, got)
		}
		var m struct {
			MediaType string
			Manifests []struct{ MediaType string }
		}
		if err := json.Unmarshal([]byte(crane.run("manifest", name+"/"+format+":v1")), &m); err != nil {
			t.Fatal(err)
		}
		docker := strings.Contains(m.MediaType, "docker")
		if len(m.Manifests) != 3 || docker != (format == "v2s2") || docker != strings.Contains(m.Manifests[0].MediaType, "docker") {
			t.Errorf("%s: got %v", format, m)
		}
	}
}

func testPodman(t *testing.T, on store) {
	s := on.start(t, harness.Options{Env: []string{"LOGLEVEL=warn"}})
	dir, digest := folder(t, 10<<10, 2)
	newProgram(t, "crane").run("push", dir, s.Addr+"/podman/base:v1")
	p := newProgram(t, "podman")
	// Not every command has a flag for a registry without TLS.
	p.env = append(p.env, "CONTAINERS_REGISTRIES_CONF="+p.write("registries.conf",
		fmt.Sprintf("[[registry]]\nlocation = %q\ninsecure = true\n", s.Addr)))
	p.follow(s.Addr, digest, dir, []step{
		{line: "pull --tls-verify=false P/podman/base:v1"},
		{line: "inspect --format {{.Digest}} P/podman/base:v1", want: digest},
		{line: "tag P/podman/base:v1 P/podman/again:v1"},
		{line: "push --tls-verify=false P/podman/again:v1"},
		{line: "push --tls-verify=false --format v2s2 P/podman/again:v1 docker://P/podman/again:docker"},
		{line: "push --format v2s1 P/podman/again:v1 docker://P/podman/again:old", stat: "fails"},
		{line: "push --compression-format zstd P/podman/again:v1 docker://P/podman/zstd:v1"},
		{line: "search --tls-verify=false P/podman", want: "P/podman/again"},
		{line: "search --tls-verify=false P/zst", want: "!P/podman/again"},
		{line: "search --tls-verify=false --limit 1 P/podman", want: "!P/podman/zstd"},
		{line: "search --tls-verify=false --list-tags P/podman/again", want: "docker"},
		{line: "manifest create list P/podman/base:v1"},
		{line: "manifest add --tls-verify=false list docker://P/podman/again:docker"},
		{line: "manifest push --tls-verify=false --all list docker://P/podman/list:v1"},
		{line: "manifest inspect P/podman/list:v1", want: digest},
		{line: "manifest push --all --format v2s2 list docker://P/podman/list:docker"},
		{line: "rmi --all --force"},
		{line: "pull P/podman/base@D"},
		{line: "pull P/podman/zstd:v1"},
		{line: "pull P/podman/list:docker"},
		{line: "pull P/podman/nobody:v1", stat: "fails", want: "manifest unknown"},
	})
}

// testPodmanSearchCatalog searches in the catalog, as podman does where there is no search.
func testPodmanSearchCatalog(t *testing.T, on store) {
	s := on.start(t, harness.Options{Env: []string{"LOGLEVEL=warn", "SEARCH_BACKEND=none", "MAX_PAGE_SIZE=2"}})
	dir, _ := folder(t, 100, 1)
	crane := newProgram(t, "crane")
	var want []string
	for i := range 5 {
		name := fmt.Sprintf("%s/team%d/app", s.Addr, i)
		crane.run("push", dir, name+":v1")
		want = append(want, name)
	}
	got := lines(newProgram(t, "podman").run("search", "--tls-verify=false", "--format", "{{.Name}}", s.Addr+"/app"))
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func testBuildah(t *testing.T, on store) {
	s := on.start(t, harness.Options{Env: []string{"LOGLEVEL=warn"}})
	dir, digest := folder(t, 10<<10, 2)
	newProgram(t, "crane").run("push", dir, s.Addr+"/buildah/base:v1")
	p := newProgram(t, "buildah")
	p.write("f", "a file")
	p.write("Containerfile", fmt.Sprintf("FROM %s/buildah/base:v1\nCOPY f /f\nLABEL k=v\n", s.Addr))
	container := p.run("from", "scratch")
	p.run("copy", container, "f", "/f")
	p.run("commit", "--format", "oci", container, "localhost/x:v1")
	p.follow(s.Addr, digest, dir, []step{
		{line: "push --tls-verify=false localhost/x:v1 docker://P/buildah/b:v1"},
		{line: "push --tls-verify=false --format v2s2 localhost/x:v1 docker://P/buildah/b:docker"},
		{line: "push --tls-verify=false --digestfile digest localhost/x:v1 docker://P/buildah/b:again"},
		{line: "rmi --force localhost/x:v1"},
		{line: "pull --tls-verify=false docker://P/buildah/b:v1"},
		{line: "pull --tls-verify=false docker://P/buildah/base@D"},
		{line: "bud --isolation chroot --tls-verify=false --layers -t P/buildah/built:v1 ."},
		{line: "push --tls-verify=false P/buildah/built:v1"},
		{line: "from --tls-verify=false --pull-always --name new P/buildah/built:v1", want: "new"},
		{line: "inspect --type image P/buildah/built:v1", want: `"k": "v"`},
		{line: "manifest create list"},
		{line: "manifest add --tls-verify=false list docker://P/buildah/base:v1"},
		{line: "manifest push --tls-verify=false --all list docker://P/buildah/list:v1"},
		{line: "pull --tls-verify=false docker://P/buildah/nobody:v1", stat: "fails", want: "manifest unknown"},
	})
	if got, want := p.read("digest"), newProgram(t, "crane").run("digest", s.Addr+"/buildah/b:again"); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	out := filepath.Join(p.home, "out.tar")
	newProgram(t, "crane").run("export", s.Addr+"/buildah/built:v1", out)
	if got := newProgram(t, "tar").run("-xOf", out, "f"); got != "a file" {
		t.Errorf("got %q, want the file that was copied", got)
	}
}
