package integration

import (
	"fmt"
	"net/http"
	"path"
	"slices"
	"strings"
	"testing"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/parfait-registry/parfait/integration/harness"
)

// Ways in which blobs are uploaded, as the function uploads describes them.
const (
	putWay     = "POST, PUT of known length"
	patchWay   = "POST, PATCH of known length, PUT"
	streamWay  = "POST, PATCH of unknown length, PUT"
	anyoneWay  = "POST to mount from anywhere, PUT of known length"
	mountedWay = "POST to mount (201)"
)

// testUploadPatterns holds what each client is known to do, and that it is served. It fails if a new version of a
// client does something else, which then has to be looked at.
func testUploadPatterns(t *testing.T, on store) {
	s := on.start(t, harness.Options{Env: []string{"LOGLEVEL=warn"}})
	for _, tt := range []struct {
		name    string
		push    func(t *testing.T, dir, name string) // pushes the image in the folder dir
		uploads []string
		others  []string // requests that come with the uploads
	}{
		{"crane", craneOf("push"), []string{patchWay}, []string{"GET base 200", "HEAD manifest 404", "HEAD blob 404", "PUT manifest 201"}},
		{"skopeo", skopeoOf(), []string{patchWay}, []string{"GET base 200", "HEAD blob 404", "PUT manifest 201"}},
		{"skopeo that compresses", skopeoOf("--dest-compress-format", "zstd", "--dest-compress"), []string{patchWay, streamWay},
			[]string{"GET base 200", "HEAD blob 404", "PUT manifest 201"}},
		{"podman", podmanOf(), []string{patchWay, streamWay}, []string{"GET base 200", "HEAD blob 404", "PUT manifest 201"}},
		{"buildah", buildahPush, []string{patchWay, streamWay}, []string{"GET base 200", "HEAD blob 404", "PUT manifest 201"}},
		{"oras", orasPush, []string{putWay}, []string{"HEAD manifest 404", "HEAD blob 404", "PUT manifest 201"}},
		{"regctl", regctlPush, []string{anyoneWay}, []string{"PUT manifest 201"}},
		{"regctl with small chunks", regctlChunks, []string{
			"POST, PATCH of 0-999, PATCH of 1000-1999, PATCH of 2000-2499, PUT"}, nil},
		{"regctl from a pipe", regctlPipe, []string{
			"POST, PATCH of 0-1048575, PATCH of 1048576-2097151, PATCH of 2097152-2500000, PUT"}, nil},
		{"containerd", containerdLayer, []string{putWay}, []string{"HEAD blob 404"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rec := harness.Record(t, s)
			dir, _ := folder(t, 100<<10, 2)
			tt.push(t, dir, rec.Addr+"/patterns/"+strings.ReplaceAll(tt.name, " ", "-")+":v1")
			if got := uploads(rec); !slices.Equal(got, tt.uploads) {
				t.Errorf("got uploads %q, want %q", got, tt.uploads)
			}
			var others []string
			for _, r := range rec.Requests() {
				others = append(others, fmt.Sprintf("%s %s %d", r.Method, kindOf(r), r.Status))
				checkUsual(t, r)
			}
			for _, want := range tt.others {
				if !slices.Contains(others, want) {
					t.Errorf("got no %q among %q", want, slices.Compact(others))
				}
			}
		})
	}
}

// checkUsual looks at what holds of all clients.
func checkUsual(t *testing.T, r harness.Request) {
	t.Helper()
	if r.Header.Get("Expect") != "" {
		t.Errorf("%v: got Expect: %s", r, r.Header.Get("Expect"))
	}
	if location := r.Response.Get("Location"); strings.Contains(location, "?") {
		t.Errorf("%v: got a query in Location %s, which not every client keeps", r, location)
	}
	if kind := r.Header.Get("Content-Type"); r.Method == http.MethodPost && strings.HasPrefix(r.Header.Get("User-Agent"), "crane") && kind != "application/json" {
		t.Errorf("%v: got Content-Type %q, want that of JSON, although there is no body", r, kind)
	}
	if digest := path.Base(r.URL.Path); strings.HasPrefix(digest, "sha256:") && r.Status == http.StatusOK {
		if got := r.Response.Get("Docker-Content-Digest"); got != digest {
			t.Errorf("%v: got Docker-Content-Digest %q", r, got)
		}
	}
}

// testRelativeLocations pushes with every client to a server whose Location headers are paths.
func testRelativeLocations(t *testing.T, on store) {
	s := on.start(t, harness.Options{Env: []string{"LOGLEVEL=warn", "REGISTRY_HTTP_RELATIVEURLS=true"}})
	for name, push := range map[string]func(t *testing.T, dir, name string){
		"crane": craneOf("push"), "skopeo": skopeoOf(), "podman": podmanOf(), "buildah": buildahPush, "oras": orasPush,
		"regctl": regctlPush, "chunks": regctlChunks, "pipe": regctlPipe, "containerd": containerdLayer,
	} {
		t.Run(name, func(t *testing.T) {
			rec := harness.Record(t, s)
			dir, _ := folder(t, 10<<10, 1)
			push(t, dir, rec.Addr+"/relative/"+name+":v1")
			for _, r := range rec.Requests() {
				if location := r.Response.Get("Location"); location != "" && !strings.HasPrefix(location, "/v2/relative/") {
					t.Errorf("%v: got Location %s", r, location)
				}
			}
			if len(uploads(rec)) == 0 {
				t.Error("no blob was uploaded")
			}
		})
	}
}

// testCopyWithinRegistry copies an image to another repository with every client that can: the blobs are mounted.
func testCopyWithinRegistry(t *testing.T, on store) {
	s := on.start(t, harness.Options{Env: []string{"LOGLEVEL=warn"}})
	for _, tt := range []struct {
		name string
		copy func(t *testing.T, src, dst string)
	}{
		{"crane", func(t *testing.T, src, dst string) { newProgram(t, "crane").run("cp", src, dst) }},
		{"oras", func(t *testing.T, src, dst string) {
			newProgram(t, "oras").run("cp", "-r", "--from-plain-http", "--to-plain-http", src, dst)
		}},
		{"regctl", func(t *testing.T, src, dst string) { newRegctl(t, src).run("image", "copy", src, dst) }},
		{"skopeo", func(t *testing.T, src, dst string) {
			p := newProgram(t, "skopeo") // it tries to mount what it has seen before
			p.run("copy", "--src-tls-verify=false", "docker://"+src, "dir:seen")
			p.run("copy", "--src-tls-verify=false", "--dest-tls-verify=false", "docker://"+src, "docker://"+dst)
		}},
		{"podman", func(t *testing.T, src, dst string) {
			p := newProgram(t, "podman")
			p.run("push", "--tls-verify=false", p.run("pull", "--tls-verify=false", src), dst)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rec := harness.Record(t, s)
			src, dst := rec.Addr+"/copy/"+tt.name+":v1", rec.Addr+"/copy/"+tt.name+"/second:v1"
			dir, digest := folder(t, 10<<10, 3)
			craneOf("push")(t, dir, src)
			rec.Reset()
			tt.copy(t, src, dst)
			if got := newProgram(t, "crane").run("digest", dst); got != digest && tt.name != "podman" {
				t.Errorf("got %s, want %s", got, digest)
			}
			if got := uploads(rec); !slices.Contains(got, mountedWay) || slices.Contains(got, putWay) || slices.Contains(got, streamWay) {
				t.Errorf("got %q, want mounts", got)
			}
			for _, r := range rec.Requests() {
				if q := r.URL.Query(); tt.name == "crane" && q.Has("mount") && q.Get("origin") == "" {
					t.Errorf("%v: no origin, which crane is known to send", r)
				}
			}
		})
	}
}

func craneOf(args ...string) func(t *testing.T, dir, name string) {
	return func(t *testing.T, dir, name string) { newProgram(t, "crane").run(append(args, dir, name)...) }
}

func skopeoOf(flags ...string) func(t *testing.T, dir, name string) {
	return func(t *testing.T, dir, name string) {
		args := append([]string{"copy", "--dest-tls-verify=false"}, flags...)
		newProgram(t, "skopeo").run(append(args, "oci:"+dir+":v1", "docker://"+name)...)
	}
}

func podmanOf(flags ...string) func(t *testing.T, dir, name string) {
	return func(t *testing.T, dir, name string) {
		p := newProgram(t, "podman")
		p.link("in", dir)
		args := append([]string{"push", "--tls-verify=false"}, flags...)
		p.run(append(args, p.run("pull", "oci:in:v1"), "docker://"+name)...)
	}
}

func buildahPush(t *testing.T, dir, name string) {
	p := newProgram(t, "buildah")
	p.link("in", dir)
	p.run("push", "--tls-verify=false", p.run("pull", "oci:in:v1"), "docker://"+name)
}

func orasPush(t *testing.T, dir, name string) {
	newProgram(t, "oras").run("cp", "--from-oci-layout", dir+":v1", "--to-plain-http", name)
}

func regctlPush(t *testing.T, dir, name string) {
	newRegctl(t, name).run("image", "copy", "ocidir://"+dir+":v1", name)
}

// regctlChunks pushes one blob in chunks of a size that it was told.
func regctlChunks(t *testing.T, _, name string) {
	p := newRegctl(t, name)
	addr, _, _ := strings.Cut(name, "/")
	p.run("registry", "set", addr, "--blob-chunk", "1000", "--blob-max", "1000")
	content := randomBytes(t, 2500)
	d := rawDescriptor("", content).Digest.String()
	if got := p.pipe(string(content), "blob", "put", "--digest", d, name); got != d {
		t.Errorf("got %q, want %s", got, d)
	}
}

// regctlPipe pushes one blob of unknown size.
func regctlPipe(t *testing.T, _, name string) {
	content := randomBytes(t, 2_500_001)
	want := rawDescriptor("", content).Digest.String()
	p := newRegctl(t, name)
	if got := p.pipe(string(content), "blob", "put", name); got != want {
		t.Errorf("got %q, want %s", got, want)
	}
	if got := p.run("blob", "get", name, want); got != strings.TrimSpace(string(content)) {
		t.Errorf("got %d bytes back, want %d", len(got), len(content))
	}
}

// containerdLayer pushes one blob.
func containerdLayer(t *testing.T, _, name string) {
	store := containerdStore(t)
	containerdPush(t, name, containerdWrite(t, store, v1.MediaTypeImageLayerGzip, randomBytes(t, 1000)), store)
}

// newRegctl is regctl that knows the registry of a name, or of an address alone, to have no TLS.
func newRegctl(t *testing.T, name string) *program {
	t.Helper()
	p := newProgram(t, "regctl")
	addr, _, _ := strings.Cut(name, "/")
	p.run("registry", "set", addr, "--tls", "disabled")
	return p
}

// uploads returns in which ways blobs were uploaded, each way once: the requests of a session in their order, and what
// in them makes clients different.
func uploads(rec *harness.Recorder) []string {
	sessions := make(map[string][]string)
	for _, r := range rec.Requests() {
		if !strings.Contains(r.URL.Path, "/blobs/uploads/") {
			continue
		}
		id := path.Base(r.URL.Path)
		if r.Method == http.MethodPost {
			id = path.Base(r.Response.Get("Location"))
		}
		sessions[id] = append(sessions[id], describe(r))
	}
	var ways []string
	for _, requests := range sessions {
		ways = append(ways, strings.Join(requests, ", "))
	}
	slices.Sort(ways)
	return slices.Compact(ways)
}

// describe says what is particular in a request of an upload.
func describe(r harness.Request) string {
	what := r.Method
	q := r.URL.Query()
	switch {
	case q.Has("mount") && q.Has("from"):
		what += " to mount"
	case q.Has("mount"):
		what += " to mount from anywhere"
	case r.Header.Get("Content-Range") != "":
		what += " of " + r.Header.Get("Content-Range")
	case r.Length < 0:
		what += " of unknown length"
	case r.Length > 0:
		what += " of known length"
	}
	if r.Status >= 400 || r.Status == http.StatusCreated && r.Method == http.MethodPost {
		what += fmt.Sprintf(" (%d)", r.Status)
	}
	return what
}

// kindOf says what a request is about.
func kindOf(r harness.Request) string {
	for _, kind := range []string{"upload", "blob", "manifest", "referrer", "tag"} {
		if strings.Contains(r.URL.Path, "/"+kind+"s/") {
			return kind
		}
	}
	if r.URL.Path == "/v2/" {
		return "base"
	}
	return path.Base(r.URL.Path)
}
