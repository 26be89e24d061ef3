package access

import (
	"regexp"
	"strings"
	"testing"
)

func TestGlob(t *testing.T) {
	for _, tt := range []struct {
		pattern string
		yes, no string // names
	}{
		{"app", "app", "apps ap team/app app/x"},
		{"**", "app team/app a/b/c", ""},
		{"*", "app a", "team/app"},
		{"team/*", "team/app", "team team/app/x teams/app"},
		{"team/**", "team/app team/a/b/c", "team teams/app x/team/app"},
		{"**/app", "app team/app a/b/app", "apps app/x team/apps"},
		{"team/**/app", "team/app team/a/app team/a/b/app team/app/app", "app team team/app/x teams/app"},
		{"**/cache/**", "cache/x team/cache/x a/b/cache/c/d", "cache team/cache"},
		{"team-*", "team-a team-abc team-", "team team-a/x"},
		{"team-*/**", "team-a/x team-a/x/y", "team-a team/x"},
		{"*-dev", "a-dev -dev a-b-dev", "dev a-dev/x a-dev-"},
		{"a*b*c", "abc axbyc abbcc", "ab acb xabc"},
		{"**/a/**/b", "a/b x/a/b a/x/b x/a/y/z/b a/a/b/b", "a b a/x b/a"},
	} {
		g, err := parseGlob(tt.pattern)
		if err != nil {
			t.Errorf("%s: %v", tt.pattern, err)
			continue
		}
		for _, name := range strings.Fields(tt.yes) {
			if !g.match(name) {
				t.Errorf("%s does not match %s", tt.pattern, name)
			}
		}
		for _, name := range strings.Fields(tt.no) {
			if g.match(name) {
				t.Errorf("%s matches %s", tt.pattern, name)
			}
		}
	}
}

func TestBadGlob(t *testing.T) {
	for pattern, want := range map[string]string{
		"":          "component is empty",
		"/app":      "component is empty",
		"team//app": "component is empty",
		"team/":     "component is empty",
		"Team/app":  "'T'",
		"team/?":    "'?'",
		"team:v1":   "':'",
		"team-**":   "component of its own",
		"***":       "component of its own",
	} {
		if _, err := parseGlob(pattern); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %s", pattern, err, want)
		}
	}
}

// A pattern and a name of the worst kind take no longer than others.
func TestGlobIsQuick(t *testing.T) {
	g, err := parseGlob(strings.Repeat("**/a*a*a*a*a*/", 30) + "b")
	if err != nil {
		t.Fatal(err)
	}
	if g.match(strings.Repeat("aaaaaaaaaaaa/", 200) + "c") {
		t.Error("it matches")
	}
}

func FuzzGlob(f *testing.F) {
	for _, s := range [][2]string{{"team/**", "team/app"}, {"**/a*b", "x/y/ab"}, {"a/**/b/*", "a/b/c"}, {"*", ""}, {"**", "/"}} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, pattern, name string) {
		g, err := parseGlob(pattern)
		if err != nil || len(pattern) > 50 || len(name) > 50 || strings.Contains(name, "//") || strings.HasPrefix(name, "/") || strings.HasSuffix(name, "/") || name == "" || strings.ContainsAny(name, "\n") {
			t.Skip()
		}
		expr := regexp.QuoteMeta("/" + pattern)
		expr = strings.ReplaceAll(expr, `/\*\*`, `(?:/<>)`)
		if rest, ok := strings.CutSuffix(expr, `(?:/<>)`); ok {
			expr = rest + `(?:/[^/]+)+`
		}
		expr = strings.ReplaceAll(expr, `(?:/<>)`, `(?:/[^/]+)*`)
		expr = strings.ReplaceAll(expr, `\*`, `[^/]*`)
		want := regexp.MustCompile(`^` + expr + `$`).MatchString("/" + name)
		if got := g.match(name); got != want {
			t.Errorf("%q, %q: got %v, want %v by %s", pattern, name, got, want, expr)
		}
	})
}
