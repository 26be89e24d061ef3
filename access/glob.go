package access

import (
	"fmt"
	"strings"
)

// A glob is a pattern of repository names, in components. "*" stands for any characters within a component. "**" is a
// component of its own, and stands for any number of them: below team/** is what is below team, and not team itself;
// **/app is app at any depth, app itself too.
type glob []string

// parseGlob checks that a name can match a pattern at all.
func parseGlob(pattern string) (glob, error) {
	for i := range len(pattern) {
		if c := pattern[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && !strings.ContainsRune("._-*/", rune(c)) {
			return nil, fmt.Errorf("repository pattern %q: no name has %q in it", pattern, c)
		}
	}
	g := glob(strings.Split(pattern, "/"))
	for _, component := range g {
		switch {
		case component == "":
			return nil, fmt.Errorf("repository pattern %q: a component is empty", pattern)
		case component != "**" && strings.Contains(component, "**"):
			return nil, fmt.Errorf("repository pattern %q: ** is a component of its own, as in team/**", pattern)
		}
	}
	if last := len(g) - 1; g[last] == "**" {
		g[last] = "*"
		g = append(g, "**") // at least one component, then any number
	}
	return g, nil
}

// match reports whether the whole of a name matches. When a component does not, the last ** before it takes one more:
// that costs at most the product of the two lengths.
func (g glob) match(name string) bool {
	i, at := 0, 0 // a component of g, and where one of name begins
	star, taken := -1, 0
	for at <= len(name) {
		end := endOfComponent(name, at)
		switch {
		case i < len(g) && g[i] == "**":
			star, taken = i, at
			i++
		case i < len(g) && matchComponent(g[i], name[at:end]):
			i++
			at = end + 1
		case star >= 0:
			taken = endOfComponent(name, taken) + 1
			i, at = star+1, taken
		default:
			return false
		}
	}
	for i < len(g) && g[i] == "**" {
		i++
	}
	return i == len(g)
}

func endOfComponent(name string, at int) int {
	if n := strings.IndexByte(name[at:], '/'); n >= 0 {
		return at + n
	}
	return len(name)
}

// matchComponent does within a component what match does with components.
func matchComponent(pattern, s string) bool {
	i, j := 0, 0
	star, taken := -1, 0
	for j < len(s) {
		switch {
		case i < len(pattern) && pattern[i] == '*':
			star, taken = i, j
			i++
		case i < len(pattern) && pattern[i] == s[j]:
			i++
			j++
		case star >= 0:
			taken++
			i, j = star+1, taken
		default:
			return false
		}
	}
	return strings.Trim(pattern[i:], "*") == ""
}

// A span is the strings from one on and before another, in byte order.
type span struct{ from, before string }

// span is where all names are that match.
func (g glob) span() span {
	pattern := strings.Join(g, "/")
	from, _, wild := strings.Cut(pattern, "*")
	if wild {
		return span{from, from + "\x7f"} // which is above all characters of names
	}
	return span{from, from + "!"} // which is below them
}
