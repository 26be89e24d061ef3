package main

import (
	"bytes"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/parfait-registry/parfait"
)

//go:generate go test -count=1 -run ^TestReference$ -update .

var update = flag.Bool("update", false, "write docs/configuration.md anew")

const referenceHead = `# Configuration

This page is made of the program's source by ` + "`make docs`" + `; a test fails when it is out of date. Which file is read, and which
flavor of it, is in the [README](../README.md#configuration); [config_sample.yml](../config_sample.yml) has all keys in
their places. ` + "`parfait config check`" + ` reads a file as the server would, and ` + "`parfait config show`" + ` says where each value is
from.

A flavor inherits by YAML merge keys (` + "`<<: *common`" + `), or, without any, what ` + "`common`" + ` has. ` + "`_env:VAR:DEFAULT`" + ` is what the
variable holds, or else the default, which may be another ` + "`_env:`" + `. An item of a list whose variables have a ` + "`#`" + ` in their
names is there for each number from 0 on with which one of them is set:

` + "```yaml" + `
notifications:
    endpoints:
        - {url: "_env:HOOK_#_URL", timeout: "_env:HOOK_#_TIMEOUT"} # HOOK_0_URL, HOOK_0_TIMEOUT, HOOK_1_URL, …
` + "```" + `

The environment names are those of the built-in configuration. A *size* is bytes, or such as ` + "`64MiB`" + `; a *time* is such as
` + "`15m`" + `; a *list* is ` + "`[a, b]`" + `; and a *secret* has a twin with ` + "`_file`" + ` at its end, which names a file that holds it.
`

// TestReference holds docs/configuration.md to the structs that the configuration is read into, and writes it with
// -update.
func TestReference(t *testing.T) {
	const path = "../../docs/configuration.md"
	want := reference(t)
	if *update {
		if err := os.WriteFile(path, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("docs/configuration.md is out of date: run make docs")
	}
}

// reference returns the page.
func reference(t *testing.T) []byte {
	t.Helper()
	s := &settings{ends: newBackEnds()}
	r := &referenceWriter{t: t, variables: sampleVariables(t)}
	r.WriteString(referenceHead)
	storages := make(map[reflect.Type]string)
	for name, end := range s.ends {
		if end.config != nil {
			storages[reflect.TypeOf(end.config).Elem()] = name
		}
	}
	for _, target := range s.structs() {
		of := reflect.TypeOf(target).Elem()
		title := strings.TrimSuffix(of.Name(), "Config")
		if title == "" {
			title = filepath.Base(of.PkgPath())
		}
		if name, ok := storages[of]; ok {
			title = "storage: " + name
		}
		fmt.Fprintf(r, "\n## %s\n\n| key | type | environment | default | meaning |\n|---|---|---|---|---|\n", title)
		r.rows("", of)
	}
	r.WriteString("\n## Without effect\n\nKeys of docker-registry that are read, and do nothing, at most with a warning that says what does it now:\n")
	r.WriteString("`" + strings.Join(slices.Sorted(maps.Keys(obsolete())), "`, `") + "`.\n")
	return r.Bytes()
}

type referenceWriter struct {
	bytes.Buffer
	t         *testing.T
	variables map[string][]string // of the environment, by key
}

// rows writes what the fields of a struct mean. Fields that share a comment share a row.
func (r *referenceWriter) rows(prefix string, of reflect.Type) {
	docs := fieldDocs(r.t, of)
	keys := make(map[string]string) // by the name of the field
	for f := range of.Fields() {
		if key := f.Tag.Get("yaml"); key != "" && key != "-" {
			keys[f.Name] = prefix + key
		}
	}
	var row []reflect.StructField
	end := func() {
		if len(row) > 0 {
			r.row(row, keys, docs[row[0].Name])
		}
		for _, f := range row {
			if inner := elemOf(f.Type); inner.Kind() == reflect.Struct {
				r.rows(keys[f.Name]+".", inner)
			}
		}
		row = nil
	}
	for f := range of.Fields() {
		if keys[f.Name] == "" {
			continue
		}
		if docs[f.Name] != "" {
			end()
		}
		row = append(row, f)
	}
	end()
}

// elemOf is what a slice or map is of, or else t.
func elemOf(t reflect.Type) reflect.Type {
	if t.Kind() == reflect.Slice || t.Kind() == reflect.Map || t.Kind() == reflect.Pointer {
		return t.Elem()
	}
	return t
}

func (r *referenceWriter) row(fields []reflect.StructField, keys map[string]string, doc string) {
	var names, kinds, variables []string
	for _, f := range fields {
		key := keys[f.Name]
		names = append(names, "`"+key+"`")
		kinds = append(kinds, kindOf(r.t, f))
		if vars := r.variables[key]; len(vars) > 0 {
			variables = append(variables, "`"+strings.Join(vars, "`, `")+"`")
		}
	}
	if doc == "" {
		r.t.Errorf("%s has no comment that says what it means", names[0])
	}
	meaning, def := splitDefault(inKeys(doc, keys))
	if def == "–" && slices.Contains(kinds, "true or false") {
		def = "false"
	}
	fmt.Fprintf(r, "| %s | %s | %s | %s | %s |\n", strings.Join(names, "<br>"), strings.Join(slices.Compact(kinds), "<br>"),
		strings.Join(variables, "<br>"), cell(def), cell(meaning))
}

func cell(text string) string { return strings.ReplaceAll(text, "|", `\|`) }

// inKeys has a comment speak of keys where it does of fields.
func inKeys(doc string, keys map[string]string) string {
	doc = regexp.MustCompile(`\[(?:\w+\.)?(\w+)\]`).ReplaceAllString(doc, "$1")
	return regexp.MustCompile(`\b[A-Z]\w*\b`).ReplaceAllStringFunc(doc, func(word string) string {
		if key, ok := keys[word]; ok {
			return "`" + key + "`"
		}
		return word
	})
}

var defaultSentence = regexp.MustCompile(`(^|[.;] )(No default|Defaults?:? (.*))`)

// splitDefault takes the default out of what a comment says, from the word to the end.
func splitDefault(doc string) (meaning, def string) {
	m := defaultSentence.FindStringSubmatchIndex(doc)
	if m == nil {
		return doc, "–"
	}
	meaning = strings.TrimSpace(doc[:m[0]] + ".")
	if m[6] < 0 {
		return meaning, "none"
	}
	return meaning, strings.TrimSuffix(doc[m[6]:m[7]], ".")
}

func kindOf(t *testing.T, f reflect.StructField) string {
	switch tag := f.Tag.Get("flavor"); {
	case tag == "bytes":
		return "size"
	case tag == "secret":
		return "secret"
	case f.Type == reflect.TypeFor[time.Duration]():
		return "time"
	}
	switch f.Type.Kind() {
	case reflect.String:
		return "text"
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int64, reflect.Float64:
		return "number"
	case reflect.Slice:
		if f.Type.Elem().Kind() == reflect.Struct {
			return "list of groups"
		}
		return "list"
	case reflect.Map, reflect.Struct, reflect.Pointer:
		return "group"
	}
	t.Errorf("%s: the page has no word for the type %s", f.Name, f.Type)
	return ""
}

// fieldDocs returns the comments of a struct's fields, each on one line.
func fieldDocs(t *testing.T, of reflect.Type) map[string]string {
	t.Helper()
	dir := filepath.Join("../..", strings.TrimPrefix(of.PkgPath(), "github.com/parfait-registry/parfait"))
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%s: no source, %v", dir, err)
	}
	docs := make(map[string]string)
	for _, path := range files {
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.TypeSpec)
			if !ok || spec.Name.Name != of.Name() {
				return true
			}
			if st, ok := spec.Type.(*ast.StructType); ok {
				for _, field := range st.Fields.List {
					for _, name := range field.Names {
						docs[name.Name] = strings.Join(strings.Fields(field.Doc.Text()), " ")
					}
				}
			}
			return false
		})
	}
	return docs
}

// sampleVariables returns which variables of the environment the sample reads, by key.
func sampleVariables(t *testing.T) map[string][]string {
	t.Helper()
	var flavors yaml.Node
	if err := yaml.Unmarshal(parfait.Sample, &flavors); err != nil {
		t.Fatal(err)
	}
	all := make(map[string][]string)
	var walk func(prefix string, n *yaml.Node)
	walk = func(key string, n *yaml.Node) {
		switch n.Kind {
		case yaml.ScalarNode:
			for _, name := range variablesIn(n.Value) {
				if !slices.Contains(all[key], name) {
					all[key] = append(all[key], name)
				}
			}
		case yaml.SequenceNode:
			for _, item := range n.Content {
				walk(key, item)
			}
		case yaml.MappingNode:
			for i := 0; i+1 < len(n.Content); i += 2 {
				walk(strings.TrimPrefix(key+"."+n.Content[i].Value, "."), n.Content[i+1])
			}
		}
	}
	top := flavors.Content[0]
	for i := 1; i < len(top.Content); i += 2 {
		walk("", top.Content[i])
	}
	return all
}

// variablesIn returns the names in a value such as _env:A:_env:B:default.
func variablesIn(value string) (names []string) {
	for {
		rest, ok := strings.CutPrefix(value, "_env:")
		if !ok {
			return names
		}
		name, def, _ := strings.Cut(rest, ":")
		names = append(names, name)
		value = def
	}
}
