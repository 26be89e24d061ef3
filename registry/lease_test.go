package registry_test

import (
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/drivers/drivertest"
	"github.com/parfait-registry/parfait/drivers/mem"
	"github.com/parfait-registry/parfait/index"
	"github.com/parfait-registry/parfait/integration/harness"
	"github.com/parfait-registry/parfait/logtest"
	"github.com/parfait-registry/parfait/registry"
)

// refused tries to start a registry, which must be refused in one line with the words in it.
func refused(t *testing.T, store drivers.Driver, database string, words ...string) {
	t.Helper()
	db, err := index.Open(t.Context(), index.Config{Database: database}, discard)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	before := facts(t, db)
	r, err := registry.Open(t.Context(), registry.Config{}, store, db, discard)
	if err == nil {
		r.Close(t.Context())
	}
	if !errors.Is(err, registry.ErrRefused) || strings.Contains(err.Error(), "\n") {
		t.Fatalf("got %v, want a refusal in one line", err)
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("got %v, want %q in it", err, word)
		}
	}
	if after := facts(t, db); !slices.Equal(after, before) {
		t.Errorf("the index was changed: %q", after)
	}
}

// openOn starts a registry, and waits until it has adopted the store; the caller closes it.
func openOn(t *testing.T, store drivers.Driver, database string) *fixture {
	t.Helper()
	f := open(t, registry.Config{}, store, index.Config{Database: database})
	f.adopted(t)
	return f
}

// stores runs a test on an empty store of each kind that a test can have without a server.
func stores(t *testing.T, test func(t *testing.T, store drivers.Driver)) {
	t.Run("mem", func(t *testing.T) { test(t, mem.New()) })
	t.Run("local", func(t *testing.T) { test(t, openLocal(t)) })
}

// TestOneIndexAtATime has two indexes take a store in turns. Each knows what was done by way of the other.
func TestOneIndexAtATime(t *testing.T) {
	stores(t, func(t *testing.T, store drivers.Driver) {
		first, second := sqliteFile(t), sqliteFile(t)
		var want []string
		for i, database := range []string{first, second, first, first, second, second} {
			r := openOn(t, store, database)
			if got := facts(t, r.db); !slices.Equal(got, want) {
				t.Errorf("turn %d: got the facts %q, want %q", i, got, want)
			}
			other := map[string]string{first: second, second: first}[database]
			host, _ := os.Hostname()
			refused(t, store, other, database, host, "PostgreSQL", "stop that server")
			push(t, r.Registry, "a", random(100))
			if i%2 == 1 {
				if err := r.DeleteBlob(t.Context(), "a", push(t, r.Registry, "a", random(10)).Digest); err != nil {
					t.Error(err)
				}
			}
			want = facts(t, r.db)
			r.close(t)
		}
	})
}

// TestKilledHolder starts a registry after another one was killed: at once with its index, and with another one when its
// hold has ended, which is at once where there are locks.
func TestKilledHolder(t *testing.T) {
	stores(t, func(t *testing.T, store drivers.Driver) {
		const life = 2 * time.Second
		database := sqliteFile(t)
		for range 2 {
			killed := open(t, registry.Config{LeaseLife: life}, store, index.Config{Database: database})
			push(t, killed.Registry, "a", random(100))
			killed.abandon(t)
		}
		if _, locks := drivers.As[drivers.Locker](store); !locks {
			refused(t, store, sqliteFile(t), "its hold ends in")
			time.Sleep(life)
		}
		openOn(t, store, sqliteFile(t)).close(t)
	})
}

// TestOlderIndex starts a registry with an index that was copied before others changed the store.
func TestOlderIndex(t *testing.T) {
	store, database, copied := mem.New(), sqliteFile(t), sqliteFile(t)
	r := openOn(t, store, database)
	push(t, r.Registry, "a", random(100))
	r.close(t)
	data, err := os.ReadFile(database)
	if err == nil {
		err = os.WriteFile(copied, data, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	r = openOn(t, store, database)
	push(t, r.Registry, "a", random(100))
	want := facts(t, r.db)
	r.close(t)
	r = openOn(t, store, copied)
	defer r.close(t)
	if got := facts(t, r.db); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestOlderIndexWithChanges starts a registry with an index that may know of changes that the store never had.
func TestOlderIndexWithChanges(t *testing.T) {
	const life = time.Second
	store, database := mem.New(), sqliteFile(t)
	n := newNetwork(store)
	killed := open(t, registry.Config{LeaseLife: life}, n.Driver, index.Config{Database: database})
	lost := push(t, killed.Registry, "lost/app", random(100))
	n.all.Store(true)
	killed.abandon(t)
	time.Sleep(life)
	r := openOn(t, store, sqliteFile(t))
	push(t, r.Registry, "a", random(100))
	want := facts(t, r.db)
	r.close(t)

	refused(t, store, database, "older", "parfait reindex")
	db, err := index.Open(t.Context(), index.Config{Database: database}, discard)
	if err != nil {
		t.Fatal(err)
	}
	report, err := registry.Rebuild(t.Context(), store, db, discard, nil)
	if err != nil || len(report.Problems) != 1 || !strings.Contains(report.Problems[0], lost.Digest.String()) {
		t.Errorf("got %q, %v, want the change that was dropped", report.Problems, err)
	}
	if got := facts(t, db); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if err := db.Close(); err != nil {
		t.Error(err)
	}
	openOn(t, store, database).close(t)
}

// TestIndexOfAnotherStore starts a registry with an index that is not the store's.
func TestIndexOfAnotherStore(t *testing.T) {
	used, database := mem.New(), sqliteFile(t)
	r := openOn(t, used, sqliteFile(t))
	push(t, r.Registry, "b", random(100))
	r.close(t)
	r = openOn(t, mem.New(), database)
	push(t, r.Registry, "a", random(100))
	r.close(t)
	for _, store := range []drivers.Driver{mem.New(), used} {
		refused(t, store, database, database, "another store", "index_database", "parfait reindex")
	}
	db, err := index.Open(t.Context(), index.Config{Database: database}, discard)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := registry.Rebuild(t.Context(), used, db, discard, nil); err != nil {
		t.Error(err)
	}
	if err := db.Close(); err != nil {
		t.Error(err)
	}
	r = openOn(t, used, database)
	defer r.close(t)
	checkAgreement(t, used, r.db)
}

// TestSQLiteAfterPostgreSQL changes the database of a store, and back.
func TestSQLiteAfterPostgreSQL(t *testing.T) {
	const life = time.Second
	store, shared, file := mem.New(), harness.SharedPostgreSQL(t).NewDatabase(t), sqliteFile(t)
	openShared := func() *fixture {
		f := open(t, registry.Config{LeaseLife: life}, store, index.Config{Database: shared})
		f.adopted(t)
		return f
	}
	one := openOn(t, store, file)
	push(t, one.Registry, "a", random(100))
	refused(t, store, shared, file)
	want := facts(t, one.db)
	one.close(t)

	replicas := []*fixture{openShared(), openShared()}
	for _, r := range replicas {
		if got := facts(t, r.db); !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	push(t, replicas[0].Registry, "b", random(100))
	want = facts(t, replicas[1].db)
	for _, r := range replicas {
		time.Sleep(2 * life) // they go on showing themselves
		refused(t, store, file, "PostgreSQL", "its hold ends in")
		r.close(t)
	}
	time.Sleep(life)
	one = openOn(t, store, file)
	if got := facts(t, one.db); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	push(t, one.Registry, "c", random(100))
	want = facts(t, one.db)
	one.close(t)
	r := openShared()
	defer r.close(t)
	if got := facts(t, r.db); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestLeaseLost has a registry lose its store to another one while it cannot reach it. It changes nothing from then on,
// not even what was begun before.
func TestLeaseLost(t *testing.T) {
	const life = 2 * time.Second
	store := mem.New()
	n := newNetwork(store)
	var log logtest.Buffer
	db, err := index.Open(t.Context(), index.Config{Database: sqliteFile(t)}, discard)
	if err != nil {
		t.Fatal(err)
	}
	away, err := registry.Open(t.Context(), registry.Config{LeaseLife: life}, n.Driver, db, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	push(t, away, "a", random(100))
	slow, begun := random(100), make(chan error)
	source, sink := io.Pipe()
	go func() {
		_, err := away.PushBlob(t.Context(), "a", descriptor(slow).Digest, registry.Chunk{Body: source, Start: -1, Length: -1})
		begun <- err
	}()
	sink.Write(slow[:50])
	n.leases.Store(true)
	time.Sleep(life + life/10)
	if err := away.Writable(); code(err) != registry.Unavailable {
		t.Errorf("got %v, want the code UNAVAILABLE", err)
	}
	other := open(t, registry.Config{}, store, index.Config{Database: sqliteFile(t)})
	n.leases.Store(false)
	sink.Write(slow[50:])
	sink.Close()
	if err := <-begun; code(err) != registry.Unavailable {
		t.Errorf("a push that was begun before: got %v, want the code UNAVAILABLE", err)
	}
	time.Sleep(life)
	if err := away.Writable(); code(err) != registry.Unavailable {
		t.Errorf("got %v, want the code UNAVAILABLE for good", err)
	}
	if !strings.Contains(log.String(), "another server has taken the store") {
		t.Errorf("the log does not say so:\n%s", log.String())
	}
	if err := away.Close(t.Context()); err != nil {
		t.Error(err)
	}
	checkAgreement(t, store, other.db)
	other.close(t)
}

// TestLeaseRegained has a registry reach its store again before anybody has taken it.
func TestLeaseRegained(t *testing.T) {
	const life = time.Second
	store := mem.New()
	n := newNetwork(store)
	r := open(t, registry.Config{LeaseLife: life}, n.Driver, index.Config{Database: sqliteFile(t)})
	n.leases.Store(true)
	time.Sleep(2 * life)
	if err := r.Writable(); code(err) != registry.Unavailable {
		t.Errorf("got %v, want the code UNAVAILABLE", err)
	}
	n.leases.Store(false)
	for deadline := time.Now().Add(10 * life); r.Writable() != nil; time.Sleep(life / 20) {
		if time.Now().After(deadline) {
			t.Fatal(r.Writable())
		}
	}
	push(t, r.Registry, "a", random(100))
	r.close(t)
	openOn(t, store, sqliteFile(t)).close(t)
}

// TestManyAtOnce starts several registries with indexes of their own at the same time. One gets the store.
func TestManyAtOnce(t *testing.T) {
	stores(t, func(t *testing.T, store drivers.Driver) {
		var starts sync.WaitGroup
		started := make(chan *fixture, 8)
		for range cap(started) {
			database := filepath.Join(t.TempDir(), "index.db")
			starts.Go(func() {
				db, err := index.Open(t.Context(), index.Config{Database: database}, discard)
				if err != nil {
					t.Error(err)
					return
				}
				r, err := registry.Open(t.Context(), registry.Config{}, store, db, discard)
				if err == nil {
					started <- &fixture{r, store, db}
				} else if db.Close(); !errors.Is(err, registry.ErrRefused) {
					t.Error(err)
				}
			})
		}
		starts.Wait()
		if len(started) != 1 {
			t.Errorf("%d have started, want 1", len(started))
		}
		for range len(started) {
			(<-started).close(t)
		}
	})
}

// TestReadOnlyStore starts a registry on a store that cannot be written to.
func TestReadOnlyStore(t *testing.T) {
	store := drivertest.Faulty(mem.New(), func(op drivertest.Op) error {
		if op.Kind == drivertest.Commit {
			return os.ErrPermission
		}
		return nil
	})
	refused(t, store, sqliteFile(t), "written to")
}

// A network leads to a store, and can be cut: for all, or for what says who has the store.
type network struct {
	drivers.Driver
	all, leases atomic.Bool // whether it is cut
}

func newNetwork(store drivers.Driver) *network {
	n := new(network)
	n.Driver = drivertest.Faulty(store, func(op drivertest.Op) error {
		if n.all.Load() || n.leases.Load() && strings.HasPrefix(op.Key, "parfait/") {
			return drivertest.ErrInjected
		}
		return nil
	})
	return n
}
