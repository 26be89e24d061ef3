package flavors

import (
	"fmt"
	"io"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Show prints the flavor as YAML, each value with a comment that tells where it comes from. Masked are the secrets of the
// structs that into points at, keys that none of them knows but that look like secrets, and what looks like one in
// URLs and connection strings.
func (f *Flavor) Show(w io.Writer, into ...any) error {
	var fields []field
	for _, v := range structs(into) {
		fields = append(fields, field{Value: v})
	}
	var b strings.Builder
	s := shower{&b, f.file}
	s.group("", f.entries, fields, false)
	_, err := io.WriteString(w, b.String())
	return err
}

type shower struct {
	*strings.Builder
	file string
}

// group prints the entries of a group that is for the given fields.
func (s shower) group(indent string, entries []entry, fields []field, masked bool) {
	known, elems := fieldsOf(structsAmong(fields)), elemsOf(fields)
	for _, e := range entries {
		fields, masked := append(known[e.key], elems...), masked || hidden(e.key, known)
		v := e.value
		if typed, err := v.read(); err == nil && !slices.ContainsFunc(fields, isText) {
			v = typed
		}
		if v.kind == group && len(v.group) > 0 {
			fmt.Fprintf(s, "%s%s:  # %s\n", indent, plain(e.key), v.describe(s.file))
			s.group(indent+"  ", v.group, fields, masked)
			continue
		}
		if elems := elemsOf(fields); v.kind == list && len(v.items()) > 0 && len(structsAmong(elems)) > 0 {
			fmt.Fprintf(s, "%s%s:  # %s\n", indent, plain(e.key), v.describe(s.file))
			s.items(indent+"  ", v.items(), elems, masked)
			continue
		}
		fmt.Fprintf(s, "%s%s: %s  # %s\n", indent, plain(e.key), inline(v, fields, masked), v.describe(s.file))
	}
}

// items prints the items of a list that is of groups.
func (s shower) items(indent string, items []value, fields []field, masked bool) {
	for _, item := range items {
		if typed, err := item.read(); err != nil || typed.kind != group || len(typed.group) == 0 {
			fmt.Fprintf(s, "%s- %s  # %s\n", indent, inline(item, fields, masked), item.describe(s.file))
		} else {
			var b strings.Builder
			shower{&b, s.file}.group(indent+"  ", typed.group, fields, masked)
			s.WriteString(indent + "- " + strings.TrimPrefix(b.String(), indent+"  "))
		}
	}
}

// inline writes a value on one line.
func inline(v value, fields []field, masked bool) string {
	var items []string
	switch {
	case v.kind == null:
		return "null"
	case v.kind == list:
		for _, item := range v.list {
			items = append(items, inline(item, elemsOf(fields), masked))
		}
		return "[" + strings.Join(items, ", ") + "]"
	case v.kind == group:
		known, elems := fieldsOf(structsAmong(fields)), elemsOf(fields)
		for _, e := range v.group {
			fields, masked := append(known[e.key], elems...), masked || hidden(e.key, known)
			items = append(items, plain(e.key)+": "+inline(e.value, fields, masked))
		}
		return "{" + strings.Join(items, ", ") + "}"
	case masked && v.text != "":
		return plain(mask)
	}
	return plain(Mask(v.text))
}

func isText(f field) bool { return f.Kind() == reflect.String }

// elemsOf returns what the elements of slices and maps among the fields are.
func elemsOf(fields []field) []field {
	var elems []field
	for _, f := range fields {
		if f.Kind() == reflect.Slice || f.Kind() == reflect.Map {
			elems = append(elems, field{Value: reflect.Zero(f.Type().Elem())})
		}
	}
	return elems
}

// hidden reports whether the value of a key is a secret, or may be one.
func hidden(key string, known map[string][]field) bool {
	if len(known[key]) == 0 {
		return looksSecret(key)
	}
	return slices.ContainsFunc(known[key], func(f field) bool { return f.secret && !f.twin })
}

// plain writes text as YAML, in quotes if there is any doubt that it needs them.
func plain(text string) string {
	if plainText.MatchString(text) && !isNull(text) {
		return text
	}
	return strconv.Quote(text)
}

// describe says where a value comes from: the variable that has it, or else the line in the file.
func (v value) describe(file string) string {
	at := fmt.Sprintf("%s:%d", file, v.line)
	if v.flavor != "" {
		at = plain(v.flavor) + ", " + at
	}
	var vars []string
	for _, name := range v.vars {
		vars = append(vars, "$"+plain(name))
	}
	switch {
	case len(vars) == 0:
		return at
	case v.set:
		return vars[len(vars)-1]
	case v.kind == null:
		return "without " + strings.Join(vars, ", ") + ", " + at
	}
	return "default of " + strings.Join(vars, ", ") + ", " + at
}

// Credentials in URLs, and in connection strings such as "host=db password=…" and "…;AccountKey=…". Better too much is
// masked than too little: a password may hold slashes.
var (
	userInfo  = regexp.MustCompile(`(://[^/\s:@]*:)\S*@`)
	assigned  = regexp.MustCompile(`(?i)((?:pass\w*|secret\w*|\w*key|sig|token)=)[^&;\s]+`)
	plainText = regexp.MustCompile(`^[A-Za-z0-9/._]([A-Za-z0-9/._:@+=-]*[A-Za-z0-9/._@+=-])?$`)
)

const mask = "***"

// Mask hides what looks like credentials in URLs and connection strings.
func Mask(text string) string {
	return assigned.ReplaceAllString(userInfo.ReplaceAllString(text, "${1}"+mask+"@"), "${1}"+mask)
}

// looksSecret guesses from its name whether a key holds a secret.
func looksSecret(key string) bool {
	key = strings.ToLower(key)
	return strings.Contains(key, "pass") || strings.Contains(key, "secret") || strings.Contains(key, "key")
}
