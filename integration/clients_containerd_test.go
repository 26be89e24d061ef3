package integration

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/containerd/log"
	"github.com/containerd/platforms"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/parfait-registry/parfait/integration/harness"
)

// testContainerd uses the resolver and the content store of containerd, which ctr, nerdctl, BuildKit, docker and the
// nodes of Kubernetes push and pull with.
func testContainerd(t *testing.T, on store) {
	if err := log.SetLevel("error"); err != nil {
		t.Fatal(err)
	}
	s := on.start(t, harness.Options{Env: []string{"LOGLEVEL=warn"}})
	for _, tt := range []struct {
		name string
		test func(t *testing.T, s *harness.Server)
	}{
		{"push and pull", containerdPushPull},
		{"mount from the source", containerdMount},
		{"fetch by digest and from an offset", containerdFetch},
		{"referrers", containerdReferrers},
		{"unknown image", containerdUnknown},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.test(t, s) })
	}
}

// containerdPushPull pushes images for two platforms under an index, of both formats, and pulls them into a new store.
func containerdPushPull(t *testing.T, s *harness.Server) {
	for _, tt := range []struct{ index, manifest, config, layer string }{
		{v1.MediaTypeImageIndex, v1.MediaTypeImageManifest, v1.MediaTypeImageConfig, v1.MediaTypeImageLayerGzip},
		{images.MediaTypeDockerSchema2ManifestList, images.MediaTypeDockerSchema2Manifest,
			images.MediaTypeDockerSchema2Config, images.MediaTypeDockerSchema2LayerGzip},
	} {
		t.Run(tt.index, func(t *testing.T) {
			rec := harness.Record(t, s)
			store := containerdStore(t)
			index := v1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: tt.index}
			for _, p := range []v1.Platform{{OS: "linux", Architecture: "amd64"}, {OS: "linux", Architecture: "arm64"}} {
				m := v1.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: tt.manifest,
					Config: containerdWrite(t, store, tt.config, rawJSON(v1.Image{Platform: p, Author: rand.Text()}))}
				for range 3 {
					m.Layers = append(m.Layers, containerdWrite(t, store, tt.layer, randomBytes(t, 100<<10)))
				}
				d := containerdWrite(t, store, tt.manifest, rawJSON(m))
				d.Platform = &p
				index.Manifests = append(index.Manifests, d)
			}
			want := containerdWrite(t, store, tt.index, rawJSON(index))
			name := rec.Addr + "/containerd/app:v1"
			containerdPush(t, name, want, store)
			if got, want := uploads(rec), []string{putWay}; !slices.Equal(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
			containerdPull(t, name, want)
			rec.Reset()
			containerdPush(t, name, want, store)
			for _, r := range rec.Requests() {
				if r.Method != http.MethodHead && !strings.Contains(r.URL.Path, "/manifests/") {
					t.Errorf("pushed again: got %v", r)
				}
			}
		})
	}
}

// containerdMount pushes a blob that the store remembers from another repository, as nerdctl does after a new tag.
func containerdMount(t *testing.T, s *harness.Server) {
	rec := harness.Record(t, s)
	store := containerdStore(t)
	d := containerdWrite(t, store, v1.MediaTypeImageLayerGzip, randomBytes(t, 1000))
	containerdPush(t, rec.Addr+"/containerd/mount/from:v1", d, store)
	host, _, _ := strings.Cut(rec.Addr, ":")
	for from, want := range map[string]string{
		"containerd/mount/from": mountedWay,
		"containerd/mount/none": "POST to mount, PUT of known length",
	} {
		rec.Reset()
		d.Annotations = map[string]string{"containerd.io/distribution.source." + host: from}
		containerdPush(t, rec.Addr+"/containerd/to/"+strings.ReplaceAll(from, "/", "-")+":v1", d, store)
		if got := uploads(rec); !slices.Equal(got, []string{want}) {
			t.Errorf("from %s: got %q, want %q", from, got, want)
		}
	}
}

// containerdFetch takes up a pull where it stopped.
func containerdFetch(t *testing.T, s *harness.Server) {
	store := containerdStore(t)
	want := randomBytes(t, 300_000)
	d := containerdWrite(t, store, v1.MediaTypeImageLayerGzip, want)
	name := s.Addr + "/containerd/fetch:v1"
	containerdPush(t, name, d, store)
	fetcher, err := containerdResolver().Fetcher(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	body, got, err := fetcher.(remotes.FetcherByDigest).FetchByDigest(t.Context(), d.Digest)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	if all, err := io.ReadAll(body); err != nil || !bytes.Equal(all, want) || got.Size != d.Size {
		t.Errorf("got %d bytes, %v, %v, want %d", len(all), got, err, len(want))
	}
	for _, off := range []int64{0, 1, 123_456, 299_999} {
		body, err := fetcher.Fetch(t.Context(), d)
		if err != nil {
			t.Fatal(err)
		}
		defer body.Close()
		if _, err := body.(io.Seeker).Seek(off, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		if rest, err := io.ReadAll(body); err != nil || !bytes.Equal(rest, want[off:]) {
			t.Errorf("from %d on: got %d bytes, %v, want %d", off, len(rest), err, len(want[off:]))
		}
	}
}

func containerdReferrers(t *testing.T, s *harness.Server) {
	name := s.Addr + "/containerd/referrers:v1"
	subject := v1.Descriptor{MediaType: v1.MediaTypeImageManifest, Digest: digest.FromString("{}"), Size: 2}
	store := containerdStore(t)
	kinds := []string{"application/vnd.example.sbom", "application/vnd.example.signature", "application/vnd.example.sbom"}
	for i, kind := range kinds {
		containerdPush(t, fmt.Sprintf("%s-%d", name, i), containerdWrite(t, store, v1.MediaTypeImageManifest, rawJSON(v1.Manifest{
			Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest, ArtifactType: kind,
			Config: containerdWrite(t, store, v1.MediaTypeEmptyJSON, []byte("{}")), Subject: &subject, Layers: []v1.Descriptor{},
			Annotations: map[string]string{"n": fmt.Sprint(i)},
		})), store)
	}
	fetcher, err := containerdResolver().Fetcher(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		kinds []string
		want  int
	}{{nil, 3}, {kinds[:1], 2}, {kinds[1:2], 1}, {kinds[:2], 3}, {[]string{"application/vnd.example.none"}, 0}} {
		got, err := fetcher.(remotes.ReferrersFetcher).FetchReferrers(t.Context(), subject.Digest, remotes.WithReferrerArtifactTypes(tt.kinds...))
		if err != nil || len(got) != tt.want {
			t.Errorf("%q: got %v, %v, want %d", tt.kinds, got, err, tt.want)
		}
	}
}

func containerdUnknown(t *testing.T, s *harness.Server) {
	for _, name := range []string{"/containerd/nobody:v1", "/containerd/nobody@" + digest.FromString("nobody").String()} {
		if _, _, err := containerdResolver().Resolve(t.Context(), s.Addr+name); err == nil || !strings.Contains(err.Error(), "not found") {
			t.Errorf("%s: got %v, want not found", name, err)
		}
	}
}

func containerdResolver() remotes.Resolver {
	return docker.NewResolver(docker.ResolverOptions{
		Hosts: docker.ConfigureDefaultRegistries(docker.WithPlainHTTP(docker.MatchAllHosts)),
	})
}

func containerdStore(t *testing.T) content.Store {
	t.Helper()
	store, err := local.NewStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return store
}

func containerdWrite(t *testing.T, store content.Store, mediaType string, b []byte) v1.Descriptor {
	t.Helper()
	d := rawDescriptor(mediaType, b)
	if err := content.WriteBlob(t.Context(), store, d.Digest.String(), bytes.NewReader(b), d); err != nil {
		t.Fatal(err)
	}
	return d
}

// containerdPush pushes d and all that it leads to.
func containerdPush(t *testing.T, name string, d v1.Descriptor, store content.Store) {
	t.Helper()
	pusher, err := containerdResolver().Pusher(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	if err := remotes.PushContent(t.Context(), pusher, d, store, nil, platforms.All, nil); err != nil {
		t.Fatalf("push %s: %v", name, err)
	}
}

// containerdPull resolves a name to want and pulls all that it leads to into a new store, which checks the digests.
func containerdPull(t *testing.T, name string, want v1.Descriptor) {
	t.Helper()
	resolver, store := containerdResolver(), containerdStore(t)
	_, got, err := resolver.Resolve(t.Context(), name)
	if err != nil || got.Digest != want.Digest || got.MediaType != want.MediaType || got.Size != want.Size {
		t.Fatalf("resolve %s: got %v, %v, want %v", name, got, err, want)
	}
	fetcher, err := resolver.Fetcher(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	pulled := 0
	count := images.HandlerFunc(func(context.Context, v1.Descriptor) ([]v1.Descriptor, error) { pulled++; return nil, nil })
	if err := images.Walk(t.Context(), images.Handlers(count, remotes.FetchHandler(store, fetcher), images.ChildrenHandler(store)), got); err != nil {
		t.Fatalf("pull %s: %v", name, err)
	}
	if pulled != 11 {
		t.Errorf("pulled %d contents, want 11", pulled)
	}
}
