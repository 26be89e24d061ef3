package flavors_test

import (
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/parfait-registry/parfait/flavors"
)

// FuzzLoad feeds whole files. Nothing may panic or hang, and what is shown has to be YAML.
func FuzzLoad(f *testing.F) {
	paths, _ := filepath.Glob("testdata/*.yml")
	for _, path := range append(paths, "../config_sample.yml") {
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	// U+2028 ends a line of YAML, and with it a comment.
	f.Add([]byte("dev: {\"a\u2028b\": \"_env:C\u2028D:e\"}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		// Real variables hold short text; reading files is not what is tested.
		file, err := flavors.Parse("config.yml", data, lookup(map[string]string{"LOGLEVEL": "[a, _env:LOGLEVEL]"}))
		if err != nil {
			return
		}
		for i, name := range file.Flavors() {
			if i == 8 {
				break
			}
			if flavor, err := file.Flavor(name); err == nil {
				exercise(t, flavor)
			}
		}
		if flavor, err := file.Flat(); err == nil {
			exercise(t, flavor)
		}
	})
}

func exercise(t *testing.T, flavor *flavors.Flavor) {
	flavor.Decode(obsolete(), &withoutFiles{})
	var shown strings.Builder
	flavor.Show(&shown, &settings{}, &bucket{})
	if shown.Len() > 1<<16 {
		return
	}
	if _, err := flavors.Parse("shown.yml", []byte(shown.String()), lookup(nil)); err != nil {
		t.Errorf("shown is no configuration: %v\n%s", err, shown.String())
	}
}

// withoutFiles has no secrets, whose twins would have the fuzzer open files.
type withoutFiles struct {
	Storage   string            `yaml:"storage"`
	Debug     bool              `yaml:"debug"`
	Workers   int               `yaml:"workers"`
	MaxSize   int64             `yaml:"max_size" flavor:"bytes"`
	Origins   []string          `yaml:"origins"`
	Labels    map[string]string `yaml:"labels"`
	Endpoints []withoutSecret   `yaml:"endpoints"`
	Cache     withoutSecret     `yaml:"cache"`
}

type withoutSecret struct {
	Timeout time.Duration `yaml:"timeout"`
}

// FuzzEnv expands one _env: value. Text that needs no care has to come out of a string field as it went in.
func FuzzEnv(f *testing.F) {
	for _, rest := range []string{"VAR", "VAR:", "VAR:a:b", "VAR:_env:B:c", "B:_env:VAR:_env:C:d", "B:'q'", "B:[a, _env:VAR]", "B:{a: &a [b], c: *a}", "B:!x", ""} {
		f.Add(rest, "value", true)
		f.Add(rest, "'a' b", true)
		f.Add(rest, "", true)
		f.Add(rest, "", false)
	}
	f.Fuzz(func(t *testing.T, rest, value string, set bool) {
		env := func(name string) (string, bool) {
			if name == "VAR" && set {
				return value, true
			}
			return "", false
		}
		text := strconv.QuoteToASCII("_env:" + rest)
		file, err := flavors.Parse("config.yml", []byte("storage: "+text+"\norigins: "+text+"\nworkers: "+text+"\nlabels: "+text+"\n"), env)
		if err != nil {
			t.Skip("the quotes of Go are not always those of YAML")
		}
		flavor, err := file.Flat()
		if err != nil {
			return
		}
		var s withoutFiles
		flavor.Decode(nil, &s)
		flavor.Show(io.Discard, &s)
		if rest == "VAR" && set && strings.Trim(value, `'" ~`) == value && !strings.EqualFold(value, "null") {
			if want := strings.TrimSpace(value); s.Storage != want {
				t.Errorf("got %q, want %q", s.Storage, want)
			}
		}
	})
}
