package registry_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/parfait-registry/parfait/drivers/drivertest"
	"github.com/parfait-registry/parfait/drivers/mem"
	"github.com/parfait-registry/parfait/index"
	"github.com/parfait-registry/parfait/integration/harness"
	"github.com/parfait-registry/parfait/registry"
)

// TestAdoptionRace has clients push, move tags and delete while a store is adopted, by several processes where there may
// be several, with a store that takes now long, now short. What they were told is what is there in the end.
func TestAdoptionRace(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint("sqlite ", seed), func(t *testing.T) { raceAdoption(t, place{store: mem.New()}, 1, seed) })
		t.Run(fmt.Sprint("postgres ", seed), func(t *testing.T) {
			raceAdoption(t, place{mem.New(), harness.SharedPostgreSQL(t).NewDatabase(t)}, 3, seed)
		})
	}
}

const (
	racers     = 6
	raceRepos  = 5
	racerTags  = 4
	racerMoves = 25
)

// A racer has manifests and tags of its own, in repositories that it shares with others.
type racer struct {
	id       int
	rand     *rand.Rand
	f        *fixture
	versions map[registry.Name][][]byte               // manifests
	want     map[string]digest.Digest                 // by repository:tag; empty for none
	gone     map[registry.Name]map[digest.Digest]bool // manifests that were deleted
}

func raceAdoption(t *testing.T, p place, processes int, seed uint64) {
	writer := open(t, registry.Config{}, p.store, index.Config{})
	players := make([]*racer, racers)
	for i := range players {
		players[i] = &racer{id: i, rand: rand.New(rand.NewPCG(seed, uint64(i))), want: make(map[string]digest.Digest),
			versions: make(map[registry.Name][][]byte), gone: make(map[registry.Name]map[digest.Digest]bool)}
		players[i].prepare(t, writer)
	}
	writer.close(t)

	slow := drivertest.Faulty(p.store, func(op drivertest.Op) error {
		if op.Kind == drivertest.List && op.N%10 == 0 || op.Kind == drivertest.Open || op.Kind == drivertest.Commit {
			time.Sleep(rand.N(time.Millisecond))
		}
		return nil
	})
	var all []*fixture
	for range processes {
		all = append(all, open(t, registry.Config{}, slow, index.Config{Database: p.database}))
	}
	var wg sync.WaitGroup
	for i, r := range players {
		r.f = all[i%processes]
		wg.Go(func() {
			for range racerMoves {
				if err := r.move(t.Context()); err != nil {
					t.Errorf("racer %d: %v", r.id, err)
					return
				}
			}
		})
	}
	wg.Wait()
	all[0].adopted(t)
	for _, f := range all {
		f.flush(t)
	}
	for _, r := range players {
		r.check(t, all[processes-1])
	}
	checkAgreement(t, p.store, all[0].db)
	for _, f := range all {
		f.close(t)
	}
}

// prepare pushes what the racer has at the start.
func (r *racer) prepare(t *testing.T, f *fixture) {
	for i := range raceRepos {
		repo := registry.Name(fmt.Sprint("repo", i))
		r.gone[repo] = make(map[digest.Digest]bool)
		config := push(t, f.Registry, repo, []byte("{}"))
		for v := range racerTags {
			layer := push(t, f.Registry, repo, fmt.Appendf(nil, "layer %d of %d", v, r.id))
			data := image(config, layer)
			r.versions[repo] = append(r.versions[repo], data)
			if err := r.put(t.Context(), f, repo, v, v); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func (r *racer) tag(n int) registry.Reference {
	return registry.Reference{Tag: fmt.Sprintf("t%d-%d", r.id, n)}
}

// put has a tag point to one of the versions.
func (r *racer) put(ctx context.Context, f *fixture, repo registry.Name, tag, version int) error {
	m, err := f.PutManifest(ctx, repo, r.tag(tag), "", r.versions[repo][version])
	if err == nil {
		r.want[string(repo)+":"+r.tag(tag).Tag] = m.Digest
		delete(r.gone[repo], m.Digest)
	}
	return err
}

// move does something that has to succeed.
func (r *racer) move(ctx context.Context) error {
	repo := registry.Name(fmt.Sprint("repo", r.rand.IntN(raceRepos)))
	tag, version := r.rand.IntN(racerTags), r.rand.IntN(len(r.versions[repo]))
	key := string(repo) + ":" + r.tag(tag).Tag
	switch r.rand.IntN(6) {
	case 0, 1:
		return r.put(ctx, r.f, repo, tag, version)
	case 2:
		return r.pushNew(ctx, repo, tag)
	case 3:
		err := r.f.DeleteManifest(ctx, repo, r.tag(tag))
		if r.want[key] == "" && code(err) == registry.ManifestUnknown {
			return nil
		}
		r.want[key] = ""
		return err
	case 4:
		return r.deleteManifest(ctx, repo, digest.FromBytes(r.versions[repo][version]))
	default:
		return r.look(ctx, r.f, repo, tag)
	}
}

// pushNew pushes an image of a new layer.
func (r *racer) pushNew(ctx context.Context, repo registry.Name, tag int) error {
	content := fmt.Appendf(nil, "%x", r.rand.Uint64())
	layer := descriptor(content)
	if _, err := r.f.PushBlob(ctx, repo, layer.Digest, chunk(content)); err != nil {
		return err
	}
	r.versions[repo] = append(r.versions[repo], image(descriptor([]byte("{}")), layer, layer))
	return r.put(ctx, r.f, repo, tag, len(r.versions[repo])-1)
}

func (r *racer) deleteManifest(ctx context.Context, repo registry.Name, d digest.Digest) error {
	err := r.f.DeleteManifest(ctx, repo, registry.Reference{Digest: d})
	if r.gone[repo][d] && code(err) == registry.ManifestUnknown {
		return nil
	}
	if err == nil {
		r.gone[repo][d] = true
		for tag := range racerTags {
			if key := string(repo) + ":" + r.tag(tag).Tag; r.want[key] == d {
				r.want[key] = ""
			}
		}
	}
	return err
}

// look finds a tag as it should be.
func (r *racer) look(ctx context.Context, f *fixture, repo registry.Name, tag int) error {
	want := r.want[string(repo)+":"+r.tag(tag).Tag]
	m, err := f.Manifest(ctx, repo, r.tag(tag))
	if want == "" && code(err) == registry.ManifestUnknown {
		return nil
	}
	if err == nil && m.Digest != want {
		err = fmt.Errorf("got %s, want %q", m.Digest, want)
	}
	if err != nil {
		return fmt.Errorf("tag %s of %s: %w", r.tag(tag), repo, err)
	}
	return nil
}

func (r *racer) check(t *testing.T, f *fixture) {
	for repo, versions := range r.versions {
		for tag := range racerTags {
			if err := r.look(t.Context(), f, repo, tag); err != nil {
				t.Error(err)
			}
		}
		for _, data := range versions {
			d := digest.FromBytes(data)
			_, err := f.Manifest(t.Context(), repo, registry.Reference{Digest: d})
			if gone := code(err) == registry.ManifestUnknown; gone != r.gone[repo][d] || err != nil && !gone {
				t.Errorf("manifest %s of %s: got %v, want it to be gone: %v", d, repo, err, r.gone[repo][d])
			}
		}
	}
}
