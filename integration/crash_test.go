package integration

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/parfait-registry/parfait/integration/harness"
)

var (
	killRounds = flag.Int("kill.rounds", 30, "how often TestKill kills the server")
	killSeed   = flag.Uint64("kill.seed", 0, "seed of TestKill; 0 is a new one")
)

const killClients = 8

// TestKill kills the server while clients push and delete, again and again on one store. What was acknowledged has to be
// there after each start, and what was deleted has to be gone. Then index and store have to agree.
func TestKill(t *testing.T) {
	seed, rounds := *killSeed, *killRounds
	if seed == 0 {
		seed = rand.Uint64()
	}
	if testing.Short() {
		rounds = min(rounds, 5)
	}
	t.Logf("repeat with -kill.seed=%d", seed)
	k := newKiller(t, seed)
	for round := range rounds {
		s := k.start()
		k.look(s, 20)
		if round%5 == 4 {
			k.stopAndCheck(s)
			s = k.start()
		}
		k.load(s)
		if round%3 == 1 {
			k.startAndKill()
		}
		if t.Failed() {
			t.Fatalf("round %d", round)
		}
	}
	s := k.start()
	k.look(s, 1<<30)
	k.lists(s)
	k.stopAndCheck(s)
	k.report(rounds)
}

// A killer is TestKill.
type killer struct {
	t       *testing.T
	rand    *rand.Rand
	store   string
	clients []*killClient
	resumed int // uploads whose last request was repeated
}

func newKiller(t *testing.T, seed uint64) *killer {
	k := &killer{t: t, rand: rand.New(rand.NewPCG(seed, 0)), store: t.TempDir()}
	var shared [][]byte
	for range 20 {
		shared = append(shared, newRawBlob(k.rand, 16<<10+k.rand.IntN(48<<10)))
	}
	for i := range killClients {
		k.clients = append(k.clients, &killClient{
			ledger: newLedger(), rand: rand.New(rand.NewPCG(seed, uint64(i+1))), shared: shared,
			repos: []string{fmt.Sprintf("kill/%d", i), fmt.Sprintf("kill/%d/copy", i)},
			alone: make(map[string]bool),
		})
	}
	return k
}

func (k *killer) options() harness.Options {
	return harness.Options{Storage: k.store, Env: []string{"LOGLEVEL=warn"}}
}

func (k *killer) start() *harness.Server {
	k.t.Helper()
	return harness.StartParfait(k.t, k.options())
}

// each runs do for all clients at the same time.
func (k *killer) each(s *harness.Server, do func(*killClient, *rawClient) []error) {
	k.t.Helper()
	failures := make([][]error, len(k.clients))
	var wg sync.WaitGroup
	for i, c := range k.clients {
		wg.Go(func() {
			web := newRawClient(s.URL)
			defer web.close()
			failures[i] = do(c, web)
		})
	}
	wg.Wait()
	for i, errs := range failures {
		for _, err := range errs {
			k.t.Errorf("client %d: %v", i, err)
		}
	}
}

// look compares what the clients know with what the server has: all that the last round has touched, and about n more
// facts of each client. Uploads that were cut off in their last request are taken up again.
func (k *killer) look(s *harness.Server, n int) {
	k.t.Helper()
	k.each(s, func(c *killClient, web *rawClient) []error {
		errs := c.ledger.look(k.t.Context(), web, c.ledger.recent(c.rand, n))
		return append(errs, c.resume(k.t.Context(), web)...)
	})
	for _, c := range k.clients {
		k.resumed += len(c.cut)
		c.cut = nil
	}
}

// load has the clients work until the server is killed, which happens at a random time: at work, or in the first
// moments of an orderly stop.
func (k *killer) load(s *harness.Server) {
	k.t.Helper()
	work := time.Duration(50+k.rand.IntN(700)) * time.Millisecond
	stop, grace := k.rand.IntN(4) == 0, time.Duration(k.rand.IntN(20))*time.Millisecond
	time.AfterFunc(work, func() {
		if stop {
			_ = s.Signal(syscall.SIGTERM) // it may have ended
			time.Sleep(grace)
		}
		s.Kill()
	})
	k.work(s)
	<-s.Done()
}

// work has the clients work until the server serves no more.
func (k *killer) work(s *harness.Server) {
	k.t.Helper()
	k.each(s, func(c *killClient, web *rawClient) []error {
		for {
			err := c.work(k.t.Context(), web)
			if e, ok := errors.AsType[*rawError](err); ok && e.status != http.StatusServiceUnavailable {
				return []error{err}
			}
			if err != nil {
				return nil // that is the end
			}
		}
	})
}

// startAndKill kills the server once more while it brings the store up to date.
func (k *killer) startAndKill() {
	k.t.Helper()
	o := k.options()
	o.Env = append(o.Env, "REGISTRY_HTTP_ADDR=127.0.0.1:0")
	o.Wrap = []string{harness.Command(k.t, "timeout"), "-s", "KILL", fmt.Sprintf("%.3f", 0.02+k.rand.Float64()/10)}
	harness.RunParfait(k.t, o, "serve")
}

// stopAndCheck stops the server as one should, and compares the index with what the store shows.
func (k *killer) stopAndCheck(s *harness.Server) {
	k.t.Helper()
	if status := s.Stop(); status != 0 {
		k.t.Errorf("stop: got exit status %d, want 0", status)
	}
	checkIndex(k.t, k.store)
}

// checkIndex fails the test unless the index of a folder is what the folder shows.
func checkIndex(t *testing.T, store string) {
	t.Helper()
	checkIndexOf(t, harness.Options{Storage: store, Env: []string{"LOGLEVEL=warn"}})
}

// checkIndexOf fails the test unless the index that a server with these options has is what the store shows.
func checkIndexOf(t *testing.T, o harness.Options) {
	t.Helper()
	if out, status := harness.RunParfait(t, o, "reindex", "--check"); status != 0 {
		t.Errorf("reindex --check: got exit status %d, want 0\n%.3000s", status, out)
	}
}

// lists compares the lists of tags with what the clients know.
func (k *killer) lists(s *harness.Server) {
	k.t.Helper()
	k.each(s, func(c *killClient, web *rawClient) (errs []error) {
		for _, repo := range c.repos {
			want := make(map[string]bool)
			for _, f := range c.ledger.facts {
				if d, _ := c.ledger.state(f); f.kind == "tags" && f.repo == repo && d != "" {
					want[f.ref] = true
				}
			}
			if err := sameTags(k.t.Context(), web, repo, want); err != nil {
				errs = append(errs, err)
			}
		}
		return errs
	})
}

// report tells what was done, and what the kills have left.
func (k *killer) report(rounds int) {
	facts, acked := 0, 0
	for _, c := range k.clients {
		facts += len(c.ledger.facts)
		acked += c.ledger.acked
	}
	temps, parts := leftovers(k.t, k.store)
	k.t.Logf("%d kills, %d acknowledged changes of %d facts, %d cut uploads ended after a restart; left: %d temporary files, %d parts of uploads",
		rounds, acked, facts, k.resumed, temps, parts)
}

// leftovers counts the temporary files below a store, and the files of uploads.
func leftovers(t *testing.T, store string) (temps, parts int) {
	t.Helper()
	err := filepath.WalkDir(store, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil // went meanwhile
		case err != nil || entry.IsDir():
			return err
		case strings.HasSuffix(path, ".tmp"):
			temps++
		case strings.Contains(path, "/_uploads/"):
			parts++
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return temps, parts
}

// A killClient pushes to repositories of its own, but in part the same layers as all others.
type killClient struct {
	ledger *ledger
	rand   *rand.Rand
	repos  []string
	shared [][]byte
	alone  map[string]bool // digests of blobs that no manifest names
	cut    []rawUpload     // uploads that had all bytes when the server was killed
}

// work does one thing that changes the registry.
func (c *killClient) work(ctx context.Context, web *rawClient) error {
	repo := c.repos[c.rand.IntN(len(c.repos))]
	switch n := c.rand.IntN(20); {
	case n < 9:
		return c.pushImage(ctx, web, repo)
	case n < 12:
		content := newRawBlob(c.rand, 1+c.rand.IntN(4*maxHeld))
		c.alone[digest.FromBytes(content).String()] = true
		return c.pushBlob(ctx, web, repo, content)
	case n < 14:
		return c.mount(ctx, web)
	case n < 16:
		return c.tagAgain(ctx, web)
	case n < 18:
		return c.delete(ctx, web, func(f fact) bool { return f.kind == "tags" || f.kind == "blobs" && c.alone[f.ref] })
	default:
		return c.delete(ctx, web, func(f fact) bool { return f.kind == "manifests" })
	}
}

func (c *killClient) pushImage(ctx context.Context, web *rawClient, repo string) error {
	layers := make([][]byte, 3)
	for i := range layers {
		if layers[i] = c.shared[c.rand.IntN(len(c.shared))]; c.rand.IntN(4) > 0 {
			layers[i] = newRawBlob(c.rand, 16<<10+c.rand.IntN(48<<10))
		}
	}
	m := newRawImage(c.rand, layers...)
	for _, b := range m.blobs {
		if err := c.pushBlob(ctx, web, repo, b); err != nil {
			return err
		}
	}
	return c.pushManifest(ctx, web, repo, m)
}

func (c *killClient) pushBlob(ctx context.Context, web *rawClient, repo string, content []byte) error {
	d := digest.FromBytes(content)
	return c.ledger.attempt(map[fact]digest.Digest{{"blobs", repo, d.String()}: d}, func() error {
		up, err := web.pushBlob(ctx, repo, rawShape(c.rand.IntN(int(rawShapes))), content)
		if err != nil && up.sent == len(content) {
			c.cut = append(c.cut, up)
		}
		return err
	})
}

// pushManifest pushes m to one of a few tags, most of which point to something already.
func (c *killClient) pushManifest(ctx context.Context, web *rawClient, repo string, m rawManifest) error {
	tag := fmt.Sprint("t", c.rand.IntN(12))
	c.ledger.types[m.digest()] = m.mediaType
	changes := map[fact]digest.Digest{{"manifests", repo, m.digest().String()}: m.digest(), {"tags", repo, tag}: m.digest()}
	return c.ledger.attempt(changes, func() error { return web.pushManifest(ctx, repo, tag, m) })
}

// mount takes a blob over from one repository to the other one.
func (c *killClient) mount(ctx context.Context, web *rawClient) error {
	from, to := c.repos[0], c.repos[1]
	f, d, ok := c.ledger.some(c.rand, func(f fact) bool { return f.kind == "blobs" && f.repo == from })
	if !ok {
		return nil
	}
	return c.ledger.attempt(map[fact]digest.Digest{{"blobs", to, f.ref}: d}, func() error {
		_, err := web.want(ctx, http.StatusCreated, "POST", "/v2/"+to+"/blobs/uploads/?mount="+f.ref+"&from="+from, nil)
		return err
	})
}

// tagAgain pulls a manifest and pushes it to another tag.
func (c *killClient) tagAgain(ctx context.Context, web *rawClient) error {
	f, d, ok := c.ledger.some(c.rand, func(f fact) bool { return f.kind == "manifests" })
	if !ok {
		return nil
	}
	a, err := web.want(ctx, http.StatusOK, "GET", "/v2/"+f.repo+"/manifests/"+f.ref, nil)
	if err != nil {
		return err
	}
	return c.pushManifest(ctx, web, f.repo, rawManifest{mediaType: c.ledger.types[d], payload: a.body})
}

// delete deletes something; a manifest with all tags that point to it.
func (c *killClient) delete(ctx context.Context, web *rawClient, wanted func(fact) bool) error {
	f, d, ok := c.ledger.some(c.rand, wanted)
	if !ok {
		return nil
	}
	changes := map[fact]digest.Digest{f: ""}
	if f.kind == "manifests" {
		for _, tag := range c.ledger.facts {
			if s, ok := c.ledger.state(tag); ok && tag.kind == "tags" && tag.repo == f.repo && s == d {
				changes[tag] = ""
			}
		}
	}
	return c.ledger.attempt(changes, func() error {
		path := "/v2/" + f.repo + "/manifests/" + f.ref
		if f.kind == "blobs" {
			path = "/v2/" + f.repo + "/blobs/" + f.ref
		}
		_, err := web.want(ctx, http.StatusAccepted, "DELETE", path, nil)
		return err
	})
}

// maxHeld is up to how many bytes a server may keep an upload to itself, so that it is lost when the server is killed.
const maxHeld = 96 << 10

// resume repeats the last request of uploads that were cut. Either it works now, or it did work then, or the upload was
// a small one and begins anew.
func (c *killClient) resume(ctx context.Context, web *rawClient) (errs []error) {
	for _, up := range c.cut {
		f := fact{"blobs", up.repo, up.digest.String()}
		up.location = up.location[strings.Index(up.location, "/v2/"):] // the server listens elsewhere now
		err := web.finish(ctx, up, nil)
		if e, ok := errors.AsType[*rawError](err); ok && e.status == http.StatusNotFound {
			if up.sent <= maxHeld {
				continue
			}
			err = nil
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("end the upload of %v again: %w", f, err))
			continue
		}
		c.ledger.acknowledge(f, up.digest)
		errs = append(errs, c.ledger.look(ctx, web, []fact{f})...)
	}
	return errs
}
