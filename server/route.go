package server

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/parfait-registry/parfait/registry"
)

// A handler answers a request or returns why it cannot, having written nothing.
type handler func(w http.ResponseWriter, r *http.Request) error

// A route is one line of the table. Its pattern is literal, or has {name...} in its middle, which takes any number of
// components, and perhaps a parameter in its last one.
type route struct {
	method  string
	pattern string
	scope   scope
	handler handler
	drain   bool // answered while the server drains, too
}

// changing makes of h, which changes what the registry has, a handler that refuses to while that must not be. reads are
// the methods that are allowed there nonetheless.
func (s *Server) changing(h handler, reads string) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if err := s.reg.Writable(); err != nil {
			w.Header().Set("Allow", reads)
			return err
		}
		return h(w, r)
	}
}

// routes is the table of all there is to ask. Of two patterns that match a path, the first one is taken: a session
// is no digest.
func (s *Server) routes() []route {
	const (
		catalog   = "/v2/_catalog"
		start     = "/v2/{name...}/blobs/uploads"
		upload    = "/v2/{name...}/blobs/uploads/{session}"
		blob      = "/v2/{name...}/blobs/{digest}"
		manifest  = "/v2/{name...}/manifests/{reference}"
		tags      = "/v2/{name...}/tags/list"
		referrers = "/v2/{name...}/referrers/{digest}"

		reads, none = "GET, HEAD", ""
	)
	table := []route{
		{"GET", "/", scopePage, s.root, false},
		{"GET", "/healthz", scopeNone, s.live, true},
		{"GET", "/readyz", scopeNone, s.ready, false},
		{"GET", "/_ping", scopeNone, s.ping, false},
		{"GET", "/v1/_ping", scopeNone, s.ping, false},

		{"GET", "/v2/", scopeBase, s.base, false},
		{"GET", "/v2", scopeBase, s.base, false},
		{"GET", catalog, scopeCatalog, s.catalog, false},
		{"POST", start, scopePush, s.changing(s.startUpload, none), false},
		{"POST", start + "/", scopePush, s.changing(s.startUpload, none), false},
		{"GET", upload, scopePush, s.upload, true},
		{"PATCH", upload, scopePush, s.changing(s.patchUpload, reads), true},
		{"PUT", upload, scopePush, s.changing(s.putUpload, reads), true},
		{"DELETE", upload, scopePush, s.changing(s.deleteUpload, reads), true},
		{"GET", blob, scopePull, s.getBlob, false},
		{"HEAD", blob, scopePull, s.headBlob, false},
		{"DELETE", blob, scopeDelete, s.changing(s.deleteBlob, reads), false},
		{"GET", manifest, scopePull, s.getManifest, false},
		{"PUT", manifest, scopePush, s.changing(s.putManifest, reads), false},
		{"DELETE", manifest, scopeDelete, s.changing(s.deleteManifest, reads), false},
		{"GET", tags, scopePull, s.tags, false},
		{"GET", referrers, scopePull, s.referrers, false},
	}
	if s.guard.Issues() {
		table = append(table,
			route{"GET", tokenPath, scopeNone, s.getToken, true}, // for what is to be finished
			route{"POST", tokenPath, scopeNone, s.postToken, true},
			route{"GET", tokenPath + "/jwks.json", scopeNone, s.jwks, true})
	}
	if s.cfg.Metrics != nil {
		table = append(table, route{"GET", "/metrics", scopeMetrics, s.metrics, true})
	}
	if s.cfg.searchable() {
		table = append(table, route{"GET", "/v1/search", scopeSearch, s.search, false})
	}
	return table
}

// A router finds the endpoint of a path.
type router struct {
	literal map[string]*endpoint
	named   []*endpoint   // those with {name...}
	measure func(Request) // is told of requests that have no endpoint; may be nil
}

// An endpoint is one pattern with the routes of all its methods.
type endpoint struct {
	pattern string
	prefix  string // what stands before {name...}
	suffix  string // what stands behind it, up to the parameter
	param   string // the parameter in the last component; "" if there is none
	routes  []route
	allow   string // for the Allow header

	measure func(Request) // is told of its requests; may be nil
}

// newRouter makes a router. measure, unless it is nil, is as in [Config].
func newRouter(table []route, measure func(pattern string) func(Request)) router {
	if measure == nil {
		measure = func(string) func(Request) { return nil }
	}
	rt := router{literal: make(map[string]*endpoint), measure: measure("")}
	all := make(map[string]*endpoint)
	for _, r := range table {
		e := all[r.pattern]
		if e == nil {
			e = &endpoint{pattern: r.pattern, measure: measure(r.pattern)}
			all[r.pattern] = e
			if prefix, rest, ok := strings.Cut(r.pattern, "{name...}"); ok {
				e.prefix = prefix
				e.suffix, e.param, _ = strings.Cut(strings.TrimSuffix(rest, "}"), "{")
				rt.named = append(rt.named, e)
			} else {
				rt.literal[r.pattern] = e
			}
		}
		e.routes = append(e.routes, r)
		allow := r.method
		if r.method == http.MethodGet {
			allow = "GET, HEAD"
		}
		if !strings.Contains(e.allow, allow) {
			e.allow = strings.TrimPrefix(e.allow+", "+allow, ", ")
		}
	}
	return rt
}

// find returns the endpoint of a path, or nil, with the parts of the path that are its {name...} and its parameter.
// It compares from the right end, since a name may have components that are called blobs, manifests, tags or uploads.
func (rt *router) find(path string) (e *endpoint, name, param string) {
	if e := rt.literal[path]; e != nil {
		return e, "", ""
	}
	last := strings.LastIndexByte(path, '/') + 1
	for _, e := range rt.named {
		head, param := path, ""
		if e.param != "" {
			head, param = path[:last], path[last:]
			if param == "" {
				continue
			}
		}
		if len(head) >= len(e.prefix)+len(e.suffix) && strings.HasSuffix(head, e.suffix) && strings.HasPrefix(head, e.prefix) {
			return e, head[len(e.prefix) : len(head)-len(e.suffix)], param
		}
	}
	return nil, "", ""
}

// route returns the route of a method, or nil. GET answers HEAD where HEAD has no route of its own.
func (e *endpoint) route(method string) *route {
	i := slices.IndexFunc(e.routes, func(r route) bool { return r.method == method })
	if i < 0 && method == http.MethodHead {
		return e.route(http.MethodGet)
	}
	if i < 0 {
		return nil
	}
	return &e.routes[i]
}

// routePath returns the path that find works on: as the client wrote it, with its escapes, as far as these could hide
// a separator. (RawPath is set exactly then. URL.EscapedPath would not do: it gives up on RawPath, and makes %2F a
// separator, if the path also has a character that should have been escaped.)
func routePath(u *url.URL) (path string, escaped bool) {
	if u.RawPath != "" {
		return u.RawPath, true
	}
	return u.Path, false
}

// dispatch hands a request to its route.
func (s *Server) dispatch(w http.ResponseWriter, r *http.Request) {
	rw := wrap(w)
	err := s.serve(rw, r)
	if s.cfg.Audit != nil {
		s.audit(rw, r, err)
	}
	if err != nil {
		s.writeError(rw, r, err)
	}
}

func (s *Server) serve(w *response, r *http.Request) error {
	path, escaped := routePath(r.URL)
	e, name, param := s.router.find(path)
	if e == nil {
		return notFound(path)
	}
	w.endpoint, w.repository, w.param = e, name, param
	rt := e.route(r.Method)
	if rt == nil {
		w.Header().Set("Allow", e.allow)
		return &registry.Error{Code: registry.Unsupported,
			Message: fmt.Sprintf("method %.20q is not allowed here: use %s", r.Method, e.allow)}
	}
	if r.ContentLength != 0 {
		defer s.bePatient(w, r)()
	}
	if err := s.authorize(w, r, rt.scope, name); err != nil {
		return err
	}
	if err := s.limitUser(w); err != nil {
		return err
	}
	done, err := s.limitUploads(w, r, rt.scope)
	if err != nil {
		return err
	}
	defer done()
	if escaped { // some clients write the colon of a digest as %3A
		if p, err := url.PathUnescape(param); err == nil {
			w.param = p
		}
	}
	return rt.handler(w, r)
}

// notFound is the answer to a path that no pattern matches.
func notFound(path string) error {
	message := fmt.Sprintf("there is nothing at %.100q", path)
	if strings.HasPrefix(path, "/v1/") {
		message += ": push and pull go through /v2/, as docker does since 1.6"
	}
	return &statusError{http.StatusNotFound, &registry.Error{Code: registry.Unsupported, Message: message}}
}
