package flavors_test

import (
	"strings"
	"testing"

	"github.com/parfait-registry/parfait/flavors"
)

const shown = `common:
  issue: '"docker-registry server"'
  storage_path: _env:A:_env:B:/tmp/registry
  loglevel: _env:LOGLEVEL
dev:
  sqlalchemy_index_database: postgres://me:pass/word@db:5432/x
  workers: _env:WORKERS:4
  origins: _env:ORIGINS
  endpoints: [{url: "https://a", auth: hunter2}]
  labels: {a: 0755, "b c": "null", "": }
  search_backend: _env:SEARCH
  s3_secret_key: _env:SECRET
  s3_secret_key_file: _env:SECRET_FILE
  s3_access_key: AKIA
  cache:
    host: redis
    password: hunter2
  cache_lru: _env:CACHE_LRU
  privileged_key: /etc/key
  cloudfront: {keysecret: hunter2}
  dsn: host=db password=hunter2 user=me
  storage: {}
  headers: {A: [hunter2, hunter2], B: _env:HEADER}
  rules: [_env:RULES, {users: _env:RULE_#_USERS, repositories: _env:RULE_#_REPOSITORIES}]
`

const wantShown = `sqlalchemy_index_database: "postgres://me:***@db:5432/x"  # config.yml:6
workers: 4  # default of $WORKERS, config.yml:7
origins: [https://a, "*"]  # $ORIGINS
endpoints:  # config.yml:9
  - url: https://a  # config.yml:9
    auth: "***"  # config.yml:9
labels:  # config.yml:10
  a: 0755  # config.yml:10
  "b c": "null"  # config.yml:10
  "": null  # config.yml:10
search_backend: "[a, b]"  # $SEARCH
s3_secret_key: null  # without $SECRET, config.yml:12
s3_secret_key_file: /run/secrets/s3  # $SECRET_FILE
s3_access_key: AKIA  # config.yml:14
cache:  # config.yml:15
  host: redis  # config.yml:16
  password: "***"  # config.yml:17
cache_lru:  # $CACHE_LRU
  host: a  # $CACHE_LRU
  password: "***"  # $CACHE_LRU
privileged_key: "***"  # config.yml:19
cloudfront:  # config.yml:20
  keysecret: "***"  # config.yml:20
dsn: "host=db password=*** user=me"  # config.yml:21
storage: {}  # config.yml:22
headers:  # config.yml:23
  A: ["***", "***"]  # config.yml:23
  B: "***"  # $HEADER
rules:  # config.yml:24
  - users: [alice]  # $RULES
  - users: [bob]  # $RULE_0_USERS
    repositories: [a]  # $RULE_0_REPOSITORIES
  - users: [carol]  # $RULE_1_USERS
    repositories: null  # without $RULE_1_REPOSITORIES, config.yml:24
issue: "\"docker-registry server\""  # common, config.yml:2
storage_path: /tmp/registry  # default of $A, $B, common, config.yml:3
loglevel: null  # $LOGLEVEL
`

func TestShow(t *testing.T) {
	got := show(t, shown, map[string]string{
		"LOGLEVEL":    "",
		"ORIGINS":     "[https://a, '*']",
		"SEARCH":      "[a, b]",
		"SECRET_FILE": "/run/secrets/s3",
		"CACHE_LRU":   "{host: a, password: hunter2}",
		"HEADER":      "hunter2",

		"RULES":               "[{users: [alice]}]",
		"RULE_0_USERS":        "[bob]",
		"RULE_0_REPOSITORIES": "[a]",
		"RULE_1_USERS":        "[carol]",
	})
	if got != wantShown {
		t.Errorf("got\n%s\nwant\n%s", got, wantShown)
	}
	if strings.Contains(got, "hunter2") {
		t.Error("a secret is shown")
	}
}

// What is shown is a flat configuration, and the same one.
func TestShowIsYAML(t *testing.T) {
	once := show(t, shown, nil)
	f, err := flavors.Parse("shown.yml", []byte(once), lookup(nil))
	if err != nil {
		t.Fatal(err)
	}
	flavor, err := f.Flat()
	if err != nil {
		t.Fatal(err)
	}
	var twice strings.Builder
	if err := flavor.Show(&twice, &settings{}, &bucket{}); err != nil {
		t.Fatal(err)
	}
	if got, want := withoutOrigins(twice.String()), withoutOrigins(once); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func show(t *testing.T, data string, env map[string]string) string {
	t.Helper()
	f, err := flavors.Parse("config.yml", []byte(data), lookup(env))
	if err != nil {
		t.Fatal(err)
	}
	flavor, err := f.Chosen()
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := flavor.Show(&out, &settings{}, &bucket{}); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func withoutOrigins(shown string) string {
	var out strings.Builder
	for line := range strings.Lines(shown) {
		line, _, _ = strings.Cut(line, "  # ")
		out.WriteString(line + "\n")
	}
	return out.String()
}
