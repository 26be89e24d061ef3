package integration

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// A rawClient talks plain HTTP to one registry, for tests that decide what each request looks like and have to know how
// each of them ended. It is safe for concurrent use.
type rawClient struct {
	url string // http://host:port
	web *http.Client
}

func newRawClient(url string) *rawClient {
	return &rawClient{url: url, web: &http.Client{
		Transport:     &http.Transport{MaxIdleConnsPerHost: 8, DisableCompression: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// close drops idle connections.
func (c *rawClient) close() { c.web.CloseIdleConnections() }

// A rawAnswer is what came back, to its end.
type rawAnswer struct {
	status int
	header http.Header
	body   []byte
}

// codes returns the codes of an error.
func (a rawAnswer) codes() []string {
	var e struct{ Errors []struct{ Code string } }
	if json.Unmarshal(a.body, &e) != nil {
		return nil
	}
	var codes []string
	for _, item := range e.Errors {
		codes = append(codes, item.Code)
	}
	return codes
}

// A rawError says that a request was answered, but not as it had to be.
type rawError struct {
	method, target string
	want           int
	rawAnswer
}

func (e *rawError) Error() string {
	return fmt.Sprintf("%s %s: got %d %.300s, want %d", e.method, e.target, e.status, e.body, e.want)
}

// do sends a request to target, a path or a URL. header is a list of keys and values.
func (c *rawClient) do(ctx context.Context, method, target string, body io.Reader, header ...string) (rawAnswer, error) {
	if strings.HasPrefix(target, "/") {
		target = c.url + target
	}
	req, err := http.NewRequestWithContext(ctx, method, target, body)
	if err != nil {
		return rawAnswer{}, err
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	resp, err := c.web.Do(req)
	if err != nil {
		return rawAnswer{}, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return rawAnswer{resp.StatusCode, resp.Header, b}, err
}

// want is do where another status than the wanted one is a *rawError.
func (c *rawClient) want(ctx context.Context, status int, method, target string, body io.Reader, header ...string) (rawAnswer, error) {
	a, err := c.do(ctx, method, target, body, header...)
	if err == nil && a.status != status {
		err = &rawError{method, target, status, a}
	}
	return a, err
}

// A rawShape is a way to push a blob.
type rawShape int

const (
	postPut      rawShape = iota // POST, then PUT with the body
	postPatchPut                 // POST, one PATCH with the body, PUT
	postChunks                   // POST, three PATCHes with a third each, PUT
	postDigest                   // POST ?digest= with the body; distribution does not know it
	rawShapes                    // how many there are
)

func (s rawShape) String() string {
	return [...]string{"POST+PUT", "POST+PATCH+PUT", "POST+3×PATCH+PUT", "POST?digest="}[s]
}

// A rawUpload is a blob on its way to a repository.
type rawUpload struct {
	repo     string
	digest   digest.Digest
	location string // of the session; "" if there is none yet
	sent     int    // bytes that PATCHes have brought there
}

// pushBlob pushes content. After an error other than a *rawError nobody knows whether it is there; what is returned
// besides tells how far the upload was.
func (c *rawClient) pushBlob(ctx context.Context, repo string, shape rawShape, content []byte) (rawUpload, error) {
	return c.pushBlobAs(ctx, repo, digest.FromBytes(content), shape, content)
}

// pushBlobAs is pushBlob with a digest that need not be of the usual algorithm.
func (c *rawClient) pushBlobAs(ctx context.Context, repo string, d digest.Digest, shape rawShape, content []byte) (rawUpload, error) {
	up := rawUpload{repo: repo, digest: d}
	start := "/v2/" + repo + "/blobs/uploads/"
	if shape == postDigest {
		_, err := c.want(ctx, http.StatusCreated, "POST", start+"?digest="+up.digest.String(), bytes.NewReader(content))
		return up, err
	}
	a, err := c.want(ctx, http.StatusAccepted, "POST", start, nil)
	if err != nil {
		return up, err
	}
	up.location = a.header.Get("Location")
	var last io.Reader
	var chunks [][]byte
	switch shape {
	case postPut:
		last = bytes.NewReader(content)
	case postPatchPut:
		chunks = [][]byte{content}
	case postChunks:
		chunks = slices.Collect(slices.Chunk(content, len(content)/3+1))
	}
	for _, chunk := range chunks {
		var header []string
		if len(chunks) > 1 {
			header = []string{"Content-Range", fmt.Sprintf("%d-%d", up.sent, up.sent+len(chunk)-1)}
		}
		a, err := c.want(ctx, http.StatusAccepted, "PATCH", up.location, bytes.NewReader(chunk), header...)
		if err != nil {
			return up, err
		}
		up.location = a.header.Get("Location")
		up.sent += len(chunk)
	}
	return up, c.finish(ctx, up, last)
}

// finish ends an upload with PUT.
func (c *rawClient) finish(ctx context.Context, up rawUpload, body io.Reader) error {
	target, err := url.Parse(up.location)
	if err != nil {
		return err
	}
	q := target.Query()
	q.Set("digest", up.digest.String())
	target.RawQuery = q.Encode()
	_, err = c.want(ctx, http.StatusCreated, "PUT", target.String(), body, "Content-Type", "application/octet-stream")
	return err
}

// pushManifest pushes m under ref, or under its digest if that is "".
func (c *rawClient) pushManifest(ctx context.Context, repo, ref string, m rawManifest) error {
	if ref == "" {
		ref = m.digest().String()
	}
	_, err := c.want(ctx, http.StatusCreated, "PUT", "/v2/"+repo+"/manifests/"+ref, bytes.NewReader(m.payload), "Content-Type", m.mediaType)
	return err
}

// pushImage pushes the blobs of m, all in one shape and four at a time, and m itself.
func (c *rawClient) pushImage(ctx context.Context, repo, ref string, shape rawShape, m rawManifest) error {
	errs := make([]error, len(m.blobs))
	var pushes sync.WaitGroup
	for i, b := range m.blobs {
		pushes.Go(func() { _, errs[i] = c.pushBlob(ctx, repo, shape, b) })
	}
	pushes.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return c.pushManifest(ctx, repo, ref, m)
}

// sameTags returns an error unless the registry lists the wanted tags.
func sameTags(ctx context.Context, c *rawClient, repo string, want map[string]bool) error {
	var list struct{ Tags []string }
	a, err := c.do(ctx, "GET", "/v2/"+repo+"/tags/list", nil)
	if err == nil && a.status != http.StatusNotFound {
		err = json.Unmarshal(a.body, &list)
	}
	if err != nil {
		return fmt.Errorf("list the tags of %s: %w", repo, err)
	}
	if want := slices.Sorted(maps.Keys(want)); !slices.Equal(list.Tags, want) {
		return fmt.Errorf("list the tags of %s: got %q, want %q", repo, list.Tags, want)
	}
	return nil
}

// The media types of Docker's manifests.
const (
	dockerManifest     = "application/vnd.docker.distribution.manifest.v2+json"
	dockerManifestList = "application/vnd.docker.distribution.manifest.list.v2+json"
)

// A rawManifest is a manifest with the blobs that it names.
type rawManifest struct {
	mediaType string
	payload   []byte
	blobs     [][]byte
}

// docker makes of an image or index of OCI one of Docker's.
func (m rawManifest) docker() rawManifest {
	names := strings.NewReplacer(
		v1.MediaTypeImageManifest, dockerManifest,
		v1.MediaTypeImageIndex, dockerManifestList,
		v1.MediaTypeImageConfig, "application/vnd.docker.container.image.v1+json",
		v1.MediaTypeImageLayerGzip, "application/vnd.docker.image.rootfs.diff.tar.gzip",
	)
	m.mediaType, m.payload = names.Replace(m.mediaType), []byte(names.Replace(string(m.payload)))
	return m
}

func (m rawManifest) digest() digest.Digest { return digest.FromBytes(m.payload) }

func (m rawManifest) descriptor() v1.Descriptor {
	return v1.Descriptor{MediaType: m.mediaType, Digest: m.digest(), Size: int64(len(m.payload))}
}

// newRawImage makes an image of OCI with these layers, unlike any other.
func newRawImage(r *rand.Rand, layers ...[]byte) rawManifest {
	config := rawJSON(v1.Image{Author: fmt.Sprintf("%x", r.Uint64()), Platform: v1.Platform{Architecture: "amd64", OS: "linux"}})
	return newRawManifest(v1.Manifest{}, config, layers...)
}

// newRawManifest makes an image manifest of OCI from m and the blobs that it has to name.
func newRawManifest(m v1.Manifest, config []byte, layers ...[]byte) rawManifest {
	m.Versioned = specs.Versioned{SchemaVersion: 2}
	m.MediaType = v1.MediaTypeImageManifest
	m.Config = rawDescriptor(v1.MediaTypeImageConfig, config)
	m.Layers = []v1.Descriptor{}
	for _, l := range layers {
		m.Layers = append(m.Layers, rawDescriptor(v1.MediaTypeImageLayerGzip, l))
	}
	return rawManifest{m.MediaType, rawJSON(m), append(slices.Clip(layers), config)}
}

// newRawIndex makes an image index of OCI.
func newRawIndex(children ...rawManifest) rawManifest {
	index := v1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageIndex, Manifests: []v1.Descriptor{}}
	for i, m := range children {
		d := m.descriptor()
		d.Platform = &v1.Platform{OS: "linux", Architecture: []string{"amd64", "arm64", "s390x"}[i%3]}
		index.Manifests = append(index.Manifests, d)
	}
	return rawManifest{mediaType: index.MediaType, payload: rawJSON(index)}
}

func rawDescriptor(mediaType string, content []byte) v1.Descriptor {
	return v1.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(content), Size: int64(len(content))}
}

// newRawBlob makes n bytes that cannot be compressed.
func newRawBlob(r *rand.Rand, n int) []byte {
	b := make([]byte, 0, n+8)
	for len(b) < n {
		b = binary.LittleEndian.AppendUint64(b, r.Uint64())
	}
	return b[:n]
}

func rawJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}
