package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/drivers/mem"
	"github.com/parfait-registry/parfait/registry"
)

func TestManifestKeepsItsBytes(t *testing.T) {
	eachDriver(t, func(t *testing.T, d drivers.Driver) {
		h := open(t, d, Config{})
		_, config, layer := h.pushImage("app", "v1", "layer")
		payload := strings.Replace(encode(image(config, layer)), "{", "{ \n\t\"\\u0078\": 1e1,  ", 1)
		for _, alg := range []digest.Algorithm{digest.SHA256, digest.SHA512} {
			want := alg.FromString(payload).String()
			a := h.want(201, "PUT", "/v2/app/manifests/"+want, strings.NewReader(payload), "Content-Type", v1.MediaTypeImageManifest)
			if a.header.Get("Docker-Content-Digest") != want || a.header.Get("Location") != h.web.URL+"/v2/app/manifests/"+want {
				t.Errorf("%s: got %v", alg, a.header)
			}
			for _, method := range []string{"GET", "HEAD"} {
				a := h.want(200, method, a.header.Get("Location"), nil)
				if a.header.Get("Docker-Content-Digest") != want || a.header.Get("Content-Length") != fmt.Sprint(len(payload)) {
					t.Errorf("%s: %s: got %v", alg, method, a.header)
				}
				if method == "GET" && a.body != payload {
					t.Errorf("%s: got %q, want %q", alg, a.body, payload)
				}
			}
		}
	})
}

func TestManifestWithSubject(t *testing.T) {
	h := open(t, mem.New(), Config{})
	m, config, layer := h.pushImage("app", "v1", "layer")
	for _, subject := range []digest.Digest{m.Digest, digest.Digest(unknown)} {
		signature := image(config, layer)
		signature.Subject = &v1.Descriptor{MediaType: m.MediaType, Digest: subject, Size: m.Size}
		a := h.want(201, "PUT", "/v2/app/manifests/s", strings.NewReader(encode(signature)), "Content-Type", v1.MediaTypeImageManifest)
		if got := a.header.Get("OCI-Subject"); got != subject.String() {
			t.Errorf("got OCI-Subject %q, want %q", got, subject)
		}
	}
}

func TestTagParameters(t *testing.T) {
	h := open(t, mem.New(), Config{})
	_, config, layer := h.pushImage("app", "v1", "layer")
	payload := encode(image(config, layer))
	var want []string
	query := "?"
	for i := range maxTags {
		want = append(want, fmt.Sprintf("t%03d", i))
		query += "tag=" + want[i] + "&"
	}
	a := h.want(201, "PUT", "/v2/app/manifests/"+digest.FromString(payload).String()+query[:len(query)-1], strings.NewReader(payload), "Content-Type", v1.MediaTypeImageManifest)
	if got := a.header.Values("OCI-Tag"); !slices.Equal(got, want) {
		t.Errorf("got OCI-Tag %q, want %q", got, want)
	}
	if a := h.want(200, "GET", "/v2/app/tags/list?last=t098", nil); !strings.Contains(a.body, `"tags":["t099","v1"]`) {
		t.Errorf("got %s", a.body)
	}
}

func TestManifestNamesWhatIsMissing(t *testing.T) {
	h := open(t, mem.New(), Config{})
	_, config, _ := h.pushImage("app", "v1", "layer")
	missing := []v1.Descriptor{
		{MediaType: v1.MediaTypeImageLayer, Digest: digest.FromString("a"), Size: 1},
		{MediaType: v1.MediaTypeImageLayer, Digest: digest.FromString("b"), Size: 1},
	}
	a := h.want(400, "PUT", "/v2/app/manifests/v2", strings.NewReader(encode(image(config, missing...))), "Content-Type", v1.MediaTypeImageManifest)
	if got := a.codes(); !slices.Equal(got, []string{"MANIFEST_BLOB_UNKNOWN", "MANIFEST_BLOB_UNKNOWN"}) {
		t.Errorf("got %s", a.body)
	}
	for _, d := range missing {
		if !strings.Contains(a.body, d.Digest.String()) {
			t.Errorf("got %s, want %s in it", a.body, d.Digest)
		}
	}
}

func TestManifestThatIsTooLong(t *testing.T) {
	j := new(journal)
	h := openWith(t, mem.New(), Config{}, registry.Config{MaxManifestSize: 10000}, j, j.logger())
	_, config, layer := h.pushImage("app", "v1", "layer")
	m := image(config, layer)
	m.Annotations = map[string]string{"x": ""}
	m.Annotations["x"] = strings.Repeat("x", 10000-len(encode(m)))
	fits := encode(m)
	for _, tt := range []struct {
		name   string
		body   io.Reader
		status int
	}{
		{"just fits", strings.NewReader(fits), 201},
		{"just fits, chunked", chunked(fits), 201},
		{"by a byte", strings.NewReader(fits + " "), 413},
		{"by a byte, chunked", chunked(fits + " "), 413},
		{"by far", strings.NewReader(strings.Repeat(" ", 1<<20)), 413},
		{"by far, chunked", chunked(strings.Repeat(" ", 1<<20)), 413},
	} {
		a := h.do("PUT", "/v2/app/manifests/long", tt.body, "Content-Type", v1.MediaTypeImageManifest)
		if a.status != tt.status {
			t.Errorf("%s: got %d %.200s, want %d", tt.name, a.status, a.body, tt.status)
		}
		if a.status == 413 && (strings.Join(a.codes(), "") != "MANIFEST_INVALID" || !strings.Contains(a.body, "10000 bytes")) {
			t.Errorf("%s: got %s, want the limit in it", tt.name, a.body)
		}
		h.want(200, "GET", "/v2/", nil)
	}
	if a := h.want(200, "GET", "/v2/app/manifests/long", nil); a.body != fits {
		t.Errorf("got %d bytes, want %d", len(a.body), len(fits))
	}
}

func TestDelete(t *testing.T) {
	eachDriver(t, func(t *testing.T, d drivers.Driver) {
		h := open(t, d, Config{})
		m, _, layer := h.pushImage("app", "v1", "layer")
		list := h.pushManifest("app", "list", v1.MediaTypeImageIndex, map[string]any{
			"schemaVersion": 2, "mediaType": v1.MediaTypeImageIndex, "manifests": []v1.Descriptor{m},
		})
		h.want(405, "DELETE", "/v2/app/manifests/"+m.Digest.String(), nil)
		h.want(405, "DELETE", "/v2/app/blobs/"+layer.Digest.String(), nil)
		h.want(202, "DELETE", "/v2/app/manifests/v1", nil)
		h.want(404, "DELETE", "/v2/app/manifests/v1", nil)
		h.want(200, "GET", "/v2/app/manifests/"+m.Digest.String(), nil)
		h.want(202, "DELETE", "/v2/app/manifests/"+list.Digest.String(), nil)
		h.want(404, "GET", "/v2/app/manifests/list", nil)
		h.want(202, "DELETE", "/v2/app/manifests/"+m.Digest.String(), nil)
		h.want(404, "HEAD", "/v2/app/manifests/"+m.Digest.String(), nil)
		h.want(202, "DELETE", "/v2/app/blobs/"+layer.Digest.String(), nil)
		h.want(404, "HEAD", "/v2/app/blobs/"+layer.Digest.String(), nil)
		h.want(404, "DELETE", "/v2/app/blobs/"+layer.Digest.String(), nil)
	})
}

func TestDeleteDisabled(t *testing.T) {
	h := openWith(t, mem.New(), Config{}, registry.Config{DeleteDisabled: true}, new(journal), slog.New(slog.DiscardHandler))
	m, _, layer := h.pushImage("app", "v1", "layer")
	for _, path := range []string{"manifests/v1", "manifests/" + m.Digest.String(), "blobs/" + layer.Digest.String()} {
		if a := h.want(405, "DELETE", "/v2/app/"+path, nil); strings.Join(a.codes(), "") != "UNSUPPORTED" {
			t.Errorf("%s: got %s", path, a.body)
		}
	}
	h.want(200, "GET", "/v2/app/manifests/v1", nil)
	h.want(204, "DELETE", h.session("app"), nil)
}

// follow gets a list page by page, as its links lead.
func follow(h *house, path string, items func(body []byte) []string) (all []string, pages int) {
	h.t.Helper()
	for path != "" {
		a := h.want(200, "GET", path, nil)
		all = append(all, items([]byte(a.body))...)
		pages++
		link := a.header.Get("Link")
		if path = ""; link != "" {
			next, ok := strings.CutSuffix(link, `>; rel="next"`)
			if path = strings.TrimPrefix(next, "<"); !ok || !strings.HasPrefix(path, "/v2/") {
				h.t.Fatalf("got Link %q", link)
			}
		}
	}
	return all, pages
}

// pushMany gives repository app 250 tags more and subject 150 referrers, all like like, and makes 150 repositories.
func pushMany(h *house, subject v1.Descriptor, like v1.Manifest) (tags, repos, signatures []string) {
	h.t.Helper()
	tags, repos = []string{"v1"}, []string{"app"}
	for i := range 250 {
		tags = append(tags, fmt.Sprintf("t%d", i))
		h.pushManifest("app", tags[len(tags)-1], v1.MediaTypeImageManifest, like)
		if i < 150 {
			repos = append(repos, fmt.Sprintf("r/%d", i))
			h.pushManifest(repos[len(repos)-1], "v1", v1.MediaTypeImageIndex, map[string]any{"schemaVersion": 2, "manifests": []string{}})
			s := like
			s.Subject, s.ArtifactType, s.Annotations = &subject, "application/a+b;c=\"d\"&e", map[string]string{"i": fmt.Sprint(i)}
			signatures = append(signatures, h.pushManifest("app", "", v1.MediaTypeImageManifest, s).Digest.String())
		}
	}
	slices.Sort(tags)
	slices.Sort(repos)
	slices.Sort(signatures)
	return tags, repos, signatures
}

// listed returns the list in a JSON object.
func listed(key string) func([]byte) []string {
	return func(body []byte) (list []string) {
		var v map[string]json.RawMessage
		if err := errors.Join(json.Unmarshal(body, &v), json.Unmarshal(v[key], &list)); err != nil {
			panic(err)
		}
		return list
	}
}

// digests returns the digests in an image index.
func digests(body []byte) (list []string) {
	var v v1.Index
	if err := json.Unmarshal(body, &v); err != nil {
		panic(err)
	}
	for _, d := range v.Manifests {
		list = append(list, d.Digest.String())
	}
	return list
}

func TestPages(t *testing.T) {
	h := open(t, mem.New(), Config{MaxPageSize: 120})
	_, config, layer := h.pushImage("app", "v1", "layer")
	m := h.pushManifest("app", "v1", v1.MediaTypeImageManifest, image(config, layer))
	tags, repos, signatures := pushMany(h, m, image(config, layer))
	referrers := "/v2/app/referrers/" + m.Digest.String()
	filtered := referrers + "?artifactType=application%2Fa%2Bb%3Bc%3D%22d%22%26e"
	for _, tt := range []struct {
		path  string
		items func([]byte) []string
		want  []string
		pages int
	}{
		{"/v2/app/tags/list", listed("tags"), tags, 3}, // 120 a page at the most
		{"/v2/app/tags/list?n=1000", listed("tags"), tags, 3},
		{"/v2/app/tags/list?n=100", listed("tags"), tags, 3},
		{"/v2/app/tags/list?n=9", listed("tags"), tags, 28},
		{"/v2/_catalog", listed("repositories"), repos, 2}, // 100 a page
		{"/v2/_catalog?n=1000", listed("repositories"), repos, 2},
		{"/v2/_catalog?n=1", listed("repositories"), repos, 151},
		{"/v2/_catalog?n=151", listed("repositories"), repos, 2},
		{referrers, digests, signatures, 2},
		{referrers + "?n=50", digests, signatures, 3},
		{filtered, digests, signatures, 2},
		{filtered + "&n=50", digests, signatures, 3},
	} {
		got, pages := follow(h, tt.path, tt.items)
		if !slices.Equal(got, tt.want) || pages != tt.pages {
			t.Errorf("%s: got %d items on %d pages, want %d on %d", tt.path, len(got), pages, len(tt.want), tt.pages)
		}
	}
}
