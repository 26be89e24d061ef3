package integration

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/parfait-registry/parfait/integration/harness"
)

// The tests in this file are about what the conformance suite of the distribution-spec looks at and no client does.

func testRanges(t *testing.T, on store) {
	w := newWire(t, on.start(t, harness.Options{Env: []string{"LOGLEVEL=warn"}}).URL)
	content := randomBytes(t, 2000)
	target := "/v2/ranges/app/blobs/" + w.push("ranges/app", octets, content).Digest.String()
	for _, tt := range []struct {
		header      string
		status      int
		first, last int
	}{
		{"bytes=0-0", 206, 0, 0},
		{"bytes=100-199", 206, 100, 199},
		{"bytes=1500-", 206, 1500, 1999},
		{"bytes=-500", 206, 1500, 1999},
		{"bytes=-5000", 206, 0, 1999},
		{"bytes=1999-9999", 206, 1999, 1999},
		{"bytes=2000-", 416, 0, 0},
		{"bytes=3000-4000", 416, 0, 0},
		{"bytes=200-100", 416, 0, 0},
		{"bytes=-0", 416, 0, 0},
		{"lines=1-2", 200, 0, 1999},
		{"", 200, 0, 1999},
	} {
		a := w.ask(tt.status, "GET", target, nil, "Range", tt.header)
		if want := content[tt.first : tt.last+1]; tt.status != 416 && !bytes.Equal(a.body, want) {
			t.Errorf("%q: got %d bytes, want %d from %d on", tt.header, len(a.body), len(want), tt.first)
		}
		want := map[int]string{200: "", 206: fmt.Sprintf("bytes %d-%d/2000", tt.first, tt.last), 416: "bytes */2000"}[tt.status]
		if got := a.header.Get("Content-Range"); got != want {
			t.Errorf("%q: got Content-Range %q, want %q", tt.header, got, want)
		}
	}
}

// testCancelledUpload cancels a session, after which it is gone with all that was sent.
func testCancelledUpload(t *testing.T, on store) {
	w := newWire(t, on.start(t, harness.Options{}).URL)
	location := w.session("cancel/app")
	w.ask(202, "PATCH", location, strings.NewReader("hello"))
	w.ask(204, "DELETE", location, nil)
	for _, method := range []string{"GET", "PATCH", "DELETE", "PUT"} {
		a := w.ask(404, method, location+"?digest="+digest.FromString("hello").String(), nil)
		if got := a.codes(); !slices.Equal(got, []string{"BLOB_UPLOAD_UNKNOWN"}) {
			t.Errorf("%s: got %q, want BLOB_UPLOAD_UNKNOWN", method, got)
		}
	}
	w.ask(404, "HEAD", "/v2/cancel/app/blobs/"+digest.FromString("hello").String(), nil)
}

// testLargeManifest pushes a manifest of nearly 4 MB, and one that is above the limit.
func testLargeManifest(t *testing.T, on store) {
	w := newWire(t, on.start(t, harness.Options{Env: []string{"LOGLEVEL=warn"}}).URL)
	for n, status := range map[int]int{390: 201, 430: 413} {
		index := v1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageIndex,
			Manifests: []v1.Descriptor{}, Annotations: make(map[string]string)}
		for i := range n {
			index.Annotations[fmt.Sprintf("org.example.%03d", i)] = strings.Repeat("x", 10_000)
		}
		payload := rawJSON(index)
		target := fmt.Sprintf("/v2/large/app/manifests/v%d", n)
		a := w.ask(status, "PUT", target, bytes.NewReader(payload), "Content-Type", index.MediaType)
		if status != 201 {
			if got := a.codes(); !slices.Equal(got, []string{"MANIFEST_INVALID"}) {
				t.Errorf("got %q, want MANIFEST_INVALID", got)
			}
			w.ask(404, "HEAD", target, nil)
			continue
		}
		if got := w.ask(200, "GET", target, nil); !bytes.Equal(got.body, payload) {
			t.Errorf("got %d bytes, want %d", len(got.body), len(payload))
		}
	}
}

// testManifestDigests pushes a manifest by digest, a wrong one first, with tags beside it.
func testManifestDigests(t *testing.T, on store) {
	w := newWire(t, on.start(t, harness.Options{Env: []string{"LOGLEVEL=warn"}}).URL)
	payload := rawJSON(v1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageIndex, Manifests: []v1.Descriptor{}})
	const manifests = "/v2/digest/app/manifests/"
	for _, alg := range []digest.Algorithm{digest.SHA256, digest.SHA512} {
		wrong, right := alg.FromString("another").String(), alg.FromBytes(payload).String()
		a := w.ask(400, "PUT", manifests+wrong, bytes.NewReader(payload), "Content-Type", v1.MediaTypeImageIndex)
		if got := a.codes(); !slices.Equal(got, []string{"DIGEST_INVALID"}) {
			t.Errorf("%s: got %q, want DIGEST_INVALID", alg, got)
		}
		w.ask(404, "HEAD", manifests+wrong, nil)
		w.ask(404, "HEAD", manifests+right, nil)
		a = w.ask(201, "PUT", manifests+right+"?tag=a&tag=b", bytes.NewReader(payload), "Content-Type", v1.MediaTypeImageIndex)
		if got := a.header.Values("OCI-Tag"); !slices.Equal(got, []string{"a", "b"}) {
			t.Errorf("%s: got OCI-Tag %q, want a and b", alg, got)
		}
		for _, ref := range []string{right, "a", "b"} {
			if got := w.ask(200, "GET", manifests+ref, nil); !bytes.Equal(got.body, payload) {
				t.Errorf("%s: got %s", ref, got.body)
			}
		}
		w.ask(202, "DELETE", manifests+right, nil)
	}
}

// testPages follows the links from page to page.
func testPages(t *testing.T, on store) {
	w := newWire(t, on.start(t, harness.Options{Env: []string{"LOGLEVEL=warn"}}).URL)
	payload := rawJSON(v1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageIndex, Manifests: []v1.Descriptor{}})
	for i := range 7 {
		w.ask(201, "PUT", fmt.Sprintf("/v2/pages/%d/manifests/v1", i), bytes.NewReader(payload), "Content-Type", v1.MediaTypeImageIndex)
		w.ask(201, "PUT", fmt.Sprintf("/v2/pages/0/manifests/v%d", i), bytes.NewReader(payload), "Content-Type", v1.MediaTypeImageIndex)
	}
	for target, want := range map[string][]string{
		"/v2/pages/0/tags/list?n=3":         {`["v0","v1","v2"]`, `["v3","v4","v5"]`, `["v6"]`},
		"/v2/pages/0/tags/list?n=3&last=v1": {`["v2","v3","v4"]`, `["v5","v6"]`},
		"/v2/pages/0/tags/list?last=v4":     {`["v5","v6"]`},
		"/v2/pages/0/tags/list?n=0":         {`[]`},
		"/v2/_catalog?n=4":                  {`["pages/0","pages/1","pages/2","pages/3"]`, `["pages/4","pages/5","pages/6"]`},
	} {
		for i, page := range want {
			a := w.ask(200, "GET", target, nil)
			if !strings.Contains(string(a.body), page) {
				t.Errorf("%s: got %s, want %s", target, a.body, page)
			}
			link := a.header.Get("Link")
			if last := i == len(want)-1; last != (link == "") {
				t.Fatalf("%s: got Link %q on page %d of %d", target, link, i+1, len(want))
			}
			target, _, _ = strings.Cut(strings.TrimPrefix(link, "<"), ">")
		}
	}
}
