package flavors

import (
	"cmp"
	"errors"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

const envPrefix = "_env:"

var errNotYAML = errors.New("not valid YAML")

// expand reads _env:VAR[:DEFAULT]. The default keeps its colons, and may be an _env: in turn.
func (r *resolver) expand(text string, o origin) value {
	o.vars = slices.Clip(o.vars) // of the text that this is in, which others share
	for strings.HasPrefix(text, envPrefix) {
		name, def, _ := strings.Cut(text[len(envPrefix):], ":")
		if r.number != "" {
			name = strings.ReplaceAll(name, "#", r.number)
		}
		o.vars = append(o.vars, name)
		text = def
		if v, ok := r.of.env(name); ok {
			o.set, text = true, v
			break
		}
	}
	text = strings.TrimSpace(text)
	if isNull(text) || !r.spend(o.line, len(text)) {
		return value{origin: o}
	}
	if text, ok := unquote(text); ok {
		return value{origin: o, kind: scalar, text: text}
	}
	typed, err := r.parse(text, o)
	return value{origin: o, kind: raw, text: text, typed: &typed, err: err}
}

// maxNumbered bounds the numbers in names of variables, so that a gap in them can be told from their end.
const maxNumbered = 100

// numbered lists the variables with a # in their names that stand in an item of a list itself, as groups and as texts.
func numbered(n *yaml.Node) (names []string) {
	switch n.Kind {
	case yaml.ScalarNode:
		for text := n.Value; strings.HasPrefix(text, envPrefix); {
			var name string
			if name, text, _ = strings.Cut(text[len(envPrefix):], ":"); strings.Contains(name, "#") {
				names = append(names, name)
			}
		}
	case yaml.MappingNode:
		for _, inner := range n.Content {
			names = append(names, numbered(inner)...)
		}
	}
	return names
}

// repeat resolves an item of a list for each number for which one of the names is set.
func (r *resolver) repeat(item *yaml.Node, names []string, o origin) (items []value) {
	defer func() { r.number = "" }()
	missing := ""
	for i := range maxNumbered {
		r.number = strconv.Itoa(i)
		at := slices.IndexFunc(names, func(name string) bool {
			_, ok := r.of.env(strings.ReplaceAll(name, "#", r.number))
			return ok
		})
		switch {
		case at < 0:
			missing = cmp.Or(missing, r.number)
		case missing != "":
			r.problem(o.line, "$%s is set, and nothing with the number %s: there has to be each number from 0 on",
				strings.ReplaceAll(names[at], "#", r.number), missing)
			return items
		default:
			items = append(items, r.value(item, o))
		}
	}
	return items
}

// isNull reports whether YAML takes plain text for null.
func isNull(text string) bool {
	switch text {
	case "", "~", "null", "Null", "NULL":
		return true
	}
	return false
}

// unquote takes the YAML quotes off a text that is in quotes as a whole.
func unquote(text string) (string, bool) {
	if text[0] != '\'' && text[0] != '"' {
		return "", false
	}
	n, err := parseYAML([]byte(text))
	if err != nil || n.Kind != yaml.ScalarNode {
		return "", false
	}
	return n.Value, true
}

// parse reads the text of a variable or default as YAML.
func (r *resolver) parse(text string, o origin) (value, error) {
	n, err := parseYAML([]byte(text))
	if err != nil {
		return value{origin: o}, errNotYAML
	}
	sub := newResolver(r.of)
	sub.spent, sub.line, sub.literal = r.spent, o.line, o.set
	v := sub.value(n, o)
	r.spent = min(sub.spent, budget) // if that was all, the next to spend reports it
	if sub.err() != nil {
		return value{origin: o}, errNotYAML
	}
	return v, nil
}
