package access

import (
	"slices"
	"strings"
	"testing"
)

func TestRules(t *testing.T) {
	groups := map[string][]string{"devs": {"alice", "bob"}, "ops": {"carol"}}
	p, err := newPolicy(Config{
		Groups: groups,
		Admins: []string{"root"},
		Rules: []Rule{
			{Repositories: []string{"team/secret"}, Users: []string{"alice"}, Actions: []string{"pull"}},
			{Repositories: []string{"team/secret", "vault/**"}, Users: []string{"anonymous"}, Actions: []string{}},
			{Repositories: []string{"team/**"}, Groups: []string{"devs"}, Actions: []string{"push"}},
			{Repositories: []string{"team/**"}, Groups: []string{"devs", "ops"}, Users: []string{"dave"}, Actions: []string{"delete"}},
			{Repositories: []string{"public/**"}, Users: []string{"anonymous"}, Actions: []string{"pull"}},
			{Repositories: []string{"**"}, Users: []string{"*"}, Actions: []string{"pull"}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		user, repository string
		may              string // of "pull push delete"
	}{
		{"alice", "team/app", "pull push"}, // push includes pull; the rule for delete comes too late for her
		{"carol", "team/app", "delete"},
		{"dave", "team/app", "delete"},
		{"eve", "team/app", "pull"},
		{"", "team/app", ""},
		{"alice", "team/secret", "pull"},
		{"bob", "team/secret", ""}, // taken away
		{"eve", "team/secret", ""},
		{"", "team/secret", ""},
		{"root", "team/secret", "pull push delete"},
		{"root", "vault/x", "pull push delete"},
		{"bob", "vault/x", ""},
		{"", "public/app", "pull"},
		{"eve", "public/app", "pull"},
		{"alice", "public/app", "pull"},
		{"alice", "other", "pull"},
		{"", "other", ""},
		{"anonymous", "other", "pull"}, // were there such a user, it would be one
		{"*", "team/app", "pull"},
	} {
		for _, a := range []Action{Pull, Push, Delete} {
			want := strings.Contains(tt.may, string(a))
			if got := p.allows(tt.user, Repository(tt.repository, a)); got != want {
				t.Errorf("%q %s %s: got %v, want %v", tt.user, a, tt.repository, got, want)
			}
		}
	}
	for user, want := range map[string]bool{"root": true, "alice": true, "eve": true, "": false} {
		if got := p.allows(user, List()); got != want {
			t.Errorf("%q lists: got %v, want %v", user, got, want)
		}
	}
	if p.allows("root", Scope{Type: "registry", Name: "catalog", Actions: []string{"burn"}}) || p.allows("root", Scope{Type: "house", Name: "x", Actions: []string{"pull"}}) {
		t.Error("an admin may do what there is not")
	}
}

// TestSpans looks for the parts of a list that users may see something of.
func TestSpans(t *testing.T) {
	p, err := newPolicy(Config{Admins: []string{"root"}, Rules: []Rule{
		{Repositories: []string{"team/secret/**"}, Users: []string{"*"}, Actions: []string{}},
		{Repositories: []string{"team/**", "app"}, Users: []string{"alice", "bob"}, Actions: []string{"push"}},
		{Repositories: []string{"t*", "team-b/x"}, Users: []string{"bob"}, Actions: []string{"pull"}},
		{Repositories: []string{"**/public"}, Users: []string{"carol"}, Actions: []string{"pull"}},
		{Repositories: []string{"zoo/*"}, Users: []string{"alice"}, Actions: []string{"delete"}},
		{Repositories: []string{"hello"}, Users: []string{"anonymous"}, Actions: []string{"pull"}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	for user, want := range map[string][]span{
		"root":  {{"", "\x7f"}},
		"alice": {{"app", "app!"}, {"hello", "hello!"}, {"team/", "team/\x7f"}},
		"bob":   {{"app", "app!"}, {"hello", "hello!"}, {"t", "t\x7f"}},
		"carol": {{"", "\x7f"}},
		"":      {{"hello", "hello!"}},
	} {
		got := p.spans(user)
		if !slices.Equal(got, want) {
			t.Errorf("%q: got %q, want %q", user, got, want)
		}
		for _, name := range strings.Fields("app app-2 app/x hello hello/x team team/a team/a/b team/secret/x team-b/x tt t zoo/x public x/public") {
			in := slices.ContainsFunc(got, func(s span) bool { return s.from <= name && name < s.before })
			if p.may(user, Pull, name) && !in {
				t.Errorf("%q may pull %s, which is in none of %q", user, name, got)
			}
		}
	}
}

func TestRuleForCatalog(t *testing.T) {
	p, err := newPolicy(Config{Rules: []Rule{
		{Repositories: []string{"**"}, Users: []string{"alice"}, Actions: []string{"pull"}},
		{Repositories: []string{"team/**"}, Users: []string{"bob"}, Actions: []string{"pull", "catalog"}},
		{Users: []string{"carol"}, Actions: []string{"catalog"}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	for user, want := range map[string]bool{"alice": false, "bob": true, "carol": true, "dave": false, "": false} {
		for _, s := range []Scope{List(), Search()} {
			if got := p.allows(user, s); got != want {
				t.Errorf("%q %s: got %v, want %v", user, s, got, want)
			}
		}
	}
	if p.allows("carol", Repository("team/app", Pull)) {
		t.Error("carol may pull")
	}
}

func TestRuleForMetrics(t *testing.T) {
	p, err := newPolicy(Config{Admins: []string{"root"}, Rules: []Rule{
		{Repositories: []string{"team/**"}, Users: []string{"alice"}, Actions: []string{"pull", "metrics"}},
		{Users: []string{"prometheus"}, Actions: []string{"metrics"}},
		{Users: []string{"carol"}, Actions: []string{"metrics", "catalog"}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	for user, want := range map[string]bool{"root": true, "alice": true, "prometheus": true, "carol": true, "dave": false, "": false} {
		if got := p.allows(user, ReadMetrics()); got != want {
			t.Errorf("%q: got %v, want %v", user, got, want)
		}
	}
	if p.allows("prometheus", Repository("team/app", Pull)) || p.allows("prometheus", List()) {
		t.Error("prometheus may do more")
	}
	if !p.allows("carol", List()) {
		t.Error("carol may not ask for the list")
	}
}

func TestNoRules(t *testing.T) {
	open, err := newPolicy(Config{})
	if err != nil {
		t.Fatal(err)
	}
	closed, err := newPolicy(Config{Rules: []Rule{}, Admins: []string{"root"}})
	if err != nil {
		t.Fatal(err)
	}
	if !open.allows("alice", ReadMetrics()) || open.allows("", ReadMetrics()) || closed.allows("alice", ReadMetrics()) || !closed.allows("root", ReadMetrics()) {
		t.Error("metrics are for users without rules, and else for admins")
	}
	for _, s := range []Scope{List(), Repository("a", Pull, Push, Delete)} {
		if !open.allows("alice", s) || open.allows("", s) {
			t.Errorf("without rules, %s: want users, and nobody else", s)
		}
		if closed.allows("alice", s) != (s.Type == "registry") || closed.allows("", s) || !closed.allows("root", s) {
			t.Errorf("with an empty list of rules, %s: want admins alone", s)
		}
	}
}

func TestBadRules(t *testing.T) {
	all, users, pull := []string{"**"}, []string{"alice"}, []string{"pull"}
	groups := map[string][]string{"devs": {"alice"}, "ops": {"bob"}}
	for _, tt := range []struct {
		want string
		cfg  Config
	}{
		{"neither users nor groups", Config{Rules: []Rule{{Repositories: all, Actions: pull}}}},
		{"has no actions", Config{Rules: []Rule{{Repositories: all, Users: users}}}},
		{"names no repositories", Config{Rules: []Rule{{Users: users, Actions: pull}}}},
		{"names no repositories", Config{Rules: []Rule{{Users: users, Actions: []string{}}}}},
		{"names no repositories", Config{Rules: []Rule{{Users: users, Actions: []string{"pull", "catalog"}}}}},
		{"leave repositories out", Config{Rules: []Rule{{Repositories: all, Users: users, Actions: []string{"catalog"}}}}},
		{"metrics and catalog is about no repository", Config{Rules: []Rule{{Repositories: all, Users: users, Actions: []string{"metrics", "catalog"}}}}},
		{`action "write" is none of`, Config{Rules: []Rule{{Repositories: all, Users: users, Actions: []string{"write"}}}}},
		{`no group "dev"; there are devs, ops`, Config{Groups: groups, Rules: []Rule{{Repositories: all, Groups: []string{"dev"}, Actions: pull}}}},
		{`no group "dev"; there are none`, Config{Rules: []Rule{{Repositories: all, Groups: []string{"dev"}, Actions: pull}}}},
		{"rule 2: repository pattern", Config{Rules: []Rule{{Repositories: []string{"a"}, Users: users, Actions: pull}, {Repositories: []string{"A"}, Users: users, Actions: pull}}}},
		{`group devs: "*" is no user`, Config{Groups: map[string][]string{"devs": {"*"}}, Rules: []Rule{}}},
		{`admins: "anonymous" is no user`, Config{Admins: []string{"anonymous"}, Rules: []Rule{}}},
		{"mean nothing without rules", Config{Admins: users}},
		{"mean nothing without rules", Config{Groups: groups}},

		{"rule 2 never decides, as rule 1", Config{Rules: []Rule{
			{Repositories: all, Users: []string{"anonymous"}, Actions: pull}, {Repositories: []string{"a/**"}, Users: []string{"*"}, Actions: pull}}}},
		{"rule 2 never decides, as rule 1", Config{Rules: []Rule{
			{Repositories: all, Users: []string{"*"}, Actions: pull}, {Repositories: []string{"a/**"}, Users: users, Actions: pull}}}},
		{"rule 2 never decides, as rule 1", Config{Groups: groups, Rules: []Rule{
			{Repositories: []string{"a", "b"}, Groups: []string{"devs"}, Actions: pull}, {Repositories: []string{"b"}, Users: users, Actions: pull}}}},
	} {
		if _, err := newPolicy(tt.cfg); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("got %v, want %s", err, tt.want)
		}
	}
	for _, later := range []Rule{ // of which each decides something
		{Repositories: []string{"b"}, Users: users, Actions: pull},
		{Repositories: []string{"a"}, Users: []string{"bob"}, Actions: pull},
		{Repositories: []string{"a"}, Users: []string{"*"}, Actions: pull},
		{Repositories: []string{"a"}, Users: []string{"anonymous"}, Actions: pull},
		{Users: users, Actions: []string{"catalog"}},
	} {
		rules := []Rule{{Repositories: []string{"a"}, Users: users, Actions: pull}, later}
		if _, err := newPolicy(Config{Rules: rules}); err != nil {
			t.Errorf("%v: %v", later, err)
		}
	}
}

func TestScope(t *testing.T) {
	for text, want := range map[string]string{
		"repository:a/b:pull,push":                "repository:a/b:pull,push",
		"repository:host:5000/a:pull":             "repository:host:5000/a:pull",
		"repository(plugin):a:pull":               "repository:a:pull",
		"repository:a:":                           "repository:a:",
		"repository:a:pull,,pull,push":            "repository:a:pull,push",
		"registry:catalog:*":                      "registry:catalog:*",
		"registry::pull":                          "registry::pull",
		"repository:sha256:" + "0:pull":           "repository:sha256:0:pull",
		"repository:a:pull push":                  "repository:a:pull push",
		"":                                        "",
		"repository":                              "",
		"repository:a":                            "",
		"repository:" + strings.Repeat("x", 4096): "",
	} {
		s, err := ParseScope(text)
		if (err != nil) != (want == "") || err == nil && s.String() != want {
			t.Errorf("%.50q: got %v, %v, want %q", text, s, err, want)
		}
	}
	many, err := ParseScope("repository:a:1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,pull")
	if err != nil || len(many.Actions) != maxActions {
		t.Errorf("got %v, %v, want %d actions", many, err, maxActions)
	}
	g := grants{Repository("a", Pull), Repository("a", Push), {Type: "repository", Name: "b", Actions: []string{"*"}}}
	for _, tt := range []struct {
		need Scope
		want bool
	}{
		{Repository("a", Pull, Push), true},
		{Repository("a", Delete), false},
		{Repository("a", Pull, Delete), false},
		{Repository("b", Pull, Delete), true},
		{Repository("c", Pull), false},
		{List(), false},
		{Scope{Type: "registry", Name: "a", Actions: []string{"pull"}}, false},
	} {
		if got := g.cover(tt.need); got != tt.want {
			t.Errorf("%s: got %v", tt.need, got)
		}
	}
}

func FuzzScope(f *testing.F) {
	for _, s := range []string{"repository:a:pull", "registry:catalog:*", "a:b:c:d", "::", "x(y):z:", ":,"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseScope(text)
		if err != nil {
			return
		}
		again, err := ParseScope(s.String())
		if err != nil || again.String() != s.String() {
			t.Errorf("%q: got %q, then %q, %v", text, s, again, err)
		}
	})
}
