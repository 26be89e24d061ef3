package server

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/parfait-registry/parfait/drivers"
)

// The routes that have a repository's name, each with a request that is right but for it.
var namedRoutes = []struct{ method, rest string }{
	{"GET", "/tags/list"},
	{"GET", "/manifests/v1"},
	{"HEAD", "/manifests/v1"},
	{"PUT", "/manifests/v1"},
	{"DELETE", "/manifests/v1"},
	{"GET", "/referrers/" + unknown},
	{"GET", "/blobs/" + unknown},
	{"HEAD", "/blobs/" + unknown},
	{"DELETE", "/blobs/" + unknown},
	{"POST", "/blobs/uploads/"},
	{"POST", "/blobs/uploads"},
	{"POST", "/blobs/uploads/?digest=" + unknown},
	{"POST", "/blobs/uploads/?mount=" + unknown + "&from=app"},
	{"GET", "/blobs/uploads/5cd8d7f5-5f5b-4b0a-9ac4-d4e5c8a1f0aa"},
	{"PATCH", "/blobs/uploads/5cd8d7f5-5f5b-4b0a-9ac4-d4e5c8a1f0aa"},
	{"PUT", "/blobs/uploads/5cd8d7f5-5f5b-4b0a-9ac4-d4e5c8a1f0aa?digest=" + unknown},
	{"DELETE", "/blobs/uploads/5cd8d7f5-5f5b-4b0a-9ac4-d4e5c8a1f0aa"},
}

func TestBadNames(t *testing.T) {
	eachDriver(t, func(t *testing.T, d drivers.Driver) {
		h := open(t, d, Config{})
		h.pushImage("a/b", "v1", "layer")
		before := h.keys()
		for _, name := range []string{
			"A", "a_", "-a", "a..b", "a/", "/a", "a//b", ".", "..", "../a", "a/..", "a/../b", "a/./b", ".a", "a.", "a__", "a___b",
			"a%2Fb", "a%2fb", "%2e%2e", "%2E%2E/b", "a%00b", "a%00", "a%20b", "a%25b", "a%2525", "a%5Cb", "a;b", "a:5000/b", "%C3%A9", "%FF", "a\"%2Fb",
			"a%0Ab", strings.Repeat("a", 256), strings.Repeat("a/", 200) + "a", strings.Repeat("a", 10000),
		} {
			for _, tt := range namedRoutes {
				target := "/v2/" + name + tt.rest
				a := h.do(tt.method, target, body(tt.method, "{}"))
				if a.status != 400 || tt.method != "HEAD" && !slices.Equal(a.codes(), []string{"NAME_INVALID"}) {
					t.Errorf("%s %.60s: got %d %.200s, want 400 NAME_INVALID", tt.method, target, a.status, a.body)
				}
				if !a.reused {
					t.Errorf("%s %.60s: needed a new connection", tt.method, target)
				}
			}
		}
		h.sameKeys(before)
	})
}

func body(method, s string) io.Reader {
	if method == "PUT" || method == "PATCH" || method == "POST" {
		return strings.NewReader(s)
	}
	return nil
}

func TestGoodNames(t *testing.T) {
	eachDriver(t, func(t *testing.T, d drivers.Driver) {
		h := open(t, d, Config{})
		for _, name := range []string{
			"a", "0", "a.b", "a_b", "a__b", "a--b", "a/b/c/d/e/f", "library/ubuntu", "localhost/x",
			"blobs", "manifests", "tags", "uploads", "tags/list", "blobs/uploads", "manifests/v1", "a/blobs/uploads", "a/manifests/v1", "a/tags/list",
			"a/referrers/b", "v2", "_catalog"[1:], strings.Repeat("a", 255), strings.Repeat("a/", 127) + "a",
		} {
			m, _, layer := h.pushImage(name, "v1", "layer of "+name)
			if a := h.do("GET", "/v2/"+name+"/manifests/v1", nil); a.status != 200 || digest.FromString(a.body) != m.Digest {
				t.Errorf("%s: get manifest: got %d %s", name, a.status, a.body)
			}
			if a := h.do("GET", "/v2/"+name+"/blobs/"+layer.Digest.String(), nil); a.status != 200 || a.body != "layer of "+name {
				t.Errorf("%s: get blob: got %d %s", name, a.status, a.body)
			}
			if a := h.do("GET", "/v2/"+name+"/tags/list", nil); a.status != 200 || a.body != fmt.Sprintf(`{"name":%q,"tags":["v1"]}`, name)+"\n" {
				t.Errorf("%s: list tags: got %d %s", name, a.status, a.body)
			}
		}
	})
}

// A request is one line of the table of TestRequests. In its path, header and body {name} stands for things that are
// in repository app: see the replacer there.
type request struct {
	method, path string
	body         string
	header       string // "Key: value" lines
	status       int
	code         string // of the error
	want         string // "Key: value" lines; a key alone must be absent
	contains     string // in the body
	closes       bool   // the connection may go
}

func TestRequests(t *testing.T) {
	groups := []struct {
		name     string
		requests []request
	}{
		{"base", baseRequests}, {"lists", listRequests}, {"blobs", blobRequests}, {"uploads", uploadRequests}, {"manifests", manifestRequests},
	}
	eachDriver(t, func(t *testing.T, d drivers.Driver) {
		h := open(t, d, Config{})
		m, config, layer := h.pushImage("app", "v1", pattern(2048))
		h.pushImage("app", "v2", "second layer")
		empty := h.pushBlob("app", "")
		signature := image(config, layer)
		signature.Subject, signature.ArtifactType = &m, "application/x-signature"
		sig := h.pushManifest("app", "", v1.MediaTypeImageManifest, signature)
		loose := h.pushBlob("app", "no manifest names this")
		for _, g := range groups {
			t.Run(g.name, func(t *testing.T) {
				for _, rq := range g.requests {
					session := ""
					if strings.Contains(rq.path, "{session}") {
						session = h.session("app")
					}
					fill := strings.NewReplacer("{manifest}", m.Digest.String(), "{config}", config.Digest.String(),
						"{layer}", layer.Digest.String(), "{empty}", empty.Digest.String(), "{unknown}", unknown,
						"{signature}", sig.Digest.String(), "{loose}", loose.Digest.String(),
						"{session}", session, "{url}", h.web.URL, "{image}", encode(image(config, layer)),
						"{image digest}", digest.FromString(encode(image(config, layer))).String())
					h.t = t
					rq.check(h, fill)
				}
			})
		}
	})
}

func (rq request) check(h *house, fill *strings.Replacer) {
	h.t.Helper()
	what := fmt.Sprintf("%s %.100s %.100q", rq.method, rq.path, rq.header)
	var header []string
	for line := range strings.Lines(fill.Replace(rq.header)) {
		k, v, _ := strings.Cut(strings.TrimSpace(line), ": ")
		header = append(header, k, v)
	}
	before := h.keys()
	a := h.do(rq.method, fill.Replace(rq.path), body(rq.method, fill.Replace(rq.body)), header...)
	if a.status != rq.status || rq.code != strings.Join(a.codes()[:min(1, len(a.codes()))], "") && rq.method != "HEAD" {
		h.t.Errorf("%s: got %d %.300s, want %d %s", what, a.status, a.body, rq.status, rq.code)
	}
	for line := range strings.Lines(fill.Replace(rq.want)) {
		k, v, present := strings.Cut(strings.TrimSpace(line), ": ")
		if got, ok := a.header[k]; ok != present || present && got[0] != v {
			h.t.Errorf("%s: got %s: %q, want %q", what, k, got, v)
		}
	}
	if !strings.Contains(a.body, fill.Replace(rq.contains)) {
		h.t.Errorf("%s: got %.300s, want it to contain %s", what, a.body, fill.Replace(rq.contains))
	}
	if rq.method == "HEAD" && a.body != "" {
		h.t.Errorf("%s: got body %s", what, a.body)
	}
	if !a.reused && !rq.closes {
		h.t.Errorf("%s: needed a new connection", what)
	}
	if next := h.do("GET", "/healthz", nil); !next.reused && !rq.closes {
		h.t.Errorf("%s: the connection is gone afterwards", what)
	}
	if a.status >= 400 {
		h.sameKeys(before)
	}
}

var baseRequests = []request{
	{method: "GET", path: "/v2/", status: 200, contains: "{}", want: "Docker-Distribution-Api-Version: registry/2.0\nContent-Type: application/json\nX-Content-Type-Options: nosniff"},
	{method: "HEAD", path: "/v2/", status: 200},
	{method: "GET", path: "/v2", status: 200},
	{method: "POST", path: "/v2/", body: "x", status: 405, code: "UNSUPPORTED", want: "Allow: GET, HEAD"},
	{method: "GET", path: "/v2/app", status: 404, code: "UNSUPPORTED"},
	{method: "GET", path: "/v2/app/", status: 404, code: "UNSUPPORTED"},
	{method: "GET", path: "/v2/app/tags/list/", status: 404, code: "UNSUPPORTED"},
	{method: "GET", path: "//v2/", status: 404, code: "UNSUPPORTED"},
	{method: "GET", path: "/v2//", status: 404, code: "UNSUPPORTED"},
	{method: "GET", path: "/v2/./", status: 404, code: "UNSUPPORTED"},
	{method: "GET", path: "/x/../v2/", status: 404, code: "UNSUPPORTED"},
	{method: "GET", path: "/%76%32/", status: 404, code: "UNSUPPORTED"},
	{method: "PUT", path: "/v2/nothing/here", body: pattern(100000), status: 404, code: "UNSUPPORTED"},
	{method: "PUT", path: "/v2/nothing/here", body: pattern(1 << 20), status: 404, code: "UNSUPPORTED", closes: true},
	{method: "GET", path: "/" + strings.Repeat("a", 10000), status: 404, code: "UNSUPPORTED"},
	{method: "GET", path: "/healthz", status: 200, contains: "ok"},
	{method: "GET", path: "/readyz", status: 200, contains: "ok"},
	{method: "GET", path: "/", status: 200, contains: `"docker-registry server"`, want: "Content-Type: application/json\nVary: Accept"},
	{method: "GET", path: "/", header: "Accept: text/html,*/*", status: 200, contains: ">app</a>", want: "Content-Type: text/html; charset=utf-8"},
	{method: "GET", path: "/?q=%3Cscript%3E", header: "Accept: text/html", status: 200, contains: `value="&lt;script&gt;"`},
	{method: "GET", path: "/?page=99999999999999999999", header: "Accept: text/html", status: 200},
	{method: "GET", path: "/v1/_ping", status: 200, contains: "{}", want: "X-Docker-Registry-Standalone: True\nCache-Control: no-cache\nExpires: -1\nPragma: no-cache\nContent-Type: application/json"},
	{method: "GET", path: "/_ping", status: 200, want: "X-Docker-Registry-Standalone: True"},
	{method: "GET", path: "/v1/search?q=ap&n=25", status: 200,
		contains: `{"num_pages":1,"num_results":1,"page":1,"page_size":25,"query":"ap","results":[{"description":"","name":"app"}]}`},
	{method: "GET", path: "/v1/search", status: 200, contains: `"num_results":1,`},
	{method: "GET", path: "/v1/search?q=nothing", status: 200, contains: `"results":[]`},
	{method: "GET", path: "/v1/search?q=%25", status: 200, contains: `"results":[]`},
	{method: "GET", path: "/v1/search?q=%00%FF&n=x&page=-1", status: 200},
	{method: "GET", path: "/v1/search?q=ap&page=2", status: 200, contains: `"results":[]`},
	{method: "GET", path: "/v1/search?q=" + strings.Repeat("a", 10000), status: 200, contains: `"results":[]`},
	{method: "PUT", path: "/v1/repositories/app/", body: "[]", status: 404, contains: `{"error":"`},
}

var blobRequests = []request{
	{method: "GET", path: "/v2/app/blobs/{layer}", status: 200, contains: pattern(2048),
		want: "Content-Type: application/octet-stream\nContent-Length: 2048\nEtag: \"{layer}\"\nCache-Control: max-age=31536000\nDocker-Content-Digest: {layer}\nAccept-Ranges: bytes"},
	{method: "HEAD", path: "/v2/app/blobs/{layer}", status: 200,
		want: "Content-Type: application/octet-stream\nContent-Length: 2048\nEtag: \"{layer}\"\nDocker-Content-Digest: {layer}\nAccept-Ranges: bytes"},
	{method: "GET", path: "/v2/app/blobs/{empty}", status: 200, want: "Content-Length: 0"},
	{method: "HEAD", path: "/v2/app/blobs/{empty}", status: 200, want: "Content-Length: 0"},
	{method: "GET", path: "/v2/app/blobs/{empty}", header: "Range: bytes=0-9", status: 200, want: "Content-Length: 0\nContent-Range"},
	{method: "GET", path: "/v2/app/blobs/sha256%3A" + digest.FromString(pattern(2048)).Encoded(), status: 200},

	{method: "GET", path: "/v2/app/blobs/{layer}", header: "Range: bytes=500-1499", status: 206, contains: pattern(2048)[500:1500], want: "Content-Range: bytes 500-1499/2048\nContent-Length: 1000"},
	{method: "GET", path: "/v2/app/blobs/{layer}", header: "Range: bytes=500-", status: 206, contains: pattern(2048)[500:], want: "Content-Range: bytes 500-2047/2048\nContent-Length: 1548"},
	{method: "GET", path: "/v2/app/blobs/{layer}", header: "Range: bytes=-500", status: 206, contains: pattern(2048)[1548:], want: "Content-Range: bytes 1548-2047/2048\nContent-Length: 500"},
	{method: "GET", path: "/v2/app/blobs/{layer}", header: "Range: bytes=2000-5000", status: 206, contains: pattern(2048)[2000:], want: "Content-Range: bytes 2000-2047/2048\nContent-Length: 48"},
	{method: "GET", path: "/v2/app/blobs/{layer}", header: "Range: bytes=0-0", status: 206, want: "Content-Range: bytes 0-0/2048\nContent-Length: 1"},
	{method: "GET", path: "/v2/app/blobs/{layer}", header: "Range: bytes=500-0", status: 416, code: "RANGE_INVALID", want: "Content-Range: bytes */2048\nEtag\nCache-Control"},
	{method: "GET", path: "/v2/app/blobs/{layer}", header: "Range: bytes=5000-10000", status: 416, code: "RANGE_INVALID", want: "Content-Range: bytes */2048"},
	{method: "GET", path: "/v2/app/blobs/{layer}", header: "Range: bytes=-0", status: 416, code: "RANGE_INVALID"},
	{method: "GET", path: "/v2/app/blobs/{layer}", header: "Range: bytes=x", status: 416, code: "RANGE_INVALID"},
	{method: "GET", path: "/v2/app/blobs/{layer}", header: "Range: lines=1-2", status: 200, want: "Content-Length: 2048"},
	{method: "GET", path: "/v2/app/blobs/{layer}", header: "Range: bytes=0-1\nIf-Range: \"{layer}\"", status: 206},
	{method: "GET", path: "/v2/app/blobs/{layer}", header: "Range: bytes=0-1\nIf-Range: \"{config}\"", status: 200, want: "Content-Length: 2048"},
	{method: "GET", path: "/v2/app/blobs/{layer}", header: "Range: bytes=0-1\nIf-Range: Sat, 21 Nov 2026 00:00:00 GMT", status: 200},
	{method: "HEAD", path: "/v2/app/blobs/{layer}", header: "Range: bytes=0-1", status: 200, want: "Content-Length: 2048"},

	{method: "GET", path: "/v2/app/blobs/{layer}", header: "If-None-Match: \"{layer}\"", status: 304, want: "Etag: \"{layer}\"\nDocker-Content-Digest: {layer}"},
	{method: "HEAD", path: "/v2/app/blobs/{layer}", header: "If-None-Match: \"{layer}\"", status: 304},
	{method: "GET", path: "/v2/app/blobs/{layer}", header: "If-None-Match: {layer}", status: 304},
	{method: "GET", path: "/v2/app/blobs/{layer}", header: "If-None-Match: W/\"{layer}\"", status: 304},
	{method: "GET", path: "/v2/app/blobs/{layer}", header: "If-None-Match: \"{config}\", \"{layer}\"", status: 304},
	{method: "GET", path: "/v2/app/blobs/{layer}", header: "If-None-Match: *", status: 304},
	{method: "GET", path: "/v2/app/blobs/{layer}", header: "If-None-Match: \"{config}\"", status: 200},
	{method: "GET", path: "/v2/app/blobs/{unknown}", header: "If-None-Match: *", status: 404, code: "BLOB_UNKNOWN"},
	{method: "GET", path: "/v2/app/blobs/{layer}", header: "If-Match: \"{config}\"", status: 412},

	{method: "GET", path: "/v2/app/blobs/{unknown}", status: 404, code: "BLOB_UNKNOWN"},
	{method: "HEAD", path: "/v2/app/blobs/{unknown}", status: 404},
	{method: "DELETE", path: "/v2/app/blobs/{unknown}", status: 404, code: "BLOB_UNKNOWN"},
	{method: "GET", path: "/v2/other/blobs/{layer}", status: 404, code: "BLOB_UNKNOWN"},
	{method: "GET", path: "/v2/app/blobs/sha256:abc", status: 400, code: "DIGEST_INVALID"},
	{method: "HEAD", path: "/v2/app/blobs/sha256:abc", status: 400},
	{method: "DELETE", path: "/v2/app/blobs/latest", status: 400, code: "DIGEST_INVALID"},
	{method: "GET", path: "/v2/app/blobs/sha256:" + strings.Repeat("A", 64), status: 400, code: "DIGEST_INVALID"},
	{method: "GET", path: "/v2/app/blobs/md5:d41d8cd98f00b204e9800998ecf8427e", status: 400, code: "DIGEST_INVALID"},
	{method: "GET", path: "/v2/app/blobs/sha256:" + strings.Repeat("0", 10000), status: 400, code: "DIGEST_INVALID"},
	{method: "GET", path: "/v2/app/blobs/..%2F..%2F{layer}", status: 400, code: "DIGEST_INVALID"},
	{method: "GET", path: "/v2/app/blobs/{layer}%00", status: 400, code: "DIGEST_INVALID"},
	{method: "GET", path: "/v2/app/blobs/..", status: 400, code: "DIGEST_INVALID"},
	{method: "DELETE", path: "/v2/app/blobs/{layer}", status: 405, code: "UNSUPPORTED"},
	{method: "DELETE", path: "/v2/app/blobs/{loose}", status: 202, want: "Content-Length: 0"},
	{method: "GET", path: "/v2/app/blobs/{loose}", status: 404, code: "BLOB_UNKNOWN"},
}

var listRequests = []request{
	{method: "GET", path: "/v2/app/tags/list", status: 200, contains: `{"name":"app","tags":["v1","v2"]}`, want: "Link\nContent-Type: application/json"},
	{method: "HEAD", path: "/v2/app/tags/list", status: 200},
	{method: "GET", path: "/v2/app/tags/list?n=1", status: 200, contains: `"tags":["v1"]`, want: `Link: </v2/app/tags/list?n=1&last=v1>; rel="next"`},
	{method: "GET", path: "/v2/app/tags/list?n=1&last=v1", status: 200, contains: `"tags":["v2"]`, want: "Link"},
	{method: "GET", path: "/v2/app/tags/list?last=v1", status: 200, contains: `"tags":["v2"]`, want: "Link"},
	{method: "GET", path: "/v2/app/tags/list?last=v2", status: 200, contains: `"tags":[]`, want: "Link"},
	{method: "GET", path: "/v2/app/tags/list?last=%3Cno%20tag%3E", status: 200, contains: `"tags":["v1","v2"]`},
	{method: "GET", path: "/v2/app/tags/list?n=0", status: 200, contains: `"tags":[]`, want: "Link"},
	{method: "GET", path: "/v2/app/tags/list?n=", status: 200, contains: `"tags":["v1","v2"]`},
	{method: "GET", path: "/v2/app/tags/list?n=99999999999999999999", status: 200, contains: `"tags":["v1","v2"]`},
	{method: "GET", path: "/v2/app/tags/list?n=-1", status: 400, code: "PAGINATION_NUMBER_INVALID"},
	{method: "GET", path: "/v2/app/tags/list?n=ten", status: 400, code: "PAGINATION_NUMBER_INVALID"},
	{method: "GET", path: "/v2/app/tags/list?n=1e3", status: 400, code: "PAGINATION_NUMBER_INVALID"},
	{method: "GET", path: "/v2/app/tags/list?n=%2B1", status: 400, code: "PAGINATION_NUMBER_INVALID"},
	{method: "GET", path: "/v2/app/tags/list?last=" + strings.Repeat("a", 10000), status: 400, code: "PAGINATION_NUMBER_INVALID"},
	{method: "GET", path: "/v2/app/tags/list?last=%00%FF", status: 200, contains: `"tags":["v1","v2"]`},
	{method: "GET", path: "/v2/unheard/tags/list", status: 404, code: "NAME_UNKNOWN"},
	{method: "GET", path: "/v2/unheard/tags/list?n=0", status: 404, code: "NAME_UNKNOWN"},

	{method: "GET", path: "/v2/_catalog", status: 200, contains: `{"repositories":["app"]}`, want: "Link"},
	{method: "GET", path: "/v2/_catalog?n=0", status: 200, contains: `{"repositories":[]}`, want: "Link"},
	{method: "GET", path: "/v2/_catalog?last=app", status: 200, contains: `{"repositories":[]}`},
	{method: "GET", path: "/v2/_catalog?n=x", status: 400, code: "PAGINATION_NUMBER_INVALID"},
	{method: "DELETE", path: "/v2/_catalog", status: 405, code: "UNSUPPORTED"},
	{method: "GET", path: "/v2/_catalog/", status: 404, code: "UNSUPPORTED"},

	{method: "GET", path: "/v2/app/referrers/{manifest}", status: 200, contains: `"digest":"{signature}"`,
		want: "Content-Type: application/vnd.oci.image.index.v1+json\nOci-Filters-Applied\nLink"},
	{method: "GET", path: "/v2/app/referrers/{manifest}?artifactType=application/x-signature", status: 200, contains: `"digest":"{signature}"`, want: "Oci-Filters-Applied: artifactType"},
	{method: "GET", path: "/v2/app/referrers/{manifest}?artifactType=x", status: 200, contains: `"manifests":[]`, want: "Oci-Filters-Applied: artifactType"},
	{method: "GET", path: "/v2/app/referrers/{manifest}?artifactType=%00%FFx", status: 200, contains: `"manifests":[]`},
	{method: "GET", path: "/v2/app/referrers/{manifest}?n=0", status: 200, contains: `"manifests":[]`, want: "Link"},
	{method: "GET", path: "/v2/app/referrers/{manifest}?last={signature}", status: 200, contains: `"manifests":[]`},
	{method: "GET", path: "/v2/app/referrers/{unknown}", status: 200, contains: `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`},
	{method: "GET", path: "/v2/unheard/referrers/{unknown}", status: 200, contains: `"manifests":[]`},
	{method: "GET", path: "/v2/app/referrers/v1", status: 400, code: "DIGEST_INVALID"},
	{method: "GET", path: "/v2/app/referrers/sha256:abc", status: 400, code: "DIGEST_INVALID"},
	{method: "GET", path: "/v2/app/referrers/{manifest}?last=x", status: 400, code: "DIGEST_INVALID"},
	{method: "GET", path: "/v2/app/referrers/{manifest}?n=x", status: 400, code: "PAGINATION_NUMBER_INVALID"},
}

var uploadRequests = []request{
	{method: "POST", path: "/v2/app/blobs/uploads/", status: 202, want: "Range: 0-0\nContent-Length: 0\nOci-Chunk-Min-Length"},
	{method: "POST", path: "/v2/app/blobs/uploads", header: "Content-Type: application/json", status: 202},
	{method: "POST", path: "/v2/app/blobs/uploads/?digest-algorithm=sha512", status: 202},
	{method: "POST", path: "/v2/app/blobs/uploads/?digest-algorithm=md5", status: 400, code: "DIGEST_INVALID"},
	{method: "GET", path: "/v2/app/blobs/uploads/", status: 405, code: "UNSUPPORTED", want: "Allow: POST"},

	{method: "POST", path: "/v2/app/blobs/uploads/?digest=" + digest.FromString("one post").String(), body: "one post", status: 201,
		want: "Location: {url}/v2/app/blobs/" + digest.FromString("one post").String() + "\nDocker-Content-Digest: " + digest.FromString("one post").String()},
	{method: "POST", path: "/v2/app/blobs/uploads/?digest=" + digest.FromString("two posts").String(), status: 202, want: "Range: 0-0"},
	{method: "POST", path: "/v2/app/blobs/uploads/?digest=" + digest.FromString("").String(), status: 201},
	{method: "POST", path: "/v2/app/blobs/uploads/?digest=" + digest.SHA512.FromString("").String(), status: 201, want: "Docker-Content-Digest: " + digest.SHA512.FromString("").String()},
	{method: "POST", path: "/v2/app/blobs/uploads/?digest={unknown}", body: "not that", status: 400, code: "DIGEST_INVALID"},
	{method: "POST", path: "/v2/app/blobs/uploads/?digest=sha256:abc", body: "x", status: 400, code: "DIGEST_INVALID"},
	{method: "POST", path: "/v2/app/blobs/uploads/?digest=", body: "x", status: 400, code: "DIGEST_INVALID"},
	{method: "POST", path: "/v2/app/blobs/uploads/?digest={unknown}", body: "x", header: "Content-Range: 0-5", status: 400, code: "SIZE_INVALID"},

	{method: "POST", path: "/v2/other/blobs/uploads/?mount={layer}&from=app", status: 201, want: "Location: {url}/v2/other/blobs/{layer}\nDocker-Content-Digest: {layer}\nContent-Length: 0"},
	{method: "POST", path: "/v2/other/blobs/uploads/?mount={config}", status: 201, want: "Docker-Content-Digest: {config}"},
	{method: "POST", path: "/v2/app/blobs/uploads/?mount={layer}&from=app", status: 201},
	{method: "POST", path: "/v2/other/blobs/uploads/?mount={unknown}&from=app", status: 202, want: "Range: 0-0"},
	{method: "POST", path: "/v2/other/blobs/uploads/?mount={unknown}", status: 202},
	{method: "POST", path: "/v2/third/blobs/uploads/?mount={layer}&from=unheard", status: 202},
	{method: "POST", path: "/v2/third/blobs/uploads/?mount={layer}&from=../app", status: 202},
	{method: "POST", path: "/v2/third/blobs/uploads/?mount=sha256:abc&from=app", status: 202},
	{method: "POST", path: "/v2/third/blobs/uploads/?mount=&from=app", status: 202},
	{method: "GET", path: "/v2/third/blobs/{layer}", status: 404, code: "BLOB_UNKNOWN"},

	{method: "GET", path: "{session}", status: 204, want: "Range: 0-0\nLocation: {url}{session}\nContent-Length"},
	{method: "HEAD", path: "{session}", status: 204},
	{method: "DELETE", path: "{session}", status: 204},
	{method: "POST", path: "{session}", status: 405, code: "UNSUPPORTED", want: "Allow: GET, HEAD, PATCH, PUT, DELETE"},
	{method: "PATCH", path: "{session}", body: "hello", status: 202, want: "Range: 0-4\nLocation: {url}{session}\nContent-Length: 0"},
	{method: "PATCH", path: "{session}", body: "", status: 202, want: "Range: 0-0"},
	{method: "PATCH", path: "{session}", body: "hello", header: "Content-Type: application/x-tar+gzip", status: 202},
	{method: "PATCH", path: "{session}", body: "hello", header: "Content-Range: 0-4\nContent-Type: application/octet-stream", status: 202, want: "Range: 0-4"},
	{method: "PATCH", path: "{session}", body: "hello", header: "Content-Range: bytes 0-4/5", status: 202, want: "Range: 0-4"},
	{method: "PATCH", path: "{session}", body: "hello", header: "Content-Range: 0-5", status: 400, code: "SIZE_INVALID"},
	{method: "PATCH", path: "{session}", body: "hello", header: "Content-Range: 0-3", status: 400, code: "SIZE_INVALID"},
	{method: "PATCH", path: "{session}", body: "hello", header: "Content-Range: 5-9", status: 416, code: "RANGE_INVALID", want: "Range: 0-0\nLocation: {url}{session}"},
	{method: "PATCH", path: "{session}", body: "hello", header: "Content-Range: 4-0", status: 416, code: "RANGE_INVALID", want: "Range: 0-0\nLocation: {url}{session}"},
	{method: "PATCH", path: "{session}", body: "hello", header: "Content-Range: 0-x", status: 416, code: "RANGE_INVALID"},
	{method: "PATCH", path: "{session}", body: "hello", header: "Content-Range: 0-9223372036854775807", status: 416, code: "RANGE_INVALID"},

	{method: "PUT", path: "{session}?digest=" + digest.FromString("a put").String(), body: "a put", status: 201,
		want: "Location: {url}/v2/app/blobs/" + digest.FromString("a put").String() + "\nDocker-Content-Digest: " + digest.FromString("a put").String() + "\nContent-Length: 0"},
	{method: "PUT", path: "{session}?digest=" + digest.SHA512.FromString("a put").String(), body: "a put", status: 201,
		want: "Docker-Content-Digest: " + digest.SHA512.FromString("a put").String()},
	{method: "PUT", path: "{session}?digest=" + digest.FromString("ranged").String(), body: "ranged", header: "Content-Range: 0-5", status: 201},
	{method: "PUT", path: "{session}?digest=" + digest.FromString("").String(), status: 201},
	{method: "PUT", path: "{session}?digest={layer}", body: pattern(2048), status: 201},
	{method: "PUT", path: "{session}", body: "x", status: 400, code: "DIGEST_INVALID"},
	{method: "PUT", path: "{session}?digest=", body: "x", status: 400, code: "DIGEST_INVALID"},
	{method: "PUT", path: "{session}?digest=sha256:abc", body: "x", status: 400, code: "DIGEST_INVALID"},
	{method: "PUT", path: "{session}?digest=md5:d41d8cd98f00b204e9800998ecf8427e", body: "", status: 400, code: "DIGEST_INVALID"},
	{method: "PUT", path: "{session}?digest={unknown}", body: "x", status: 400, code: "DIGEST_INVALID"},
	{method: "PUT", path: "{session}?digest={unknown}", status: 400, code: "DIGEST_INVALID"},
	{method: "PUT", path: "{session}?digest={layer}", body: "x", status: 400, code: "DIGEST_INVALID"},
	{method: "PUT", path: "{session}?digest={unknown}", body: "x", header: "Content-Range: 0-5", status: 400, code: "SIZE_INVALID"},
	{method: "PUT", path: "{session}?digest={unknown}", body: "x", header: "Content-Range: 7-7", status: 416, code: "RANGE_INVALID", want: "Range: 0-0\nLocation: {url}{session}"},

	{method: "GET", path: "/v2/app/blobs/uploads/5cd8d7f5-5f5b-4b0a-9ac4-d4e5c8a1f0aa", status: 404, code: "BLOB_UPLOAD_UNKNOWN"},
	{method: "PATCH", path: "/v2/app/blobs/uploads/5cd8d7f5-5f5b-4b0a-9ac4-d4e5c8a1f0aa", body: "x", status: 404, code: "BLOB_UPLOAD_UNKNOWN", want: "Location\nRange"},
	{method: "PATCH", path: "/v2/app/blobs/uploads/5cd8d7f5-5f5b-4b0a-9ac4-d4e5c8a1f0aa", body: "x", header: "Content-Range: 9-5", status: 404, code: "BLOB_UPLOAD_UNKNOWN"},
	{method: "PUT", path: "/v2/app/blobs/uploads/5cd8d7f5-5f5b-4b0a-9ac4-d4e5c8a1f0aa?digest={unknown}", body: "x", status: 404, code: "BLOB_UPLOAD_UNKNOWN"},
	{method: "DELETE", path: "/v2/app/blobs/uploads/5cd8d7f5-5f5b-4b0a-9ac4-d4e5c8a1f0aa", status: 404, code: "BLOB_UPLOAD_UNKNOWN"},
	{method: "GET", path: "/v2/app/blobs/uploads/..", status: 404, code: "BLOB_UPLOAD_UNKNOWN"},
	{method: "GET", path: "/v2/app/blobs/uploads/%2e%2e%2f%2e%2e", status: 404, code: "BLOB_UPLOAD_UNKNOWN"},
	{method: "GET", path: "/v2/app/blobs/uploads/%00", status: 404, code: "BLOB_UPLOAD_UNKNOWN"},
	{method: "GET", path: "/v2/app/blobs/uploads/" + strings.Repeat("0", 10000), status: 404, code: "BLOB_UPLOAD_UNKNOWN"},
	{method: "PATCH", path: "/v2/app/blobs/uploads/unheard", body: pattern(200 << 10), status: 404, code: "BLOB_UPLOAD_UNKNOWN"},
	{method: "PATCH", path: "/v2/app/blobs/uploads/unheard", body: pattern(2 << 20), status: 404, code: "BLOB_UPLOAD_UNKNOWN", closes: true},
}

const ociManifest = "Content-Type: application/vnd.oci.image.manifest.v1+json"

var manifestRequests = []request{
	{method: "GET", path: "/v2/app/manifests/v1", status: 200, contains: `"layers":[`,
		want: "Content-Type: application/vnd.oci.image.manifest.v1+json\nDocker-Content-Digest: {manifest}\nEtag: \"{manifest}\""},
	{method: "HEAD", path: "/v2/app/manifests/v1", status: 200, want: "Content-Type: application/vnd.oci.image.manifest.v1+json\nDocker-Content-Digest: {manifest}"},
	{method: "GET", path: "/v2/app/manifests/{manifest}", status: 200, want: "Docker-Content-Digest: {manifest}"},
	{method: "GET", path: "/v2/app/manifests/v1", header: "Accept: application/vnd.docker.distribution.manifest.v2+json", status: 200, want: "Content-Type: application/vnd.oci.image.manifest.v1+json"},
	{method: "GET", path: "/v2/app/manifests/v1", header: "If-None-Match: \"{manifest}\"", status: 304, want: "Etag: \"{manifest}\""},
	{method: "HEAD", path: "/v2/app/manifests/v1", header: "If-None-Match: {manifest}", status: 304},
	{method: "GET", path: "/v2/app/manifests/v1", header: "If-None-Match: \"{layer}\"", status: 200},
	{method: "GET", path: "/v2/app/manifests/unheard", status: 404, code: "MANIFEST_UNKNOWN"},
	{method: "HEAD", path: "/v2/app/manifests/unheard", status: 404},
	{method: "GET", path: "/v2/app/manifests/{unknown}", status: 404, code: "MANIFEST_UNKNOWN"},
	{method: "GET", path: "/v2/app/manifests/{layer}", status: 404, code: "MANIFEST_UNKNOWN"},
	{method: "GET", path: "/v2/unheard/manifests/v1", status: 404, code: "MANIFEST_UNKNOWN"},
	{method: "DELETE", path: "/v2/app/manifests/unheard", status: 404, code: "MANIFEST_UNKNOWN"},
	{method: "DELETE", path: "/v2/app/manifests/{unknown}", status: 404, code: "MANIFEST_UNKNOWN"},

	{method: "PUT", path: "/v2/app/manifests/v3", body: "{image}", header: ociManifest, status: 201,
		want: "Location: {url}/v2/app/manifests/{image digest}\nDocker-Content-Digest: {image digest}\nContent-Length: 0\nOci-Subject\nOci-Tag"},
	{method: "PUT", path: "/v2/app/manifests/v4", body: "{image}", header: ociManifest + "; charset=utf-8", status: 201},
	{method: "GET", path: "/v2/app/manifests/v4", status: 200, contains: "{image}", want: ociManifest},
	{method: "PUT", path: "/v2/app/manifests/v4", body: "{image}", status: 201},
	{method: "PUT", path: "/v2/app/manifests/{image digest}", body: "{image}", header: ociManifest, status: 201},
	{method: "PUT", path: "/v2/app/manifests/{image digest}?tag=a&tag=b&tag=a", body: "{image}", header: ociManifest, status: 201, want: "Oci-Tag: a"},
	{method: "GET", path: "/v2/app/manifests/b", status: 200, contains: "{image}"},
	{method: "DELETE", path: "/v2/app/manifests/b", status: 202, want: "Content-Length: 0"},
	{method: "GET", path: "/v2/app/manifests/b", status: 404, code: "MANIFEST_UNKNOWN"},

	{method: "PUT", path: "/v2/app/manifests/v9?tag=a", body: "{image}", header: ociManifest, status: 400, code: "MANIFEST_INVALID"},
	{method: "PUT", path: "/v2/app/manifests/{image digest}?tag=a&tag=..", body: "{image}", header: ociManifest, status: 400, code: "MANIFEST_INVALID"},
	{method: "PUT", path: "/v2/app/manifests/{image digest}?" + strings.Repeat("tag=x&", maxTags+1), body: "{image}", header: ociManifest, status: 414, code: "MANIFEST_INVALID"},
	{method: "PUT", path: "/v2/app/manifests/{unknown}", body: "{image}", header: ociManifest, status: 400, code: "DIGEST_INVALID"},
	{method: "PUT", path: "/v2/app/manifests/sha256:abc", body: "{image}", header: ociManifest, status: 400, code: "DIGEST_INVALID"},
	{method: "PUT", path: "/v2/app/manifests/v9", body: "", header: ociManifest, status: 400, code: "MANIFEST_INVALID"},
	{method: "PUT", path: "/v2/app/manifests/v9", body: "{", header: ociManifest, status: 400, code: "MANIFEST_INVALID"},
	{method: "PUT", path: "/v2/app/manifests/v9", body: "null", header: ociManifest, status: 400, code: "MANIFEST_INVALID"},
	{method: "PUT", path: "/v2/app/manifests/v9", body: `{"schemaVersion":2}`, header: ociManifest, status: 400, code: "MANIFEST_INVALID"},
	{method: "PUT", path: "/v2/app/manifests/v9", body: strings.Repeat("[", 100000), header: ociManifest, status: 400, code: "MANIFEST_INVALID"},
	{method: "PUT", path: "/v2/app/manifests/v9", body: "{image}", header: "Content-Type: text/plain", status: 400, code: "MANIFEST_INVALID"},
	{method: "PUT", path: "/v2/app/manifests/v9", body: "{image}", header: "Content-Type: application/vnd.oci.image.index.v1+json", status: 400, code: "MANIFEST_INVALID"},
	{method: "PUT", path: "/v2/app/manifests/v9", body: `{"schemaVersion":1}`, header: "Content-Type: application/vnd.docker.distribution.manifest.v1+prettyjws", status: 400, code: "MANIFEST_INVALID", contains: "schema 1"},
	{method: "PUT", path: "/v2/unheard/manifests/v9", body: "{image}", header: ociManifest, status: 400, code: "MANIFEST_BLOB_UNKNOWN", contains: "{layer}"},
	{method: "PUT", path: "/v2/app/manifests/v9", body: strings.Repeat(" ", 4<<20+1), header: ociManifest, status: 413, code: "MANIFEST_INVALID", contains: "4194304", closes: true},
	{method: "GET", path: "/v2/app/manifests/v9", status: 404, code: "MANIFEST_UNKNOWN"},

	{method: "GET", path: "/v2/app/manifests/" + strings.Repeat("a", 129), status: 404, code: "MANIFEST_UNKNOWN"},
	{method: "PUT", path: "/v2/app/manifests/" + strings.Repeat("a", 129), body: "{image}", header: ociManifest, status: 400, code: "MANIFEST_INVALID"},
	{method: "GET", path: "/v2/app/manifests/" + strings.Repeat("a", 10000), status: 404, code: "MANIFEST_UNKNOWN"},
	{method: "GET", path: "/v2/app/manifests/..", status: 404, code: "MANIFEST_UNKNOWN"},
	{method: "GET", path: "/v2/app/manifests/%2e%2e", status: 404, code: "MANIFEST_UNKNOWN"},
	{method: "PUT", path: "/v2/app/manifests/-v", body: "{image}", header: ociManifest, status: 400, code: "MANIFEST_INVALID"},
	{method: "DELETE", path: "/v2/app/manifests/.v", status: 400, code: "MANIFEST_INVALID"},
	{method: "HEAD", path: "/v2/app/manifests/v%2F1", status: 404},
	{method: "GET", path: "/v2/app/manifests/v%00", status: 404, code: "MANIFEST_UNKNOWN"},
	{method: "GET", path: "/v2/app/manifests/%C3%BC", status: 404, code: "MANIFEST_UNKNOWN"},
	{method: "GET", path: "/v2/app/manifests/v%2531", status: 404, code: "MANIFEST_UNKNOWN"},
	{method: "GET", path: "/v2/app/manifests/v%31", status: 200},
}
