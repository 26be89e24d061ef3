package server

import (
	"cmp"
	_ "embed"
	"errors"
	"math"
	"net/http"
	"net/url"
	"os"
	"runtime"
	"strconv"
	"strings"

	"github.com/parfait-registry/parfait/access"
	"github.com/parfait-registry/parfait/registry"
)

//go:embed index.html
var indexHTML string

// maxText bounds what is looked for in the index. No name is longer.
const maxText = 255

// htmlPage is how many repositories the page at / lists.
const htmlPage = 50

// root tells a person who asks for / what answers here: a browser with a page, anything else with the issue line of
// the original registry.
func (s *Server) root(w http.ResponseWriter, r *http.Request) error {
	w.Header().Add("Vary", "Accept")
	for _, accept := range r.Header["Accept"] {
		if strings.Contains(accept, "text/html") {
			return s.writePage(w, r)
		}
	}
	setV1Headers(w.Header())
	return writeJSON(w, s.cfg.Issue)
}

// writePage answers with the page for people. Who may not see the list of repositories, and has not said who he is, gets
// the rest of the page with a question for a password, which browsers ask only when they are told to.
func (s *Server) writePage(w http.ResponseWriter, r *http.Request) error {
	client := wrap(w).client
	mayList := client.May(access.Search())
	host := cmp.Or(wrap(w).origin.host, r.Host)
	if s.cfg.HTTPHost != "" {
		host = strings.TrimRight(s.cfg.HTTPHost, "/")
		if _, rest, ok := strings.Cut(host, "://"); ok {
			host = rest
		}
	}
	data := struct {
		Host, Issue, Version, Query string
		Search                      bool
		Found                       []registry.Found
		Total                       int
		Next, Previous              string
	}{
		Host: host, Issue: strings.Trim(s.cfg.Issue, `"`), Version: s.cfg.Version,
		Query: text(r.URL.Query().Get("q")), Search: s.cfg.searchable() && mayList,
	}
	if data.Search {
		number := positive(r.URL.Query().Get("page"), 1, math.MaxInt32)
		found, total, err := s.find(r, client, data.Query, htmlPage, number)
		if err != nil {
			return err
		}
		data.Found, data.Total = found, total
		link := func(page int) string {
			return "/?" + url.Values{"q": {data.Query}, "page": {strconv.Itoa(page)}}.Encode()
		}
		if number < (total+htmlPage-1)/htmlPage {
			data.Next = link(number + 1)
		}
		if number > 1 {
			data.Previous = link(number - 1)
		}
	}
	var page strings.Builder
	if err := s.html.Execute(&page, data); err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(page.Len()))
	h.Set("Cache-Control", "no-cache")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'")
	if s.cfg.searchable() && !mayList && !client.Known() && s.askPassword(w) {
		w.WriteHeader(http.StatusUnauthorized)
	}
	if _, err := w.Write([]byte(page.String())); err != nil {
		return &sendError{err}
	}
	return nil
}

// ping answers GET /v1/_ping, which docker search sends first. The header is what it reads.
func (s *Server) ping(w http.ResponseWriter, _ *http.Request) error {
	h := w.Header()
	setV1Headers(h)
	if !s.cfg.Debug {
		return writeJSON(w, struct{}{})
	}
	h.Set("X-Docker-Registry-Version", s.cfg.Version)
	h.Set("X-Docker-Registry-Config", s.cfg.Flavor)
	name, _ := os.Hostname()
	return writeJSON(w, map[string]any{
		"host":     []string{runtime.GOOS, name, runtime.GOARCH},
		"launch":   os.Args[:1],
		"versions": map[string]string{"go": runtime.Version(), "parfait": s.cfg.Version},
	})
}

// search answers GET /v1/search, which docker search and podman search send. A number that is none is ignored, as the
// original registry ignored all of them.
func (s *Server) search(w http.ResponseWriter, r *http.Request) error {
	type result struct {
		Description string `json:"description"`
		Name        string `json:"name"`
	}
	q := r.URL.Query()
	n := positive(q.Get("n"), s.cfg.MaxPageSize, s.cfg.MaxPageSize)
	number := positive(q.Get("page"), 1, math.MaxInt32)
	found, total, err := s.find(r, wrap(w).client, text(q.Get("q")), n, number)
	if err != nil {
		return err
	}
	results := make([]result, len(found))
	for i, f := range found {
		results[i] = result{f.Description, f.Name}
	}
	setV1Headers(w.Header())
	return writeJSON(w, struct {
		NumPages   int      `json:"num_pages"`
		NumResults int      `json:"num_results"`
		Page       int      `json:"page"`
		PageSize   int      `json:"page_size"`
		Query      string   `json:"query"`
		Results    []result `json:"results"`
	}{(total + n - 1) / n, total, number, n, q.Get("q"), results})
}

// find searches the index for what a client may see, unless for something that is longer than what is in it.
func (s *Server) find(r *http.Request, client access.Client, q string, n, page int) ([]registry.Found, int, error) {
	if len(q) > maxText {
		return nil, 0, nil
	}
	return s.reg.Search(r.Context(), q, n, page, view(client))
}

// setV1Headers sets what every answer of the original registry had.
func setV1Headers(h http.Header) {
	h.Set("X-Docker-Registry-Standalone", "True")
	h.Set("Cache-Control", "no-cache")
	h.Set("Expires", "-1")
	h.Set("Pragma", "no-cache")
}

// positive parses a number from 1 to most. What is none, or less, is usual.
func positive(s string, usual, most int) int {
	n, err := strconv.Atoi(s)
	switch {
	case errors.Is(err, strconv.ErrRange) && n > 0:
		return most
	case err != nil || n < 1:
		return usual
	}
	return min(n, most)
}

// text returns s without what no text in the index has, and what not every database takes.
func text(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, ""), "\x00", "")
}
