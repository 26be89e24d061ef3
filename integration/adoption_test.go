package integration

import (
	"crypto/rand"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/parfait-registry/parfait/index"
	"github.com/parfait-registry/parfait/integration/harness"
)

// TestAdoption starts Parfait on a store that distribution has written, and distribution on what Parfait has made of it.
// Each serves what the other one has pushed, every byte of it, and nothing that was deleted.
func TestAdoption(t *testing.T) {
	t.Run("version 3", func(t *testing.T) {
		store := t.TempDir()
		start := func(t *testing.T) *harness.Server { return harness.StartDistribution(t, store) }
		testAdoption(t, handover{old: start, next: start, leave: leaveInFolder(store), options: harness.Options{Storage: store}})
	})
	t.Run("version 2", func(t *testing.T) {
		store := t.TempDir()
		testAdoption(t, handover{
			old:      func(t *testing.T) *harness.Server { return harness.StartDistribution2(t, store) },
			tagsStay: true,
			next:     func(t *testing.T) *harness.Server { return harness.StartDistribution(t, store) },
			leave:    leaveInFolder(store), options: harness.Options{Storage: store},
		})
	})
	t.Run("version 3 on S3", func(t *testing.T) {
		s3 := harness.MinIO(t)
		bucket := s3.NewBucket(t)
		start := func(t *testing.T) *harness.Server { return harness.StartDistributionOnS3(t, s3, s3.URL, bucket) }
		var o harness.Options
		elsewhere(t, &o, "s3", "AWS_BUCKET="+bucket, "AWS_ENDPOINT_URL="+s3.URL, "AWS_REGION="+s3.Region,
			"AWS_KEY="+s3.AccessKey, "AWS_SECRET="+s3.SecretKey)
		o.Env = append(o.Env, "STORAGE_PATH=/")
		testAdoption(t, handover{old: start, next: start, leave: func(*testing.T) {}, options: o})
	})
}

// A handover is between registries over one store.
type handover struct {
	old      func(*testing.T) *harness.Server // the one that fills it
	tagsStay bool                             // whether that cannot delete tags
	leave    func(*testing.T)                 // adds what is in the way
	options  harness.Options                  // of Parfait, which changes it
	next     func(*testing.T) *harness.Server // the one that has to serve that
}

func testAdoption(t *testing.T, h handover) {
	p, o := newPusher(t), h.options
	d := h.old(t)
	p.tagsStay = h.tagsStay
	p.use(d)
	p.push("adopted", postPut, postPatchPut, postChunks)
	p.push("other", postPut)
	long := newRawBlob(p.rand, 1000)
	if _, err := p.web.pushBlobAs(t.Context(), "adopted", digest.SHA512.FromBytes(long), postPatchPut, long); err != nil {
		t.Fatal(err)
	}
	p.change("adopted")
	for range 3 { // unfinished uploads
		if _, err := p.web.want(t.Context(), http.StatusAccepted, "POST", "/v2/adopted/blobs/uploads/", nil); err != nil {
			t.Fatal(err)
		}
	}
	p.look()
	d.Stop()
	h.leave(t)
	p.tagsStay = false

	o.Env = append(o.Env, "LOGLEVEL=warn")
	s := harness.StartParfait(t, o)
	p.use(s)
	p.pull(s, "adopted:v1", "adopted/nested/deep:multi")
	p.change("other") // whatever the index has by now
	p.referrers("adopted")
	p.serves("adopted", digest.SHA512, long)
	p.look() // the lists of all repositories come later
	stopWell(t, s)
	adoptAll(t, o)
	s = harness.StartParfait(t, o)
	p.use(s)
	p.compare()
	p.push("new", postPut, postPatchPut, postChunks)
	p.change("new")
	stopWell(t, s)
	if out, status := harness.RunParfait(t, o, "reindex", "--check"); status != 0 {
		t.Errorf("reindex --check: got exit status %d, want 0\n%.3000s", status, out)
	}

	d = h.next(t)
	p.use(d)
	p.compare()
	p.serves("adopted", digest.SHA512, long)
}

// serves reads a blob, of which distribution tells the digest that it keeps it under.
func (p *pusher) serves(repo string, algorithm digest.Algorithm, content []byte) {
	p.t.Helper()
	a, err := p.web.want(p.t.Context(), http.StatusOK, "GET", "/v2/"+repo+"/blobs/"+algorithm.FromBytes(content).String(), nil)
	if err != nil || string(a.body) != string(content) {
		p.t.Errorf("blob by its %s: got %d bytes, %v, want %d", algorithm, len(a.body), err, len(content))
	}
}

// leaveInFolder puts things into a store that nobody should mind.
func leaveInFolder(store string) func(t *testing.T) {
	return func(t *testing.T) {
		t.Helper()
		root := filepath.Join(store, "docker/registry/v2")
		none := digest.FromString("nothing").Encoded()
		for path, content := range map[string]string{
			"blobs/sha256/data.5.tmp": "half of it",
			"blobs/README":            "hello",
			"repositories/adopted/_layers/sha256/" + none + "/link":              "sha256:" + none,
			"repositories/adopted/_manifests/revisions/sha256/" + none + "/link": "sha256:" + none,
			"repositories/Not A Name/_layers/sha256/" + none + "/link":           "sha256:" + none,
		} {
			path = filepath.Join(root, path)
			if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(content), 0o666); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// adoptAll serves until all that the store has is in the index.
func adoptAll(t *testing.T, o harness.Options) {
	t.Helper()
	database := filepath.Join(o.Storage, "parfait", "index.db")
	for _, env := range o.Env {
		if path, ok := strings.CutPrefix(env, "INDEX_DATABASE="); ok {
			database = path
		}
	}
	for range 100 {
		db, err := index.Open(t.Context(), index.Config{Database: database}, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		w, err := db.Walk(t.Context(), index.Adoption)
		if closed := db.Close(); err != nil || closed != nil {
			t.Fatal(err, closed)
		}
		if !w.UnderWay {
			return
		}
		s := harness.StartParfait(t, o)
		time.Sleep(100 * time.Millisecond)
		stopWell(t, s)
	}
	t.Fatal("it does not come to an end")
}

// TestAdoptionKilled kills the server again and again while it adopts a large store, of which it serves what it is asked
// for from the start.
func TestAdoptionKilled(t *testing.T) {
	store := filepath.Join(t.TempDir(), "store")
	const repos, tags = 120, 5
	generateStore(t, store, repos, tags)
	o := quiet(store)
	for i := range 8 {
		s := harness.StartParfait(t, o)
		c := newRawClient(s.URL)
		repo := fmt.Sprintf("r%03d", repos-1-i)
		if _, err := c.want(t.Context(), http.StatusOK, "GET", "/v2/"+repo+"/manifests/t0", nil); err != nil {
			t.Error(err)
		}
		if _, err := c.want(t.Context(), http.StatusAccepted, "DELETE", "/v2/"+repo+"/manifests/t1", nil); err != nil {
			t.Error(err)
		}
		c.close()
		s.Kill()
	}
	adoptAll(t, o)
	checkIndex(t, store)
	s := harness.StartParfait(t, o)
	c := newRawClient(s.URL)
	defer c.close()
	for i := range repos {
		want := make(map[string]bool)
		for tag := range tags {
			if tag != 1 || i < repos-8 {
				want[fmt.Sprint("t", tag)] = true
			}
		}
		if err := sameTags(t.Context(), c, fmt.Sprintf("r%03d", i), want); err != nil {
			t.Error(err)
		}
	}
}

// generateStore writes repositories with tags, each of which has an image of its own.
func generateStore(t *testing.T, store string, repos, tags int) {
	t.Helper()
	root := filepath.Join(store, "docker/registry/v2")
	write := func(path string, content []byte) {
		t.Helper()
		path = filepath.Join(root, path)
		err := os.MkdirAll(filepath.Dir(path), 0o777)
		if err == nil {
			err = os.WriteFile(path, content, 0o666)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	blob := func(content []byte) (digest.Digest, string) {
		d := digest.FromBytes(content)
		write(filepath.Join("blobs/sha256", d.Encoded()[:2], d.Encoded(), "data"), content)
		return d, filepath.Join("sha256", d.Encoded(), "link")
	}
	for r := range repos {
		repo := fmt.Sprintf("repositories/r%03d/", r)
		for tag := range tags {
			layer := []byte(rand.Text())
			image := newRawManifest(v1.Manifest{}, []byte("{}"), layer)
			for _, content := range [][]byte{[]byte("{}"), layer} {
				d, link := blob(content)
				write(repo+"_layers/"+link, []byte(d))
			}
			d, link := blob(image.payload)
			write(repo+"_manifests/revisions/"+link, []byte(d))
			write(fmt.Sprintf("%s_manifests/tags/t%d/current/link", repo, tag), []byte(d))
		}
	}
}
