package server

import (
	"strings"
	"testing"

	"github.com/parfait-registry/parfait/access"
	"github.com/parfait-registry/parfait/drivers/mem"
	"github.com/parfait-registry/parfait/registry"
)

// Faults that were found in other registries in 2026, each by its number, and looked for here.

// CVE-2026-41888: distribution deleted tags although deletes were disabled.
func TestDisabledDeletesCoverTags(t *testing.T) {
	j := new(journal)
	h := openWith(t, mem.New(), Config{}, registry.Config{DeleteDisabled: true}, j, j.logger())
	manifest, config, layer := h.pushImage("app", "v1", "layer")
	h.lock(access.Config{}, "alice")
	for _, target := range []string{"manifests/v1", "manifests/" + manifest.Digest.String(), "blobs/" + config.Digest.String(), "blobs/" + layer.Digest.String()} {
		if a := h.want(405, "DELETE", "/v2/app/"+target, nil, as("alice")...); strings.Join(a.codes(), "") != "UNSUPPORTED" {
			t.Errorf("%s: got %s", target, a.body)
		}
		h.want(200, "GET", "/v2/app/"+target, nil, as("alice")...)
	}
	if a := h.want(200, "GET", "/v2/app/tags/list", nil, as("alice")...); !strings.Contains(a.body, `"v1"`) {
		t.Errorf("got %s, want the tag", a.body)
	}
}

// CVE-2026-35172: in distribution a blob that was deleted from one repository came back there when another repository
// was asked for it.
func TestDeletedBlobStaysDeleted(t *testing.T) {
	h := open(t, mem.New(), Config{})
	blob := h.pushBlob("a", "a secret").Digest.String()
	h.want(201, "POST", "/v2/b/blobs/uploads/?mount="+blob+"&from=a", nil)
	for _, repo := range []string{"a", "b"} { // whatever is cached is
		h.want(200, "GET", "/v2/"+repo+"/blobs/"+blob, nil)
	}
	h.want(202, "DELETE", "/v2/a/blobs/"+blob, nil)
	for range 2 {
		for _, method := range []string{"HEAD", "GET"} {
			h.want(404, method, "/v2/a/blobs/"+blob, nil)
			h.want(200, method, "/v2/b/blobs/"+blob, nil)
		}
	}
	h.want(202, "POST", "/v2/c/blobs/uploads/?mount="+blob+"&from=a", nil)
}

// CVE-2026-61833: in zot whoever might push might delete.
func TestPushIsNotDelete(t *testing.T) {
	h := open(t, mem.New(), Config{})
	manifest, _, layer := h.pushImage("app", "v1", "layer")
	h.lock(access.Config{Rules: []access.Rule{{Repositories: []string{"app"}, Users: []string{"alice"}, Actions: []string{"pull", "push"}}}}, "alice")
	for _, target := range []string{"manifests/v1", "manifests/" + manifest.Digest.String(), "blobs/" + layer.Digest.String()} {
		h.want(403, "DELETE", "/v2/app/"+target, nil, as("alice")...)
		h.want(200, "GET", "/v2/app/"+target, nil, as("alice")...)
	}
	h.want(202, "POST", "/v2/app/blobs/uploads/", nil, as("alice")...)
}
