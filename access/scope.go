package access

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// An Action is something that a client does.
type Action string

// The actions that rules allow. All but Catalog and Metrics are done with a repository.
const (
	Pull    Action = "pull"
	Push    Action = "push"
	Delete  Action = "delete"
	Catalog Action = "catalog" // ask for the list of repositories, in which are those that the client may pull
	Metrics Action = "metrics" // read the metrics of the server
)

// A Scope is some actions on one resource, in the words of the token specification of registries.
type Scope struct {
	Type    string   `json:"type"` // "repository" or "registry"
	Name    string   `json:"name"`
	Actions []string `json:"actions"`
}

// In a scope, the list of repositories is a resource too, and so are the metrics.
const (
	typeRepository = "repository"
	typeRegistry   = "registry"
	nameCatalog    = "catalog"
	nameMetrics    = "metrics"
	anyAction      = "*"
	actionSearch   = "search"
)

// Repository is the scope of actions with a repository.
func Repository(name string, actions ...Action) Scope {
	s := Scope{Type: typeRepository, Name: name}
	for _, a := range actions {
		s.Actions = append(s.Actions, string(a))
	}
	return s
}

// List is the scope of asking for the list of repositories.
func List() Scope { return Scope{Type: typeRegistry, Name: nameCatalog, Actions: []string{anyAction}} }

// Search is the scope of searching that list, which who may ask for the list may do as well.
func Search() Scope {
	return Scope{Type: typeRegistry, Name: nameCatalog, Actions: []string{actionSearch}}
}

// ReadMetrics is the scope of reading the metrics of the server.
func ReadMetrics() Scope {
	return Scope{Type: typeRegistry, Name: nameMetrics, Actions: []string{anyAction}}
}

// String returns what stands in a challenge: repository:team/app:pull,push.
func (s Scope) String() string {
	return s.Type + ":" + s.Name + ":" + strings.Join(s.Actions, ",")
}

var errNoScope = errors.New("a scope is type:name:action,action")

// maxActions bounds the actions of a scope. There are not so many.
const maxActions = 16

// ParseScope reads what String returns. The name may have colons. A class, as in repository(plugin), is dropped, and so
// are actions beyond a number that makes no sense.
func ParseScope(s string) (Scope, error) {
	kind, rest, ok := strings.Cut(s, ":")
	last := strings.LastIndexByte(rest, ':')
	if !ok || last < 0 {
		return Scope{}, fmt.Errorf("scope %.100q: %w", s, errNoScope)
	}
	kind, _, _ = strings.Cut(kind, "(")
	scope := Scope{Type: kind, Name: rest[:last]}
	for action := range strings.SplitSeq(rest[last+1:], ",") {
		if len(scope.Actions) == maxActions {
			break
		}
		if action != "" && !slices.Contains(scope.Actions, action) {
			scope.Actions = append(scope.Actions, action)
		}
	}
	return scope, nil
}

// grants are what a token is for.
type grants []Scope

// cover reports whether all of need is granted.
func (g grants) cover(need Scope) bool {
	for _, action := range need.Actions {
		granted := func(s Scope) bool {
			return s.Type == need.Type && s.Name == need.Name &&
				(slices.Contains(s.Actions, action) || slices.Contains(s.Actions, anyAction))
		}
		if !slices.ContainsFunc(g, granted) {
			return false
		}
	}
	return true
}
