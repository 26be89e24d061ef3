package integration

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/parfait-registry/parfait/integration/harness"
)

// A step is a command line of a program, without its name. P is the address of the registry, D the digest and F the
// folder of an image.
type step struct {
	line string
	want string // in what the program prints; after a "!" what must not be there
	stat string // "fails" if it has to; what it prints on stderr counts then, too
}

// follow runs a program step by step.
func (p *program) follow(addr, digest, folder string, steps []step) {
	p.t.Helper()
	r := strings.NewReplacer("P/", addr+"/", "@D", "@"+digest, "F:", folder+":", "//F@D", "//"+folder+"@"+digest)
	for _, s := range steps {
		args := strings.Fields(r.Replace(s.line))
		for i := range args {
			switch args[i] {
			case "P":
				args[i] = addr
			case "F":
				args[i] = folder
			}
		}
		run := p.run
		if s.stat == "fails" {
			run = p.fails
		}
		got, want := run(args...), r.Replace(s.want)
		unwanted, not := strings.CutPrefix(want, "!")
		switch {
		case not && strings.Contains(got, unwanted):
			p.t.Errorf("%s: got %q with %q in it", p.line(args), got, unwanted)
		case !not && !strings.Contains(got, want):
			p.t.Errorf("%s: got %q, want %q", p.line(args), got, want)
		}
	}
}

func testCrane(t *testing.T, on store) {
	s := on.start(t, harness.Options{Env: []string{"LOGLEVEL=warn"}})
	dir, digest := folder(t, 10<<10, 2)
	newProgram(t, "crane").follow(s.Addr, digest, dir, []step{
		{line: "push F P/crane/a:v1", want: "@D"},
		{line: "ls P/crane/a", want: "v1"},
		{line: "catalog P", want: "crane/a"},
		{line: "digest P/crane/a:v1", want: digest},
		{line: "digest P/crane/a@D", want: digest},
		{line: "manifest P/crane/a:v1", want: `"layers"`},
		{line: "config P/crane/a:v1", want: `"rootfs"`},
		{line: "validate --remote P/crane/a:v1", want: "PASS"},
		{line: "tag P/crane/a:v1 v2"},
		{line: "tag P/crane/a@D v3"},
		{line: "cp P/crane/a:v2 P/crane/b:v1"},
		{line: "cp -a P/crane/a P/crane/all"},
		{line: "ls P/crane/all", want: "v1\nv2\nv3"},
		{line: "mutate --set-platform linux/arm64 --label k=v --annotation a=b -t P/crane/a:arm P/crane/a:v1"},
		{line: "config P/crane/a:arm", want: `"k":"v"`},
		{line: "index append -m P/crane/a:v1 -m P/crane/a:arm -t P/crane/a:index"},
		{line: "index append --docker-empty-base -m P/crane/a:v1 -t P/crane/a:list"},
		{line: "manifest P/crane/a:list", want: "application/vnd.docker.distribution.manifest.list.v2+json"},
		{line: "validate --remote P/crane/a:index", want: "PASS"},
		{line: "manifest --platform linux/arm64 P/crane/a:index", want: `"a":"b"`},
		{line: "cp P/crane/a:index P/crane/index:v1"},
		{line: "flatten -t P/crane/flat:v1 P/crane/a:v1"},
		{line: "pull P/crane/a:v1 a.tar"},
		{line: "push a.tar P/crane/tarball:v1"},
		{line: "validate --remote P/crane/tarball:v1", want: "PASS"},
		{line: "delete P/crane/a:v2"},
		{line: "ls P/crane/a", want: "!v2"},
		{line: "digest P/crane/a:v1", want: digest},
		{line: "delete P/crane/b@D"},
		{line: "digest P/crane/b:v1", stat: "fails", want: "404"},
		{line: "manifest P/crane/b:v1", stat: "fails", want: "MANIFEST_UNKNOWN"},
		{line: "ls P/crane/nobody", stat: "fails", want: "NAME_UNKNOWN"},
		{line: "catalog P", want: "crane/a\ncrane/all\n"},
	})
}

func testOrasProgram(t *testing.T, on store) {
	s := on.start(t, harness.Options{Env: []string{"LOGLEVEL=warn"}})
	p := newProgram(t, "oras")
	p.write("a.txt", "a text")
	p.write("b.bin", string(randomBytes(t, 100_000)))
	p.write("sbom.json", `{"sbom": true}`)
	dir, digest := folder(t, 1<<10, 1)
	blob := rawDescriptor("", []byte("a text")).Digest.String()
	p.follow(s.Addr, digest, dir, []step{
		{line: "push --plain-http P/oras/o:v1 --artifact-type application/example a.txt:text/plain b.bin", want: "Pushed"},
		{line: "pull --plain-http -o d P/oras/o:v1", want: "Pulled"},
		{line: "attach --plain-http --artifact-type application/sbom P/oras/o:v1 sbom.json", want: "Attached"},
		{line: "attach --plain-http --artifact-type application/signature -a k=v P/oras/o:v1", want: "Attached"},
		{line: "discover --plain-http P/oras/o:v1", want: "application/sbom"},
		{line: "discover --plain-http --artifact-type application/signature P/oras/o:v1", want: "!application/sbom"},
		{line: "tag --plain-http P/oras/o:v1 v2 v3", want: "Tagged"},
		{line: "repo ls --plain-http P", want: "oras/o"},
		{line: "repo ls --plain-http P/oras/", want: "o"},
		{line: "repo tags --plain-http P/oras/o", want: "v1\nv2\nv3"},
		{line: "manifest fetch --plain-http P/oras/o:v1", want: `"artifactType":"application/example"`},
		{line: "manifest fetch --plain-http --descriptor P/oras/o:v1", want: "application/vnd.oci.image.manifest.v1+json"},
		{line: "blob push --plain-http P/oras/blobs a.txt", want: blob},
		{line: "blob fetch --plain-http --output - P/oras/blobs@" + blob, want: "a text"},
		{line: "blob delete --plain-http -f P/oras/blobs@" + blob, want: "Deleted"},
		{line: "blob fetch --plain-http --output - P/oras/blobs@" + blob, stat: "fails", want: "not found"},
		{line: "cp -r --from-plain-http --to-plain-http P/oras/o:v1 P/oras/copy:v1,v2", want: "Copied"},
		{line: "discover --plain-http P/oras/copy:v2", want: "application/sbom"},
		{line: "cp --from-oci-layout F:v1 --to-plain-http P/oras/image:v1", want: "Copied"},
		{line: "resolve --plain-http P/oras/image:v1", want: digest},
		{line: "manifest index create --plain-http P/oras/image:all v1", want: "Pushed"},
		{line: "backup --plain-http --include-referrers --output out.tar P/oras/o:v1,v2"},
		{line: "restore --plain-http --input out.tar P/oras/restored:v1,v2"},
		{line: "discover --plain-http P/oras/restored:v1", want: "application/sbom"},
		{line: "manifest delete -f --plain-http P/oras/o:v2", want: "Deleted"},
		{line: "manifest fetch --plain-http P/oras/o:v1", stat: "fails", want: "not found"},
		{line: "repo tags --plain-http P/oras/nobody", stat: "fails", want: "name unknown"},
	})
	for _, file := range []string{"a.txt", "b.bin"} {
		if got, want := p.read(filepath.Join("d", file)), p.read(file); got != want {
			t.Errorf("%s: got %d bytes, want %d", file, len(got), len(want))
		}
	}
}

func testRegctl(t *testing.T, on store) {
	s := on.start(t, harness.Options{Env: []string{"LOGLEVEL=warn"}})
	dir, digest := folder(t, 10<<10, 2)
	p := newRegctl(t, s.Addr)
	blob := rawDescriptor("", []byte("a text")).Digest.String()
	p.write("a.txt", "a text")
	p.follow(s.Addr, digest, dir, []step{
		{line: "image copy ocidir://F:v1 P/regctl/r:v1"},
		{line: "image copy ocidir://F@D P/regctl/r:v2"},
		{line: "image digest P/regctl/r:v2", want: digest},
		{line: "image inspect P/regctl/r:v1", want: `"rootfs"`},
		{line: "image check-base P/regctl/r:v1", stat: "fails"},
		{line: "manifest head P/regctl/r:v1", want: digest},
		{line: "manifest get --format raw-body P/regctl/r:v1", want: `"layers"`},
		{line: "image export P/regctl/r:v1 out.tar"},
		{line: "image import P/regctl/imported:v1 out.tar"},
		{line: "image digest P/regctl/imported:v1", want: digest},
		{line: "image mod P/regctl/r:v1 --create sha512 --digest-algo sha512"},
		{line: "manifest get --format raw-body P/regctl/r:sha512", want: `"sha512:`},
		{line: "image copy P/regctl/r:sha512 P/regctl/other:sha512"},
		{line: "image mod P/regctl/r:v1 --create docker --to-docker"},
		{line: "manifest get --format raw-body P/regctl/r:docker", want: "application/vnd.docker.distribution.manifest.v2+json"},
		{line: "artifact put --file a.txt --artifact-type application/a P/regctl/artifact:v1"},
		{line: "artifact get P/regctl/artifact:v1", want: "a text"},
		{line: "artifact put --file a.txt --artifact-type application/sbom --subject P/regctl/r:v1"},
		{line: "artifact list P/regctl/r:v1", want: "application/sbom"},
		{line: "artifact list --filter-artifact-type application/none P/regctl/r:v1", want: "!application/sbom"},
		{line: "artifact tree P/regctl/r:v1", want: "application/sbom"},
		{line: "artifact get --subject P/regctl/r:v1 --filter-artifact-type application/sbom", want: "a text"},
		{line: "image copy --referrers --digest-tags P/regctl/r:v1 P/regctl/signed:v1"},
		{line: "artifact list P/regctl/signed:v1", want: "application/sbom"},
		{line: "index create P/regctl/r:all --ref P/regctl/r:v1 --ref P/regctl/r:v2"},
		{line: "blob copy P/regctl/artifact P/regctl/other " + blob},
		{line: "blob get P/regctl/other " + blob, want: "a text"},
		{line: "blob delete P/regctl/other " + blob},
		{line: "blob head P/regctl/other " + blob, stat: "fails"},
		{line: "blob head P/regctl/artifact " + blob},
		{line: "repo ls P", want: "regctl/artifact\nregctl/imported\nregctl/other\nregctl/r\n"},
		{line: "repo copy P/regctl/r P/regctl/repo"},
		{line: "tag ls P/regctl/repo", want: "all\ndocker\nsha512\nv1\nv2"},
		{line: "tag rm P/regctl/r:v2"},
		{line: "tag ls P/regctl/r", want: "!v2"},
		{line: "image digest P/regctl/r:v1", want: digest},
		{line: "manifest delete --referrers P/regctl/signed@D"},
		{line: "manifest head P/regctl/signed:v1", stat: "fails"},
		{line: "tag ls P/regctl/nobody", stat: "fails"},
	})
}

// testRegsyncAndRegbot mirrors a repository with its referrers, then runs a script over the mirror.
func testRegsyncAndRegbot(t *testing.T, on store) {
	s := on.start(t, harness.Options{Env: []string{"LOGLEVEL=warn"}})
	src, dst := s.Addr+"/sync/source", s.Addr+"/sync/mirror"
	p := newRegctl(t, s.Addr)
	for _, tag := range []string{"v1", "v2"} {
		dir, _ := folderOf(t, randomImage(t, 10<<10, 2, types.OCIManifestSchema1))
		p.run("image", "copy", "ocidir://"+dir+":v1", src+":"+tag)
	}
	p.pipe("a text", "artifact", "put", "--artifact-type", "application/sbom", "--subject", src+":v1")

	creds := fmt.Sprintf("version: 1\ncreds: [{registry: %q, tls: disabled}]\n", s.Addr)
	sync := newProgram(t, "regsync")
	file := sync.write("sync.yml", creds+fmt.Sprintf("sync: [{source: %q, target: %q, type: repository, referrers: true}]\n", src, dst))
	for range 2 {
		sync.run("once", "-c", file)
	}
	for _, tag := range []string{":v1", ":v2"} {
		if got, want := p.run("image", "digest", dst+tag), p.run("image", "digest", src+tag); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	if got := p.run("artifact", "list", dst+":v1"); !strings.Contains(got, "application/sbom") {
		t.Errorf("got referrers %s, want the one of the source", got)
	}

	bot := newProgram(t, "regbot")
	file = bot.write("bot.yml", creds+fmt.Sprintf(`scripts:
- name: clean
  script: |
    for _, t in ipairs(tag.ls("%[1]s")) do
      if t == "v1" then tag.delete("%[1]s:" .. t) end
    end
    image.copy("%[1]s:v2", "%[1]s:v3")
`, dst))
	bot.run("once", "-c", file)
	if got, want := p.run("tag", "ls", dst), "v2\nv3"; got != want {
		t.Errorf("got tags %q, want %q", got, want)
	}
}
