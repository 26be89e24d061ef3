package integration

import (
	"archive/tar"
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/stream"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/parfait-registry/parfait/integration/harness"
)

// testGoContainerRegistry uses the library of crane, ko, kaniko and cosign.
func testGoContainerRegistry(t *testing.T, on store) {
	s := on.start(t, harness.Options{Env: []string{"LOGLEVEL=warn"}})
	for _, tt := range []struct {
		name string
		test func(t *testing.T, s *harness.Server)
	}{
		{"images", ggcrImages},
		{"index", ggcrIndex},
		{"platform", ggcrPlatform},
		{"mount", ggcrMount},
		{"streamed layer", ggcrStream},
		{"non-distributable layer", ggcrForeign},
		{"referrers", ggcrReferrers},
		{"tags and catalog in pages", ggcrPages},
		{"delete", ggcrDelete},
		{"check push permission", ggcrPermission},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.test(t, s) })
	}
}

// ggcrImages pushes images of both formats, each twice: the second time nothing is left to push.
func ggcrImages(t *testing.T, s *harness.Server) {
	for _, tt := range []struct {
		name      string
		size      int64
		layers    int64
		mediaType types.MediaType
	}{
		{"no layer", 0, 0, types.OCIManifestSchema1},
		{"one empty layer", 0, 1, types.OCIManifestSchema1},
		{"OCI", 300 << 10, 7, types.OCIManifestSchema1},
		{"Docker", 300 << 10, 7, types.DockerManifestSchema2},
		{"large layers", 24 << 20, 2, types.OCIManifestSchema1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rec := harness.Record(t, s)
			img := randomImage(t, tt.size, tt.layers, tt.mediaType)
			ref := reference(t, rec.Addr+"/ggcr/images:"+fmt.Sprint(tt.size, "-", len(tt.mediaType)))
			ggcrPush(t, ref, img)
			ggcrSame(t, ref, img)
			rec.Reset()
			ggcrPush(t, ref, img)
			for _, r := range rec.Requests() {
				if r.Method != http.MethodGet && r.Method != http.MethodHead {
					t.Errorf("pushed again: got %v, want look-ups only", r)
				}
			}
		})
	}
}

func ggcrIndex(t *testing.T, s *harness.Server) {
	for mediaType, tag := range map[types.MediaType]string{types.OCIImageIndex: "oci", types.DockerManifestList: "docker"} {
		idx, err := random.Index(64<<10, 2, 4)
		if err != nil {
			t.Fatal(err)
		}
		idx = mutate.IndexMediaType(mutate.AppendManifests(idx, mutate.IndexAddendum{Add: empty.Index}), mediaType)
		ref := reference(t, s.Addr+"/ggcr/index:"+tag)
		if err := remote.WriteIndex(ref, idx, remote.WithContext(t.Context())); err != nil {
			t.Fatal(err)
		}
		got, err := remote.Index(ref, remote.WithContext(t.Context()))
		if err != nil {
			t.Fatal(err)
		}
		if err := validate.Index(got); err != nil {
			t.Errorf("%s: %v", mediaType, err)
		}
		if got, want := digestOf(t, got), digestOf(t, idx); got != want {
			t.Errorf("%s: got %s, want %s", mediaType, got, want)
		}
		if got, err := got.MediaType(); err != nil || got != mediaType {
			t.Errorf("got media type %q (%v), want %q", got, err, mediaType)
		}
	}
}

// ggcrPlatform pulls the image for one platform by the tag of all.
func ggcrPlatform(t *testing.T, s *harness.Server) {
	var idx ggcr.ImageIndex = empty.Index
	platforms := []ggcr.Platform{{OS: "linux", Architecture: "amd64"}, {OS: "linux", Architecture: "arm64"}, {OS: "linux", Architecture: "arm", Variant: "v7"}}
	images := make([]ggcr.Image, len(platforms))
	for i, p := range platforms {
		images[i] = randomImage(t, 1<<10, 1, types.OCIManifestSchema1)
		idx = mutate.AppendManifests(idx, mutate.IndexAddendum{Add: images[i], Descriptor: ggcr.Descriptor{Platform: &p}})
	}
	ref := reference(t, s.Addr+"/ggcr/platforms:v1")
	if err := remote.WriteIndex(ref, idx, remote.WithContext(t.Context())); err != nil {
		t.Fatal(err)
	}
	for i, p := range platforms {
		got, err := remote.Image(ref, remote.WithPlatform(p), remote.WithContext(t.Context()))
		if err != nil {
			t.Fatal(err)
		}
		if got, want := digestOf(t, got), digestOf(t, images[i]); got != want {
			t.Errorf("%s: got %s, want %s", p, got, want)
		}
	}
}

// ggcrMount copies within the registry: no blob is sent.
func ggcrMount(t *testing.T, s *harness.Server) {
	rec := harness.Record(t, s)
	src := reference(t, rec.Addr+"/ggcr/source:v1")
	ggcrPush(t, src, randomImage(t, 100<<10, 3, types.OCIManifestSchema1))
	img, err := remote.Image(src, remote.WithContext(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	rec.Reset()
	dst := reference(t, rec.Addr+"/ggcr/copy/of/source:v1")
	ggcrPush(t, dst, img)
	mounts := 0
	for _, r := range rec.Requests() {
		switch q := r.URL.Query(); {
		case r.Method == http.MethodPost && q.Get("mount") != "" && q.Get("from") == "ggcr/source":
			if mounts++; r.Status != http.StatusCreated {
				t.Errorf("got %v, want 201", r)
			}
		case r.Method == http.MethodPatch, r.Method == http.MethodPost:
			t.Errorf("got %v, want mounts only", r)
		}
	}
	if want := 3; mounts < want { // and perhaps the configuration
		t.Errorf("got %d mounts, want at least %d", mounts, want)
	}
	ggcrSame(t, dst, img)
}

// ggcrStream pushes a layer whose digest is known only when it has been sent, in chunks of HTTP.
func ggcrStream(t *testing.T, s *harness.Server) {
	rec := harness.Record(t, s)
	files := archive(t, tar.Header{Name: rand.Text(), Typeflag: tar.TypeReg, Mode: 0o644})
	layer := stream.NewLayer(io.NopCloser(bytes.NewReader(files)))
	img, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		t.Fatal(err)
	}
	ref := reference(t, rec.Addr+"/ggcr/stream:v1")
	ggcrPush(t, ref, img)
	ggcrSame(t, ref, img)
	if got, want := uploads(rec), streamWay; !slices.Contains(got, want) {
		t.Errorf("got %q, want %q among them", got, want)
	}
}

// ggcrForeign pushes an image with a layer that stays where it is.
func ggcrForeign(t *testing.T, s *harness.Server) {
	foreign := static.NewLayer([]byte("of somebody else"), types.DockerForeignLayer)
	img, err := mutate.AppendLayers(randomImage(t, 1<<10, 1, types.DockerManifestSchema2), foreign)
	if err != nil {
		t.Fatal(err)
	}
	ref := reference(t, s.Addr+"/ggcr/foreign:v1")
	ggcrPush(t, ref, img)
	got, err := remote.Image(ref, remote.WithContext(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := digestOf(t, got), digestOf(t, img); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	layers, err := got.Layers()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := layers[len(layers)-1].Compressed(); statusOf(err) != http.StatusNotFound {
		t.Errorf("the foreign layer: got %v, want 404", err)
	}
}

// ggcrReferrers pushes a signature and two bills of material before the image that they are of, as a copy may.
func ggcrReferrers(t *testing.T, s *harness.Server) {
	img := randomImage(t, 1<<10, 1, types.OCIManifestSchema1)
	subject, err := descriptorOf(img)
	if err != nil {
		t.Fatal(err)
	}
	repo := reference(t, s.Addr+"/ggcr/referrers:v1").Context()
	ofSubject := repo.Digest(subject.Digest.String())
	list := func(filter string) []ggcr.Descriptor {
		t.Helper()
		options := []remote.Option{remote.WithContext(t.Context()), remote.WithReferrersTagFallback(false)}
		if filter != "" {
			options = append(options, remote.WithFilter("artifactType", filter))
		}
		idx, err := remote.Referrers(ofSubject, options...)
		if err != nil {
			t.Fatal(err)
		}
		m, err := idx.IndexManifest()
		if err != nil {
			t.Fatal(err)
		}
		return m.Manifests
	}
	if got := list(""); len(got) != 0 {
		t.Errorf("before any push: got %v", got)
	}
	for i, kind := range []string{"application/vnd.example.sbom", "application/vnd.example.sbom", "application/vnd.example.signature"} {
		var artifact ggcr.Image = mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.MediaType(kind))
		artifact = mutate.Annotations(artifact, map[string]string{"n": fmt.Sprint(i)}).(ggcr.Image)
		artifact = mutate.Subject(artifact, subject).(ggcr.Image)
		ggcrPush(t, repo.Digest(digestOf(t, artifact)), artifact)
	}
	ggcrPush(t, repo.Tag("v1"), img)
	for filter, want := range map[string]int{"": 3, "application/vnd.example.sbom": 2, "application/vnd.example.signature": 1, "application/vnd.example.none": 0} {
		got := list(filter)
		if len(got) != want {
			t.Errorf("%q: got %v, want %d", filter, got, want)
		}
		for _, d := range got {
			if filter != "" && d.ArtifactType != filter || len(d.Annotations) != 1 {
				t.Errorf("%q: got %v", filter, d)
			}
		}
	}
}

func ggcrPages(t *testing.T, s *harness.Server) {
	img := randomImage(t, 100, 1, types.OCIManifestSchema1)
	repo := reference(t, s.Addr+"/ggcr/pages:0").Context()
	var tags []string
	cosign := strings.Replace(digestOf(t, img), ":", "-", 1)
	for _, tag := range []string{"0", "10", "9", "A", "_", "a", "a-1", "a.b", "latest", cosign, cosign + ".sig", "v1", "v1.0"} { // as bytes sort
		ggcrPush(t, repo.Tag(tag), img)
		tags = append(tags, tag)
	}
	for i := range 7 {
		ggcrPush(t, reference(t, fmt.Sprintf("%s/ggcr/pages/%d:v1", s.Addr, i)), img)
	}
	for _, size := range []int{1, 2, len(tags), 1000} {
		got, err := remote.List(repo, remote.WithPageSize(size), remote.WithContext(t.Context()))
		if err != nil || !slices.Equal(got, tags) {
			t.Errorf("tags in pages of %d: got %q, %v, want %q", size, got, err, tags)
		}
		repos, err := remote.Catalog(t.Context(), repo.Registry, remote.WithPageSize(size))
		if err != nil || !slices.IsSorted(repos) || !slices.Contains(repos, "ggcr/pages/6") {
			t.Errorf("repositories in pages of %d: got %q, %v", size, repos, err)
		}
	}
}

// ggcrDelete deletes a tag, which leaves the image, then the image.
func ggcrDelete(t *testing.T, s *harness.Server) {
	img := randomImage(t, 1<<10, 1, types.OCIManifestSchema1)
	repo := reference(t, s.Addr+"/ggcr/delete:v1").Context()
	ggcrPush(t, repo.Tag("v1"), img)
	ggcrPush(t, repo.Tag("v2"), img)
	byDigest := repo.Digest(digestOf(t, img))
	for _, step := range []struct {
		delete name.Reference
		gone   []name.Reference
		there  []name.Reference
	}{
		{repo.Tag("v1"), []name.Reference{repo.Tag("v1")}, []name.Reference{repo.Tag("v2"), byDigest}},
		{byDigest, []name.Reference{byDigest, repo.Tag("v2")}, nil},
	} {
		if err := remote.Delete(step.delete, remote.WithContext(t.Context())); err != nil {
			t.Fatal(err)
		}
		for _, ref := range step.gone {
			if _, err := remote.Head(ref); statusOf(err) != http.StatusNotFound {
				t.Errorf("%s: got %v, want 404", ref, err)
			}
		}
		for _, ref := range step.there {
			if _, err := remote.Head(ref); err != nil {
				t.Errorf("%s: %v", ref, err)
			}
		}
	}
	if err := remote.Delete(byDigest); statusOf(err) != http.StatusNotFound {
		t.Errorf("delete again: got %v, want 404", err)
	}
}

// ggcrPermission begins an upload and cancels it.
func ggcrPermission(t *testing.T, s *harness.Server) {
	if err := remote.CheckPushPermission(reference(t, s.Addr+"/ggcr/permission:v1"), authn.DefaultKeychain, http.DefaultTransport); err != nil {
		t.Error(err)
	}
}

func reference(t *testing.T, s string) name.Reference {
	t.Helper()
	ref, err := name.ParseReference(s)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

func ggcrPush(t *testing.T, ref name.Reference, img ggcr.Image) {
	t.Helper()
	if err := remote.Write(ref, img, remote.WithContext(t.Context())); err != nil {
		t.Fatal(err)
	}
}

// ggcrSame pulls all of an image and compares it with what was pushed.
func ggcrSame(t *testing.T, ref name.Reference, want ggcr.Image) {
	t.Helper()
	got, err := remote.Image(ref, remote.WithContext(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Image(got); err != nil {
		t.Error(err)
	}
	if got, want := digestOf(t, got), digestOf(t, want); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// randomImage makes an image of layers with size random bytes each.
func randomImage(t *testing.T, size, layers int64, mediaType types.MediaType) ggcr.Image {
	t.Helper()
	var img ggcr.Image = empty.Image
	for range layers {
		layer, err := random.Layer(size, layerOf(mediaType))
		if err != nil {
			t.Fatal(err)
		}
		if img, err = mutate.Append(img, mutate.Addendum{Layer: layer, History: ggcr.History{CreatedBy: "a test"}}); err != nil {
			t.Fatal(err)
		}
	}
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Author, config.Config.Cmd = "linux", "amd64", rand.Text(), []string{"/hello"}
	if img, err = mutate.ConfigFile(img, config); err != nil {
		t.Fatal(err)
	}
	configType := types.OCIConfigJSON
	if mediaType == types.DockerManifestSchema2 {
		configType = types.DockerConfigJSON
	}
	return mutate.ConfigMediaType(mutate.MediaType(img, mediaType), configType)
}

func layerOf(manifest types.MediaType) types.MediaType {
	if manifest == types.DockerManifestSchema2 {
		return types.DockerLayer
	}
	return types.OCILayer
}

func digestOf(t *testing.T, v interface{ Digest() (ggcr.Hash, error) }) string {
	t.Helper()
	d, err := v.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return d.String()
}

func descriptorOf(img ggcr.Image) (ggcr.Descriptor, error) {
	digest, err := img.Digest()
	if err != nil {
		return ggcr.Descriptor{}, err
	}
	payload, err := img.RawManifest()
	if err != nil {
		return ggcr.Descriptor{}, err
	}
	mediaType, err := img.MediaType()
	return ggcr.Descriptor{MediaType: mediaType, Size: int64(len(payload)), Digest: digest}, err
}

// statusOf is the status of an answer that the library took for an error, or 0.
func statusOf(err error) int {
	if e, ok := errors.AsType[*transport.Error](err); ok {
		return e.StatusCode
	}
	return 0
}

// pulled returns an image of a registry.
func pulled(t *testing.T, name string) ggcr.Image {
	t.Helper()
	img, err := remote.Image(reference(t, name), remote.WithContext(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	return img
}
