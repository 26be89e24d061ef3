package registry_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/drivers/local"
	"github.com/parfait-registry/parfait/drivers/mem"
	"github.com/parfait-registry/parfait/index"
	"github.com/parfait-registry/parfait/integration/harness"
	"github.com/parfait-registry/parfait/registry"
)

func TestMain(m *testing.M) { os.Exit(harness.Run(m)) }

var discard = slog.New(slog.DiscardHandler)

// A place is a store and the database of an index, which outlive a registry. An empty database is a temporary one.
type place struct {
	store    drivers.Driver
	database string
}

// places runs a test in an empty place of each kind.
func places(t *testing.T, test func(t *testing.T, p place)) {
	kinds(t, func(t *testing.T, empty func() place) { test(t, empty()) })
}

// databases runs a test on each database, where it does not matter what the store is.
func databases(t *testing.T, test func(t *testing.T, p place)) {
	t.Run("sqlite", func(t *testing.T) { test(t, place{store: mem.New()}) })
	t.Run("postgres", func(t *testing.T) { test(t, place{mem.New(), harness.SharedPostgreSQL(t).NewDatabase(t)}) })
}

// kinds runs a test for each kind of place. The test makes its places itself.
func kinds(t *testing.T, test func(t *testing.T, empty func() place)) {
	t.Run("mem", func(t *testing.T) {
		test(t, func() place { return place{mem.New(), sqliteFile(t)} })
	})
	t.Run("local", func(t *testing.T) {
		test(t, func() place { return place{openLocal(t), sqliteFile(t)} })
	})
	t.Run("postgres", func(t *testing.T) {
		p, schemas := harness.SharedPostgreSQL(t), 0
		database := p.NewDatabase(t)
		test(t, func() place { // a schema is made sooner than a database
			schemas++
			name := fmt.Sprint("place", schemas)
			p.Query(t, database, "create schema "+name)
			return place{mem.New(), database + "&search_path=" + name}
		})
	})
}

func sqliteFile(t testing.TB) string { return filepath.Join(t.TempDir(), "index.db") }

// A fixture is a registry on a store and an index that outlive it.
type fixture struct {
	*registry.Registry
	store drivers.Driver
	db    *index.DB
}

// open starts a registry; the caller closes it.
func open(t testing.TB, cfg registry.Config, store drivers.Driver, ic index.Config) *fixture {
	t.Helper()
	return openWith(t, cfg, store, ic, discard)
}

func openWith(t testing.TB, cfg registry.Config, store drivers.Driver, ic index.Config, log *slog.Logger) *fixture {
	t.Helper()
	db, err := index.Open(t.Context(), ic, log)
	if err != nil {
		t.Fatal(err)
	}
	r, err := registry.Open(t.Context(), cfg, store, db, log)
	if err != nil {
		t.Fatal(err)
	}
	return &fixture{r, store, db}
}

func (f *fixture) close(t testing.TB) {
	t.Helper()
	if err := errors.Join(f.Close(context.Background()), f.db.Close()); err != nil {
		t.Error(err)
	}
}

// abandon ends the registry without bringing the store up to date, as a crash would.
func (f *fixture) abandon(t testing.TB) {
	t.Helper()
	f.Abandon()
	if err := f.db.Close(); err != nil {
		t.Error(err)
	}
}

// flush brings the store up to date.
func (f *fixture) flush(t testing.TB) {
	t.Helper()
	if err := f.Flush(context.Background()); err != nil {
		t.Error(err)
	}
}

// settle waits until the store has all that the index has noted.
func (f *fixture) settle(t testing.TB) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		left, err := f.db.Outbox(t.Context(), 0, 1)
		if err != nil {
			t.Fatal(err)
		}
		if len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not settled: %v", left)
		}
	}
}

// adopted waits until all that the store had at the start is adopted.
func (f *fixture) adopted(t testing.TB) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); f.Adoption().UnderWay; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not adopted: %+v", f.Adoption())
		}
	}
}

// start is open until the end of the test, which finds index and store in agreement.
func start(t testing.TB, cfg registry.Config, p place) *fixture {
	t.Helper()
	f := open(t, cfg, p.store, index.Config{Database: p.database})
	t.Cleanup(func() {
		if err := f.Close(context.Background()); err != nil {
			t.Error(err)
		}
		checkAgreement(t, f.store, f.db)
		if err := f.db.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

// checkAgreement finds the facts of db in the store, no others there, and each object under its own digest.
func checkAgreement(t testing.TB, store drivers.Driver, db *index.DB) {
	t.Helper()
	ctx := context.Background()
	rebuilt, err := index.Open(ctx, index.Config{}, discard)
	if err != nil {
		t.Fatal(err)
	}
	defer rebuilt.Close()
	report, err := registry.Reindex(ctx, store, rebuilt, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(report.Problems) > 0 {
		t.Errorf("broken things in the store: %q", report.Problems)
	}
	if got, want := facts(t, rebuilt), facts(t, db); !slices.Equal(got, want) {
		t.Errorf("the store shows\n%s\nthe index has\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for object, err := range store.List(ctx, "docker/registry/v2/blobs/", "") {
		if err != nil {
			t.Fatal(err)
		}
		parts := strings.Split(object.Key, "/")
		data, err := drivers.ReadAll(ctx, store, object.Key, object.Size)
		if err != nil {
			t.Fatal(err)
		}
		if got := digest.Algorithm(parts[4]).FromBytes(data).Encoded(); got != parts[6] {
			t.Errorf("%s holds what has the digest %s", object.Key, got)
		}
	}
}

func facts(t testing.TB, db *index.DB) (all []string) {
	t.Helper()
	for fact, err := range db.Facts(context.Background()) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, fact)
	}
	return all
}

func openLocal(t testing.TB) drivers.Driver {
	t.Helper()
	d, err := local.Open(local.Config{Path: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// push is the shortest push of a blob.
func push(t testing.TB, r *registry.Registry, repo registry.Name, data []byte) v1.Descriptor {
	t.Helper()
	d := descriptor(data)
	if _, err := r.PushBlob(t.Context(), repo, d.Digest, chunk(data)); err != nil {
		t.Fatal(err)
	}
	return d
}

func random(n int) []byte {
	data := make([]byte, n)
	rand.Read(data)
	return data
}

// code is the distribution-spec's code of err.
func code(err error) registry.Code {
	if e, ok := errors.AsType[*registry.Error](err); ok {
		return e.Code
	}
	return ""
}

func read(t testing.TB, r *registry.Registry, repo registry.Name, d digest.Digest) []byte {
	t.Helper()
	b, err := r.Blob(t.Context(), repo, d)
	if err != nil {
		t.Fatal(err)
	}
	body := r.OpenBlob(t.Context(), b)
	defer body.Close()
	data, err := io.ReadAll(body)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// A sweeping driver counts how often it was asked to sweep.
type sweeping struct {
	drivers.Driver
	sweeps atomic.Int64
}

func (s *sweeping) Sweep(_ context.Context, age time.Duration) (int, error) {
	if age < 24*time.Hour {
		return 0, errors.New("an upload may pause for so long")
	}
	s.sweeps.Add(1)
	return 1, nil
}

func TestSweeps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &sweeping{Driver: mem.New()}
		f := open(t, registry.Config{}, store, index.Config{})
		time.Sleep(48 * time.Hour)
		synctest.Wait()
		if n := store.sweeps.Load(); n != 2 {
			t.Errorf("swept %d times in two days", n)
		}
		f.close(t)
	})
}

// TestReadOnlyPauses lets uploads expire only while that is allowed.
func TestReadOnlyPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := registry.Config{UploadTTL: time.Hour}
		f := open(t, cfg, mem.New(), index.Config{})
		s, err := f.StartUpload(t.Context(), "a", digest.SHA256)
		if err != nil {
			t.Fatal(err)
		}
		readOnly := cfg
		readOnly.ReadOnly = true
		f.Reload(readOnly)
		if err := f.Writable(); code(err) != registry.Unsupported {
			t.Errorf("got %v, want the code UNSUPPORTED", err)
		}
		time.Sleep(3 * time.Hour)
		synctest.Wait()
		if _, err := f.Upload(t.Context(), "a", s.ID); err != nil {
			t.Errorf("read-only: %v", err)
		}
		f.Reload(cfg)
		if err := f.Writable(); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if _, err := f.Upload(t.Context(), "a", s.ID); code(err) != registry.BlobUploadUnknown {
			t.Errorf("got %v, want the upload to have expired", err)
		}
		f.close(t)
	})
}
