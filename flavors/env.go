package flavors

import (
	"errors"
	"slices"
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
