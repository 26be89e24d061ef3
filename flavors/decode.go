package flavors

import (
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
)

// Decode sets the fields of the structs that into points at. A key that several of them know goes to each; one that
// none of them knows is a problem, unless it is obsolete. The error has a line for each problem, naming file and line.
//
// The keys of obsolete, with dots where they are in groups, are those that have no effect any more; the name of a group
// covers what is in it. One that is set gives a warning with the text that obsolete has for it, or none if that is empty.
func (f *Flavor) Decode(obsolete map[string]string, into ...any) (warnings []string, err error) {
	d := &decoder{report: report{file: f.file}, obsolete: obsolete, flat: f.name == ""}
	d.group("", f.entries, structs(into))
	return d.warnings, d.err()
}

func structs(pointers []any) []reflect.Value {
	var values []reflect.Value
	for _, p := range pointers {
		values = append(values, reflect.ValueOf(p).Elem())
	}
	return values
}

// A field is one place that a key is for.
type field struct {
	reflect.Value
	bytes, secret bool
	texts         bool // a list, for which one text alone will do
	alone         bool // gets what is no group in the place of its struct
	twin          bool // of a secret: the key names a file that holds it
}

// fieldsOf lists the fields of structs by their keys.
func fieldsOf(targets []reflect.Value) map[string][]field {
	fields := map[string][]field{}
	for _, target := range targets {
		for tag, v := range target.Fields() {
			key := tag.Tag.Get("yaml")
			if key == "" || key == "-" {
				continue
			}
			kind := tag.Tag.Get("flavor")
			f := field{Value: v, bytes: kind == "bytes", secret: kind == "secret", texts: kind == "texts", alone: kind == "alone"}
			fields[key] = append(fields[key], f)
			if f.secret && v.Kind() == reflect.String {
				f.twin = true
				fields[key+twinSuffix] = append(fields[key+twinSuffix], f)
			}
		}
	}
	return fields
}

func structsAmong(fields []field) []reflect.Value {
	var values []reflect.Value
	for _, f := range fields {
		if f.Kind() == reflect.Struct {
			values = append(values, f.Value)
		}
	}
	return values
}

const twinSuffix = "_file"

type decoder struct {
	report
	flat     bool
	obsolete map[string]string
	warnings []string
}

// group decodes the entries of the group called path into structs.
func (d *decoder) group(path string, entries []entry, targets []reflect.Value) {
	fields := fieldsOf(targets)
	for _, e := range entries {
		key := path + e.key
		for _, dst := range fields[e.key] {
			switch {
			case dst.twin:
				d.secretFile(key, dst, e.value, find(entries, strings.TrimSuffix(e.key, twinSuffix)))
			case dst.Kind() != reflect.Struct:
				d.assign(key, dst, e.value)
			}
		}
		// All structs at once: what is unknown to one of them may be known to another.
		if groups := structsAmong(fields[e.key]); len(groups) > 0 {
			d.structs(key, groups, e.value)
		}
		if len(fields[e.key]) == 0 {
			d.unknown(key, e.value, path, fields)
		}
	}
}

// find returns the value of a key, or null.
func find(entries []entry, key string) value {
	for _, e := range entries {
		if e.key == key {
			return e.value
		}
	}
	return value{}
}

// unknown warns of an obsolete key, and reports one that nobody knows.
func (d *decoder) unknown(key string, v value, path string, fields map[string][]field) {
	if typed, err := v.read(); err == nil && typed.kind == group && d.obsoleteWithin(key) {
		d.group(key+".", typed.group, nil)
		return
	}
	if why, ok := d.isObsolete(key); ok {
		if why != "" && !v.blank() {
			d.warnings = append(d.warnings, fmt.Sprintf("%s:%d: %s has no effect: %s", d.file, v.line, key, why))
		}
		return
	}
	known := slices.Collect(maps.Keys(d.obsolete))
	for name := range fields {
		known = append(known, path+name)
	}
	hint := ""
	if near := nearest(key, known); near != "" {
		hint = "; did you mean " + near + "?"
	} else if d.flat && v.kind == group {
		hint = " (a flavor? SETTINGS_FLAVOR is empty, so none is chosen)"
	}
	d.problem(v.line, "unknown key %s%s", key, hint)
}

// isObsolete looks up a key, and then the groups it is in.
func (d *decoder) isObsolete(key string) (why string, ok bool) {
	for {
		if why, ok = d.obsolete[key]; ok {
			return why, true
		}
		dot := strings.LastIndexByte(key, '.')
		if dot < 0 {
			return "", false
		}
		key = key[:dot]
	}
}

// obsoleteWithin reports whether keys of a group are listed, and not only the group.
func (d *decoder) obsoleteWithin(group string) bool {
	for key := range d.obsolete {
		if strings.HasPrefix(key, group+".") {
			return true
		}
	}
	return false
}

// structs decodes a value that has to be a group, or to do for one, into structs.
func (d *decoder) structs(key string, targets []reflect.Value, v value) {
	typed, err := v.read()
	alone := alonesOf(targets)
	switch {
	case err == nil && typed.text == "" && typed.kind <= scalar: // null
	case err == nil && typed.kind == group:
		d.group(key+".", typed.group, targets)
	case len(alone) > 0 && typed.kind != list:
		for _, dst := range alone {
			d.assign(key, dst, v)
		}
	default:
		d.mismatch(key, "a group of keys", typed, field{}, err)
	}
}

// alonesOf lists the fields of structs that get what is no group.
func alonesOf(targets []reflect.Value) (alone []field) {
	for _, fields := range fieldsOf(targets) {
		for _, f := range fields {
			if f.alone {
				alone = append(alone, f)
			}
		}
	}
	return alone
}

// assign decodes a value into one field. Null and empty text leave it as it is.
func (d *decoder) assign(key string, dst field, v value) {
	if dst.Kind() == reflect.String && v.kind <= raw {
		if v.text != "" {
			dst.SetString(v.text)
		}
		return
	}
	if dst.texts {
		v = v.asList()
	}
	v, err := v.read()
	if err == nil && v.text == "" && v.kind <= scalar {
		return
	}
	switch {
	case dst.Kind() == reflect.Struct:
		d.structs(key, []reflect.Value{dst.Value}, v)
	case dst.Kind() == reflect.Slice && v.kind == list:
		d.slice(key, dst, v)
	case dst.Kind() == reflect.Map && v.kind == group:
		d.table(key, dst, v)
	case dst.Kind() == reflect.Bool && v.kind == group && len(v.group) == 1 && v.group[0].key == "enabled":
		d.assign(key+".enabled", dst, v.group[0].value) // as registry:2 writes switches
	default:
		want, ok := setScalar(dst, v)
		if !ok {
			d.mismatch(key, want, v, dst, err)
		}
	}
}

// slice sets a slice that is not nil, even if the list is empty: that is not the same as none.
func (d *decoder) slice(key string, dst field, v value) {
	items := v.list
	if dst.Type().Elem().Kind() == reflect.Struct {
		items = v.items()
	}
	dst.Set(reflect.MakeSlice(dst.Type(), 0, len(items)))
	for _, item := range items {
		if item.kind == null {
			continue // a list may name a variable that is not set
		}
		elem := reflect.New(dst.Type().Elem()).Elem()
		d.assign(key, field{Value: elem, secret: dst.secret}, item)
		dst.Set(reflect.Append(dst.Value, elem))
	}
}

func (d *decoder) table(key string, dst field, v value) {
	dst.Set(reflect.MakeMap(dst.Type()))
	for _, e := range v.group {
		elem := reflect.New(dst.Type().Elem()).Elem()
		d.assign(key+"."+e.key, field{Value: elem, secret: dst.secret, texts: elem.Kind() == reflect.Slice}, e.value)
		dst.SetMapIndex(reflect.ValueOf(e.key).Convert(dst.Type().Key()), elem)
	}
}

// secretFile reads a secret from the file that its twin key names. Direct is what the secret's own key says.
func (d *decoder) secretFile(key string, dst field, v, direct value) {
	var path string
	d.assign(key, field{Value: reflect.ValueOf(&path).Elem()}, v)
	if path == "" {
		return
	}
	if !direct.blank() {
		d.problem(v.line, "%s and %s (line %d) are both set: keep one", key, strings.TrimSuffix(key, twinSuffix), direct.line)
		return
	}
	data, err := os.ReadFile(path)
	if err != nil {
		d.problem(v.line, "%s: %v", key, err)
		return
	}
	dst.SetString(strings.TrimRight(string(data), "\r\n"))
}

// mismatch reports that a value is not what its field wants. The value of a secret is not told.
func (d *decoder) mismatch(key, want string, v value, dst field, err error) {
	var found string
	switch {
	case err != nil:
		found = ", found what is " + err.Error()
	case v.kind == list:
		found = ", found a list"
	case v.kind == group:
		found = ", found a group of keys"
	case !dst.secret && !looksSecret(key):
		found = fmt.Sprintf(", found %q", Mask(v.text))
	}
	if n := len(v.vars); n > 0 && v.set {
		found += " in $" + v.vars[n-1]
	} else if n > 0 {
		found += " in the default of $" + v.vars[n-1]
	}
	d.problem(v.line, "%s: expected %s%s", key, want, found)
}
