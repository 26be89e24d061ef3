package index_test

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/parfait-registry/parfait/index"
	"github.com/parfait-registry/parfait/integration/harness"
)

// TestAdoptionLocks adopts repositories while others push the same manifests, as images and as indexes of images, and the
// same blobs. All lock what they share in one order, so that PostgreSQL never has to end one that waits for another.
func TestAdoptionLocks(t *testing.T) {
	p := harness.PostgreSQL(t, "fsync=off", "deadlock_timeout=50ms")
	database := p.NewDatabase(t)
	db := open(t, database)
	for round := range 40 {
		g := newGame(fmt.Sprint(round))
		var wg sync.WaitGroup
		for player := range 6 {
			r := rand.New(rand.NewPCG(uint64(round), uint64(player)))
			wg.Go(func() {
				for i := range g.repos {
					repo := g.repos[(i+player)%len(g.repos)]
					if player%2 == 0 {
						g.push(t, db, repo)
					} else {
						g.adopt(t, db, repo, r)
					}
				}
			})
		}
		wg.Wait()
		for _, repo := range g.repos {
			if _, err := db.Manifest(t.Context(), repo, "v0"); err != nil {
				t.Error(err)
			}
		}
	}
	time.Sleep(100 * time.Millisecond)
	if n := p.Query(t, database, "select deadlocks from pg_stat_database where datname = current_database()"); n != "0" {
		t.Errorf("got %s deadlocks, want none", n)
	}
}

// push has a client push all there is.
func (g *game) push(t *testing.T, db *index.DB, repo string) {
	addBlobs(t, db, repo, g.contents...)
	for _, m := range g.manifests {
		if _, err := db.PutManifest(t.Context(), repo, m, "v0"); err != nil {
			t.Error(err)
		}
	}
}

// adopt adopts all there is as if a store had it, in any order.
func (g *game) adopt(t *testing.T, db *index.DB, repo string, r *rand.Rand) {
	b := index.Batch{Repo: repo}
	for _, i := range r.Perm(len(g.contents)) {
		b.Layers = append(b.Layers, blob(g.contents[i]))
	}
	for _, i := range r.Perm(len(g.manifests)) {
		b.Manifests = append(b.Manifests, g.manifests[i])
		b.Tags = append(b.Tags, index.TagTarget{Tag: fmt.Sprint("v", i), Digest: g.manifests[i].Digest})
	}
	if _, err := db.Adopt(t.Context(), b); err != nil {
		t.Error(err)
	}
}
