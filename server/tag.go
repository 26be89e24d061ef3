package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/parfait-registry/parfait/access"
	"github.com/parfait-registry/parfait/registry"
)

// catalogPage is how many repositories a client gets that does not say how many it wants.
const catalogPage = 100

// base answers end-1.
func (s *Server) base(w http.ResponseWriter, _ *http.Request) error {
	return writeJSON(w, struct{}{})
}

// tags answers end-8a and end-8b.
func (s *Server) tags(w http.ResponseWriter, r *http.Request) error {
	repo, err := registry.ParseName(wrap(w).repository)
	if err != nil {
		return err
	}
	n, last, err := s.page(r, s.cfg.MaxPageSize)
	if err != nil {
		return err
	}
	page, err := s.reg.Tags(r.Context(), repo, last, max(n, 1)) // n=0 of an unknown repository is a 404, too
	if err != nil {
		return err
	}
	page = cutPage(page, n)
	if page.More {
		setNext(w, "/v2/"+string(repo)+"/tags/list", n, page.Items[len(page.Items)-1], "")
	}
	return writeJSON(w, struct {
		Name registry.Name `json:"name"`
		Tags []string      `json:"tags"`
	}{repo, page.Items})
}

// catalog lists the repositories, as registries have since before the distribution-spec.
func (s *Server) catalog(w http.ResponseWriter, r *http.Request) error {
	n, last, err := s.page(r, catalogPage)
	if err != nil {
		return err
	}
	page, err := s.reg.Repositories(r.Context(), last, max(n, 1), view(wrap(w).client))
	if err != nil {
		return err
	}
	page = cutPage(page, n)
	if page.More {
		setNext(w, "/v2/_catalog", n, page.Items[len(page.Items)-1], "")
	}
	return writeJSON(w, struct {
		Repositories []string `json:"repositories"`
	}{page.Items})
}

// view is what a client is shown of the list of repositories.
func view(c access.Client) *registry.View {
	sees := c.Sees()
	if sees == nil {
		return nil
	}
	return &registry.View{Sees: sees, Spans: c.Spans()}
}

// page parses n and last. Without n it is usual; the configuration bounds it.
func (s *Server) page(r *http.Request, usual int) (n int, last string, err error) {
	q := r.URL.Query()
	if last = text(q.Get("last")); len(last) > maxText {
		return 0, "", &registry.Error{Code: registry.PaginationNumberInvalid,
			Message: fmt.Sprintf("last has %d bytes: there is no such name", len(last))}
	}
	n = usual
	if v := q.Get("n"); v != "" {
		u, err := strconv.ParseUint(v, 10, 31)
		if err != nil && !errors.Is(err, strconv.ErrRange) {
			return 0, "", &registry.Error{Code: registry.PaginationNumberInvalid,
				Message: fmt.Sprintf("n=%.20q is not a number of results", v)}
		}
		n = int(u)
	}
	return min(n, s.cfg.MaxPageSize), last, nil
}

// cutPage returns a page of no more than n items, which are never nil. No items lead to no next page.
func cutPage[T any](p registry.Page[T], n int) registry.Page[T] {
	if p.Items == nil || n == 0 {
		p.Items = []T{}
	}
	p.More = p.More && len(p.Items) > 0
	return p
}

// setNext links to the page behind last. The link is a path, which holds wherever the registry is reached.
func setNext(w http.ResponseWriter, path string, n int, last, more string) {
	w.Header().Set("Link", fmt.Sprintf(`<%s?n=%d&last=%s%s>; rel="next"`, path, n, url.QueryEscape(last), more))
}

// writeJSON answers with v, which always encodes.
func writeJSON(w http.ResponseWriter, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	h := w.Header()
	if h["Content-Type"] == nil {
		h.Set("Content-Type", "application/json")
	}
	h.Set("Content-Length", strconv.Itoa(len(body)+1))
	if _, err := w.Write(append(body, '\n')); err != nil {
		return &sendError{err}
	}
	return nil
}
