package index

import (
	"hash/maphash"
	"sync/atomic"

	lru "github.com/hashicorp/golang-lru/v2"
)

// A cache answers the look-ups that pulls repeat, without a statement. It is exact: only this process writes to the
// database, and a transaction that changes a repository makes what is cached of it void before anybody is told that
// the transaction has ended. A nil cache knows nothing.
type cache struct {
	entries *lru.Cache[cacheKey, cacheEntry]
	seed    maphash.Seed
	changes [256]atomic.Uint64 // how often one of the repositories whose names have this hash was changed
}

// Both bounds together keep the cache below 16 MiB.
const (
	cacheEntries = 1024
	cachePayload = 16 << 10 // bytes of a manifest; larger ones are looked up
)

// A cacheKey is a query and what it asks for: a tag, or the bytes of a digest.
type cacheKey struct{ query, repo, ref string }

// A cacheEntry is what a look-up found when a repository had been changed so many times.
type cacheEntry struct {
	found   any // Manifest or sighting
	changes uint64
}

func newCache() (*cache, error) {
	entries, err := lru.New[cacheKey, cacheEntry](cacheEntries)
	return &cache{entries: entries, seed: maphash.MakeSeed()}, err
}

func (c *cache) changesOf(repo string) *atomic.Uint64 {
	return &c.changes[maphash.String(c.seed, repo)%uint64(len(c.changes))]
}

// allRepositories stands for the name of the one that a transaction changes.
const allRepositories = ""

// changed makes void what is cached of a repository, or of allRepositories.
func (c *cache) changed(repo string) {
	if c == nil {
		return
	}
	if repo != allRepositories {
		c.changesOf(repo).Add(1)
		return
	}
	for i := range c.changes {
		c.changes[i].Add(1)
	}
}

// recall returns what key finds, by the statement in find if it is not known, or not good any more. What is not good is
// not kept.
func recall[T any](c *cache, key cacheKey, good func(T) bool, find func() (T, error)) (T, error) {
	if c == nil {
		return find()
	}
	changes := c.changesOf(key.repo).Load() // before the statement, which may not see what changes meanwhile
	if e, ok := c.entries.Get(key); ok && e.changes == changes {
		if found, ok := e.found.(T); ok && good(found) {
			return found, nil
		}
	}
	found, err := find()
	if err == nil && good(found) {
		c.entries.Add(key, cacheEntry{found, changes})
	}
	return found, err
}
