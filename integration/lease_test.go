package integration

import (
	"io"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/parfait-registry/parfait/integration/harness"
)

// TestOneIndexAtATime starts a second server on each store, with an index of its own. It is refused in one line while the
// first one runs, and has it all when that is done. After a kill the first one is back at once.
func TestOneIndexAtATime(t *testing.T) {
	for _, s := range stores {
		if s.name == "mem" || strings.Contains(s.name, "PostgreSQL") || s.name == "replicas" {
			continue
		}
		t.Run(s.name, func(t *testing.T) {
			o := harness.Options{Storage: t.TempDir(), Env: []string{"INDEX_DATABASE=" + filepath.Join(t.TempDir(), "first.db")}}
			s.open(t).(place)(t, &o)
			other := o
			other.Env = append(slices.Clone(o.Env), "INDEX_DATABASE="+filepath.Join(t.TempDir(), "other.db"), "REGISTRY_HTTP_ADDR=127.0.0.1:0")
			refused := func(words ...string) {
				t.Helper()
				out, status := harness.RunParfait(t, other, "serve")
				line, isOne := strings.CutSuffix(out, "\n")
				if i := strings.LastIndexByte(line, '\n'); i >= 0 && strings.HasPrefix(line, `{"time"`) {
					line = line[i+1:] // after warnings about the store
				}
				if status != 2 || !isOne || !strings.HasPrefix(line, "parfait: ") || strings.Contains(line, "\n") {
					t.Errorf("got status %d and %q, want 2 and one line", status, out)
				}
				for _, word := range words {
					if !strings.Contains(line, word) {
						t.Errorf("got %s, want %q in it", line, word)
					}
				}
			}
			first := harness.StartParfait(t, o)
			refused("first.db", "PostgreSQL", "stop that server")
			r := rand.New(rand.NewPCG(3, 3))
			image := newRawImage(r, newRawBlob(r, 1000))
			w := newRawClient(first.URL)
			defer w.close()
			if err := w.pushImage(t.Context(), "app", "v1", postPut, image); err != nil {
				t.Fatal(err)
			}
			first.Kill()
			if s.name != "local" {
				refused("its hold ends in")
			}
			first.Start()
			newWire(t, first.URL).ask(200, "GET", "/v2/app/manifests/v1", nil)
			first.Stop()
			if out, status := harness.RunParfait(t, other, "reindex"); status != 0 || !strings.Contains(out, "1 tags") {
				t.Errorf("reindex: got status %d, %s", status, out)
			}
			second := harness.StartParfait(t, harness.Options{Flavor: o.Flavor, Storage: o.Storage, Env: other.Env[:len(other.Env)-1]})
			newWire(t, second.URL).ask(200, "GET", "/v2/app/manifests/v1", nil)
		})
	}
}

// TestReadOnlyCredentials starts a server on a bucket that it may only read.
func TestReadOnlyCredentials(t *testing.T) {
	s3 := harness.MinIO(t)
	proxy := newStoreProxy(t, s3.URL)
	pass := proxy.Config.Handler
	proxy.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet || r.Method == http.MethodHead {
			pass.ServeHTTP(w, r)
			return
		}
		w.WriteHeader(http.StatusForbidden)
		io.WriteString(w, `<?xml version="1.0"?><Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>`)
	})
	o := harness.Options{Env: []string{"LOGLEVEL=error", "READ_ONLY=true", "REGISTRY_HTTP_ADDR=127.0.0.1:0"}}
	s3Store(s3, proxy.URL)(t, &o)
	out, status := harness.RunParfait(t, o, "serve")
	if status != 2 || strings.Count(out, "\n") != 1 || !strings.Contains(out, "may not write") {
		t.Errorf("got status %d and %q, want 2 and one line", status, out)
	}
}
