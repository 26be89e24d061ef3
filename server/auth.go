package server

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/parfait-registry/parfait/access"
	"github.com/parfait-registry/parfait/registry"
)

// A scope is what a client has to be allowed to do for a route.
type scope string

const (
	scopeNone    scope = ""        // anyone may, and is not asked who he is
	scopePage    scope = "page"    // anyone may; what he sees depends on who he is
	scopeBase    scope = "base"    // any client that shows credentials
	scopePull    scope = "pull"    // on the repository {name}
	scopePush    scope = "push"    // with pull, as all clients ask for both
	scopeDelete  scope = "delete"  // on the repository {name}
	scopeCatalog scope = "catalog" // on the registry
	scopeSearch  scope = "search"  // on the registry
	scopeMetrics scope = "metrics" // of the server
)

// needs returns what a client has to be allowed to do for a request with this scope.
func (s scope) needs(name string) (need access.Scope, ok bool) {
	need, ok = needs[s]
	if need.Name == "" {
		need.Name = name
	}
	return need, ok
}

// needs are what the scopes stand for, those with repositories without the name. It is never written to.
var needs = map[scope]access.Scope{
	scopePull:    access.Repository("", access.Pull),
	scopePush:    access.Repository("", access.Pull, access.Push),
	scopeDelete:  access.Repository("", access.Delete),
	scopeCatalog: access.List(),
	scopeSearch:  access.Search(),
	scopeMetrics: access.ReadMetrics(),
}

// authorize lets a request pass to its route, or says what its client lacks. It decides by names alone, before anything
// is looked up: the answer is the same whether there is such a repository or not.
//
// Who has not said who he is, or came with a token, which another one may replace, is told to: 401. Who has logged in
// and may not is told so: 403. /v2/ is a 401 without credentials even where some repositories are open to everyone,
// because clients learn there, and nowhere else, how to log in. With certificates alone there is nothing to learn.
func (s *Server) authorize(w *response, r *http.Request, scope scope, name string) error {
	if scope == scopeNone {
		return nil
	}
	if s.guard == nil {
		w.client = s.guard.Anonymous()
		return nil
	}
	need, ok := scope.needs(name)
	client, err := s.client(r)
	w.client = client
	switch {
	case errors.Is(err, access.ErrCredentials):
		return s.turnAway(w, r, need, "invalid_token", err)
	case err != nil:
		return err
	case scope == scopePage, ok && client.May(need), scope == scopeBase && s.begins(client):
		return nil
	case client.HasToken():
		return s.turnAway(w, r, need, "insufficient_scope", lacks(client, need))
	case client.Known():
		return &registry.Error{Code: registry.Denied, Message: "requested access to the resource is denied", Err: lacks(client, need)}
	}
	return s.turnAway(w, r, need, "", nil)
}

// begins reports whether /v2/ lets a client go on.
func (s *Server) begins(client access.Client) bool {
	return client.Known() || !s.guard.Asks() && s.guard.AdmitsAnyone()
}

// turnAway has a client say who it is, or say it better: fault is what is wrong with the token that it came with, and cause
// is for the log. Where certificates are all that tells, that is a 403: a 401 has to say what to send, and there is nothing
// that a client could send in a request.
func (s *Server) turnAway(w http.ResponseWriter, r *http.Request, need access.Scope, fault string, cause error) error {
	if !s.guard.Asks() {
		return &registry.Error{Code: registry.Denied, Message: "the registry wants to see another certificate of the client, or one at all", Err: cause}
	}
	s.challenge(w, r, need, fault)
	return unauthorized(need, cause)
}

// client returns who sends a request. The error wraps [access.ErrCredentials] if the request tells that in vain.
func (s *Server) client(r *http.Request) (access.Client, error) {
	headers := r.Header["Authorization"]
	if len(headers) == 0 {
		return s.silent(r)
	}
	if len(headers) > 1 {
		return access.Client{}, fmt.Errorf("%d Authorization headers: %w", len(headers), access.ErrCredentials)
	}
	if user, password, ok := r.BasicAuth(); ok {
		if user == "" && password == "" {
			return s.silent(r) // how podman and skopeo answer a challenge without having logged in
		}
		return s.guard.Login(r.Context(), user, password)
	}
	if token, ok := bearer(headers[0]); ok {
		return s.guard.Token(r.Context(), token)
	}
	return access.Client{}, fmt.Errorf("an Authorization header of another kind: %w", access.ErrCredentials)
}

// silent returns who sends a request that says nothing of that itself: whoever its certificate is of, if TLS has verified
// one.
func (s *Server) silent(r *http.Request) (access.Client, error) {
	if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 {
		return s.guard.Anonymous(), nil
	}
	return s.guard.Certificate(r.TLS.VerifiedChains[0][0])
}

// bearer returns the token of an Authorization header, if it has one.
func bearer(header string) (token string, ok bool) {
	scheme, token, ok := strings.Cut(header, " ")
	return strings.TrimSpace(token), ok && strings.EqualFold(scheme, "Bearer")
}

// challenge tells a client how it may get what it lacks. fault is what is wrong with the token that it came with.
func (s *Server) challenge(w http.ResponseWriter, r *http.Request, need access.Scope, fault string) {
	c := s.guard.Challenge()
	if c == nil {
		s.askPassword(w)
		return
	}
	realm := c.Realm
	switch {
	case realm != "":
	case c.Path != "":
		realm = s.url(w, r, "https://", c.Path)
	default:
		realm = s.url(w, r, "http://", tokenPath)
	}
	header := `Bearer realm="` + realm + `",service="` + c.Service + `"`
	if scope := need.String(); len(need.Actions) > 0 && quotable(scope) {
		header += `,scope="` + scope + `"`
	}
	if _, ok := bearer(r.Header.Get("Authorization")); ok && fault != "" {
		header += `,error="` + fault + `"`
	}
	w.Header().Set("Www-Authenticate", header)
}

// quotable reports whether s can stand in quotes in a header. What cannot has no valid name in it.
func quotable(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '\\' })
}

// askPassword makes a browser ask for a password, if one is of use.
func (s *Server) askPassword(w http.ResponseWriter) (asked bool) {
	realm, ok := s.guard.Realm()
	if ok {
		w.Header().Set("Www-Authenticate", `Basic realm="`+realm+`"`)
	}
	return ok
}

// lacks is for the log.
func lacks(client access.Client, need access.Scope) error {
	return fmt.Errorf("user %.100q lacks %.300s", client.User(), need)
}

// lacking is one item in the detail of an answer with 401, as registries have it.
type lacking struct {
	Type   string
	Class  string
	Name   string
	Action string
}

// unauthorized is the answer to a client that has to say who it is. What was wrong is for the log alone.
func unauthorized(need access.Scope, cause error) error {
	e := &registry.Error{Code: registry.Unauthorized, Message: "authentication required", Err: cause}
	var detail []lacking
	for _, action := range need.Actions {
		detail = append(detail, lacking{Type: need.Type, Name: need.Name, Action: action})
	}
	if detail != nil {
		e.Detail = detail
	}
	return e
}
