package integration

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"testing"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/content/memory"
	"oras.land/oras-go/v2/errdef"
	orasregistry "oras.land/oras-go/v2/registry"
	"oras.land/oras-go/v2/registry/remote"

	"github.com/parfait-registry/parfait/integration/harness"
)

// testORAS uses the library of oras, helm and notation.
func testORAS(t *testing.T, on store) {
	s := on.start(t, harness.Options{Env: []string{"LOGLEVEL=warn"}})
	for _, tt := range []struct {
		name string
		test func(t *testing.T, s *harness.Server)
	}{
		{"push and pull", orasPushPull},
		{"copy with referrers", orasCopy},
		{"referrers", orasReferrers},
		{"seek in a blob", orasSeek},
		{"tags and repositories in pages", orasPages},
		{"tag again", orasTag},
		{"delete", orasDelete},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.test(t, s) })
	}
}

// orasPushPull pushes artifacts of all the shapes that the library can make.
func orasPushPull(t *testing.T, s *harness.Server) {
	files := []string{"a text", "", rand.Text()}
	config := &v1.Descriptor{MediaType: "application/vnd.cncf.helm.config.v1+json"}
	for _, tt := range []struct {
		name    string
		version oras.PackManifestVersion
		files   []string
		config  *v1.Descriptor
	}{
		{"version 1.1", oras.PackManifestVersion1_1, files, nil},
		{"version 1.1 without files", oras.PackManifestVersion1_1, nil, nil},
		{"version 1.0", oras.PackManifestVersion1_0, files, nil},
		{"a chart of helm", oras.PackManifestVersion1_1, files[:1], config},
	} {
		t.Run(tt.name, func(t *testing.T) {
			src := memory.New()
			options := oras.PackManifestOptions{Layers: orasFiles(t, src, tt.files...)}
			if tt.config != nil {
				d := orasBlob(t, src, tt.config.MediaType, `{"name":"chart"}`)
				options.ConfigDescriptor = &d
			}
			want := orasPack(t, src, tt.version, "application/vnd.example", options)
			repo := orasRepository(t, s.Addr, "oras/push")
			for range 2 { // the second time all is there
				orasCopyTo(t, src, want, repo, "v1")
			}
			got, err := repo.Resolve(t.Context(), "v1")
			if err != nil || !content.Equal(got, want) {
				t.Errorf("got %v, %v, want %v", got, err, want)
			}
			orasSame(t, repo, want)
		})
	}
}

// orasCopy copies an artifact with a signature, and a signature of that, to another repository and to one that mounts.
func orasCopy(t *testing.T, s *harness.Server) {
	rec := harness.Record(t, s)
	src := orasRepository(t, rec.Addr, "oras/source")
	image := orasPack(t, src, oras.PackManifestVersion1_1, "application/vnd.example",
		oras.PackManifestOptions{Layers: orasFiles(t, src, rand.Text(), rand.Text())})
	if err := src.Tag(t.Context(), image, "v1"); err != nil {
		t.Fatal(err)
	}
	signature := orasPack(t, src, oras.PackManifestVersion1_1, "application/vnd.example.signature",
		oras.PackManifestOptions{Layers: orasFiles(t, src, rand.Text()), Subject: &image})
	orasPack(t, src, oras.PackManifestVersion1_1, "application/vnd.example.timestamp", oras.PackManifestOptions{Subject: &signature})

	for repo, mount := range map[string]bool{"oras/copy": false, "oras/mounted": true} {
		rec.Reset()
		dst := orasRepository(t, rec.Addr, repo)
		options := oras.DefaultExtendedCopyOptions
		if mount {
			options.MountFrom = func(context.Context, v1.Descriptor) ([]string, error) { return []string{"oras/source"}, nil }
		}
		if _, err := oras.ExtendedCopy(t.Context(), src, "v1", dst, "v2", options); err != nil {
			t.Fatal(err)
		}
		orasSame(t, dst, image)
		for _, subject := range []v1.Descriptor{image, signature} {
			if got := orasReferrersOf(t, dst, subject, ""); len(got) != 1 {
				t.Errorf("%s: got referrers %v of %s, want one", repo, got, subject.Digest)
			}
		}
		want := []string{putWay}
		if mount {
			want = []string{mountedWay}
		}
		if got := uploads(rec); !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", repo, got, want)
		}
	}
}

// orasReferrers pages through what refers to an image that nobody has pushed.
func orasReferrers(t *testing.T, s *harness.Server) {
	rec := harness.Record(t, s)
	repo := orasRepository(t, rec.Addr, "oras/referrers")
	repo.ReferrerListPageSize = 2
	subject := content.NewDescriptorFromBytes(v1.MediaTypeImageManifest, []byte("{}"))
	if got := orasReferrersOf(t, repo, subject, ""); len(got) != 0 {
		t.Errorf("before any push: got %v", got)
	}
	const sbom, signature = "application/vnd.example.sbom", "application/vnd.example.signature"
	want := make(map[string]int)
	for i := range 7 {
		kind := []string{sbom, signature}[i%2]
		orasPack(t, repo, oras.PackManifestVersion1_1, kind, oras.PackManifestOptions{
			Subject: &subject, ManifestAnnotations: map[string]string{"n": fmt.Sprint(i)}})
		want[kind]++
		want[""]++
	}
	for _, kind := range []string{"", sbom, signature, "application/vnd.example.none"} {
		got := orasReferrersOf(t, repo, subject, kind)
		if len(got) != want[kind] {
			t.Errorf("%q: got %d, want %d", kind, len(got), want[kind])
		}
		for _, d := range got {
			if d.Annotations["n"] == "" || kind != "" && d.ArtifactType != kind {
				t.Errorf("%q: got %v", kind, d)
			}
		}
	}
	for _, r := range rec.Requests() { // no referrers tag is kept where the registry keeps count
		if r.Method == http.MethodPut && kindOf(r) == "manifest" && r.Response.Get("OCI-Subject") != subject.Digest.String() {
			t.Errorf("%v: got OCI-Subject %q", r, r.Response.Get("OCI-Subject"))
		}
	}
}

// orasSeek reads a part in the middle of a blob, which becomes a request for a range.
func orasSeek(t *testing.T, s *harness.Server) {
	repo := orasRepository(t, s.Addr, "oras/seek")
	want := make([]byte, 1<<20)
	if _, err := rand.Read(want); err != nil {
		t.Fatal(err)
	}
	d := orasBlob(t, repo, v1.MediaTypeImageLayer, string(want))
	body, err := repo.Blobs().Fetch(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	seeker, ok := body.(io.ReadSeeker)
	if !ok {
		t.Fatalf("got a %T, which cannot seek", body)
	}
	for _, off := range []int64{0, 1, 1000, int64(len(want)) - 1, 500_000} {
		if _, err := seeker.Seek(off, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		n := min(1000, int64(len(want))-off)
		got := make([]byte, n)
		if _, err := io.ReadFull(seeker, got); err != nil || !bytes.Equal(got, want[off:off+n]) {
			t.Errorf("at %d: got other bytes, or %v", off, err)
		}
	}
}

func orasPages(t *testing.T, s *harness.Server) {
	repo := orasRepository(t, s.Addr, "oras/pages")
	repo.TagListPageSize = 3
	d := orasPack(t, repo, oras.PackManifestVersion1_1, "application/vnd.example", oras.PackManifestOptions{})
	var want []string
	for i := range 10 {
		tag := fmt.Sprintf("v%d", i)
		if err := repo.Tag(t.Context(), d, tag); err != nil {
			t.Fatal(err)
		}
		want = append(want, tag)
	}
	got, err := orasregistry.Tags(t.Context(), repo)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got tags %q, %v, want %q", got, err, want)
	}
	reg, err := remote.NewRegistry(s.Addr)
	if err != nil {
		t.Fatal(err)
	}
	reg.PlainHTTP, reg.RepositoryListPageSize = true, 1
	if err := reg.Ping(t.Context()); err != nil {
		t.Error(err)
	}
	repos, err := orasregistry.Repositories(t.Context(), reg)
	if err != nil || !slices.Contains(repos, "oras/pages") || !slices.IsSorted(repos) {
		t.Errorf("got repositories %q, %v", repos, err)
	}
}

// orasTag moves a tag from one manifest to another.
func orasTag(t *testing.T, s *harness.Server) {
	repo := orasRepository(t, s.Addr, "oras/tag")
	for i := range 2 {
		d := orasPack(t, repo, oras.PackManifestVersion1_1, "application/vnd.example",
			oras.PackManifestOptions{ManifestAnnotations: map[string]string{"n": fmt.Sprint(i)}})
		if err := repo.Tag(t.Context(), d, "latest"); err != nil {
			t.Fatal(err)
		}
		got, body, err := repo.FetchReference(t.Context(), "latest")
		if err != nil {
			t.Fatal(err)
		}
		defer body.Close()
		if payload, err := content.ReadAll(body, got); err != nil || !content.Equal(got, d) || d.Digest != digest.FromBytes(payload) {
			t.Errorf("got %v, %v, want %v", got, err, d)
		}
	}
}

func orasDelete(t *testing.T, s *harness.Server) {
	repo := orasRepository(t, s.Addr, "oras/delete")
	subject := content.NewDescriptorFromBytes(v1.MediaTypeImageManifest, []byte("{}"))
	layers := orasFiles(t, repo, rand.Text())
	d := orasPack(t, repo, oras.PackManifestVersion1_1, "application/vnd.example", oras.PackManifestOptions{Layers: layers, Subject: &subject})
	for _, d := range []v1.Descriptor{d, layers[0]} {
		if err := repo.Delete(t.Context(), d); err != nil {
			t.Fatal(err)
		}
		if ok, err := repo.Exists(t.Context(), d); ok || err != nil {
			t.Errorf("%s: got %v, %v after its deletion", d.MediaType, ok, err)
		}
		if err := repo.Delete(t.Context(), d); !errors.Is(err, errdef.ErrNotFound) {
			t.Errorf("%s: deleted again: got %v", d.MediaType, err)
		}
	}
	if got := orasReferrersOf(t, repo, subject, ""); len(got) != 0 {
		t.Errorf("got referrers %v after their deletion", got)
	}
}

func orasRepository(t *testing.T, addr, name string) *remote.Repository {
	t.Helper()
	repo, err := remote.NewRepository(addr + "/" + name)
	if err != nil {
		t.Fatal(err)
	}
	repo.PlainHTTP = true
	return repo
}

func orasBlob(t *testing.T, to content.Pusher, mediaType, text string) v1.Descriptor {
	t.Helper()
	d, err := oras.PushBytes(t.Context(), to, mediaType, []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func orasFiles(t *testing.T, to content.Pusher, texts ...string) []v1.Descriptor {
	t.Helper()
	var layers []v1.Descriptor
	for i, text := range texts {
		d := orasBlob(t, to, "text/plain", text)
		d.Annotations = map[string]string{v1.AnnotationTitle: fmt.Sprintf("%d.txt", i)}
		layers = append(layers, d)
	}
	return layers
}

func orasPack(t *testing.T, to content.Pusher, version oras.PackManifestVersion, artifactType string, options oras.PackManifestOptions) v1.Descriptor {
	t.Helper()
	d, err := oras.PackManifest(t.Context(), to, version, artifactType, options)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func orasCopyTo(t *testing.T, src *memory.Store, d v1.Descriptor, dst oras.Target, tag string) {
	t.Helper()
	if err := src.Tag(t.Context(), d, tag); err != nil {
		t.Fatal(err)
	}
	if _, err := oras.Copy(t.Context(), src, tag, dst, tag, oras.DefaultCopyOptions); err != nil {
		t.Fatal(err)
	}
}

// orasSame pulls all that d leads to, each checked against its digest by the library.
func orasSame(t *testing.T, src oras.ReadOnlyTarget, d v1.Descriptor) {
	t.Helper()
	dst := memory.New()
	if err := oras.CopyGraph(t.Context(), src, dst, d, oras.DefaultCopyGraphOptions); err != nil {
		t.Error(err)
	}
	if ok, err := dst.Exists(t.Context(), d); !ok || err != nil {
		t.Errorf("pull %s: got %v, %v", d.Digest, ok, err)
	}
}

func orasReferrersOf(t *testing.T, repo *remote.Repository, d v1.Descriptor, artifactType string) []v1.Descriptor {
	t.Helper()
	var all []v1.Descriptor
	err := repo.Referrers(t.Context(), d, artifactType, func(page []v1.Descriptor) error {
		all = append(all, page...)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
