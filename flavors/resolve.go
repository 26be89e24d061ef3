package flavors

import (
	"errors"
	"fmt"
	"strings"

	"gopkg.in/yaml.v3"
)

// A value is a node of a flavor with aliases followed, merge keys merged and variables expanded.
type value struct {
	origin
	kind  kind
	text  string  // of a scalar or raw value
	list  []value // of a list
	group []entry // of a group

	// typed is what a raw value is to a field that is not a string; nil if err tells why it is nothing.
	typed *value
	err   error
}

type kind int

const (
	null   kind = iota
	scalar      // text, its YAML quotes taken off
	raw         // text from the environment, to be read as the field wants it
	list
	group
)

type entry struct {
	key string
	value
}

// An origin tells where a value comes from.
type origin struct {
	line   int
	flavor string   // inherited from there; empty if it is the flavor's own
	vars   []string // of an _env: value, the variables asked, in that order
	set    bool     // the last of vars is set, and this is its value
}

// blank reports whether v says nothing: null, empty, or made of such.
func (v value) blank() bool {
	for _, e := range v.list {
		if !e.blank() {
			return false
		}
	}
	for _, e := range v.group {
		if !e.blank() {
			return false
		}
	}
	return v.text == ""
}

// read returns v as a field that is not a string sees it.
func (v value) read() (value, error) {
	if v.kind != raw {
		return v, nil
	}
	if v.err != nil {
		return v, v.err
	}
	return *v.typed, nil
}

// items returns what a list of groups holds. One in the place of a group stands for its own items.
func (v value) items() []value {
	var all []value
	for _, item := range v.list {
		if typed, err := item.read(); err == nil && typed.kind == list {
			all = append(all, typed.items()...)
		} else if item.kind != null {
			all = append(all, item)
		}
	}
	return all
}

// asList returns v as a field sees it that is a list, and for which one text alone will do.
func (v value) asList() value {
	if v.kind == raw && v.err == nil && v.typed.kind == list {
		return *v.typed
	}
	if v.text == "" || v.kind != raw && v.kind != scalar {
		return v
	}
	return value{origin: v.origin, kind: list, list: []value{v}}
}

// A report collects the problems of a flavor, each of them once.
type report struct {
	file  string
	lines []error
	seen  map[string]bool
}

func (r *report) problem(line int, format string, args ...any) {
	msg := fmt.Sprintf("%s:%d: %s", r.file, line, fmt.Sprintf(format, args...))
	if r.seen == nil {
		r.seen = map[string]bool{}
	}
	if !r.seen[msg] {
		r.seen[msg] = true
		r.lines = append(r.lines, errors.New(msg))
	}
}

func (r *report) err() error { return errors.Join(r.lines...) }

// budget bounds a flavor, in bytes of its text plus nodeCost for each value. Aliases of aliases could let a small file
// grow to any size.
const (
	budget   = 1 << 20
	nodeCost = 16
)

// A resolver turns YAML nodes into values.
type resolver struct {
	report
	of     *File
	spent  int                 // of the budget
	active map[*yaml.Node]bool // the nodes it is inside of, to notice one that contains itself

	// In the text of a variable or default, whose nodes have no lines of the file:
	line    int  // where the _env: is
	literal bool // a variable's value, in which _env: is text

	// In an item of a list that is there once for each number, what a # in the name of a variable stands for.
	number string
}

func newResolver(f *File) *resolver {
	return &resolver{report: report{file: f.name}, of: f, active: map[*yaml.Node]bool{}}
}

// A pair is a key of a mapping, not yet resolved.
type pair struct {
	key    string
	line   int
	node   *yaml.Node
	flavor string // inherited from there
}

// pairs lists the keys of a mapping: its own in their order, then what its merge keys add. A mapping that has no merge
// key merges implied, unless that is nil. The keys are those of flavor, where a merged mapping is no flavor itself.
func (r *resolver) pairs(n *yaml.Node, flavor string, implied *yaml.Node) []pair {
	pairs, sources := r.own(n, flavor)
	if len(sources) == 0 && implied != nil {
		sources = append(sources, implied)
	}
	seen := map[string]bool{}
	for _, p := range pairs {
		seen[p.key] = true
	}
	for _, src := range sources {
		if !r.enter(src) {
			continue
		}
		from := flavor
		if name, ok := r.of.names[src]; ok {
			from = name
		}
		for _, p := range r.pairs(src, from, nil) {
			if !seen[p.key] {
				seen[p.key] = true
				pairs = append(pairs, p)
			}
		}
		delete(r.active, src)
	}
	return pairs
}

// own lists the keys that stand in a mapping itself, and the mappings it merges, most important first.
func (r *resolver) own(n *yaml.Node, flavor string) (pairs []pair, sources []*yaml.Node) {
	lines := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, node := deref(n.Content[i]), n.Content[i+1]
		line := r.lineOf(n.Content[i])
		switch {
		case !r.spend(line, nodeCost+len(key.Value)):
			return nil, nil
		case key.Kind != yaml.ScalarNode:
			r.problem(line, "a key must be text, not a list or a group")
		case key.ShortTag() == "!!merge":
			// A later << beats an earlier one, as in the original.
			sources = append(r.sources(node, line), sources...)
		case lines[key.Value] != 0:
			r.problem(line, "key %q is there twice, first in line %d", key.Value, lines[key.Value])
		default:
			lines[key.Value] = line
			pairs = append(pairs, pair{key.Value, line, node, flavor})
		}
	}
	return pairs, sources
}

// sources returns the mappings that the value of a merge key stands for.
func (r *resolver) sources(n *yaml.Node, line int) []*yaml.Node {
	n = deref(n)
	nodes := []*yaml.Node{n}
	if n.Kind == yaml.SequenceNode {
		nodes = n.Content
	}
	var sources []*yaml.Node
	for _, src := range nodes {
		switch src = deref(src); {
		case src.Kind == yaml.MappingNode:
			sources = append(sources, src)
		case src.ShortTag() != "!!null": // a flavor that is empty
			r.problem(line, "<< takes a flavor, such as *common, or a list of them")
		}
	}
	return sources
}

func (r *resolver) entries(pairs []pair, o origin) []entry {
	var entries []entry
	for _, p := range pairs {
		o.line, o.flavor = p.line, p.flavor
		entries = append(entries, entry{p.key, r.value(p.node, o)})
	}
	return entries
}

func (r *resolver) value(n *yaml.Node, o origin) value {
	n = deref(n)
	if !r.spend(o.line, nodeCost+len(n.Value)) {
		return value{origin: o}
	}
	if n.Kind == yaml.ScalarNode {
		return r.scalar(n, o)
	}
	if !r.enter(n) {
		return value{origin: o}
	}
	defer delete(r.active, n)
	if n.Kind == yaml.MappingNode {
		return value{origin: o, kind: group, group: r.entries(r.pairs(n, o.flavor, nil), o)}
	}
	v := value{origin: o, kind: list}
	for _, item := range n.Content {
		o.line = r.lineOf(item)
		if names := numbered(item); len(names) > 0 && !r.literal && r.number == "" {
			v.list = append(v.list, r.repeat(item, names, o)...)
			continue
		}
		v.list = append(v.list, r.value(item, o))
	}
	return v
}

func (r *resolver) scalar(n *yaml.Node, o origin) value {
	switch tag := n.ShortTag(); {
	case tag == "!!null":
		return value{origin: o}
	case !strings.HasPrefix(tag, "!!"):
		// A password that starts with an exclamation mark, most likely.
		r.problem(o.line, "text that starts with ! must be quoted")
		return value{origin: o}
	case strings.HasPrefix(n.Value, envPrefix) && !r.literal:
		return r.expand(n.Value, o)
	}
	return value{origin: o, kind: scalar, text: n.Value}
}

// enter notes that the resolver is inside n, or reports that it already was.
func (r *resolver) enter(n *yaml.Node) bool {
	if r.active[n] {
		r.problem(r.lineOf(n), "&%s contains itself", n.Anchor)
		return false
	}
	r.active[n] = true
	return true
}

// spend takes from the budget, and reports when it is used up.
func (r *resolver) spend(line, n int) bool {
	if r.spent > budget {
		return false // as reported
	}
	if r.spent += n; r.spent > budget {
		r.problem(line, "too large: with all that its aliases stand for, the flavor exceeds %d KiB", budget>>10)
		return false
	}
	return true
}

func (r *resolver) lineOf(n *yaml.Node) int {
	if r.line != 0 {
		return r.line
	}
	return n.Line
}

func deref(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}
