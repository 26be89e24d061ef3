package harness

import (
	"context"
	"os"
	"slices"
	"sync"
	"testing"
)

// Run runs the tests of a package, and ends and removes what they shared. Call it in TestMain: os.Exit(harness.Run(m)).
func Run(m *testing.M) int {
	defer func() {
		os.RemoveAll(built.dir)
		for _, end := range slices.Backward(shared.ends) {
			end()
		}
	}()
	return m.Run()
}

// SharedPostgreSQL is the one cluster of this process, for tests of which each has a database of its own. It is started
// for the first that asks, and ends with [Run]. What it has not written yet is lost with the machine, which none of
// them needs.
func SharedPostgreSQL(t testing.TB) *Postgres {
	t.Helper()
	shared.once.Do(func() { shared.cluster = PostgreSQL(lasting{t}, "fsync=off", "full_page_writes=off") })
	if shared.cluster == nil {
		missing(t, "there is no PostgreSQL")
	}
	return shared.cluster
}

// shared is what lasts until the tests of this process have run.
var shared struct {
	once    sync.Once
	cluster *Postgres
	ends    []func()
}

// A lasting test is one that goes on until all tests have run.
type lasting struct{ testing.TB }

func (lasting) Cleanup(f func())         { shared.ends = append(shared.ends, f) }
func (lasting) Context() context.Context { return context.Background() }
func (lasting) Failed() bool             { return false }

func (l lasting) TempDir() string {
	l.Helper()
	dir, err := os.MkdirTemp("", "parfait-shared-")
	if err != nil {
		l.Fatal(err)
	}
	l.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}
