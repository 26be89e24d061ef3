package access

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// A Rule says what some users may do with some repositories. Of the rules that name both a client and a repository,
// the first one decides, alone. So a rule for one repository stands before the rule for all; one without actions takes
// away what later ones would allow.
type Rule struct {
	// Repositories are patterns of names. * stands for anything within a component, and ** for any number of
	// components: team/** is all below team, and ** all there is.
	Repositories []string `yaml:"repositories"`
	// Users are names of users; "*" is everyone who has logged in, and anonymous everyone at all.
	Users []string `yaml:"users"`
	// Groups are names of groups.
	Groups []string `yaml:"groups"`
	// Actions are pull, push (which includes pull), delete, catalog and metrics. The last two are not about the
	// repositories of the rule: catalog lets a client ask for the list of those that it may pull, and metrics read the
	// metrics of the server, which else admins alone may.
	Actions []string `yaml:"actions"`
}

// Users that are none.
const (
	anonymous = "anonymous" // everyone
	loggedIn  = "*"         // everyone who has logged in
)

// A policy is rules that can be asked.
type policy struct {
	open    bool // there are no rules: all who have logged in may do everything
	rules   []rule
	admins  map[string]bool
	catalog bool // a rule says who may ask for the list; else all who have logged in may
}

type rule struct {
	anonymous, loggedIn bool
	users               map[string]bool // those of the groups, too
	globs               []glob
	patterns            []string // what globs are made of
	actions             []Action
}

// newPolicy makes a policy of a configuration. The error has a line for each mistake.
func newPolicy(cfg Config) (*policy, error) {
	p := &policy{open: cfg.Rules == nil, admins: make(map[string]bool)}
	if p.open && (len(cfg.Groups) > 0 || len(cfg.Admins) > 0) {
		return nil, errors.New("access: admins and groups mean nothing without rules, as everyone who logs in may do everything")
	}
	errs := checkUsers("admins", cfg.Admins)
	for _, name := range slices.Sorted(maps.Keys(cfg.Groups)) {
		errs = append(errs, checkUsers("group "+name, cfg.Groups[name])...)
	}
	for _, user := range cfg.Admins {
		p.admins[user] = true
	}
	for i, written := range cfg.Rules {
		r, err := newRule(written, cfg.Groups)
		if err != nil {
			errs = append(errs, fmt.Errorf("access: rule %d: %w", i+1, err))
			continue
		}
		if j := slices.IndexFunc(p.rules, func(before rule) bool { return before.hides(r) }); j >= 0 {
			errs = append(errs, fmt.Errorf("access: rule %d never decides, as rule %d names all that it names and stands before it", i+1, j+1))
		}
		p.rules = append(p.rules, r)
		p.catalog = p.catalog || slices.Contains(r.actions, Catalog)
	}
	return p, errors.Join(errs...)
}

// checkUsers reports names that stand for more than one user.
func checkUsers(where string, users []string) (errs []error) {
	for _, user := range users {
		if user == anonymous || user == loggedIn {
			errs = append(errs, fmt.Errorf("access: %s: %q is no user", where, user))
		}
	}
	return errs
}

func newRule(written Rule, groups map[string][]string) (rule, error) {
	r := rule{users: make(map[string]bool), patterns: written.Repositories}
	if len(written.Users) == 0 && len(written.Groups) == 0 {
		return r, errors.New(`it names neither users nor groups; "*" is everyone who has logged in, and anonymous everyone`)
	}
	if written.Actions == nil {
		return r, errors.New("it has no actions; [] allows none")
	}
	for _, user := range written.Users {
		switch user {
		case anonymous:
			r.anonymous = true
		case loggedIn:
			r.loggedIn = true
		default:
			r.users[user] = true
		}
	}
	for _, group := range written.Groups {
		members, ok := groups[group]
		if !ok {
			return r, fmt.Errorf("there is no group %q; there are %s", group, list(slices.Sorted(maps.Keys(groups))))
		}
		for _, user := range members {
			r.users[user] = true
		}
	}
	for _, pattern := range written.Repositories {
		g, err := parseGlob(pattern)
		if err != nil {
			return r, err
		}
		r.globs = append(r.globs, g)
	}
	for _, action := range written.Actions {
		switch a := Action(action); a {
		case Push:
			r.actions = append(r.actions, Push, Pull) // no client can push that may not look
		case Pull, Delete, Catalog, Metrics:
			r.actions = append(r.actions, a)
		default:
			return r, fmt.Errorf("action %q is none of pull, push, delete, catalog and metrics", action)
		}
	}
	ofServer := len(r.actions) > 0 && !slices.ContainsFunc(r.actions, func(a Action) bool { return a != Catalog && a != Metrics })
	switch {
	case ofServer && len(r.globs) > 0:
		return r, fmt.Errorf("%s is about no repository: leave repositories out, or add an action", strings.Join(written.Actions, " and "))
	case !ofServer && len(r.globs) == 0:
		return r, errors.New(`it names no repositories; "**" is all`)
	}
	return r, nil
}

func list(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

// names reports whether the rule is about a user, who is nobody if "".
func (r rule) names(user string) bool {
	return r.anonymous || user != "" && (r.loggedIn || r.users[user])
}

func (r rule) covers(repository string) bool {
	return slices.ContainsFunc(r.globs, func(g glob) bool { return g.match(repository) })
}

// hides reports whether r decides wherever a later rule could, as far as that can be told from equal patterns.
func (r rule) hides(later rule) bool {
	if len(later.patterns) == 0 {
		return false // it is about the server as a whole
	}
	for _, pattern := range later.patterns {
		if !slices.Contains(r.patterns, pattern) && !slices.Contains(r.patterns, "**") {
			return false
		}
	}
	switch {
	case r.anonymous:
		return true
	case later.anonymous:
		return false
	case r.loggedIn:
		return true
	case later.loggedIn:
		return false
	}
	for user := range later.users {
		if !r.users[user] {
			return false
		}
	}
	return true
}

// may reports whether a user may do something with a repository.
func (p *policy) may(user string, a Action, repository string) bool {
	if p.all(user) {
		return true
	}
	for _, r := range p.rules {
		if r.names(user) && r.covers(repository) {
			return slices.Contains(r.actions, a)
		}
	}
	return false
}

// spans are where all repositories are that a user may pull from, in order, without overlaps. They are as narrow as the
// beginnings of patterns are long.
func (p *policy) spans(user string) []span {
	if p.all(user) {
		return []span{{"", "\x7f"}}
	}
	var all []span
	for _, r := range p.rules {
		if r.names(user) && slices.Contains(r.actions, Pull) {
			for _, g := range r.globs {
				all = append(all, g.span())
			}
		}
	}
	slices.SortFunc(all, func(a, b span) int { return strings.Compare(a.from, b.from) })
	merged := all[:0]
	for _, s := range all {
		if last := len(merged) - 1; last >= 0 && s.from < merged[last].before {
			merged[last].before = max(merged[last].before, s.before)
			continue
		}
		merged = append(merged, s)
	}
	return merged
}

// mayList reports whether a user may ask for the list of repositories.
func (p *policy) mayList(user string) bool {
	if !p.catalog {
		return user != ""
	}
	return p.mayOfServer(user, Catalog)
}

// mayOfServer reports whether a user may do something that is about no repository.
func (p *policy) mayOfServer(user string, a Action) bool {
	return p.all(user) || slices.ContainsFunc(p.rules, func(r rule) bool {
		return r.names(user) && slices.Contains(r.actions, a)
	})
}

// all reports whether a user may do everything.
func (p *policy) all(user string) bool { return user != "" && (p.open || p.admins[user]) }

// admitsAnyone reports whether a rule allows anything to those who have not logged in.
func (p *policy) admitsAnyone() bool {
	return slices.ContainsFunc(p.rules, func(r rule) bool {
		return r.anonymous && slices.ContainsFunc(r.actions, func(a Action) bool { return a != Metrics })
	})
}

// allows reports whether a user may do all of need.
func (p *policy) allows(user string, need Scope) bool {
	for _, action := range need.Actions {
		if !p.allow(user, need.Type, need.Name, action) {
			return false
		}
	}
	return true
}

func (p *policy) allow(user, kind, name, action string) bool {
	switch {
	case kind == typeRepository:
		return p.may(user, Action(action), name)
	case kind == typeRegistry && name == nameCatalog && (action == anyAction || action == actionSearch):
		return p.mayList(user)
	case kind == typeRegistry && name == nameMetrics && action == anyAction:
		return p.mayOfServer(user, Metrics)
	}
	return false
}
