package index_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/parfait-registry/parfait/index"
)

// TestRaces has several processes, where there may be several, do everything at once to few repositories. However it
// ends, the facts are to fit together.
func TestRaces(t *testing.T) {
	databases(t, func(t *testing.T, database string) {
		processes := []*index.DB{open(t, database)}
		if !processes[0].Exclusive() {
			processes = append(processes, open(t, database), open(t, database))
		}
		g := newGame("")
		for _, repo := range g.repos { // so that there is something to take away
			addBlobs(t, processes[0], repo, g.contents...)
		}
		var wg sync.WaitGroup
		for player := range 8 {
			wg.Go(func() {
				db, r := processes[player%len(processes)], rand.New(rand.NewPCG(1, uint64(player)))
				for range 150 {
					if err := g.move(t, db, r); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
		g.check(t, processes[0])
	})
}

// A game has few pieces, so that moves meet.
type game struct {
	repos     []string
	contents  []string // of blobs
	manifests []index.Manifest
}

// newGame has manifests that share layers, one of which may be elsewhere, and an index that names a manifest. Games with
// different names have nothing in common.
func newGame(name string) *game {
	g := &game{repos: []string{"a" + name, "b" + name}, contents: []string{"0" + name, "1" + name, "2" + name}}
	d := func(i int) digest.Digest { return blob(g.contents[i]).Digest }
	one, two, foreign, list := manifest("one"+name, d(0), d(1)), manifest("two"+name, d(1), d(2)), manifest("foreign"+name, d(2)), manifest("list"+name)
	foreign.Elsewhere = []digest.Digest{d(0), digest.FromString("nowhere" + name)}
	list.Manifests = []digest.Digest{one.Digest, two.Digest}
	g.manifests = []index.Manifest{one, two, foreign, list}
	return g
}

// move does something. That it cannot be done now is no error.
func (g *game) move(t *testing.T, db *index.DB, r *rand.Rand) error {
	ctx, repo, other := t.Context(), g.repos[r.IntN(len(g.repos))], g.repos[r.IntN(len(g.repos))]
	b, m := blob(g.contents[r.IntN(len(g.contents))]), g.manifests[r.IntN(len(g.manifests))]
	tag := fmt.Sprint("v", r.IntN(2))
	var err error
	switch r.IntN(8) {
	case 0, 1:
		_, err = db.AddBlob(ctx, repo, b, index.Session{})
	case 2:
		_, _, err = db.MountBlob(ctx, repo, other, b.Digest)
	case 3:
		_, err = db.RemoveBlob(ctx, repo, b.Digest)
	case 4, 5:
		_, err = db.PutManifest(ctx, repo, m, tag)
	case 6:
		_, err = db.RemoveManifest(ctx, repo, m.Digest)
	case 7:
		_, err = db.RemoveTag(ctx, repo, tag)
	}
	_, missing := errors.AsType[*index.MissingError](err)
	_, named := errors.AsType[*index.NamedError](err)
	if missing || named || errors.Is(err, index.ErrNotFound) {
		return nil
	}
	return err
}

// check finds the facts in agreement with each other.
func (g *game) check(t *testing.T, db *index.DB) {
	t.Helper()
	has, refs := make(map[string]bool), make(map[digest.Digest]int)
	lines := strings.Split(facts(t, db), "\n")
	for _, line := range lines {
		has[strings.Join(strings.Fields(line)[:2], " ")] = true // such as "layer repo@digest"
	}
	for _, repo := range g.repos {
		for _, m := range g.manifests {
			if !has["manifest "+repo+"@"+m.Digest.String()] {
				continue
			}
			for _, d := range slices.Concat(m.Blobs, m.Manifests) {
				if !has["layer "+repo+"@"+d.String()] && !has["manifest "+repo+"@"+d.String()] {
					t.Errorf("manifest %s of %s names %s, which is not there", m.Payload, repo, d)
				}
			}
			for _, d := range slices.Concat(m.Blobs, m.Manifests, m.Elsewhere, []digest.Digest{m.Digest}) {
				refs[d]++
			}
		}
	}
	for _, line := range lines {
		var d digest.Digest
		var n int
		var repo, tag string
		if _, err := fmt.Sscanf(line, "blob %s referenced %d times", &d, &n); err == nil && refs[d] != n {
			t.Errorf("%s is referenced %d times, counted %d times", d, refs[d], n)
		}
		fields := strings.Fields(line)
		if fields[0] != "tag" {
			continue
		}
		if repo, tag, _ = strings.Cut(fields[1], ":"); !has["manifest "+repo+"@"+fields[2]] {
			t.Errorf("tag %s of %s points to %s, which is not there", tag, repo, fields[2])
		}
	}
	g.checkCatalog(t, db, has)
}

// checkCatalog finds those repositories that have manifests.
func (g *game) checkCatalog(t *testing.T, db *index.DB, has map[string]bool) {
	t.Helper()
	var want []string
	for _, repo := range g.repos {
		if slices.ContainsFunc(g.manifests, func(m index.Manifest) bool { return has["manifest "+repo+"@"+m.Digest.String()] }) {
			want = append(want, repo)
		}
	}
	if got, err := db.Repositories(t.Context(), "", 10); !slices.Equal(got, want) || err != nil {
		t.Errorf("the catalog has %v, %v, want %v", got, err, want)
	}
}
