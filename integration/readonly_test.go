package integration

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/parfait-registry/parfait/integration/harness"
)

// TestReadOnly starts a read-only server by each of the names that the setting has, and registry:2 by the one that works
// there. They answer the same.
func TestReadOnly(t *testing.T) {
	for _, env := range []string{"READ_ONLY=true", "REGISTRY_STORAGE_MAINTENANCE_READONLY_ENABLED=true",
		"REGISTRY_STORAGE_MAINTENANCE_READONLY={enabled: true}"} {
		t.Run(env, func(t *testing.T) {
			s := harness.StartParfait(t, harness.Options{Env: []string{env}})
			w := newWire(t, s.URL)
			for _, request := range writes("app", "v1", digest.FromString("blob"), "/v2/app/blobs/uploads/7c54d2f0-5d6c-4e8c-9a47-3f0fd1d9e2c1") {
				wantReadOnly(t, w, request)
			}
			w.ask(200, "GET", "/readyz", nil)
		})
	}
	t.Run("distribution", func(t *testing.T) {
		s := harness.StartDistribution(t, "", "REGISTRY_STORAGE_MAINTENANCE_READONLY={enabled: true}")
		for _, request := range writes("app", "v1", digest.FromString("blob"), "/v2/app/blobs/uploads/") {
			method, path, _ := strings.Cut(request, " ")
			newWire(t, s.URL).ask(405, method, path, nil)
		}
	})
}

// writes are the requests that change something, all of them.
func writes(repo, tag string, blob digest.Digest, session string) []string {
	return []string{
		"POST /v2/" + repo + "/blobs/uploads/",
		"POST /v2/" + repo + "/blobs/uploads/?digest=" + blob.String(),
		"POST /v2/" + repo + "/blobs/uploads/?mount=" + blob.String() + "&from=other",
		"PATCH " + session,
		"PUT " + session + "?digest=" + blob.String(),
		"DELETE " + session,
		"PUT /v2/" + repo + "/manifests/" + tag,
		"DELETE /v2/" + repo + "/manifests/" + tag,
		"DELETE /v2/" + repo + "/blobs/" + blob.String(),
	}
}

// wantReadOnly sends a request that a read-only server refuses.
func wantReadOnly(t *testing.T, w wire, request string) {
	t.Helper()
	method, path, _ := strings.Cut(request, " ")
	a := w.ask(405, method, path, strings.NewReader("blob"))
	if !slices.Equal(a.codes(), []string{"UNSUPPORTED"}) || !strings.Contains(string(a.body), "read_only") {
		t.Errorf("%s: got %s, want UNSUPPORTED and the reason", request, a.body)
	}
	if allow := a.header.Get("Allow"); strings.Contains(allow, method) {
		t.Errorf("%s: got Allow %q", request, allow)
	}
}

// TestReload changes the configuration of a running server.
func TestReload(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.yml")
	configure := func(more string) {
		t.Helper()
		text := "dev:\n  storage: local\n  storage_path: _env:STORAGE_PATH\n  http_addr: _env:REGISTRY_HTTP_ADDR\n" + more
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	configure("")
	s := harness.StartParfait(t, harness.Options{Env: []string{"DOCKER_REGISTRY_CONFIG=" + file}})
	lines := 0
	reload := func(want string) {
		t.Helper()
		if err := s.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		var log []string
		for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
			log = strings.Split(s.Log(), "\n")
			if slices.ContainsFunc(log[lines:], func(line string) bool { return strings.Contains(line, want) }) {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("got %q in the log, want %s", log[lines:], want)
			}
		}
		lines = len(log) - 1
	}
	w, r := newWire(t, s.URL), rand.New(rand.NewPCG(4, 4))
	raw := newRawClient(s.URL)
	defer raw.close()
	image := newRawImage(r, newRawBlob(r, 1000))
	if err := raw.pushImage(t.Context(), "app", "v1", postPut, image); err != nil {
		t.Fatal(err)
	}
	session := w.session("app")
	w.ask(202, "PATCH", session, strings.NewReader("begun"))

	configure("  read_only: true\n")
	reload(`"changed":["read_only"]`)
	blob := digest.FromBytes(image.blobs[0])
	for _, request := range writes("app", "v1", blob, session) {
		wantReadOnly(t, w, request)
	}
	for _, path := range []string{"/readyz", "/v2/app/manifests/v1", "/v2/app/blobs/" + blob.String(), "/v2/app/tags/list"} {
		w.ask(200, "GET", path, nil)
	}
	w.ask(204, "GET", session, nil)

	for _, broken := range []string{"  read_olny: false\n", "  auth_htpasswd_path: /no/such/file\n", "  loglevel: loud\n", "  read_only: [\n"} {
		configure(broken)
		reload(`"level":"ERROR","msg":"the configuration is what it was`)
		wantReadOnly(t, w, "POST /v2/app/blobs/uploads/")
	}

	configure("  delete_disabled: true\n  max_manifest_size: 100\n  log_format: text\n  index_database: elsewhere.db\n")
	reload(`"keys":["index_database","log_format"]`)
	w.ask(201, "PUT", session+"?digest="+digest.FromString("begun").String(), nil)
	w.ask(405, "DELETE", "/v2/app/manifests/v1", nil)
	w.ask(413, "PUT", "/v2/app/manifests/v2", strings.NewReader(strings.Repeat("x", 200)))

	users := filepath.Join(t.TempDir(), "users")
	if err := os.WriteFile(users, []byte(htpasswdLine(t, "alice", alicesPassword)), 0o600); err != nil {
		t.Fatal(err)
	}
	configure(fmt.Sprintf("  auth_htpasswd_path: %s\n  loglevel: warn\n  access:\n    - {repositories: [public], users: [anonymous], actions: [pull]}\n", users))
	reload(`"changed":["access","auth_htpasswd_path","delete_disabled","loglevel","max_manifest_size"]`)
	w.ask(401, "GET", "/v2/app/manifests/v1", nil)
	w.ask(404, "GET", "/v2/public/manifests/v1", nil)
	if log := s.Log(); strings.Contains(log[strings.LastIndex(log, `"changed"`):], `"msg":"request"`) {
		t.Error("requests are logged at the level warn")
	}
}
