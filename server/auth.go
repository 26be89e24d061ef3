package server

import (
	"errors"
	"fmt"
	"net/http"

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
)

// needs returns what a client has to be allowed to do for a request with this scope.
func (s scope) needs(name string) (need access.Scope, ok bool) {
	switch s {
	case scopePull:
		return access.Repository(name, access.Pull), true
	case scopePush:
		return access.Repository(name, access.Pull, access.Push), true
	case scopeDelete:
		return access.Repository(name, access.Delete), true
	case scopeCatalog:
		return access.List(), true
	case scopeSearch:
		return access.Search(), true
	}
	return access.Scope{}, false
}

// authorize lets a request pass to its route, or says what its client lacks. It decides by names alone, before anything
// is looked up: the answer is the same whether there is such a repository or not.
//
// Who has not said who he is, or came with a token, which another one may replace, is told to: 401. Who has logged in
// and may not is told so: 403. /v2/ is a 401 without credentials even where some repositories are open to everyone,
// because clients learn there, and nowhere else, how to log in.
func (s *Server) authorize(w *response, r *http.Request, scope scope, name string) error {
	if scope == scopeNone {
		return nil
	}
	client, err := s.client(r)
	if err != nil {
		if !errors.Is(err, access.ErrCredentials) {
			return err
		}
		need, _ := scope.needs(name)
		s.challenge(w, need)
		return unauthorized(need, err)
	}
	w.client = client
	need, ok := scope.needs(name)
	switch {
	case scope == scopePage, ok && client.May(need), scope == scopeBase && client.Known():
		return nil
	case client.Known() && !client.HasToken():
		return &registry.Error{Code: registry.Denied, Message: "requested access to the resource is denied",
			Err: fmt.Errorf("user %.100q lacks %s", client.User(), need)}
	}
	s.challenge(w, need)
	return unauthorized(need, nil)
}

// client returns who sends a request. The error wraps [access.ErrCredentials] if the request tells that in vain.
func (s *Server) client(r *http.Request) (access.Client, error) {
	headers := r.Header["Authorization"]
	if s.guard == nil || len(headers) == 0 {
		return s.guard.Anonymous(), nil
	}
	if len(headers) > 1 {
		return access.Client{}, fmt.Errorf("%d Authorization headers: %w", len(headers), access.ErrCredentials)
	}
	if user, password, ok := r.BasicAuth(); ok {
		if user == "" && password == "" {
			return s.guard.Anonymous(), nil // how podman and skopeo answer a challenge without having logged in
		}
		return s.guard.Login(r.Context(), user, password)
	}
	return access.Client{}, fmt.Errorf("an Authorization header of another kind: %w", access.ErrCredentials)
}

// challenge tells a client how it may get what it lacks.
func (s *Server) challenge(w http.ResponseWriter, _ access.Scope) { s.askPassword(w) }

// askPassword makes a browser ask for a password.
func (s *Server) askPassword(w http.ResponseWriter) {
	w.Header().Set("Www-Authenticate", `Basic realm="`+s.guard.Realm()+`"`)
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
