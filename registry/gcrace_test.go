package registry_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/drivers/mem"
	"github.com/parfait-registry/parfait/index"
	"github.com/parfait-registry/parfait/integration/harness"
	"github.com/parfait-registry/parfait/logtest"
	"github.com/parfait-registry/parfait/registry"
)

// raceOperations is how many operations TestCollectRaces does on each database. PARFAIT_TEST_RACES sets it; its full form
// has 100000.
func raceOperations(t *testing.T) int64 {
	text := os.Getenv("PARFAIT_TEST_RACES")
	if text == "" {
		return 4000
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		t.Fatalf("PARFAIT_TEST_RACES: %v", err)
	}
	return n
}

// raceGrace is long against what a player does between a look and what it does with that, and short against the game.
const raceGrace = time.Second

// TestCollectRaces has players push, mount, look for, delete and pull a few images in a few repositories, while all
// processes collect and sweep all the time and nothing is kept for longer than a grace period. Whatever is acknowledged
// is there, whatever is pulled is whole, and in the end, when all was deleted, nothing is left.
func TestCollectRaces(t *testing.T) {
	t.Run("sqlite", func(t *testing.T) { collectRaces(t, place{openLocal(t), sqliteFile(t)}, 1) })
	t.Run("postgres", func(t *testing.T) { collectRaces(t, place{mem.New(), harness.SharedPostgreSQL(t).NewDatabase(t)}, 3) })
}

func collectRaces(t *testing.T, p place, processes int) {
	var errorLog logtest.Buffer
	log := slog.New(slog.NewTextHandler(&errorLog, &slog.HandlerOptions{Level: slog.LevelError}))
	g := &collectGame{t: t, left: raceOperations(t), began: time.Now()}
	store := &watched{Driver: p.store, t: t, deleting: make(map[string]int), writing: make(map[string]int)}
	cfg := registry.Config{GCInterval: 100 * time.Millisecond, GCSweepInterval: 500 * time.Millisecond, GCUntagged: raceGrace}
	flushing, stop := context.WithCancel(t.Context())
	var flushers sync.WaitGroup
	for range processes {
		f := openWith(t, cfg, store, index.Config{Database: p.database, Grace: raceGrace}, log)
		g.processes = append(g.processes, f)
		flushers.Go(func() { // a collection passes over what is in the outbox
			for ; flushing.Err() == nil; time.Sleep(100 * time.Millisecond) {
				f.flush(t)
			}
		})
	}
	var players sync.WaitGroup
	for i := range racePlayers {
		players.Go(func() { g.play(i) })
	}
	players.Wait()
	var collected int64
	for _, f := range g.processes {
		collected += f.Collection().Blobs
	}
	t.Logf("%d operations in %v, %d blobs collected meanwhile; %s", g.done.Load(), time.Since(g.began).Round(time.Second), collected,
		strings.Join(g.counts(), ", "))
	if collected == 0 {
		t.Error("nothing was collected meanwhile")
	}
	g.end(p.store)
	stop()
	flushers.Wait()
	for _, f := range g.processes {
		f.close(t)
	}
	if text := errorLog.String(); text != "" {
		t.Errorf("got the log %s", text)
	}
}

// A collectGame is for players who share a few layers and repositories. Each has images of its own, of which it knows
// whether they are there.
type collectGame struct {
	t         *testing.T
	processes []*fixture

	mu    sync.Mutex
	left  int64 // mu guards left: operations to do
	began time.Time

	done  atomic.Int64
	tally sync.Map // string to *atomic.Int64
}

var gcRepos = []registry.Name{"a", "b", "c/d"}

const (
	racePlayers = 12
	hotLayers   = 12  // that somebody always has
	coldLayers  = 600 // that nobody may want for longer than a grace period
)

// layer returns the number of a layer. Those that are even are never deleted by a client.
func (p *player) layer() int {
	if p.IntN(2) == 0 {
		return p.IntN(hotLayers)
	}
	return p.IntN(coldLayers)
}

// layerOf returns the bytes of a layer, which all players know.
func layerOf(i int) []byte { return fmt.Append(nil, "layer ", i) }

func (g *collectGame) count(what string) {
	n, _ := g.tally.LoadOrStore(what, new(atomic.Int64))
	n.(*atomic.Int64).Add(1)
}

func (g *collectGame) counts() (all []string) {
	g.tally.Range(func(what, n any) bool {
		all = append(all, fmt.Sprint(what, ": ", n.(*atomic.Int64).Load()))
		return true
	})
	slices.Sort(all)
	return all
}

// next reports whether there is another operation to do. The game lasts for some grace periods at least.
func (g *collectGame) next() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.left--
	return (g.left >= 0 || time.Since(g.began) < 6*raceGrace) && !g.t.Failed()
}

// A player has one image at a time in each repository, by a tag of its own.
type player struct {
	*collectGame
	*rand.Rand
	name   string
	images map[registry.Name]digest.Digest // by the tag that has the player's name; "" if there is none
	pushed int
}

func (g *collectGame) play(i int) {
	p := &player{g, rand.New(rand.NewPCG(7, uint64(i))), fmt.Sprint("player", i), make(map[registry.Name]digest.Digest), 0}
	for g.next() {
		if err := p.move(); err != nil && !p.tolerable(err) {
			g.t.Errorf("%s: %v", p.name, err)
			return
		}
		g.done.Add(1)
	}
}

// tolerable reports whether the client is to come again.
func (p *player) tolerable(err error) bool {
	if code(err) == registry.Unavailable {
		p.count("503")
		return true
	}
	return false
}

// registry returns one of the processes.
func (p *player) registry() *fixture { return p.processes[p.IntN(len(p.processes))] }

func (p *player) move() error {
	repo := gcRepos[p.IntN(len(gcRepos))]
	switch n := p.IntN(20); {
	case n < 4:
		return p.pushImage(repo)
	case n < 7:
		return p.pull(repo)
	case n < 9:
		return p.deleteImage(repo)
	case n < 10:
		return p.deleteTag(repo)
	case n < 13:
		return p.look(repo)
	case n < 15:
		return p.mount(repo)
	case n < 17:
		_, err := p.pushLayer(repo, p.layer())
		return err
	case n < 18:
		return p.deleteLayer(repo)
	default:
		return p.pushPlatforms(repo)
	}
}

// pushLayer pushes a layer in one of the shapes that clients have, unless it is there.
func (p *player) pushLayer(repo registry.Name, i int) (v1.Descriptor, error) {
	p.count("push of a blob")
	data, ctx := layerOf(i), p.t.Context()
	d := descriptor(data)
	r := p.registry()
	shape := p.IntN(4)
	if shape == 0 {
		if _, err := r.Blob(ctx, repo, d.Digest); code(err) != registry.BlobUnknown {
			return d, err
		}
	}
	if shape < 2 {
		_, err := r.PushBlob(ctx, repo, d.Digest, chunk(data))
		return d, err
	}
	s, err := r.StartUpload(ctx, repo, digest.SHA256)
	if err != nil {
		return d, err
	}
	last := chunk(data)
	if shape == 3 {
		if _, err := p.registry().WriteChunk(ctx, repo, s.ID, chunk(data)); err != nil {
			return d, err
		}
		last = empty
	}
	_, err = p.registry().CommitUpload(ctx, repo, s.ID, d.Digest, last)
	return d, err
}

// pushImage pushes an image of a few layers, and what other players may delete of it meanwhile again.
func (p *player) pushImage(repo registry.Name) error {
	p.count("push of an image")
	p.pushed++
	config := fmt.Appendf(nil, `{"player": %q, "image": %d}`, p.name, p.pushed%5)
	layers := []int{p.layer(), p.layer()}
	for {
		began := time.Now()
		configDescriptor := descriptor(config)
		if _, err := p.registry().PushBlob(p.t.Context(), repo, configDescriptor.Digest, chunk(config)); err != nil {
			return err
		}
		all := []v1.Descriptor{configDescriptor}
		lasting := true
		for _, i := range layers {
			d, err := p.pushLayer(repo, i)
			if err != nil {
				return err
			}
			all, lasting = append(all, d), lasting && i%2 == 0
		}
		m, err := p.registry().PutManifest(p.t.Context(), repo, registry.Reference{Tag: p.name}, "", image(all...))
		if missing, ok := errors.AsType[registry.Errors](err); ok && missing[0].Code == registry.ManifestBlobUnknown {
			if lasting && time.Since(began) < raceGrace {
				return fmt.Errorf("gone in the middle of a push, after %v: %w", time.Since(began), err)
			}
			p.count("push begun again")
			continue
		}
		if err == nil {
			p.images[repo] = m.Digest
		}
		return err
	}
}

// pushPlatforms pushes an image whose platforms have no tags.
func (p *player) pushPlatforms(repo registry.Name) error {
	p.count("push of an index")
	var children []digest.Digest
	for i := range 2 {
		config, ctx := fmt.Appendf(nil, `{"player": %q, "platform": %d}`, p.name, i), p.t.Context()
		d := descriptor(config)
		if _, err := p.registry().PushBlob(ctx, repo, d.Digest, chunk(config)); err != nil {
			return err
		}
		child := image(d)
		m, err := p.registry().PutManifest(ctx, repo, registry.Reference{Digest: digest.FromBytes(child)}, "", child)
		if err != nil {
			return err
		}
		children = append(children, m.Digest)
	}
	m, err := p.registry().PutManifest(p.t.Context(), repo, registry.Reference{Tag: p.name}, "", imageIndex(children...))
	if err == nil {
		p.images[repo] = m.Digest
	}
	return err
}

// pull reads the player's image, and one of somebody else.
func (p *player) pull(repo registry.Name) error {
	p.count("pull")
	ref := registry.Reference{Tag: p.name}
	err := tryPull(p.t.Context(), p.registry().Registry, repo, ref)
	if want := p.images[repo]; want == "" {
		if code(err) != registry.ManifestUnknown {
			return fmt.Errorf("pull of what was deleted: %w", err)
		}
	} else if err != nil {
		return fmt.Errorf("an acknowledged push: %w", err)
	}
	return p.pullOther(repo)
}

// pullOther finds that somebody else's image is whole as long as it is there, and for a grace period after.
func (p *player) pullOther(repo registry.Name) error {
	began := time.Now()
	ref := registry.Reference{Tag: fmt.Sprint("player", p.IntN(racePlayers))}
	r := p.registry()
	m, err := r.Manifest(p.t.Context(), repo, ref)
	if err != nil {
		return unless(err, registry.ManifestUnknown)
	}
	if m.MediaType != v1.MediaTypeImageManifest {
		return nil // its children may go at once, when somebody deletes them
	}
	err = pullLayers(p.t.Context(), p.registry().Registry, m)
	if err != nil && time.Since(began) < raceGrace {
		return fmt.Errorf("a manifest that was there %v ago: %w", time.Since(began), err)
	}
	return nil
}

// pullLayers reads the bytes of what a manifest names. Other clients may take the facts away meanwhile, but not the bytes.
func pullLayers(ctx context.Context, r *registry.Registry, m registry.Manifest) error {
	layers, _ := named(m.Payload)
	for _, d := range layers {
		body := r.OpenBlob(ctx, registry.Blob{Digest: d.Digest, Size: d.Size})
		err := body.Bound(0, d.Size)
		body.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

func (p *player) deleteImage(repo registry.Name) error {
	p.count("delete of a manifest")
	d := p.images[repo]
	if d == "" {
		return nil
	}
	err := p.registry().DeleteManifest(p.t.Context(), repo, registry.Reference{Digest: d})
	if err == nil {
		p.images[repo] = ""
	}
	return err
}

func (p *player) deleteTag(repo registry.Name) error {
	p.count("delete of a tag")
	if p.images[repo] == "" {
		return nil
	}
	err := p.registry().DeleteManifest(p.t.Context(), repo, registry.Reference{Tag: p.name})
	if err == nil {
		p.images[repo] = ""
	}
	return err
}

// deleteLayer deletes a layer of those that may be.
func (p *player) deleteLayer(repo registry.Name) error {
	p.count("delete of a blob")
	d := digest.FromBytes(layerOf(p.layer() | 1))
	return unless(p.registry().DeleteBlob(p.t.Context(), repo, d), registry.BlobUnknown, registry.Unsupported)
}

// look asks for a layer. One that nobody deletes is there for a grace period then.
func (p *player) look(repo registry.Name) error {
	p.count("HEAD of a blob")
	d := digest.FromBytes(layerOf(p.layer() &^ 1))
	began := time.Now()
	if _, err := p.registry().Blob(p.t.Context(), repo, d); err != nil {
		return unless(err, registry.BlobUnknown)
	}
	time.Sleep(rand.N(20 * time.Millisecond))
	err := tryRead(p.t.Context(), p.registry().Registry, repo, d)
	if err != nil && time.Since(began) < raceGrace {
		return fmt.Errorf("it was there %v ago: %w", time.Since(began), err)
	}
	return nil
}

func (p *player) mount(repo registry.Name) error {
	p.count("mount")
	from := gcRepos[p.IntN(len(gcRepos))]
	if p.IntN(2) == 0 {
		from = ""
	}
	i := p.layer()
	d := digest.FromBytes(layerOf(i))
	began := time.Now()
	if _, err := p.registry().MountBlob(p.t.Context(), repo, d, from, nil); err != nil {
		return unless(err, registry.BlobUnknown)
	}
	if i%2 == 1 {
		return nil
	}
	err := tryRead(p.t.Context(), p.registry().Registry, repo, d)
	if err != nil && time.Since(began) < raceGrace {
		return fmt.Errorf("it was mounted %v ago: %w", time.Since(began), err)
	}
	return nil
}

// unless returns err, or nil if it has one of these codes.
func unless(err error, codes ...registry.Code) error {
	if slices.Contains(codes, code(err)) {
		return nil
	}
	return err
}

// end deletes all tags, and finds that everything goes then.
func (g *collectGame) end(store drivers.Driver) {
	g.t.Helper()
	ctx, f := context.Background(), g.processes[0]
	for _, repo := range gcRepos {
		for i := range racePlayers {
			err := f.DeleteManifest(ctx, repo, registry.Reference{Tag: fmt.Sprint("player", i)})
			if unless(err, registry.ManifestUnknown) != nil {
				g.t.Error(err)
			}
		}
	}
	for before, limit := -1, time.Now(); ; time.Sleep(100 * time.Millisecond) {
		left := append(blobs(g.t, store), layers(g.t, store)...)
		q, err := f.db.Queue(ctx)
		if err != nil {
			g.t.Fatal(err)
		}
		if len(left) == 0 && q.Blobs == 0 && len(facts(g.t, f.db)) == 0 {
			return
		}
		if n := len(keys(g.t, store, root, "")); n != before { // after a long game, there is much to collect
			before, limit = n, time.Now().Add(time.Minute)
		}
		if time.Now().After(limit) {
			g.t.Errorf("left in the end: %q, %+v, %q", left, q, facts(g.t, f.db))
			return
		}
	}
}
