package integration

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/parfait-registry/parfait/integration/harness"
)

// TestGC collects by hand, and has a server collect by itself.
func TestGC(t *testing.T) {
	t.Run("sqlite", func(t *testing.T) { testGC(t) })
	t.Run("postgres", func(t *testing.T) { testGC(t, "INDEX_DATABASE="+harness.PostgreSQL(t).URL) })
}

func testGC(t *testing.T, env ...string) {
	o := harness.Options{Storage: t.TempDir(), Env: append(env, "LOGLEVEL=warn", "GC_GRACE=1s", "GC_UNTAGGED=1ms")}
	byHand := o
	byHand.Env = append(slices.Clip(o.Env), "GC_DISABLED=true")
	s := harness.StartParfait(t, byHand)
	c := newRawClient(s.URL)
	defer c.close()
	random := rand.New(rand.NewPCG(4, 3))
	former, latest := newRawImage(random, newRawBlob(random, 1000)), newRawImage(random, newRawBlob(random, 2000))
	for _, image := range []rawManifest{former, latest} {
		if err := c.pushImage(t.Context(), "gc/app", "latest", postPut, image); err != nil {
			t.Fatal(err)
		}
	}
	alone := newRawBlob(random, 500)
	if _, err := c.pushBlob(t.Context(), "gc/app", postPut, alone); err != nil {
		t.Fatal(err)
	}
	time.Sleep(1300 * time.Millisecond)

	gc := func(wantStatus int, want string, args ...string) {
		t.Helper()
		out, status := harness.RunParfait(t, byHand, append([]string{"gc"}, args...)...)
		if status != wantStatus || !strings.Contains(out, want) {
			t.Errorf("gc %q: got exit status %d and\n%s\nwant %d and %q", args, status, out, wantStatus, want)
		}
	}
	d := digest.FromBytes(alone)
	foretold := fmt.Sprintf("manifest gc/app@%s %d bytes\nlayer gc/app@%s\nblob %s 500 bytes\nwould collect 1 manifests and 1 blobs of 500 bytes\n",
		former.digest(), len(former.payload), d, d)
	if len(env) == 0 {
		gc(2, "is in use by process")
		if status := s.Stop(); status != 0 {
			t.Fatalf("stop: exit status %d", status)
		}
		gc(0, foretold, "--dry-run")
	}
	gc(0, "in the store and not in the index: 0 blobs of 0 bytes", "--dry-run", "--sweep")
	time.Sleep(11 * time.Second * time.Duration(len(env))) // a server settles what it has written to the store every 10 s
	gc(0, "collected 1 manifests and 1 blobs of 500 bytes\n", "--sweep")
	gc(0, "would collect 0 manifests and 0 blobs of 0 bytes\n", "--dry-run")
	if len(env) > 0 {
		if status := s.Stop(); status != 0 {
			t.Fatalf("stop: exit status %d", status)
		}
	}

	o.Env = append(o.Env, "GC_INTERVAL=100ms")
	s = harness.StartParfait(t, o)
	c = newRawClient(s.URL)
	if _, err := c.want(t.Context(), http.StatusOK, "GET", "/v2/gc/app/manifests/latest", nil); err != nil {
		t.Error(err)
	}
	for limit := time.Now().Add(30 * time.Second); countBlobs(t, o.Storage) != 3; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatalf("the store has %d blobs, want config, layer and manifest", countBlobs(t, o.Storage))
		}
	}
	if err := c.pushImage(t.Context(), "gc/app", "again", postPatchPut, former); err != nil {
		t.Error(err)
	}
	if status := s.Stop(); status != 0 {
		t.Errorf("stop: exit status %d", status)
	}
	if out, status := harness.RunParfait(t, o, "reindex", "--check"); status != 0 {
		t.Errorf("reindex --check: got exit status %d\n%s", status, out)
	}
}

func countBlobs(t *testing.T, storage string) (n int) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join(storage, "docker/registry/v2/blobs"), func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Name() == "data" {
			n++
		}
		return nil // a folder may go meanwhile
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}
