package integration

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/opencontainers/go-digest"
	"github.com/regclient/regclient"
	"github.com/regclient/regclient/config"
	"github.com/regclient/regclient/mod"
	"github.com/regclient/regclient/scheme"
	"github.com/regclient/regclient/types/descriptor"
	"github.com/regclient/regclient/types/manifest"
	"github.com/regclient/regclient/types/mediatype"
	ociv1 "github.com/regclient/regclient/types/oci/v1"
	"github.com/regclient/regclient/types/ref"

	"github.com/parfait-registry/parfait/integration/harness"
)

// testRegclient uses the library of regctl, regsync and regbot.
func testRegclient(t *testing.T, on store) {
	s := on.start(t, harness.Options{Env: []string{"LOGLEVEL=warn"}})
	for _, tt := range []struct {
		name string
		test func(t *testing.T, s *harness.Server)
	}{
		{"image copy", regCopy},
		{"blob of known size", regBlob},
		{"blob of unknown size", regUnknownSize},
		{"blob above the maximum", regChunks},
		{"mount", regMount},
		{"sha512", regSHA512},
		{"referrers", regReferrers},
		{"tags", regTags},
		{"catalog in pages", regCatalog},
		{"delete", regDelete},
		{"ping", regPing},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.test(t, s) })
	}
}

// regCopy copies an index from a folder to the registry, on to another repository with a referrer, and back to a folder.
func regCopy(t *testing.T, s *harness.Server) {
	rc := regClient(s.Addr)
	dir := t.TempDir()
	idx, err := random.Index(100<<10, 3, 2)
	if err != nil {
		t.Fatal(err)
	}
	path, err := layout.Write(dir, idx)
	if err != nil {
		t.Fatal(err)
	}
	inside, err := random.Index(1<<10, 1, 2)
	if err != nil {
		t.Fatal(err)
	}
	if err := path.AppendIndex(inside); err != nil {
		t.Fatal(err)
	}
	want := digestOf(t, inside)
	first, second := regRef(t, s.Addr+"/reg/copy:v1"), regRef(t, s.Addr+"/reg/copy/again:v1")
	back := regRef(t, "ocidir://"+filepath.Join(t.TempDir(), "back")+":v1")
	steps := []ref.Ref{regRef(t, "ocidir://"+dir+"@"+want), first, second, back}
	for i, src := range steps[:3] {
		dst := steps[i+1]
		if err := rc.ImageCopy(t.Context(), src, dst, regclient.ImageWithReferrers(), regclient.ImageWithDigestTags()); err != nil {
			t.Fatalf("copy %s: %v", src.CommonName(), err)
		}
		m, err := rc.ManifestHead(t.Context(), dst, regclient.WithManifestRequireDigest())
		if err != nil {
			t.Fatal(err)
		}
		if got := m.GetDescriptor().Digest.String(); got != want {
			t.Errorf("%s: got %s, want %s", dst.CommonName(), got, want)
		}
		if i == 0 {
			regArtifact(t, rc, first, "application/vnd.example.sbom", m.GetDescriptor())
		}
		list, err := rc.ReferrerList(t.Context(), dst)
		if err != nil || len(list.Descriptors) != 1 {
			t.Errorf("%s: got referrers %v, %v, want one", dst.CommonName(), list.Descriptors, err)
		}
	}
}

// regBlob pushes blobs whose digest is known, for which the library tries an anonymous mount first.
func regBlob(t *testing.T, s *harness.Server) {
	rec := harness.Record(t, s)
	rc := regClient(rec.Addr)
	for i, tt := range []struct {
		size int
		want []string // one of them
	}{
		{1 << 20, []string{anyoneWay}},
		{1, []string{anyoneWay}},
		{0, []string{"POST to mount from anywhere, PUT", "POST to mount from anywhere (201)"}}, // where another test has it
	} {
		content := randomBytes(t, tt.size)
		d := descriptor.Descriptor{MediaType: mediatype.OCI1Layer, Digest: digest.FromBytes(content), Size: int64(tt.size)}
		rec.Reset()
		repo := fmt.Sprintf("/reg/blob%d", i)
		regPut(t, rc, regRef(t, rec.Addr+repo), d, content)
		if got := uploads(rec); len(got) != 1 || !slices.Contains(tt.want, got[0]) {
			t.Errorf("%d bytes: got %q, want %q", tt.size, got, tt.want)
		}
		regPut(t, rc, regRef(t, rec.Addr+repo), d, content) // it is there now: mounted from where it is
	}
}

// regUnknownSize pushes a stream, in chunks of 1 MiB.
func regUnknownSize(t *testing.T, s *harness.Server) {
	rec := harness.Record(t, s)
	rc := regClient(rec.Addr)
	for _, size := range []int{0, 1, 1 << 20, 1<<20 + 1, 5<<20 + 12345} {
		rec.Reset()
		content := randomBytes(t, size)
		d := regPut(t, rc, regRef(t, rec.Addr+"/reg/stream"), descriptor.Descriptor{}, content)
		if want := digest.FromBytes(content); d.Digest != want || d.Size != int64(size) {
			t.Errorf("%d bytes: got %s of %d bytes, want %s", size, d.Digest, d.Size, want)
		}
		want := []string{"POST"}
		for off := 0; off < size; off += 1 << 20 {
			want = append(want, fmt.Sprintf("PATCH of %d-%d", off, min(off+1<<20, size)-1))
		}
		want = append(want, "PUT")
		if got := uploads(rec); !slices.Equal(got, []string{strings.Join(want, ", ")}) {
			t.Errorf("%d bytes: got %q, want %q", size, got, want)
		}
		for _, r := range rec.Requests() {
			if _, last, ok := strings.Cut(r.Header.Get("Content-Range"), "-"); ok && r.Response.Get("Range") != "0-"+last {
				t.Errorf("%v: got Range %q, want 0-%s", r, r.Response.Get("Range"), last)
			}
		}
	}
}

// regChunks is regctl registry set --blob-chunk --blob-max.
func regChunks(t *testing.T, s *harness.Server) {
	rec := harness.Record(t, s)
	rc := regclient.New(regclient.WithConfigHost(config.Host{
		Name: rec.Addr, Hostname: rec.Addr, TLS: config.TLSDisabled, BlobChunk: 300, BlobMax: 500,
	}))
	content := randomBytes(t, 1000)
	d := descriptor.Descriptor{MediaType: mediatype.OCI1Layer, Digest: digest.FromBytes(content), Size: int64(len(content))}
	regPut(t, rc, regRef(t, rec.Addr+"/reg/chunks"), d, content)
	want := "POST to mount from anywhere, PATCH of 0-299, PATCH of 300-599, PATCH of 600-899, PATCH of 900-999, PUT"
	if got := uploads(rec); !slices.Equal(got, []string{want}) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func regMount(t *testing.T, s *harness.Server) {
	rec := harness.Record(t, s)
	rc := regClient(rec.Addr)
	content := randomBytes(t, 1000)
	src, dst := regRef(t, rec.Addr+"/reg/mount/from"), regRef(t, rec.Addr+"/reg/mount/to")
	d := regPut(t, rc, src, descriptor.Descriptor{}, content)
	rec.Reset()
	if err := rc.BlobMount(t.Context(), src, dst, d); err != nil {
		t.Error(err)
	}
	if got, want := uploads(rec), []string{mountedWay}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	regSame(t, rc, dst, d, content)

	nowhere := descriptor.Descriptor{MediaType: mediatype.OCI1Layer, Digest: digest.FromString("nobody has it"), Size: 13}
	if err := rc.BlobMount(t.Context(), src, dst, nowhere); err == nil {
		t.Error("mounted what is not there")
	}
}

// regSHA512 makes an image whose every digest is a sha512, and copies it.
func regSHA512(t *testing.T, s *harness.Server) {
	rc := regClient(s.Addr)
	img := randomImage(t, 100<<10, 2, "application/vnd.oci.image.manifest.v1+json")
	ggcrPush(t, reference(t, s.Addr+"/reg/sha512:v1"), img)
	src, dst := regRef(t, s.Addr+"/reg/sha512:v1"), regRef(t, s.Addr+"/reg/sha512:v2")
	if _, err := mod.Apply(t.Context(), rc, src, mod.WithRefTgt(dst), mod.WithDigestAlgo(digest.SHA512)); err != nil {
		t.Fatal(err)
	}
	m, err := rc.ManifestGet(t.Context(), dst)
	if err != nil {
		t.Fatal(err)
	}
	imager, ok := m.(manifest.Imager)
	if !ok {
		t.Fatalf("got a %s", m.GetDescriptor().MediaType)
	}
	layers, err := imager.GetLayers()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range layers {
		if d.Digest.Algorithm() != digest.SHA512 {
			t.Errorf("got layer %s, want sha512", d.Digest)
		}
	}
	payload, err := m.RawBody()
	if err != nil {
		t.Fatal(err)
	}
	d := digest.SHA512.FromBytes(payload)
	byDigest := dst.SetDigest(d.String())
	if err := rc.ManifestPut(t.Context(), byDigest, m); err != nil {
		t.Fatal(err)
	}
	h, err := rc.ManifestHead(t.Context(), byDigest)
	if err != nil || h.GetDescriptor().Digest != d {
		t.Errorf("got %v, %v, want %s", h.GetDescriptor(), err, d)
	}
	back := regRef(t, "ocidir://"+filepath.Join(t.TempDir(), "back")+":v2")
	if err := rc.ImageCopy(t.Context(), byDigest, back); err != nil {
		t.Error(err)
	}
}

func regReferrers(t *testing.T, s *harness.Server) {
	rec := harness.Record(t, s)
	rc := regClient(rec.Addr)
	r := regRef(t, rec.Addr+"/reg/referrers:v1")
	subject := regArtifact(t, rc, r, "application/vnd.example", descriptor.Descriptor{})
	r = r.SetDigest(subject.Digest.String())
	const sbom, signature = "application/vnd.example.sbom", "application/vnd.example.signature"
	for _, kind := range []string{sbom, signature, sbom} {
		regArtifact(t, rc, r, kind, subject)
	}
	for kind, want := range map[string]int{"": 3, sbom: 2, signature: 1, "application/vnd.example.none": 0} {
		var options []scheme.ReferrerOpts
		if kind != "" {
			options = append(options, scheme.WithReferrerMatchOpt(descriptor.MatchOpt{ArtifactType: kind}))
		}
		list, err := rc.ReferrerList(t.Context(), r, options...)
		if err != nil || len(list.Descriptors) != want {
			t.Errorf("%q: got %v, %v, want %d", kind, list.Descriptors, err, want)
		}
	}
	tags, err := rc.TagList(t.Context(), r)
	if err != nil || !slices.Equal(tags.Tags, []string{"v1"}) { // and no referrers tag
		t.Errorf("got tags %q, %v, want v1 alone", tags.Tags, err)
	}
}

func regTags(t *testing.T, s *harness.Server) {
	rec := harness.Record(t, s)
	rc := regClient(rec.Addr)
	r := regRef(t, rec.Addr+"/reg/tags:v0")
	for i := range 5 {
		regArtifact(t, rc, r.SetTag(fmt.Sprintf("v%d", i)), "application/vnd.example", descriptor.Descriptor{})
	}
	list, err := rc.TagList(t.Context(), r, scheme.WithTagLimit(2), scheme.WithTagLast("v1"))
	if err != nil || !slices.Equal(list.Tags, []string{"v2", "v3"}) {
		t.Errorf("got %q, %v, want v2 and v3", list.Tags, err)
	}
	rec.Reset()
	if err := rc.TagDelete(t.Context(), r.SetTag("v2")); err != nil {
		t.Error(err)
	}
	for _, q := range rec.Requests() { // the library has a way round for registries that cannot
		if q.Method != http.MethodDelete || !strings.HasSuffix(q.URL.Path, "/manifests/v2") || q.Status != http.StatusAccepted {
			t.Errorf("got %v, want one DELETE of the tag", q)
		}
	}
	list, err = rc.TagList(t.Context(), r)
	if err != nil || !slices.Equal(list.Tags, []string{"v0", "v1", "v3", "v4"}) {
		t.Errorf("got %q, %v", list.Tags, err)
	}
}

func regCatalog(t *testing.T, s *harness.Server) {
	rc := regClient(s.Addr)
	for _, repo := range []string{"reg/a", "reg/b", "reg/c"} {
		regArtifact(t, rc, regRef(t, s.Addr+"/"+repo+":v1"), "application/vnd.example", descriptor.Descriptor{})
	}
	list, err := rc.RepoList(t.Context(), s.Addr, scheme.WithRepoLimit(2), scheme.WithRepoLast("reg/a"))
	if err != nil || len(list.Repositories) != 2 || list.Repositories[0] != "reg/b" {
		t.Errorf("got %v, %v", list, err)
	}
}

func regDelete(t *testing.T, s *harness.Server) {
	rc := regClient(s.Addr)
	r := regRef(t, s.Addr+"/reg/delete:v1")
	d := regArtifact(t, rc, r, "application/vnd.example", descriptor.Descriptor{})
	if err := rc.ManifestDelete(t.Context(), r.SetDigest(d.Digest.String())); err != nil {
		t.Error(err)
	}
	if m, err := rc.ManifestHead(t.Context(), r); err == nil {
		t.Errorf("got %v after its deletion", m.GetDescriptor())
	}
	blob := regPut(t, rc, r, descriptor.Descriptor{}, randomBytes(t, 100))
	if err := rc.BlobDelete(t.Context(), r, blob); err != nil {
		t.Error(err)
	}
	if _, err := rc.BlobHead(t.Context(), r, blob); err == nil {
		t.Error("got a blob after its deletion")
	}
}

func regPing(t *testing.T, s *harness.Server) {
	if _, err := regClient(s.Addr).Ping(t.Context(), regRef(t, s.Addr+"/reg/ping")); err != nil {
		t.Error(err)
	}
}

func regClient(addr string) *regclient.RegClient {
	return regclient.New(regclient.WithConfigHost(config.Host{Name: addr, Hostname: addr, TLS: config.TLSDisabled}))
}

func regRef(t *testing.T, s string) ref.Ref {
	t.Helper()
	r, err := ref.New(s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// regPut pushes content, which d may describe, and pulls it back.
func regPut(t *testing.T, rc *regclient.RegClient, r ref.Ref, d descriptor.Descriptor, content []byte) descriptor.Descriptor {
	t.Helper()
	var body io.Reader = bytes.NewReader(content)
	if d.Digest == "" {
		body = struct{ io.Reader }{body}
	}
	d, err := rc.BlobPut(t.Context(), r, d, body)
	if err != nil {
		t.Fatalf("put %d bytes: %v", len(content), err)
	}
	regSame(t, rc, r, d, content)
	return d
}

func regSame(t *testing.T, rc *regclient.RegClient, r ref.Ref, d descriptor.Descriptor, want []byte) {
	t.Helper()
	body, err := rc.BlobGet(t.Context(), r, d)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	if got, err := io.ReadAll(body); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s: got %d bytes, %v, want %d", d.Digest, len(got), err, len(want))
	}
}

// regArtifact pushes a manifest of a kind, unlike any other, at r; or without a tag, if it has a subject.
func regArtifact(t *testing.T, rc *regclient.RegClient, r ref.Ref, kind string, subject descriptor.Descriptor) descriptor.Descriptor {
	t.Helper()
	empty := descriptor.Descriptor{MediaType: mediatype.OCI1Empty, Digest: descriptor.EmptyDigest, Size: 2}
	if _, err := rc.BlobPut(t.Context(), r, empty, bytes.NewReader(descriptor.EmptyData)); err != nil {
		t.Fatal(err)
	}
	orig := ociv1.Manifest{
		Versioned: ociv1.ManifestSchemaVersion, MediaType: mediatype.OCI1Manifest, ArtifactType: kind, Config: empty,
		Layers: []descriptor.Descriptor{empty}, Annotations: map[string]string{"n": rand.Text()},
	}
	if subject.Digest != "" {
		orig.Subject = &subject
	}
	m, err := manifest.New(manifest.WithOrig(orig))
	if err != nil {
		t.Fatal(err)
	}
	if subject.Digest != "" {
		r = r.SetDigest(m.GetDescriptor().Digest.String())
	}
	if err := rc.ManifestPut(t.Context(), r, m); err != nil {
		t.Fatal(err)
	}
	return m.GetDescriptor()
}

func randomBytes(t *testing.T, n int) []byte {
	t.Helper()
	b := make([]byte, n)
	if _, err := rand.Read(b); err != nil {
		t.Fatal(err)
	}
	return b
}
