package integration

import (
	"encoding/binary"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/parfait-registry/parfait/index"
	"github.com/parfait-registry/parfait/integration/harness"
)

// TestPowerCut kills the server and then damages, in every way that a power cut may, the files that were written without
// a sync: those of which the index notes that the store need not show them yet, and the small blobs that are in a
// journal. Whatever runs next has to bring them back.
func TestPowerCut(t *testing.T) {
	store := filepath.Join(t.TempDir(), "store")
	known := pushThenKill(t, store)
	damage(t, store)
	for _, tt := range []struct {
		name string
		do   func(t *testing.T, store string)
		lost bool // whether facts are lost for good
	}{
		{"the index is gone, too", dropIndex, true}, // or else there was no damage
		{"serve", func(*testing.T, string) {}, false},
		{"serve, then the index is gone", func(t *testing.T, store string) {
			serveOnce(t, store)
			checkIndex(t, store)
			dropIndex(t, store)
		}, false},
		{"reindex", reindexStore, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			copied := filepath.Join(t.TempDir(), "store")
			if err := os.CopyFS(copied, os.DirFS(store)); err != nil {
				t.Fatal(err)
			}
			tt.do(t, copied)
			s := harness.StartParfait(t, quiet(copied))
			c := newRawClient(s.URL)
			defer c.close()
			errs := known.clone().look(t.Context(), c, known.facts)
			if len(errs) > 0 != tt.lost {
				t.Errorf("got %d of %d facts lost, such as %v", len(errs), len(known.facts), errs[:min(len(errs), 5)])
			}
			stopWell(t, s)
			adoptAll(t, quiet(copied))
			checkIndex(t, copied)
		})
	}
}

func quiet(store string) harness.Options {
	return harness.Options{Storage: store, Env: []string{"LOGLEVEL=warn"}}
}

// serveOnce starts the server and stops it.
func serveOnce(t *testing.T, store string) {
	t.Helper()
	if status := harness.StartParfait(t, quiet(store)).Stop(); status != 0 {
		t.Errorf("stop: got exit status %d, want 0", status)
	}
}

func dropIndex(t *testing.T, store string) {
	t.Helper()
	if err := os.RemoveAll(filepath.Join(store, "parfait")); err != nil {
		t.Fatal(err)
	}
}

func reindexStore(t *testing.T, store string) {
	t.Helper()
	out, status := harness.RunParfait(t, quiet(store), "reindex")
	if status != 0 {
		t.Errorf("reindex: got exit status %d, want 0\n%s", status, out)
	}
	t.Log(strings.TrimSpace(out))
}

// pushThenKill fills a store in two sessions, of which the second one ends with a kill.
func pushThenKill(t *testing.T, store string) *ledger {
	t.Helper()
	k := newKiller(t, 1)
	k.store = store
	work := func(c *killClient, web *rawClient) []error {
		for range 60 {
			if err := c.work(t.Context(), web); err != nil {
				return []error{err}
			}
		}
		return nil
	}
	k.clients = k.clients[:1]
	s := k.start()
	k.each(s, work)
	k.stopAndCheck(s)
	s = k.start()
	k.each(s, work)
	s.Kill()
	if t.Failed() {
		t.FailNow()
	}
	return k.clients[0].ledger
}

// damage loses what the entries of the outbox stand for, in turn: the file, its content, or its directories. If there
// is no file, because the fact is none any more, an old one comes back.
func damage(t *testing.T, store string) {
	t.Helper()
	entries := readOutbox(t, store)
	r := rand.New(rand.NewPCG(1, 1))
	count := make(map[string]int)
	for _, e := range entries {
		for _, file := range shown(t, store, e) {
			count[lose(t, file, r.IntN(3))]++
		}
	}
	blobs := readJournal(t, store)
	for _, key := range blobs {
		count[lose(t, filepath.Join(store, key), r.IntN(3))]++
	}
	t.Logf("%d entries in the outbox, %d blobs in the journal: %v", len(entries), len(blobs), count)
	if len(entries) == 0 || len(blobs) == 0 {
		t.Fatal("nothing in the outbox, or in the journal")
	}
}

// readJournal returns the keys of the small blobs that are in a journal and not necessarily anywhere else. It reads its
// files itself: they begin with 16 bytes of name and the number that valid records have in their second field.
func readJournal(t *testing.T, store string) (keys []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(store, "journal.*.tmp"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		seq, data := string(data[16:24]), data[24:]
		for len(data) >= 20 && seq != "\x00\x00\x00\x00\x00\x00\x00\x00" && string(data[4:12]) == seq {
			key, bytes := binary.LittleEndian.Uint32(data[12:]), binary.LittleEndian.Uint32(data[16:])
			keys = append(keys, string(data[20:20+key]))
			data = data[20+key+bytes:]
		}
	}
	return keys
}

// readOutbox opens the index as the next server would.
func readOutbox(t *testing.T, store string) []index.Entry {
	t.Helper()
	cfg := index.Config{Database: filepath.Join(store, "parfait", "index.db")}
	db, err := index.Open(t.Context(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	entries, err := db.Outbox(t.Context(), 0, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	return entries
}

// shown returns the files with which the store shows a fact, in the layout of registry:2.
func shown(t *testing.T, store string, e index.Entry) []string {
	t.Helper()
	root := filepath.Join(store, "docker/registry/v2")
	repo := filepath.Join(root, "repositories", e.Repo)
	link := filepath.Join(strings.Replace(e.Ref, ":", "/", 1), "link")
	switch e.Kind {
	case index.Layer:
		return []string{filepath.Join(repo, "_layers", link)}
	case index.Revision:
		files := []string{filepath.Join(repo, "_manifests/revisions", link)}
		if _, err := os.Stat(files[0]); err == nil { // else its bytes may be those of a manifest elsewhere
			d := digest.Digest(e.Ref)
			files = append(files, filepath.Join(root, "blobs", d.Algorithm().String(), d.Encoded()[:2], d.Encoded(), "data"))
		}
		return files
	case index.Tag:
		return []string{filepath.Join(repo, "_manifests/tags", e.Ref, "current/link")}
	}
	t.Fatalf("entry of the unknown kind %d", e.Kind)
	return nil
}

// lose damages a file in one of three ways and says how.
func lose(t *testing.T, file string, way int) string {
	t.Helper()
	err := error(nil)
	what := "file lost"
	switch _, statErr := os.Stat(file); {
	case statErr != nil:
		what = "old file came back"
		if err = os.MkdirAll(filepath.Dir(file), 0o777); err == nil {
			err = os.WriteFile(file, []byte(digest.FromString("an old one")), 0o666)
		}
	case way == 0:
		what = "content lost"
		err = os.Truncate(file, 0)
	case way == 1 && strings.HasSuffix(file, "link"):
		what = "directory lost"
		err = os.RemoveAll(filepath.Dir(file))
	default:
		err = os.Remove(file)
	}
	if err != nil {
		t.Fatal(err)
	}
	return what
}
