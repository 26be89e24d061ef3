package server

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/drivers/local"
	"github.com/parfait-registry/parfait/drivers/mem"
	"github.com/parfait-registry/parfait/index"
	"github.com/parfait-registry/parfait/registry"
)

// A house is a whole registry with a client at its door.
type house struct {
	t      testing.TB
	driver drivers.Driver
	index  *index.DB
	server *Server
	web    *httptest.Server
	log    *journal
}

// open opens a registry on an empty store.
func open(t testing.TB, d drivers.Driver, cfg Config) *house {
	t.Helper()
	j := new(journal)
	return openWith(t, d, cfg, registry.Config{}, j, j.logger())
}

func openWith(t testing.TB, d drivers.Driver, cfg Config, reg registry.Config, j *journal, log *slog.Logger) *house {
	t.Helper()
	h := &house{t: t, driver: d, log: j}
	db, err := index.Open(t.Context(), index.Config{Database: filepath.Join(t.TempDir(), "index.db")}, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	h.index = db
	r, err := registry.Open(t.Context(), reg, d, db, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(context.Background()); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	h.server = New(cfg, r, nil, log)
	h.web = httptest.NewServer(h.server)
	t.Cleanup(h.web.Close)
	return h
}

// eachDriver runs test over an empty store of each kind.
func eachDriver(t *testing.T, test func(t *testing.T, d drivers.Driver)) {
	t.Run("mem", func(t *testing.T) { test(t, mem.New()) })
	t.Run("local", func(t *testing.T) { test(t, openLocal(t)) })
}

func openLocal(t testing.TB) drivers.Driver {
	t.Helper()
	d, err := local.Open(local.Config{Path: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// An answer is what came back.
type answer struct {
	status int
	header http.Header
	body   string
	reused bool // the request went over a connection that was there already
}

// do sends a request to target, a path or a URL. The header is a list of keys and values. A body that is a
// strings.Reader goes with its length, any other one chunked.
func (h *house) do(method, target string, body io.Reader, header ...string) answer {
	h.t.Helper()
	a, err := h.try(method, target, body, header...)
	if err != nil {
		h.t.Fatal(err)
	}
	return a
}

func (h *house) try(method, target string, body io.Reader, header ...string) (answer, error) {
	if strings.HasPrefix(target, "/") {
		target = h.web.URL + target
	}
	req, err := http.NewRequestWithContext(h.t.Context(), method, target, body)
	if err != nil {
		return answer{}, err
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	var a answer
	trace := &httptrace.ClientTrace{GotConn: func(c httptrace.GotConnInfo) { a.reused = c.Reused }}
	client := *h.web.Client()
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	resp, err := client.Do(req.WithContext(httptrace.WithClientTrace(req.Context(), trace)))
	if err != nil {
		return a, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	a.status, a.header, a.body = resp.StatusCode, resp.Header, string(b)
	return a, err
}

// want sends a request and fails the test unless it is answered with a status.
func (h *house) want(status int, method, target string, body io.Reader, header ...string) answer {
	h.t.Helper()
	a := h.do(method, target, body, header...)
	if a.status != status {
		h.t.Fatalf("%s %s: got %d %s, want %d", method, target, a.status, a.body, status)
	}
	return a
}

// codes returns the codes of an error.
func (a answer) codes() []string {
	var e struct{ Errors []struct{ Code string } }
	if json.Unmarshal([]byte(a.body), &e) != nil {
		return nil
	}
	var codes []string
	for _, item := range e.Errors {
		codes = append(codes, item.Code)
	}
	return codes
}

// keys returns what is stored, but for parts of uploads.
func (h *house) keys() []string {
	h.t.Helper()
	var keys []string
	for o, err := range h.driver.List(h.t.Context(), "docker/", "") {
		if err != nil {
			h.t.Fatal(err)
		}
		if !strings.Contains(o.Key, "/_uploads/") {
			keys = append(keys, o.Key)
		}
	}
	return keys
}

// session begins an upload and returns its path.
func (h *house) session(repo string) string {
	h.t.Helper()
	a := h.want(202, "POST", "/v2/"+repo+"/blobs/uploads/", nil)
	return strings.TrimPrefix(a.header.Get("Location"), h.web.URL)
}

// pushBlob pushes content and returns its descriptor.
func (h *house) pushBlob(repo, content string) v1.Descriptor {
	h.t.Helper()
	d := digest.FromString(content)
	h.want(201, "PUT", h.session(repo)+"?digest="+d.String(), strings.NewReader(content))
	return v1.Descriptor{MediaType: v1.MediaTypeImageLayerGzip, Digest: d, Size: int64(len(content))}
}

// pushManifest pushes v as a manifest and returns its descriptor.
func (h *house) pushManifest(repo, ref, mediaType string, v any) v1.Descriptor {
	h.t.Helper()
	payload := encode(v)
	if ref == "" {
		ref = digest.FromString(payload).String()
	}
	h.want(201, "PUT", "/v2/"+repo+"/manifests/"+ref, strings.NewReader(payload), "Content-Type", mediaType)
	return v1.Descriptor{MediaType: mediaType, Digest: digest.FromString(payload), Size: int64(len(payload))}
}

// pushImage pushes an image of one layer and returns the descriptors of all it has.
func (h *house) pushImage(repo, tag, layer string) (manifest, config, content v1.Descriptor) {
	h.t.Helper()
	config, content = h.pushBlob(repo, "{}"), h.pushBlob(repo, layer)
	config.MediaType = v1.MediaTypeImageConfig
	return h.pushManifest(repo, tag, v1.MediaTypeImageManifest, image(config, content)), config, content
}

func image(config v1.Descriptor, layers ...v1.Descriptor) v1.Manifest {
	return v1.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: v1.MediaTypeImageManifest,
		Config:    config,
		Layers:    layers,
	}
}

func encode(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// chunked hides the length of a body.
func chunked(s string) io.Reader { return struct{ io.Reader }{strings.NewReader(s)} }

// pattern returns n bytes, none of which is like its neighbours.
func pattern(n int) string {
	var b bytes.Buffer
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, "%d.", i)
	}
	return b.String()[:n]
}

// unknown is the digest of nothing that is pushed here.
var unknown = digest.FromString("nobody has pushed this").String()

// sameKeys fails the test if the store is not what it was.
func (h *house) sameKeys(before []string) {
	h.t.Helper()
	if after := h.keys(); !slices.Equal(before, after) {
		h.t.Errorf("stored: got %q, want %q", after, before)
	}
}
