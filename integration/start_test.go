package integration

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/parfait-registry/parfait/integration/harness"
)

// TestBadStarts starts the server with something wrong: it says what in one line, ends with status 2, and has not
// listened.
func TestBadStarts(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	first := harness.StartParfait(t, harness.Options{})

	for _, tt := range badStarts(t, file, first.Storage, taken.Addr().String()) {
		t.Run(tt.name, func(t *testing.T) {
			stdout, stderr, status := tt.run(t)
			if status != 2 || stdout != "" || strings.Count(stderr, "\n") != 1 || !strings.HasPrefix(stderr, "parfait: ") {
				t.Errorf("got status %d, %q and %q, want 2, nothing, and one line", status, stdout, stderr)
			}
			for _, want := range strings.Fields(tt.want) {
				if !strings.Contains(stderr, want) {
					t.Errorf("got %q, want %q in it", stderr, want)
				}
			}
		})
	}
	newWire(t, first.URL).ask(200, "GET", "/readyz", nil) // nobody has taken its store away
}

type badStart struct {
	name   string
	env    string // NAME=value pairs
	config string // text of config.yml; "" for none
	args   string // after serve
	want   string // words in the line, all of them
}

// badStarts are mistakes to make. file is an empty file, store and addr are taken by others.
func badStarts(t *testing.T, file, store, addr string) []badStart {
	return []badStart{
		{"unknown flavor", "SETTINGS_FLAVOR=deev", "", "", `"deev" dev`},
		{"unknown flavor of a file", "SETTINGS_FLAVOR=prod", "dev: {storage: mem}\n", "", `"prod" config.yml`},
		{"unknown flavor in a flag", "", "", "--flavor lokal", `"lokal" local`},
		{"no file", "DOCKER_REGISTRY_CONFIG=/no/such/config.yml", "", "", "DOCKER_REGISTRY_CONFIG /no/such/config.yml no such file"},
		{"no file of a flag", "", "", "--config /no/such/config.yml", "--config /no/such/config.yml"},
		{"a folder for a file", "DOCKER_REGISTRY_CONFIG=/", "", "", "is a directory"},
		{"no YAML", "", "dev:\n  storage: [local\n", "", "config.yml:"},
		{"no flavors", "", "- dev\n", "", "config.yml"},
		{"a flavor that is text", "", "dev: local\n", "", "config.yml:1"},
		{"unknown key", "", "dev:\n  storage: local\n  storage_pth: /x\n", "", "config.yml:3 storage_pth storage_path"},
		{"unknown key that is near none", "", "dev:\n  storage: local\n  wholly_different: 1\n", "", "config.yml:3 wholly_different"},
		{"a key twice", "", "dev:\n  storage: mem\n  storage: local\n", "", "config.yml:3 storage"},
		{"no number", "MAX_PAGE_SIZE=many", "", "", "max_page_size many"},
		{"no duration", "REGISTRY_HTTP_DRAINTIMEOUT=soon", "", "", "drain_timeout soon"},
		{"no size", "MAX_MANIFEST_SIZE=big", "", "", "max_manifest_size big"},
		{"no log level", "LOGLEVEL=loud", "", "", "loglevel loud debug"},
		{"no log format", "REGISTRY_LOG_FORMATTER=xml", "", "", "log_format xml"},
		{"no storage", "", "dev: {loglevel: info}\n", "", "storage local"},
		{"unknown storage", "", "dev: {storage: floppy}\n", "", "floppy local"},
		{"a storage of the past", "SETTINGS_FLAVOR=glance", "", "", "glance swift s3"},
		{"a storage path in a file", "STORAGE_PATH=" + file + "/registry", "", "", file + "/registry"},
		{"a storage path that is a file", "STORAGE_PATH=" + file, "", "", file},
		{"a storage path that cannot be written", "STORAGE_PATH=" + readOnly(t), "", "", "storage_path"},
		{"an index that cannot be written", "INDEX_DATABASE=" + file + "/index.db", "", "", "index_database " + file},
		{"an index that is none", "INDEX_DATABASE=" + notADatabase(t), "", "", "index.db"},
		{"a store in use", "STORAGE_PATH=" + store, "", "", "PostgreSQL"},
		{"an address in use", "REGISTRY_HTTP_ADDR=" + addr, "", "", addr + " in use"},
		{"no address", "REGISTRY_HTTP_ADDR=nonsense", "", "", "http_addr nonsense"},
		{"no port", "REGISTRY_HTTP_ADDR=127.0.0.1:99999", "", "", "http_addr 99999"},
		{"an address for debugging in use", "REGISTRY_HTTP_DEBUG_ADDR=" + addr, "", "", "debug_addr " + addr + " in use"},
		{"no path of metrics", "REGISTRY_HTTP_DEBUG_PROMETHEUS_PATH=metrics", "", "", `debug_prometheus_path "metrics"`},
		{"traces by gRPC", "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4317 OTEL_EXPORTER_OTLP_PROTOCOL=grpc", "", "", "OTEL_EXPORTER_OTLP_PROTOCOL http/protobuf"},
		{"credentials asked for", "REGISTRY_AUTH=htpasswd REGISTRY_AUTH_HTPASSWD_REALM=r REGISTRY_AUTH_HTPASSWD_PATH=/auth/htpasswd", "", "", "auth htpasswd"},
		{"S3 where nobody is", "SETTINGS_FLAVOR=s3 AWS_BUCKET=acme-docker STORAGE_PATH=/registry AWS_KEY=k AWS_SECRET=s AWS_HOST=127.0.0.1 AWS_PORT=1 AWS_SECURE=false", "", "", "boto_host 127.0.0.1:1 refused"},
		{"S3 without a bucket", "SETTINGS_FLAVOR=prod AWS_KEY=k AWS_SECRET=s", "", "", "s3_bucket empty"},
		{"half of the credentials", "SETTINGS_FLAVOR=prod AWS_BUCKET=b AWS_KEY=k", "", "", "s3_access_key s3_secret_key"},
		{"Google without a bucket", "SETTINGS_FLAVOR=gcs", "", "", "gcs_bucket"},
		{"Swift without a place to log in", "SETTINGS_FLAVOR=swift", "", "", "swift_authurl"},
		{"Azure without an account", "SETTINGS_FLAVOR=azureblob", "", "", "azure_storage_account_name"},
		{"a URL of no known kind", "SETTINGS_FLAVOR=blob BLOB_URL=ftp://bucket", "", "", "blob_url ftp:// s3://"},
		{"PostgreSQL where nobody is", "INDEX_DATABASE=postgres://me:hush@127.0.0.1:1/parfait", "", "", "index_database 127.0.0.1:1"},
		{"unknown flag", "", "", "--port 5000", "--port"},
		{"an argument", "", "", "config.yml", "config.yml"},
	}
}

// run starts the server on a free port and waits for its end.
func (b badStart) run(t *testing.T) (stdout, stderr string, status int) {
	t.Helper()
	dir := t.TempDir()
	if b.config != "" {
		if err := os.WriteFile(filepath.Join(dir, "config.yml"), []byte(b.config), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := free.Addr().String()
	free.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, harness.Parfait(t), append([]string{"serve"}, strings.Fields(b.args)...)...)
	cmd.Dir = dir
	cmd.Env = append([]string{"LOGLEVEL=info", "STORAGE_PATH=" + filepath.Join(dir, "store"), "REGISTRY_HTTP_ADDR=" + addr}, strings.Fields(b.env)...)
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		select {
		case err := <-ended:
			if ctx.Err() != nil {
				t.Errorf("it runs: %v", err)
			}
			return out.String(), errs.String(), cmd.ProcessState.ExitCode()
		case <-time.After(2 * time.Millisecond):
			if conn, err := net.Dial("tcp", addr); err == nil {
				conn.Close()
				t.Error("it listens")
				cancel()
			}
		}
	}
}

// readOnly returns a folder in which nobody, not even root, can make another one.
func readOnly(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o500); err != nil {
		t.Fatal(err)
	}
	if probe := filepath.Join(dir, "probe"); os.Mkdir(probe, 0o700) != nil {
		return filepath.Join(dir, "registry")
	}
	if _, err := os.Stat("/proc/self"); errors.Is(err, os.ErrNotExist) {
		t.Skip("nothing here is read-only to this user")
	}
	return "/proc/registry"
}

func notADatabase(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "index.db")
	if err := os.WriteFile(path, []byte(strings.Repeat("not a database\n", 1000)), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}
