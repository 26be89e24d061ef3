package integration

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/parfait-registry/parfait/integration/harness"
)

// TestDiskFull fills the file system of the store, which is that of the index as well.
func TestDiskFull(t *testing.T) {
	store := smallMount(t, "24m")
	ballast, filler := filepath.Join(store, "ballast"), filepath.Join(store, "filler")
	if err := os.WriteFile(ballast, make([]byte, 8<<20), 0o666); err != nil {
		t.Fatal(err)
	}
	k := newKiller(t, 3)
	k.store, k.clients = store, k.clients[:1]
	c := &fullClient{t: t, rand: rand.New(rand.NewPCG(3, 3)), known: k.clients[0].ledger}
	s := c.start(k)
	k.each(s, func(c *killClient, web *rawClient) []error {
		for range 30 {
			if err := c.work(t.Context(), web); err != nil {
				return []error{err}
			}
		}
		return nil
	})
	c.upTo(1<<20, 100)
	fill(t, filler)
	for range 3 {
		c.allKinds()
	}
	k.look(s, 1<<30)
	c.readAtOnce()
	remove(t, ballast)
	c.enough()
	k.look(s, 1<<30)
	fill(t, ballast)
	s.Kill()

	out, status := harness.RunParfait(t, quiet(store), "serve")
	if status != 2 || strings.Count(out, "\n") != 1 || !strings.Contains(out, "no space left on device") {
		t.Errorf("start on a full disk: got exit status %d, want 2 and a line that says why\n%s", status, out)
	}
	remove(t, ballast)
	s = c.start(k)
	k.look(s, 1<<30)
	c.enough()
	k.look(s, 1<<30)
	k.stopAndCheck(s)
	checkDatabase(t, filepath.Join(store, "parfait", "index.db"))
}

// smallMount mounts a file system in memory.
func smallMount(t *testing.T, size string) string {
	t.Helper()
	mount, unmount := harness.Command(t, "mount"), harness.Command(t, "umount")
	dir := t.TempDir()
	if out, err := exec.CommandContext(t.Context(), mount, "-t", "tmpfs", "-o", "size="+size, "tmpfs", dir).CombinedOutput(); err != nil {
		harness.Missing(t, "mount a tmpfs: %v\n%s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.CommandContext(context.Background(), unmount, dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v\n%s", err, out)
		}
	})
	return dir
}

// fill writes a file until there is no space left.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 1 << 20; size > 0; {
		if _, err := f.Write(make([]byte, size)); errors.Is(err, syscall.ENOSPC) {
			size /= 2
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

func remove(t *testing.T, file string) {
	t.Helper()
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
}

// A fullClient works until there is no space, and after that.
type fullClient struct {
	t       *testing.T
	web     *rawClient
	rand    *rand.Rand
	known   *ledger
	refused int
	n       int
}

// start starts a server and has c talk to it.
func (c *fullClient) start(k *killer) *harness.Server {
	c.t.Helper()
	s := harness.StartParfait(c.t, quiet(k.store))
	c.web = newRawClient(s.URL)
	c.t.Cleanup(c.web.close)
	return s
}

// enough makes a change of each kind, for which there is space.
func (c *fullClient) enough() {
	c.t.Helper()
	refused := c.refused
	c.allKinds()
	if n := c.refused - refused; n > 0 {
		c.t.Errorf("%d changes were refused although there is space", n)
	}
}

// attempt makes a change. It may be refused, but only because the store is full.
func (c *fullClient) attempt(what string, changes map[fact]digest.Digest, do func() error) bool {
	c.t.Helper()
	err := c.known.attempt(changes, do)
	if err == nil {
		return true
	}
	c.refused++
	e, ok := errors.AsType[*rawError](err)
	if !ok || e.status != http.StatusInsufficientStorage || !slices.Equal(e.codes(), []string{"STORE_FULL"}) {
		c.t.Errorf("%s: got %v, want 507 STORE_FULL", what, err)
	}
	return false
}

func (c *fullClient) pushBlob(shape rawShape, content []byte) bool {
	c.t.Helper()
	d := digest.FromBytes(content)
	return c.attempt(shape.String(), map[fact]digest.Digest{{"blobs", "full", d.String()}: d}, func() error {
		_, err := c.web.pushBlob(c.t.Context(), "full", shape, content)
		return err
	})
}

// upTo pushes blobs of a size until one is refused.
func (c *fullClient) upTo(size, most int) {
	c.t.Helper()
	for i := range most {
		if !c.pushBlob(rawShape(i%int(rawShapes)), newRawBlob(c.rand, size)) {
			c.t.Logf("%d blobs of %d bytes fit", i, size)
			return
		}
	}
	c.t.Fatalf("%d blobs of %d bytes fit", most, size)
}

// allKinds makes a change of each kind.
func (c *fullClient) allKinds() {
	c.t.Helper()
	for shape := range rawShapes {
		for _, size := range []int{1, 100 << 10} {
			c.pushBlob(shape, newRawBlob(c.rand, size))
		}
	}
	wanted := func(kind string) func(fact) bool { return func(f fact) bool { return f.kind == kind } }
	blob, d, _ := c.known.some(c.rand, wanted("blobs"))
	to := fmt.Sprint("full/", c.n)
	c.n++
	c.attempt("mount", map[fact]digest.Digest{{"blobs", to, blob.ref}: d}, func() error {
		_, err := c.web.want(c.t.Context(), http.StatusCreated, "POST", "/v2/"+to+"/blobs/uploads/?mount="+blob.ref+"&from="+blob.repo, nil)
		return err
	})
	manifest, d, _ := c.known.some(c.rand, wanted("manifests"))
	a, err := c.web.want(c.t.Context(), http.StatusOK, "GET", "/v2/"+manifest.repo+"/manifests/"+manifest.ref, nil)
	if err != nil {
		c.t.Error(err)
	}
	c.attempt("tag", map[fact]digest.Digest{{"tags", manifest.repo, to[5:]}: d}, func() error {
		return c.web.pushManifest(c.t.Context(), manifest.repo, to[5:], rawManifest{mediaType: c.known.types[d], payload: a.body})
	})
	index := newRawIndex()
	index.payload = bytes.Replace(index.payload, []byte("{"), fmt.Appendf(nil, `{"annotations":{"n":"%s"},`, strings.Repeat("n", 5000+c.n)), 1)
	c.known.types[index.digest()] = index.mediaType
	changes := map[fact]digest.Digest{{"manifests", "full", index.digest().String()}: index.digest(), {"tags", "full", "index"}: index.digest()}
	c.attempt("manifest", changes, func() error { return c.web.pushManifest(c.t.Context(), "full", "index", index) })
	if tag, _, ok := c.known.some(c.rand, wanted("tags")); ok {
		c.attempt("delete of a tag", map[fact]digest.Digest{tag: ""}, func() error {
			_, err := c.web.want(c.t.Context(), http.StatusAccepted, "DELETE", "/v2/"+tag.repo+"/manifests/"+tag.ref, nil)
			return err
		})
	}
}

// readAtOnce has many clients look at the same time for what nobody has asked for yet.
func (c *fullClient) readAtOnce() {
	c.t.Helper()
	errs := make([]error, 64)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() {
			_, errs[i] = c.web.want(c.t.Context(), http.StatusNotFound, "GET", fmt.Sprintf("/v2/full/manifests/absent%d", i), nil)
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		c.t.Error(err)
	}
}

// checkDatabase has SQLite look at every page of the index.
func checkDatabase(t *testing.T, path string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var result string
	if err := db.QueryRowContext(t.Context(), "pragma integrity_check").Scan(&result); err != nil || result != "ok" {
		t.Errorf("integrity_check: got %q, %v, want ok", result, err)
	}
}
