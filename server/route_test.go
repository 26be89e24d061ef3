package server

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/parfait-registry/parfait/registry"
)

// bare is a server without a registry, for what happens before one is asked.
func bare(cfg Config) *Server { return New(cfg, nil, nil, nil) }

func TestFind(t *testing.T) {
	rt := bare(Config{}).router
	const (
		upload   = "/v2/{name...}/blobs/uploads/{session}"
		blob     = "/v2/{name...}/blobs/{digest}"
		manifest = "/v2/{name...}/manifests/{reference}"
		tags     = "/v2/{name...}/tags/list"
	)
	for _, tt := range []struct{ path, pattern, name, param string }{
		{"/", "/", "", ""},
		{"/v2", "/v2", "", ""},
		{"/v2/", "/v2/", "", ""},
		{"/v2/_catalog", "/v2/_catalog", "", ""},
		{"/v2/a/manifests/v1", manifest, "a", "v1"},
		{"/v2/a/b/c/manifests/sha256:x", manifest, "a/b/c", "sha256:x"},
		{"/v2/a/blobs/sha256:x", blob, "a", "sha256:x"},
		{"/v2/a/blobs/uploads", "/v2/{name...}/blobs/uploads", "a", ""},
		{"/v2/a/blobs/uploads/", "/v2/{name...}/blobs/uploads/", "a", ""},
		{"/v2/a/blobs/uploads/1", upload, "a", "1"},
		{"/v2/a/referrers/sha256:x", "/v2/{name...}/referrers/{digest}", "a", "sha256:x"},
		{"/v2/a/tags/list", tags, "a", ""},

		{"/v2/blobs/blobs/sha256:x", blob, "blobs", "sha256:x"},
		{"/v2/blobs/uploads/blobs/uploads/", "/v2/{name...}/blobs/uploads/", "blobs/uploads", ""},
		{"/v2/a/blobs/uploads/blobs/uploads/1", upload, "a/blobs/uploads", "1"},
		{"/v2/a/blobs/uploads/manifests/v1", manifest, "a/blobs/uploads", "v1"},
		{"/v2/a/manifests/manifests/manifests", manifest, "a/manifests", "manifests"},
		{"/v2/a/manifests/tags/list", tags, "a/manifests", ""},
		{"/v2/tags/list/tags/list", tags, "tags/list", ""},
		{"/v2/a/tags/list/manifests/list", manifest, "a/tags/list", "list"},
		{"/v2/uploads/blobs/uploads/uploads", upload, "uploads", "uploads"},

		{"/v2//tags/list", tags, "", ""},
		{"/v2/a//tags/list", tags, "a/", ""},
		{"/v2/../tags/list", tags, "..", ""},
		{"/v2/a%2Fb/tags/list", tags, "a%2Fb", ""},

		{"", "", "", ""},
		{"*", "", "", ""},
		{"//", "", "", ""},
		{"/v2//", "", "", ""},
		{"/v3/", "", "", ""},
		{"/v2/a", "", "", ""},
		{"/v2/tags/list", "", "", ""},
		{"/v2/manifests/v1", "", "", ""},
		{"/v2/blobs/uploads/", "", "", ""},
		{"/v2/a/manifests/", "", "", ""},
		{"/v2/a/manifests/v1/", "", "", ""},
		{"/v2/a/tags/list/", "", "", ""},
		{"/v2%2Fa/tags/list", "", "", ""},
		{"/v2/a/blobs%2Fuploads/", "", "", ""},
	} {
		e, name, param := rt.find(tt.path)
		pattern := ""
		if e != nil {
			pattern = e.pattern
		}
		if pattern != tt.pattern || name != tt.name || param != tt.param {
			t.Errorf("find(%q): got %q, %q, %q, want %q, %q, %q", tt.path, pattern, name, param, tt.pattern, tt.name, tt.param)
		}
	}
}

func TestRoutesHaveScopes(t *testing.T) {
	for _, rt := range bare(Config{}).routes() {
		if isAPI := strings.HasPrefix(rt.pattern, "/v2"); isAPI == (rt.scope == scopeNone || rt.scope == scopePage) && rt.pattern != "/v1/search" {
			t.Errorf("%s %s: got scope %q", rt.method, rt.pattern, rt.scope)
		}
	}
}

func TestEveryCodeHasAStatus(t *testing.T) {
	for _, c := range []registry.Code{
		registry.BlobUnknown, registry.BlobUploadInvalid, registry.BlobUploadUnknown, registry.DigestInvalid,
		registry.ManifestBlobUnknown, registry.ManifestInvalid, registry.ManifestUnknown, registry.NameInvalid,
		registry.NameUnknown, registry.SizeInvalid, registry.Unauthorized, registry.Denied, registry.Unsupported,
		registry.TooManyRequests, registry.RangeInvalid, registry.PaginationNumberInvalid, registry.Unavailable,
		registry.StoreFull, registry.Unknown,
	} {
		if statuses[c] < 400 {
			t.Errorf("%s: got status %d", c, statuses[c])
		}
	}
}

func FuzzRoute(f *testing.F) {
	for _, p := range []string{"/", "/v2/", "/v2/a/b/manifests/v1", "/v2/a/blobs/uploads/", "/v2/a%2Fb/tags/list",
		"/v2/../x/tags/list", "/v2/a/manifests/%2e%2e", "/v2/a\"%2Fb/blobs/sha256%3Aabc", "/v2/%00/tags/list", "//"} {
		f.Add(p)
	}
	s := bare(Config{})
	f.Fuzz(func(t *testing.T, raw string) {
		u, err := url.ParseRequestURI(raw)
		if err != nil {
			t.Skip()
		}
		path, _ := routePath(u)
		e, name, param := s.router.find(path)
		if e == nil || e.prefix == "" {
			return
		}
		if got := e.prefix + name + e.suffix + param; got != path {
			t.Fatalf("find(%q) lost something: got %q", path, got)
		}
		n, err := registry.ParseName(name)
		if err != nil {
			return
		}
		if written := strings.TrimPrefix(raw[strings.Index(raw, "/v2/"):], "/v2/"); !strings.HasPrefix(written, string(n)+"/") {
			t.Fatalf("%q: name %q was not written like this", raw, n)
		}
	})
}

func TestWrongMethod(t *testing.T) {
	s := bare(Config{})
	for _, tt := range []struct{ method, path, allow string }{
		{"DELETE", "/v2/", "GET, HEAD"},
		{"POST", "/v2/a/manifests/v1", "GET, HEAD, PUT, DELETE"},
		{"GET", "/v2/a/blobs/uploads/", "POST"},
		{"POST", "/v2/a/blobs/uploads/1", "GET, HEAD, PATCH, PUT, DELETE"},
		{"PUT", "/v2/a/blobs/sha256:x", "GET, HEAD, DELETE"},
		{"OPTIONS", "/v2/_catalog", "GET, HEAD"},
		{"BREW", "/v2/a/tags/list", "GET, HEAD"},
	} {
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequest(tt.method, tt.path, nil))
		if got := w.Header().Get("Allow"); w.Code != http.StatusMethodNotAllowed || got != tt.allow {
			t.Errorf("%s %s: got %d, Allow %q, want 405, %q", tt.method, tt.path, w.Code, got, tt.allow)
		}
		if !strings.Contains(w.Body.String(), `"UNSUPPORTED"`) {
			t.Errorf("%s %s: got body %s", tt.method, tt.path, w.Body)
		}
	}
}
