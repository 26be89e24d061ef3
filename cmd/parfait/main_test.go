package main

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/parfait-registry/parfait"
	"github.com/parfait-registry/parfait/flavors"
)

// command runs parfait in an empty folder.
func command(t *testing.T, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	status = run(t.Context(), args, &out, &err)
	return status, out.String(), err.String()
}

// wantCommand runs parfait, which is to end with status and to write these parts. An error is one line.
func wantCommand(t *testing.T, args string, want int, wantOut, wantErr string) (stdout, stderr string) {
	t.Helper()
	status, stdout, stderr := command(t, strings.Fields(args)...)
	if status != want || !strings.Contains(stdout, wantOut) || !strings.Contains(stderr, wantErr) {
		t.Errorf("parfait %s: got status %d, stdout %q, stderr %q, want %d, %q, %q", args, status, stdout, stderr, want, wantOut, wantErr)
	}
	if lines := strings.Count(stderr, "\n"); status != 0 && lines != 1 {
		t.Errorf("parfait %s: %d lines on stderr, want 1:\n%s", args, lines, stderr)
	}
	return stdout, stderr
}

func TestCommands(t *testing.T) {
	t.Chdir(t.TempDir())
	t.Setenv("STORAGE_PATH", t.TempDir())
	t.Setenv("AWS_SECRET", "hush-hush")
	t.Setenv("REGISTRY_HTTP_ADDR", "127.0.0.1:1") // where nothing listens
	file := func(text string) string {
		path := filepath.Join(t.TempDir(), "config.yml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	well := httptest.NewServer(http.FileServerFS(fstest.MapFS{"well": {}}))
	defer well.Close()
	for _, tt := range []struct {
		args           string
		status         int
		stdout, stderr string // parts of them
	}{
		{"version", 0, "parfait ", ""},
		{"help", 0, "serve ", ""},
		{"completion bash", 0, "complete", ""},
		{"config show", 0, "# $STORAGE_PATH", ""},
		{"config show --flavor prod", 0, `s3_secret_key: "***"`, ""},
		{"config check", 0, "dev: ok", ""},
		{"config check", 0, "glance: note: storage: there is no back end", ""},
		{"config check --flavor glance", 2, "glance: storage: there is no back end", "1 of its flavors cannot be served"},
		{"config check --flavor nope", 2, "", `no flavor "nope"`},
		{"config check --config " + file("a: {storage: glance}\nb: {storage: mem}"), 2, "a: storage: there is no back end", "1 of its flavors"},
		{"config check --config " + file("a: {storage: mem}\nb: {storage: file, storage_path: x}"), 0, "b: ok", ""},
		{"config check --config " + file("a: {storage: mem, mirroring: {source: x}}"), 0, "a: note: ", ""},
		{"reindex", 0, "0 repositories", ""},
		{"reindex --check", 0, "", ""},
		{"healthcheck", 1, "", "127.0.0.1:1"},
		{"healthcheck http://127.0.0.1:1/health", 1, "", "127.0.0.1:1/health"},
		{"healthcheck " + well.URL + "/well", 0, "", ""},
		{"healthcheck " + well.URL + "/ill", 1, "", "404"},
		{"healthcheck " + well.URL + "/well --flavor nope", 0, "", ""},
		{"healthcheck 127.0.0.1:9000/health", 2, "", "no URL"},
		{"healthcheck http://a http://b", 2, "", "at most 1"},
		{"serve --flavor prod", 2, "", "s3_access_key"},
		{"serve --flavor glance", 2, "", "use swift or s3"},
		{"serve --flavor nope", 2, "", `no flavor "nope"`},
		{"serve --config nope.yml", 2, "", "nope.yml"},
		{"serve -f a --config " + file("a: {loglevel: info}"), 2, "", "names no back end"},
		{"serve -f a --config " + file("a: {storage: mem, loglevel: loud}"), 2, "", `loglevel: "loud"`},
		{"serve -f a --config " + file("a: {storage: mem, log_format: xml}"), 2, "", `log_format: "xml"`},
		{"serve -f a --config " + file("a: {storage: mem, auth: htpasswd}"), 2, "", "auth: "},
		{"serve -f a --config " + file("a: {storage: mem, storage_pth: x}"), 2, "", "did you mean storage_path?"},
		{"serve -f a --config " + file("a: {storage: mem, http_addr: nowhere}"), 2, "", "http_addr: "},
		{"cert self-signed", 0, "ca.crt is for clients", ""},
		{"cert self-signed", 2, "", "--force replaces it"},
		{"cert self-signed --force registry.example.com", 0, "domain.crt", ""},
		{"cert self-signed -d other https://registry.example.com", 2, "", "leave out scheme"},
		{"cert self-signed -d other --days 0", 2, "", "--days"},
		{"cert client alice", 0, "alice.key", ""},
		{"cert client ../alice", 2, "", "name of a user"},
		{"cert client ca", 2, "", "name of a user"},
		{"cert selfsigned", 2, "", "selfsigned"},
		{"cert", 0, "self-signed", ""},
		{"serve -f a --config " + file("a: {storage: mem, http_tls_certificate: x}"), 2, "", "http_tls_key"},
		{"serve -f a --config " + file("a: {storage: mem, http_tls_certificate: x, http_tls_key: x}"), 2, "", "http_tls_certificate: "},
		{"serve -f a --config " + file("a: {storage: mem, auth: certificate}"), 2, "", "http_tls_clientcas"},
		{"config check --config " + file("a: {storage: mem, nginx_x_accel_redirect: /blobs}"), 0, "storage: local alone", ""},
		{"serve -f a --config " + file("a: {storage: local, storage_path: x, nginx_x_accel_redirect: blobs}"), 2, "", "nginx_x_accel_redirect"},
		{"serve -f a --config " + file("a: {storage: mem, trusted_proxies: [nginx]}"), 2, "", "trusted_proxies"},
		{"config check --config " + file("a: {storage: mem, cors: {origins: '*', resources: x}}"), 0, "cors.resources has no effect", ""},
		{"serve --nope", 2, "", "--nope"},
		{"nope", 2, "", "nope"},
		{"sevre", 2, "", "sevre"},
		{"config chek", 2, "", "chek"},
		{"config", 0, "show ", ""},
	} {
		stdout, stderr := wantCommand(t, tt.args, tt.status, tt.stdout, tt.stderr)
		if strings.Contains(stdout+stderr, "hush-hush") {
			t.Errorf("parfait %s tells a secret", tt.args)
		}
	}
}

// With an empty SETTINGS_FLAVOR a group of keys is no flavor.
func TestCheckFlat(t *testing.T) {
	t.Chdir(t.TempDir())
	t.Setenv("SETTINGS_FLAVOR", "")
	for _, tt := range []struct {
		text           string
		status         int
		stdout, stderr string // parts of them
	}{
		{"storage: mem\ncors: {origins: '*'}\nmirroring: {source: x}\n", 0, "config.yml: ok\nconfig.yml: note: ", ""},
		{"storage: mem\nstorage_pth: x\n", 2, "", "storage_path"},
		{"storage: glance\n", 2, "", "no back end \"glance\" any more"},
	} {
		if err := os.WriteFile("config.yml", []byte(tt.text), 0o600); err != nil {
			t.Fatal(err)
		}
		wantCommand(t, "config check", tt.status, tt.stdout, tt.stderr)
	}
}

// Every flavor of the sample is read without an unknown key or a warning.
func TestSample(t *testing.T) {
	none := func(string) (string, bool) { return "", false }
	file, err := flavors.Parse("config_sample.yml", parfait.Sample, none)
	if err != nil {
		t.Fatal(err)
	}
	want := "common local s3 cloudfronts3 azureblob ceph-s3 gcs swift glance openstack glance-swift openstack-swift elliptics oss dev test prod " +
		"blob registry-filesystem registry-inmemory registry-s3 registry-gcs registry-azure registry-swift"
	if got := strings.Join(file.Flavors(), " "); got != want {
		t.Errorf("flavors: got %s, want %s", got, want)
	}
	for _, name := range file.Flavors() {
		flavor, err := file.Flavor(name)
		if err != nil {
			t.Fatal(err)
		}
		s := &settings{ends: newBackEnds()}
		if warnings, err := flavor.Decode(obsolete(), s.structs()...); err != nil || len(warnings) > 0 {
			t.Errorf("%s: got %q, %v", name, warnings, err)
		}
	}
}

// REGISTRY_STORAGE chooses as the image registry:2 has it, unless SETTINGS_FLAVOR is there.
func TestRegistryStorage(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, tt := range []struct {
		env, want string // flavor, storage_path, or the error
	}{
		{"REGISTRY_STORAGE=filesystem", "registry-filesystem /var/lib/registry"},
		{"REGISTRY_STORAGE=filesystem STORAGE_PATH=/a REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY=/b", "registry-filesystem /b"},
		{"REGISTRY_STORAGE=s3 STORAGE_PATH=/a", "registry-s3 /"},
		{"REGISTRY_STORAGE=s3 REGISTRY_STORAGE_S3_ROOTDIRECTORY=/images", "registry-s3 /images"},
		{"REGISTRY_STORAGE=s3 SETTINGS_FLAVOR=dev", "dev /tmp/registry"},
		{"SETTINGS_FLAVOR=prod", "prod /prod"},
		{"REGISTRY_STORAGE=oss", `REGISTRY_STORAGE: built-in config_sample.yml has no flavor "registry-oss"`},
	} {
		t.Run(tt.env, func(t *testing.T) {
			for set := range strings.FieldsSeq(tt.env) {
				name, value, _ := strings.Cut(set, "=")
				t.Setenv(name, value)
			}
			o := &options{}
			file, err := o.openFile()
			if err != nil {
				t.Fatal(err)
			}
			var got string
			if flavor, err := o.chosen(file); err != nil {
				got = err.Error()
			} else {
				var out strings.Builder
				if err := flavor.Show(&out); err != nil {
					t.Fatal(err)
				}
				_, path, _ := strings.Cut("\n"+out.String(), "\nstorage_path: ")
				got = flavor.Name() + " " + strings.Fields(path)[0]
			}
			if !strings.HasPrefix(got, tt.want) {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

// A server that is told to stop answers until it has.
func TestServeStops(t *testing.T) {
	t.Chdir(t.TempDir())
	t.Setenv("STORAGE_PATH", t.TempDir())
	t.Setenv("REGISTRY_HTTP_ADDR", "127.0.0.1:0")
	ctx, stop := context.WithTimeout(t.Context(), time.Second)
	defer stop()
	var out, err bytes.Buffer
	if status := run(ctx, []string{"serve"}, &out, &err); status != 0 || !strings.Contains(err.String(), "stopped") {
		t.Errorf("got status %d:\n%s", status, &err)
	}
}

func TestLogger(t *testing.T) {
	for name, want := range map[string]slog.Level{"": slog.LevelInfo, "DEBUG": slog.LevelDebug, "warning": slog.LevelWarn, "critical": slog.LevelError} {
		s := &settings{process: processConfig{LogLevel: name}}
		if got, err := s.level(); got != want || err != nil {
			t.Errorf("loglevel %q: got %v, %v, want %v", name, got, err, want)
		}
	}
	var out bytes.Buffer
	s := &settings{warnings: []string{"mind this"}}
	s.logger(&out).Info("done", "duration", 1500*time.Millisecond)
	first, second, _ := strings.Cut(out.String(), "\n")
	var line struct{ Duration float64 }
	if err := json.Unmarshal([]byte(second), &line); err != nil || line.Duration != 1.5 || !strings.Contains(first, "mind this") {
		t.Errorf("got %s, %v", &out, err)
	}
}
