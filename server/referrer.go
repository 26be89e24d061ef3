package server

import (
	"net/http"
	"net/url"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/parfait-registry/parfait/registry"
)

// referrers answers end-12a and end-12b. A subject that nothing refers to, or that nobody has pushed, has an empty
// list: a 404 would say that there is no such API.
func (s *Server) referrers(w http.ResponseWriter, r *http.Request) error {
	repo, subject, err := repoAndDigest(w)
	if err != nil {
		return err
	}
	n, last, err := s.page(r, s.cfg.MaxPageSize)
	if err != nil {
		return err
	}
	var after digest.Digest
	if last != "" {
		if after, err = registry.ParseDigest(last); err != nil {
			return err
		}
	}
	artifactType := "" // containerd may ask for several types at once: it gets all, and filters them itself
	if types := r.URL.Query()["artifactType"]; len(types) == 1 {
		artifactType = text(types[0])
	}
	page, err := s.reg.Referrers(r.Context(), repo, subject, artifactType, after, max(n, 1))
	if err != nil {
		return err
	}
	page = cutPage(page, n)
	h := w.Header()
	more := ""
	if artifactType != "" {
		h.Set("OCI-Filters-Applied", "artifactType")
		more = "&artifactType=" + url.QueryEscape(artifactType)
	}
	if page.More {
		path := "/v2/" + string(repo) + "/referrers/" + subject.String()
		setNext(w, path, n, page.Items[len(page.Items)-1].Digest.String(), more)
	}
	h.Set("Content-Type", v1.MediaTypeImageIndex)
	return writeJSON(w, v1.Index{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: v1.MediaTypeImageIndex,
		Manifests: page.Items,
	})
}
