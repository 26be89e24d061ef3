// Package flavors reads configuration files whose top-level keys are flavors: named configurations, of which the
// environment picks one.
//
//	common: &common
//	  loglevel: _env:LOGLEVEL:info
//	prod:
//	  <<: *common
//	  storage: s3
//	  s3_bucket: _env:AWS_BUCKET
//
// [Load] a file, take a flavor of it with [File.Chosen] or [File.Flavor], and [Flavor.Decode] that into the structs
// which own its keys. The package itself knows no key's meaning.
//
// # Inheritance
//
// A flavor inherits by YAML merge keys. One that has none inherits the flavor "common", if there is one. Both are
// shallow: a group of keys replaces the inherited group of that name as a whole. Explicit keys beat merged ones.
//
// # Environment
//
// A value that starts with "_env:" is _env:VAR or _env:VAR:DEFAULT. A variable that is set wins even if it is empty;
// empty text, and an unset variable without a default, are null. A default may be another "_env:", which is expanded
// in turn; the value of a variable never is. Fields of type string get the text as it stands, but for YAML quotes around
// all of it; for other fields it is read as YAML, so that lists, groups and numbers can come from a variable.
//
// An item of a list in which variables have a # in their names, such as {url: _env:HOOK_#_URL}, is there for each
// number from 0 on, up to 99, with which one of them is set. A gap in the numbers is a problem.
//
// # Fields
//
// A struct takes part with tags of one word, `yaml:"key"`. Null and absent keys leave their fields alone, so that
// zero can mean "the default". Fields may be strings, booleans, numbers, [time.Duration] (15m, or a number of seconds),
// structs, slices (nulls are dropped; an empty list is not nil; in a list of structs, a list stands for what is in it) and
// maps of these. A second tag adds to that:
//
//	flavor:"bytes"   an int64 that reads 1024, 64MiB or 1.5GB
//	flavor:"texts"   a slice of strings that reads one text alone as a list of that
//	flavor:"secret"  a string that is never shown, and may come from the file that the key with _file appended names;
//	                 or a map or slice of which nothing is
//	flavor:"alone"   a string that gets the value of its struct, where that is a text and no group
//
// In a map of slices one text alone will do for a slice.
package flavors

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// A Source says where to read a configuration from.
type Source struct {
	// File names the file. Empty means the first there is of config.yml in the working directory,
	// /etc/parfait/config.yml, and Sample.
	File string
	// Sample is the built-in config_sample.yml.
	Sample []byte
	// Env looks up a variable. Nil means os.LookupEnv.
	Env func(name string) (value string, ok bool)
}

// A File is a parsed configuration file.
type File struct {
	name  string
	env   func(string) (string, bool)
	root  *yaml.Node            // the document's top-level mapping
	top   []pair                // its keys
	names map[*yaml.Node]string // the mapping of each flavor to the flavor's name
}

// builtIn is the name of the file that is none.
const builtIn = "built-in config_sample.yml"

// BuiltIn reports whether the file is the sample, because there is no other.
func (f *File) BuiltIn() bool { return f.name == builtIn }

// Load finds and parses a configuration file. That File is named and does not exist is an error that wraps
// [fs.ErrNotExist].
func Load(src Source) (*File, error) {
	if src.File != "" {
		data, err := os.ReadFile(src.File)
		if err != nil {
			return nil, fmt.Errorf("read the file that DOCKER_REGISTRY_CONFIG or --config names: %w", err)
		}
		return Parse(src.File, data, src.Env)
	}
	for _, name := range []string{"config.yml", "/etc/parfait/config.yml"} {
		data, err := os.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read the configuration: %w", err)
		}
		return Parse(name, data, src.Env)
	}
	return Parse(builtIn, src.Sample, src.Env)
}

// Parse parses a configuration file. The name is for messages; a nil env means os.LookupEnv.
func Parse(name string, data []byte, env func(string) (string, bool)) (*File, error) {
	if env == nil {
		env = os.LookupEnv
	}
	f := &File{name: name, env: env, names: map[*yaml.Node]string{}}
	var err error
	if f.root, err = parseDocument(name, data); err != nil {
		return nil, err
	}
	r := newResolver(f)
	r.enter(f.root)
	f.top = r.pairs(f.root, "", nil)
	if err := r.err(); err != nil {
		return nil, err
	}
	for _, p := range f.top {
		if p.node.Kind == yaml.MappingNode {
			f.names[p.node] = p.key
		}
	}
	return f, nil
}

// parseDocument returns the mapping that is the one document of a file. An empty file is an empty mapping.
func parseDocument(name string, data []byte) (*yaml.Node, error) {
	line := 0
	for text := range bytes.Lines(data) {
		if line++; !utf8.Valid(text) {
			return nil, fmt.Errorf("%s:%d: not UTF-8 text", name, line)
		}
	}
	root, err := parseYAML(data)
	switch {
	case err != nil:
		return nil, yamlError(name, err)
	case root.ShortTag() == "!!null":
		return &yaml.Node{Kind: yaml.MappingNode}, nil
	case root.Kind != yaml.MappingNode:
		return nil, fmt.Errorf("%s:%d: not a configuration: expected flavors, each with its keys", name, root.Line)
	}
	return root, nil
}

// parseYAML returns the root of the one document there is. That of none is null.
func parseYAML(data []byte) (*yaml.Node, error) {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc, second yaml.Node
	if err := dec.Decode(&doc); err == io.EOF {
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null"}, nil
	} else if err != nil {
		return nil, err
	}
	if err := dec.Decode(&second); err == nil {
		return nil, fmt.Errorf("yaml: line %d: a second YAML document; a configuration is one", second.Line)
	} else if err != io.EOF {
		return nil, err
	}
	return doc.Content[0], nil
}

// yamlError puts the line that the YAML library names where all other messages have it.
func yamlError(name string, err error) error {
	msg := strings.TrimPrefix(err.Error(), "yaml: ")
	var line int
	if _, err := fmt.Sscanf(msg, "line %d:", &line); err != nil {
		return fmt.Errorf("%s: %s", name, msg)
	}
	_, msg, _ = strings.Cut(msg, ": ")
	return fmt.Errorf("%s:%d: %s", name, line, msg)
}

// Name returns the path of the file, or says that it is the built-in one.
func (f *File) Name() string { return f.name }

// Flavors lists the names of the flavors, in the order of the file. Top-level keys that hold text are none.
func (f *File) Flavors() []string {
	var names []string
	for _, p := range f.top {
		if isFlavor(p.node) {
			names = append(names, p.key)
		}
	}
	return names
}

func isFlavor(n *yaml.Node) bool {
	n = deref(n)
	return n.Kind == yaml.MappingNode || n.ShortTag() == "!!null"
}

// Chosen returns the flavor that SETTINGS_FLAVOR names: dev if it is not set, and if it is set but empty the flat file
// of [File.Flat].
func (f *File) Chosen() (*Flavor, error) {
	name, ok := f.env("SETTINGS_FLAVOR")
	switch {
	case !ok:
		name = "dev"
	case name == "":
		return f.Flat()
	}
	flavor, err := f.Flavor(name)
	if err != nil && !slices.Contains(f.Flavors(), name) {
		if !ok {
			return nil, fmt.Errorf("%w; SETTINGS_FLAVOR names the one to use", err)
		}
		return nil, fmt.Errorf("SETTINGS_FLAVOR: %w", err)
	}
	return flavor, err
}

// Flavor returns the flavor of that name, with what it inherits and what the environment says. The error has a line for
// each problem.
func (f *File) Flavor(name string) (*Flavor, error) {
	p, ok := f.lookup(name)
	if !ok {
		return nil, f.missing(name)
	}
	if !isFlavor(p.node) {
		return nil, fmt.Errorf("%s:%d: %q is not a flavor: expected a group of keys", f.name, p.line, name)
	}
	var common *yaml.Node
	if c, ok := f.lookup("common"); ok && name != "common" && isFlavor(c.node) {
		common = deref(c.node)
	}
	return f.resolve(name, deref(p.node), common)
}

// Flat returns the whole file as one configuration, without flavors.
func (f *File) Flat() (*Flavor, error) { return f.resolve("", f.root, nil) }

func (f *File) resolve(name string, n, implied *yaml.Node) (*Flavor, error) {
	r := newResolver(f)
	r.enter(n)
	entries := r.entries(r.pairs(n, "", implied), origin{})
	if err := r.err(); err != nil {
		return nil, err
	}
	return &Flavor{name: name, file: f.name, entries: entries}, nil
}

func (f *File) lookup(name string) (pair, bool) {
	i := slices.IndexFunc(f.top, func(p pair) bool { return p.key == name })
	if i < 0 {
		return pair{}, false
	}
	return f.top[i], true
}

func (f *File) missing(name string) error {
	names := f.Flavors()
	if len(names) == 0 {
		return fmt.Errorf("%s has no flavors, so not %q either (an empty SETTINGS_FLAVOR reads a file without flavors)", f.name, name)
	}
	if near := nearest(name, names); near != "" {
		return fmt.Errorf("%s has no flavor %q; did you mean %q? It has %s", f.name, name, near, strings.Join(names, ", "))
	}
	return fmt.Errorf("%s has no flavor %q; it has %s", f.name, name, strings.Join(names, ", "))
}

// A Flavor is one configuration of a file.
type Flavor struct {
	name    string
	file    string
	entries []entry
}

// Name returns the flavor's name, which is empty for a file without flavors.
func (f *Flavor) Name() string { return f.name }
