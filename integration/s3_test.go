package integration

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/minio/minio-go/v7"
	"github.com/opencontainers/go-digest"

	"github.com/parfait-registry/parfait/integration/harness"
)

// A storeProxy stands between Parfait and an object store and counts what passes.
type storeProxy struct {
	*httptest.Server
	mu    sync.Mutex
	asked map[string]int // mu guards asked: requests by method
}

// newStoreProxy passes everything on to the server at target as it is, signatures included.
func newStoreProxy(t *testing.T, target string) *storeProxy {
	t.Helper()
	to, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	p := &storeProxy{asked: make(map[string]int)}
	pass := &httputil.ReverseProxy{
		Transport: &http.Transport{MaxIdleConnsPerHost: 64},
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(to)
			r.Out.Host = r.In.Host // it is signed
		},
	}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		p.asked[r.Method]++
		p.mu.Unlock()
		pass.ServeHTTP(w, r)
	}))
	t.Cleanup(p.Close)
	return p
}

// since returns what has passed since the last call, in all and by method.
func (p *storeProxy) since() (total int, by map[string]int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, n := range p.asked {
		total += n
	}
	by = maps.Clone(p.asked)
	clear(p.asked)
	return total, by
}

// TestS3Requests counts what S3 is asked for. An operator pays for each request.
func TestS3Requests(t *testing.T) {
	s3 := harness.MinIO(t)
	proxy := newStoreProxy(t, s3.URL)
	on := s3Store(s3, proxy.URL)
	direct := newRawClient(on.start(t, harness.Options{Env: []string{"LOGLEVEL=warn"}}).URL)
	redirecting := newRawClient(on.start(t, harness.Options{Env: []string{"LOGLEVEL=warn", "STORAGE_REDIRECT=true"}}).URL)
	r := rand.New(rand.NewPCG(7, 7))
	newImage := func() rawManifest {
		return newRawImage(r, newRawBlob(r, 64<<10), newRawBlob(r, 64<<10), newRawBlob(r, 64<<10))
	}
	image := newImage()
	for _, w := range []*rawClient{direct, redirecting} {
		if err := w.pushImage(t.Context(), "s3/app", "v1", postPut, image); err != nil {
			t.Fatal(err)
		}
	}
	blob := "/v2/s3/app/blobs/" + digest.FromBytes(image.blobs[0]).String()
	get := func(w *rawClient, status int, target string) func() error {
		return func() error {
			_, err := w.want(t.Context(), status, "GET", target, nil)
			return err
		}
	}
	push := func(shape rawShape) func() error {
		return func() error {
			return direct.pushImage(t.Context(), "s3/"+fmt.Sprint(int(shape)), "v1", shape, newImage())
		}
	}
	for _, tt := range []struct {
		name string
		most int
		do   func() error
	}{
		{"push of a small image, POST+PATCH+PUT", 20, push(postPatchPut)},
		{"push of a small image, POST+PUT", 14, push(postPut)},
		{"GET manifest by tag", 0, get(direct, 200, "/v2/s3/app/manifests/v1")},
		{"GET manifest by digest", 0, get(direct, 200, "/v2/s3/app/manifests/"+image.digest().String())},
		{"GET blob", 1, get(direct, 200, blob)},
		{"GET blob, redirected", 0, get(redirecting, 307, blob)},
		{"tags", 0, get(direct, 200, "/v2/s3/app/tags/list")},
		{"catalog", 0, get(direct, 200, "/v2/_catalog")},
	} {
		proxy.since()
		if err := tt.do(); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		total, by := proxy.since()
		if total > tt.most {
			t.Errorf("%s: got %d requests %v, want at most %d", tt.name, total, by, tt.most)
		}
		t.Logf("%-40s %d/%d requests %v", tt.name, total, tt.most, by)
	}
}

// TestS3Redirect follows a redirect to the bytes, at the address by which clients reach the store.
func TestS3Redirect(t *testing.T) {
	s3 := harness.MinIO(t)
	public := newStoreProxy(t, s3.URL)
	w := newWire(t, s3Store(s3, s3.URL).start(t, harness.Options{
		Env: []string{"LOGLEVEL=warn", "STORAGE_REDIRECT=true", "S3_PUBLIC_ENDPOINT=" + public.URL},
	}).URL)
	content := randomBytes(t, 100<<10)
	target := "/v2/redirect/app/blobs/" + w.push("redirect/app", octets, content).Digest.String()
	public.since()
	location := w.ask(307, "GET", target, nil).header.Get("Location")
	if !strings.HasPrefix(location, public.URL+"/") {
		t.Fatalf("got Location %s, want one at %s", location, public.URL)
	}
	resp, err := http.Get(location)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK || !slices.Equal(got, content) {
		t.Errorf("got %s with %d bytes, %v, want the %d of the blob", resp.Status, len(got), err, len(content))
	}
	if total, _ := public.since(); total != 1 {
		t.Errorf("%d requests reached the public endpoint, want 1", total)
	}
}

// TestTutorialS3 starts Parfait with the command that ten years of tutorials have.
func TestTutorialS3(t *testing.T) {
	s3 := harness.MinIO(t)
	host, port, _ := strings.Cut(strings.TrimPrefix(s3.URL, "http://"), ":")
	bucket := s3.NewBucket(t)
	s := harness.StartParfait(t, harness.Options{Flavor: "s3", Storage: "/registry", Env: []string{
		"AWS_BUCKET=" + bucket, "AWS_KEY=" + s3.AccessKey, "AWS_SECRET=" + s3.SecretKey, "AWS_HOST=" + host, "AWS_PORT=" + port,
		"AWS_SECURE=false", "SEARCH_BACKEND=sqlalchemy", "STATE_DIRECTORY=" + t.TempDir(),
	}})
	name := s.Addr + "/library/tutorial:v1"
	dir, want := folder(t, 100<<10, 3)
	craneOf("push")(t, dir, name)
	if got := newProgram(t, "crane").run("digest", name); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	newProgram(t, "crane").run("pull", "--format=oci", name, filepath.Join(t.TempDir(), "pulled"))
	var found struct{ Results []struct{ Name string } }
	a := newWire(t, s.URL).ask(200, "GET", "/v1/search?q=tutor", nil)
	if err := json.Unmarshal(a.body, &found); err != nil || len(found.Results) != 1 || found.Results[0].Name != "library/tutorial" {
		t.Errorf("search: got %s, %v", a.body, err)
	}
	seen := 0 // by another client than the driver's
	for o := range s3.Eye(t).ListObjectsIter(t.Context(), bucket, minio.ListObjectsOptions{Recursive: true}) {
		if o.Err != nil {
			t.Fatal(o.Err)
		}
		if !strings.HasPrefix(o.Key, "registry/docker/registry/v2/") && !strings.HasPrefix(o.Key, "registry/parfait/") {
			t.Errorf("an object is at %s, outside the layout below /registry", o.Key)
		}
		seen++
	}
	if seen == 0 {
		t.Error("there is nothing in the bucket")
	}
}
