package flavors_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parfait-registry/parfait/flavors"
)

// settings has a field of each kind.
type settings struct {
	Issue       string              `yaml:"issue"`
	LogLevel    string              `yaml:"loglevel"`
	Debug       bool                `yaml:"debug"`
	Storage     string              `yaml:"storage"`
	StoragePath string              `yaml:"storage_path"`
	Search      string              `yaml:"search_backend"`
	Database    string              `yaml:"sqlalchemy_index_database"`
	Workers     int                 `yaml:"workers"`
	Ratio       float64             `yaml:"ratio"`
	Drain       time.Duration       `yaml:"drain_timeout"`
	MaxSize     int64               `yaml:"max_size" flavor:"bytes"`
	Origins     []string            `yaml:"origins"`
	Hosts       []string            `yaml:"hosts" flavor:"texts"`
	Proxies     []string            `yaml:"proxies" flavor:"texts"`
	Agents      []string            `yaml:"agents" flavor:"texts"`
	Labels      map[string]string   `yaml:"labels"`
	Endpoints   []endpoint          `yaml:"endpoints"`
	Rules       []rule              `yaml:"rules"`
	Teams       map[string][]string `yaml:"teams"`
	Headers     map[string][]string `yaml:"headers" flavor:"secret"`
	Secure      secure              `yaml:"secure"`
	Cache       cache               `yaml:"cache"`
	Internal    func()              `yaml:"-"`
}

type endpoint struct {
	URL     string        `yaml:"url"`
	Timeout time.Duration `yaml:"timeout"`
	Auth    string        `yaml:"auth" flavor:"secret"`
}

type rule struct {
	Repositories []string `yaml:"repositories"`
	Users        []string `yaml:"users"`
}

type secure struct {
	Mode    string `yaml:"mode" flavor:"alone"`
	KeyFile string `yaml:"keyfile"`
}

type cache struct {
	Host     string `yaml:"host"`
	Port     int    `yaml:"port"`
	Password string `yaml:"password" flavor:"secret"`
}

// bucket shares storage_path and cache with settings.
type bucket struct {
	Bucket      string `yaml:"s3_bucket"`
	Region      string `yaml:"s3_region"`
	AccessKey   string `yaml:"s3_access_key"`
	SecretKey   string `yaml:"s3_secret_key" flavor:"secret"`
	Secure      bool   `yaml:"s3_secure"`
	StoragePath string `yaml:"storage_path"`
	Cache       struct {
		DB int `yaml:"db"`
	} `yaml:"cache"`
}

func obsolete() map[string]string {
	return map[string]string{
		"boto_bucket":              "",
		"standalone":               "",
		"smtp_host":                "use an alert on the metrics",
		"from_addr":                "",
		"to_addr":                  "",
		"cache_lru":                "small objects are cached in memory",
		"mirroring.source":         "use a pull-through proxy",
		"mirroring.tags_cache_ttl": "",
	}
}

// A testCase is a file of testdata. Comments in it say what is in the environment and what is to come out:
//
//	#$ AWS_BUCKET=acme
//	#= s3_bucket: "acme"
type testCase struct {
	name string
	data []byte
	env  map[string]string
	want string
}

func testCases(t *testing.T, pattern string) []testCase {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join("testdata", pattern))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no files %s: %v", pattern, err)
	}
	var cases []testCase
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		tt := testCase{name: filepath.Base(path), data: data, env: map[string]string{}}
		for line := range strings.Lines(string(data)) {
			line = strings.TrimSuffix(line, "\n")
			if set, ok := strings.CutPrefix(line, "#$ "); ok {
				name, value, _ := strings.Cut(set, "=")
				tt.env[name] = value
			} else if want, ok := strings.CutPrefix(line, "#= "); ok {
				tt.want += want + "\n"
			}
		}
		cases = append(cases, tt)
	}
	return cases
}

func lookup(env map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		value, ok := env[name]
		return value, ok
	}
}

// decode returns what a case gives: warnings and the fields that are set, or the error.
func decode(tt testCase) (string, error) {
	file, err := flavors.Parse(tt.name, tt.data, lookup(tt.env))
	if err != nil {
		return "", err
	}
	flavor, err := file.Chosen()
	if err != nil {
		return "", err
	}
	var s settings
	var b bucket
	warnings, err := flavor.Decode(obsolete(), &s, &b)
	if err != nil {
		return "", err
	}
	var out strings.Builder
	for _, w := range warnings {
		fmt.Fprintf(&out, "warning: %s\n", w)
	}
	dump(&out, "", reflect.ValueOf(s))
	dump(&out, "", reflect.ValueOf(b))
	return out.String(), nil
}

func dump(out *strings.Builder, prefix string, v reflect.Value) {
	for tag, v := range v.Fields() {
		key := prefix + tag.Tag.Get("yaml")
		switch {
		case v.IsZero():
		case v.Kind() == reflect.Struct:
			dump(out, key+".", v)
		case v.Kind() == reflect.String, v.Type() == reflect.TypeFor[[]string](), v.Kind() == reflect.Map:
			fmt.Fprintf(out, "%s: %q\n", key, v)
		default:
			fmt.Fprintf(out, "%s: %v\n", key, v)
		}
	}
}

func TestGood(t *testing.T) {
	for _, tt := range testCases(t, "good.*.yml") {
		t.Run(tt.name, func(t *testing.T) {
			got, err := decode(tt)
			if err != nil {
				t.Fatal(err)
			}
			if got != tt.want {
				t.Errorf("got\n%swant\n%s", got, tt.want)
			}
		})
	}
}

func TestBad(t *testing.T) {
	for _, tt := range testCases(t, "bad.*.yml") {
		t.Run(tt.name, func(t *testing.T) {
			got, err := decode(tt)
			if err == nil {
				t.Fatalf("no error, but\n%s", got)
			}
			if got := err.Error() + "\n"; got != tt.want {
				t.Errorf("got\n%swant\n%s", got, tt.want)
			}
		})
	}
}

func TestLoadFindsFile(t *testing.T) {
	if _, err := os.Stat("/etc/parfait/config.yml"); err == nil {
		t.Skip("this machine has a configuration of its own")
	}
	t.Chdir(t.TempDir())
	sample := []byte("dev: {loglevel: sample}\n")
	load := func(file string) string {
		t.Helper()
		f, err := flavors.Load(flavors.Source{File: file, Sample: sample})
		if err != nil {
			t.Fatal(err)
		}
		flavor, err := f.Flavor("dev")
		if err != nil {
			t.Fatal(err)
		}
		var s settings
		if _, err := flavor.Decode(nil, &s); err != nil {
			t.Fatal(err)
		}
		return f.Name() + ": " + s.LogLevel
	}
	if got, want := load(""), "built-in config_sample.yml: sample"; got != want {
		t.Errorf("without a file: got %q, want %q", got, want)
	}
	write(t, "config.yml", "dev: {loglevel: here}\n")
	if got, want := load(""), "config.yml: here"; got != want {
		t.Errorf("with config.yml: got %q, want %q", got, want)
	}
	write(t, "other.yml", "dev: {loglevel: named}\n")
	if got, want := load("other.yml"), "other.yml: named"; got != want {
		t.Errorf("with a named file: got %q, want %q", got, want)
	}
}

func TestLoadMissing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "registry.yml")
	_, err := flavors.Load(flavors.Source{File: path})
	if !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("got error %v, want one that wraps fs.ErrNotExist", err)
	}
	for _, part := range []string{path, "DOCKER_REGISTRY_CONFIG", "--config"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error %q does not name %s", err, part)
		}
	}
	// What a container gets from a bind mount of a file that is not there.
	if _, err := flavors.Load(flavors.Source{File: t.TempDir()}); err == nil {
		t.Error("a folder was read as a file")
	}
}

func TestEncodings(t *testing.T) {
	for _, tt := range []struct{ name, data, wantErr string }{
		{"byte order mark", "\ufeffdev:\n  storage: local\n", ""},
		{"lines that end in CRLF", "dev:\r\n  storage: local\r\n", ""},
		{"Latin-1", "# ok\ndev:\n  issue: caf\xe9\n", "config.yml:3: not UTF-8 text"},
		{"UTF-16", "\xff\xfed\x00e\x00v\x00", "config.yml:1: not UTF-8 text"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := decode(testCase{name: "config.yml", data: []byte(tt.data)})
			if tt.wantErr != "" {
				if err == nil || err.Error() != tt.wantErr {
					t.Errorf("got error %v, want %s", err, tt.wantErr)
				}
			} else if err != nil || got != "storage: \"local\"\n" {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}

func TestFlavors(t *testing.T) {
	data := "version: 1\ncommon: &common {}\ns3: {<<: *common}\nempty:\nlist: [a]\nprod: *common\n"
	f, err := flavors.Parse("config.yml", []byte(data), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := f.Flavors(), []string{"common", "s3", "empty", "prod"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestSecretFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	write(t, path, " p: w \r\n")
	data := []byte("dev: {s3_secret_key: '', s3_secret_key_file: _env:SECRET_FILE, cache: {password_file: _env:SECRET_FILE}}\n")
	got, err := decode(testCase{name: "config.yml", data: data, env: map[string]string{"SECRET_FILE": path}})
	want := "cache.password: \" p: w \"\ns3_secret_key: \" p: w \"\n"
	if err != nil || got != want {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
}

// A field keeps what it had if its key says nothing.
func TestDecodeKeepsDefaults(t *testing.T) {
	f, err := flavors.Parse("config.yml", []byte("dev: {workers: _env:WORKERS, storage: ~, ratio: ''}\n"), lookup(nil))
	if err != nil {
		t.Fatal(err)
	}
	flavor, err := f.Chosen()
	if err != nil {
		t.Fatal(err)
	}
	s := settings{Workers: 4, Storage: "local", Ratio: 0.5, Drain: time.Second}
	want := s
	if _, err := flavor.Decode(nil, &s); err != nil || !reflect.DeepEqual(s, want) {
		t.Errorf("got %+v, %v, want %+v", s, err, want)
	}
}

func write(t *testing.T, path, data string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Files that are small and ask for much are refused at once.
func TestBombs(t *testing.T) {
	repeat := strings.Repeat
	for name, data := range map[string]string{
		"defaults": "dev: {a: &a '_env:X:[" + repeat("a,", 25000) + "]', b: [" + repeat("*a,", 20000) + "]}",
		"chain":    "dev: {a: &a '" + repeat("_env:A:", 50000) + "x', b: [" + repeat("*a,", 50) + "]}",
		"merges":   "a: &a {x: 1}\nb: &b {<<: [" + repeat("*a,", 3000) + "]}\ndev: {<<: [" + repeat("*b,", 3000) + "]}",
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			if _, err := decode(testCase{name: "config.yml", data: []byte(data)}); err == nil || !strings.Contains(err.Error(), "too large") {
				t.Errorf("got error %v, want one that says that it is too large", err)
			}
			if took := time.Since(start); took > 10*time.Second {
				t.Errorf("took %v", took)
			}
		})
	}
}
