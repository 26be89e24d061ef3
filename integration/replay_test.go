package integration

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/parfait-registry/parfait/integration/harness"
)

// A wire sends requests that no client at hand sends, or not any more.
type wire struct {
	t testing.TB
	*rawClient
}

func newWire(t testing.TB, url string) wire {
	c := newRawClient(url)
	t.Cleanup(c.close)
	return wire{t, c}
}

// ask sends a request, which has to be answered with a status.
func (w wire) ask(status int, method, target string, body io.Reader, header ...string) rawAnswer {
	w.t.Helper()
	a, err := w.want(w.t.Context(), status, method, target, body, header...)
	if err != nil {
		w.t.Fatal(err)
	}
	return a
}

// session begins an upload and returns its Location.
func (w wire) session(repo string, header ...string) string {
	w.t.Helper()
	location := w.ask(202, "POST", "/v2/"+repo+"/blobs/uploads/", nil, header...).header.Get("Location")
	if strings.Contains(location, "?") {
		w.t.Errorf("got Location %s, with a query that not every client keeps", location)
	}
	return location
}

// push pushes a blob and returns its descriptor.
func (w wire) push(repo, mediaType string, content []byte) v1.Descriptor {
	w.t.Helper()
	d := rawDescriptor(mediaType, content)
	w.ask(201, "PUT", w.session(repo)+"?digest="+d.Digest.String(), bytes.NewReader(content))
	return d
}

// chunked hides the length of a body, which then goes in chunks of HTTP.
func chunked(b []byte) io.Reader { return struct{ io.Reader }{bytes.NewReader(b)} }

const octets = "application/octet-stream"

// replays are the ways in which clients push a blob, to the header.
var replays = []struct {
	name string
	push func(w wire, repo string, content []byte, d string) rawAnswer
}{
	{"crane, cosign", func(w wire, repo string, content []byte, d string) rawAnswer {
		location := w.session(repo, "Content-Type", "application/json")
		location = w.ask(202, "PATCH", location, bytes.NewReader(content)).header.Get("Location")
		return w.ask(201, "PUT", location+"?digest="+url.QueryEscape(d), nil)
	}},
	{"docker, skopeo, podman, buildah", func(w wire, repo string, content []byte, d string) rawAnswer {
		location := w.ask(202, "PATCH", w.session(repo), chunked(content), "Content-Type", octets).header.Get("Location")
		return w.ask(201, "PUT", location+"?digest="+d, nil, "Content-Type", octets)
	}},
	{"skopeo that knows the length", func(w wire, repo string, content []byte, d string) rawAnswer {
		location := w.ask(202, "PATCH", w.session(repo), bytes.NewReader(content), "Content-Type", octets).header.Get("Location")
		return w.ask(201, "PUT", location+"?digest="+d, nil, "Content-Type", octets)
	}},
	{"oras, helm, notation, ctr, nerdctl, BuildKit", func(w wire, repo string, content []byte, d string) rawAnswer {
		return w.ask(201, "PUT", w.session(repo)+"?digest="+url.QueryEscape(d), bytes.NewReader(content), "Content-Type", octets)
	}},
	{"regctl, regsync, regbot", func(w wire, repo string, content []byte, d string) rawAnswer {
		if len(content) == 0 { // which another repository has already
			return w.ask(201, "POST", "/v2/"+repo+"/blobs/uploads/?mount="+d, nil)
		}
		location := w.ask(202, "POST", "/v2/"+repo+"/blobs/uploads/?mount="+d, nil).header.Get("Location")
		return w.ask(201, "PUT", location+"?digest="+d, bytes.NewReader(content), "Content-Type", octets)
	}},
	{"regctl in chunks of 1 MiB", func(w wire, repo string, content []byte, d string) rawAnswer {
		return w.ask(201, "PUT", w.chunks(repo, content, 1<<20)+"?digest="+d, nil, "Content-Type", octets)
	}},
	{"the last chunk in the PUT", func(w wire, repo string, content []byte, d string) rawAnswer {
		n := len(content) / 2
		return w.ask(201, "PUT", w.chunks(repo, content[:n], 1000_000)+"?digest="+d, bytes.NewReader(content[n:]),
			"Content-Range", fmt.Sprintf("%d-%d", n, len(content)-1))
	}},
	{"all in the POST", func(w wire, repo string, content []byte, d string) rawAnswer {
		return w.ask(201, "POST", "/v2/"+repo+"/blobs/uploads/?digest="+d, bytes.NewReader(content), "Content-Type", octets)
	}},
	{"zb, which drops the query", func(w wire, repo string, content []byte, d string) rawAnswer {
		location, _, _ := strings.Cut(w.session(repo), "?")
		location = w.ask(202, "PATCH", location, bytes.NewReader(content), "Content-Type", octets).header.Get("Location")
		location, _, _ = strings.Cut(location, "?")
		return w.ask(201, "PUT", location+"?digest="+d, nil)
	}},
	{"no slash at the end, more in the query", func(w wire, repo string, content []byte, d string) rawAnswer {
		location := w.ask(202, "POST", "/v2/"+repo+"/blobs/uploads?ns=docker.io", nil).header.Get("Location")
		return w.ask(201, "PUT", location+"?ns=docker.io&digest="+d, bytes.NewReader(content))
	}},
}

func testReplayedUploads(t *testing.T, on store) {
	s := on.start(t, harness.Options{Env: []string{"LOGLEVEL=warn"}})
	for _, tt := range replays {
		t.Run(tt.name, func(t *testing.T) {
			w := newWire(t, s.URL)
			for i, content := range [][]byte{randomBytes(t, 3<<20+1), randomBytes(t, 10), {}} {
				if len(content) < 2 && strings.Contains(tt.name, "chunk") {
					continue // there is no range of nothing
				}
				repo := fmt.Sprintf("replay/%d/%d", len(tt.name), i)
				d := digest.FromBytes(content).String()
				a := tt.push(w, repo, content, d)
				if got := a.header.Get("Docker-Content-Digest"); got != d {
					t.Errorf("got Docker-Content-Digest %q, want %s", got, d)
				}
				if got := w.ask(200, "GET", a.header.Get("Location"), nil); !bytes.Equal(got.body, content) {
					t.Errorf("got %d bytes, want %d", len(got.body), len(content))
				}
			}
		})
	}
}

// chunks pushes content in chunks of n bytes, each with its range, and returns the Location of the session.
func (w wire) chunks(repo string, content []byte, n int) string {
	w.t.Helper()
	location, off := w.session(repo), 0
	for chunk := range slices.Chunk(content, n) {
		last := off + len(chunk) - 1
		a := w.ask(202, "PATCH", location, bytes.NewReader(chunk), "Content-Range", fmt.Sprintf("%d-%d", off, last), "Content-Type", octets)
		if got, want := a.header.Get("Range"), fmt.Sprintf("0-%d", last); got != want {
			w.t.Errorf("got Range %q, want %q", got, want)
		}
		location, off = a.header.Get("Location"), last+1
	}
	return location
}

func testReplayedMounts(t *testing.T, on store) {
	s := on.start(t, harness.Options{Env: []string{"LOGLEVEL=warn"}})
	w := newWire(t, s.URL)
	content := randomBytes(t, 1000)
	d := w.push("mount/from", octets, content).Digest.String()
	for i, tt := range []struct {
		name, query string
		status      int
	}{
		{"crane", "from=mount/from&mount=" + d + "&origin=127.0.0.1:5000", 201},
		{"skopeo, oras, regctl, nerdctl", "mount=" + url.QueryEscape(d) + "&from=mount%2Ffrom", 201},
		{"anonymous", "mount=" + d, 201},
		{"from a repository that has it not", "mount=" + d + "&from=mount/nobody", 202},
		{"of a blob that nobody has", "mount=" + digest.FromString("nobody").String() + "&from=mount/from", 202},
		{"anonymous, of a blob that nobody has", "mount=" + digest.FromString("nobody").String(), 202},
		{"from what is no name", "mount=" + d + "&from=NO", 202},
		{"of what is no digest", "mount=no&from=mount/from", 202},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWire(t, s.URL)
			repo := fmt.Sprintf("mount/to/%d", i)
			a := w.ask(tt.status, "POST", "/v2/"+repo+"/blobs/uploads/?"+tt.query, nil)
			if tt.status == http.StatusAccepted { // the client goes on with an upload
				a = w.ask(201, "PUT", a.header.Get("Location")+"?digest="+d, bytes.NewReader(content))
			}
			if got := w.ask(200, "GET", a.header.Get("Location"), nil); !bytes.Equal(got.body, content) {
				t.Errorf("got %d bytes, want %d", len(got.body), len(content))
			}
		})
	}
}

// testChunkOutOfOrder sends chunks where they do not belong, each time looking where they do, and goes on there.
func testChunkOutOfOrder(t *testing.T, on store) {
	w := newWire(t, on.start(t, harness.Options{}).URL)
	content := []byte("hello world")
	location := w.session("order/app")
	w.ask(202, "PATCH", location, strings.NewReader("hello "), "Content-Range", "0-5")
	for _, header := range []string{"0-4", "5-9", "7-11"} {
		w.ask(416, "PATCH", location, strings.NewReader("world"), "Content-Range", header)
		a := w.ask(204, "GET", location, nil)
		if a.header.Get("Range") != "0-5" || a.header.Get("Location") == "" {
			t.Errorf("after %s: got %v, want the state of the session", header, a.header)
		}
	}
	w.ask(202, "PATCH", location, strings.NewReader("world"), "Content-Range", "6-10")
	a := w.ask(201, "PUT", location+"?digest="+digest.FromBytes(content).String(), nil)
	if got := w.ask(200, "GET", a.header.Get("Location"), nil); string(got.body) != string(content) {
		t.Errorf("got %q, want %q", got.body, content)
	}
}

// testContentDigest looks for the digest in every answer that has one, in the algorithm that was asked for.
func testContentDigest(t *testing.T, on store) {
	w := newWire(t, on.start(t, harness.Options{Env: []string{"LOGLEVEL=warn"}}).URL)
	for _, alg := range []digest.Algorithm{digest.SHA256, digest.SHA512} {
		config := []byte(`{"` + alg.String() + `": true}`)
		payload := rawJSON(v1.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest,
			Config:  v1.Descriptor{MediaType: v1.MediaTypeImageConfig, Digest: alg.FromBytes(config), Size: int64(len(config))},
			Layers:  []v1.Descriptor{},
			Subject: &v1.Descriptor{MediaType: v1.MediaTypeImageManifest, Digest: alg.FromString("subject"), Size: 7}})
		blob, manifest := alg.FromBytes(config).String(), alg.FromBytes(payload).String()
		const repo = "/v2/digests/app"
		asManifest := []string{"Content-Type", v1.MediaTypeImageManifest}
		for _, tt := range []struct {
			status         int
			method, target string
			body           []byte
			want           string
		}{
			{201, "POST", "/blobs/uploads/?digest=" + blob, config, blob},
			{200, "HEAD", "/blobs/" + blob, nil, blob},
			{200, "GET", "/blobs/" + blob, nil, blob},
			{201, "PUT", "/manifests/" + manifest, payload, manifest},
			{200, "HEAD", "/manifests/" + manifest, nil, manifest},
			{200, "GET", "/manifests/" + manifest, nil, manifest},
			{201, "PUT", "/manifests/v1", payload, digest.FromBytes(payload).String()},
			{200, "HEAD", "/manifests/v1", nil, digest.FromBytes(payload).String()},
			{200, "GET", "/manifests/v1", nil, digest.FromBytes(payload).String()},
		} {
			a := w.ask(tt.status, tt.method, repo+tt.target, bytes.NewReader(tt.body), asManifest...)
			if got := a.header.Get("Docker-Content-Digest"); got != tt.want {
				t.Errorf("%s %s: got Docker-Content-Digest %q, want %s", tt.method, tt.target, got, tt.want)
			}
			if got, want := a.header.Get("OCI-Subject"), alg.FromString("subject").String(); tt.method == "PUT" && got != want {
				t.Errorf("%s %s: got OCI-Subject %q, want %s", tt.method, tt.target, got, want)
			}
		}
	}
}

// testReferrersOfUnknown asks for the referrers of a subject, and of a repository, that nobody has pushed.
func testReferrersOfUnknown(t *testing.T, on store) {
	w := newWire(t, on.start(t, harness.Options{}).URL)
	subject := digest.FromString("nobody").String()
	for _, query := range []string{"", "?artifactType=application/sbom"} {
		a := w.ask(200, "GET", "/v2/referrers/nobody/referrers/"+subject+query, nil)
		var index v1.Index
		if err := json.Unmarshal(a.body, &index); err != nil || index.Manifests == nil || len(index.Manifests) != 0 || index.SchemaVersion != 2 {
			t.Errorf("got %s, %v, want an empty index", a.body, err)
		}
		if got := a.header.Get("Content-Type"); got != v1.MediaTypeImageIndex {
			t.Errorf("got Content-Type %q, want %q", got, v1.MediaTypeImageIndex)
		}
		if got := a.header.Get("OCI-Filters-Applied"); query != "" && got != "artifactType" {
			t.Errorf("got OCI-Filters-Applied %q, want artifactType", got)
		}
	}
}

// testSchemas pushes manifests of Docker: the second schema and its list are kept as they are, the first is refused.
func testSchemas(t *testing.T, on store) {
	w := newWire(t, on.start(t, harness.Options{Env: []string{"LOGLEVEL=warn"}}).URL)
	const docker = "application/vnd.docker.distribution.manifest."
	config := w.push("schemas/app", "application/vnd.docker.container.image.v1+json", []byte("{}"))
	image := rawJSON(map[string]any{"schemaVersion": 2, "mediaType": docker + "v2+json", "config": config, "layers": []any{}})
	list := rawJSON(map[string]any{"schemaVersion": 2, "mediaType": docker + "list.v2+json",
		"manifests": []any{rawDescriptor(docker+"v2+json", image)}})
	old := []byte(`{"schemaVersion":1,"name":"schemas/app","tag":"v1","architecture":"amd64",
		"fsLayers":[{"blobSum":"sha256:a3ed95caeb02ffe68cdd9fd84406680ae93d633cb16422d00e8a7c22955b46d4"}],
		"history":[{"v1Compatibility":"{}"}],"signatures":[]}`)
	for _, tt := range []struct {
		tag, mediaType string
		payload        []byte
		status         int
	}{
		{"image", docker + "v2+json", image, 201},
		{"list", docker + "list.v2+json", list, 201},
		{"signed", docker + "v1+prettyjws", old, 400},
		{"unsigned", docker + "v1+json", old, 400},
		{"json", "application/json", old, 400},
	} {
		target := "/v2/schemas/app/manifests/" + tt.tag
		a := w.ask(tt.status, "PUT", target, bytes.NewReader(tt.payload), "Content-Type", tt.mediaType)
		if tt.status != http.StatusCreated {
			if got := a.codes(); !slices.Equal(got, []string{"MANIFEST_INVALID"}) || !strings.Contains(string(a.body), "schema") {
				t.Errorf("%s: got %s, want MANIFEST_INVALID that names the schema", tt.tag, a.body)
			}
			w.ask(404, "GET", target, nil)
			continue
		}
		if a := w.ask(200, "GET", target, nil); a.header.Get("Content-Type") != tt.mediaType || !bytes.Equal(a.body, tt.payload) {
			t.Errorf("%s: got %s %s, want it as it was pushed", tt.tag, a.header.Get("Content-Type"), a.body)
		}
	}
}

// testBuildKitCache pushes a cache as BuildKit does unless it is told image-manifest=true: an index of layers.
func testBuildKitCache(t *testing.T, on store) {
	w := newWire(t, on.start(t, harness.Options{Env: []string{"LOGLEVEL=warn"}}).URL)
	for _, mediaType := range []string{v1.MediaTypeImageIndex, "application/vnd.docker.distribution.manifest.list.v2+json"} {
		layer := w.push("buildkit/cache", "application/vnd.docker.image.rootfs.diff.tar.gzip", randomBytes(t, 1000))
		config := w.push("buildkit/cache", "application/vnd.buildkit.cacheconfig.v0", []byte(`{"layers":[]}`))
		index := rawJSON(v1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: mediaType, Manifests: []v1.Descriptor{layer, config}})
		target := "/v2/buildkit/cache/manifests/latest"
		w.ask(201, "PUT", target, bytes.NewReader(index), "Content-Type", mediaType)
		if a := w.ask(200, "GET", target, nil); a.header.Get("Content-Type") != mediaType || !bytes.Equal(a.body, index) {
			t.Errorf("got %s %s, want it as it was pushed", a.header.Get("Content-Type"), a.body)
		}
	}
}

// testBlobOfEachRepository deletes a blob from one repository of two that have it, and pushes it there again.
func testBlobOfEachRepository(t *testing.T, on store) {
	w := newWire(t, on.start(t, harness.Options{Env: []string{"LOGLEVEL=warn"}}).URL)
	content := randomBytes(t, 1000)
	d := w.push("each/a", octets, content).Digest.String()
	w.push("each/b", octets, content)
	a, b, c := "/v2/each/a/blobs/"+d, "/v2/each/b/blobs/"+d, "/v2/each/c/blobs/"+d
	w.ask(404, "HEAD", c, nil)
	w.ask(202, "DELETE", a, nil)
	for range 2 { // and it stays so
		w.ask(404, "HEAD", a, nil)
		w.ask(404, "GET", a, nil)
		w.ask(404, "DELETE", a, nil)
		if got := w.ask(200, "GET", b, nil); !bytes.Equal(got.body, content) {
			t.Errorf("got %d bytes, want %d", len(got.body), len(content))
		}
	}
	w.push("each/a", octets, content)
	w.ask(200, "HEAD", a, nil)
}

// testDeleteTag deletes a tag, which leaves the manifest and its other tags.
func testDeleteTag(t *testing.T, on store) {
	w := newWire(t, on.start(t, harness.Options{}).URL)
	payload := rawJSON(v1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageIndex, Manifests: []v1.Descriptor{}})
	const manifests = "/v2/tags/app/manifests/"
	for _, tag := range []string{"v1", "v2"} {
		w.ask(201, "PUT", manifests+tag, bytes.NewReader(payload), "Content-Type", v1.MediaTypeImageIndex)
	}
	w.ask(202, "DELETE", manifests+"v1", nil)
	w.ask(404, "GET", manifests+"v1", nil)
	w.ask(404, "DELETE", manifests+"v1", nil)
	w.ask(200, "GET", manifests+"v2", nil)
	w.ask(200, "GET", manifests+digest.FromBytes(payload).String(), nil)
	if got, want := string(w.ask(200, "GET", "/v2/tags/app/tags/list", nil).body), `{"name":"tags/app","tags":["v2"]}`+"\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
