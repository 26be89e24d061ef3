package local

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/parfait-registry/parfait/drivers"
)

// A slate holds what a power cut would leave of a folder: the bytes of a journal when it was last synced, the files of a
// directory when that was, and all files when the file system was.
type slate struct {
	folder string
	mu     sync.Mutex
	files  map[string][]byte // mu guards files: by their names below the folder
}

// openOnSlate opens a driver with a journal, whose syncs go to a slate.
func openOnSlate(t *testing.T) (*Driver, *slate) {
	s := &slate{folder: t.TempDir(), files: make(map[string][]byte)}
	d := openAt(t, s.folder)
	d.syncers = syncers{
		file:   func(f *os.File) error { return s.sync(s.name(f)) },
		data:   func(f *os.File) error { return s.keep(s.name(f)) },
		mount:  func(*os.File) error { return s.sync("") },
		system: func() {},
	}
	return d, s
}

func (s *slate) name(f *os.File) string {
	return strings.TrimPrefix(strings.TrimPrefix(f.Name(), s.folder), "/")
}

// keep takes over the bytes of a file.
func (s *slate) keep(name string) error {
	data, err := os.ReadFile(filepath.Join(s.folder, name))
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files[name] = data
	return nil
}

// sync takes over the objects in dir, or in the whole folder if that is empty. Of a file by itself it takes nothing: it
// has no name yet that would be found again.
func (s *slate) sync(dir string) error {
	if isTemp(dir) {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for name := range s.files {
		child, below := strings.CutPrefix(name, strings.TrimPrefix(dir+"/", "./"))
		child, _, _ = strings.Cut(child, "/")
		_, err := os.Lstat(filepath.Join(s.folder, dir, child))
		if !isTemp(name) && (dir == "" || below && errors.Is(err, fs.ErrNotExist)) {
			delete(s.files, name)
		}
	}
	return filepath.WalkDir(filepath.Join(s.folder, dir), func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) || err == nil && (e.IsDir() || isTemp(path)) {
			return nil
		}
		name := strings.TrimPrefix(path, s.folder+"/")
		if err != nil || dir != "" && filepath.Dir(name) != dir {
			return err
		}
		data, err := os.ReadFile(path)
		if err == nil {
			s.files[name] = data
		}
		return err
	})
}

// powerCut opens a driver on what is left.
func (s *slate) powerCut(t *testing.T) *Driver {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	folder := t.TempDir()
	for name, data := range s.files {
		path := filepath.Join(folder, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	return openAt(t, folder)
}

// TestJournal_PowerCut creates, replaces, composes and deletes, and cuts the power after any number of operations. What
// was acknowledged last must be there, and nothing else.
func TestJournal_PowerCut(t *testing.T) {
	for seed := range uint64(40) {
		random := rand.New(rand.NewPCG(seed, 0))
		d, slate := openOnSlate(t)
		want := make(map[string]string)
		for i := range 1 + random.IntN(40) {
			key, other := fmt.Sprintf("a/%d/data", random.IntN(4)), fmt.Sprintf("a/%d/data", random.IntN(4))
			text := fmt.Sprintf("%d %d", seed, i)
			var err error
			switch random.IntN(6) {
			case 0, 1, 2:
				err = drivers.Put(t.Context(), d, key, []byte(text))
				want[key] = text
			case 3:
				text += strings.Repeat("x", smallMax)
				err = drivers.Put(t.Context(), d, key, []byte(text))
				want[key] = text
			case 4:
				err = d.DeleteAll(t.Context(), key, other)
				delete(want, key)
				delete(want, other)
			case 5:
				err = errors.Join(drivers.StagePut(t.Context(), d, "staged", []byte(text)), d.Compose(t.Context(), key, "staged"))
				want[key] = text
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		after := slate.powerCut(t)
		for key, text := range want {
			if got, err := drivers.ReadAll(t.Context(), after, key, 1<<20); string(got) != text || err != nil {
				t.Errorf("seed %d, %s: got %.20q, %v, want %.20q", seed, key, got, err, text)
			}
		}
		for _, key := range keys(t, after) {
			if _, ok := want[key]; !ok && key != "staged" {
				t.Errorf("seed %d: %s came back", seed, key)
			}
		}
	}
}

// TestJournal_Shared has many writers at once, whose objects are on the slate whenever they are acknowledged, with
// fewer syncs than objects.
func TestJournal_Shared(t *testing.T) {
	d, slate := openOnSlate(t)
	var mu sync.Mutex
	syncs := 0
	d.syncers.data = func(f *os.File) error {
		mu.Lock()
		syncs++
		mu.Unlock()
		return slate.keep(slate.name(f))
	}
	const writers, each = 16, 20
	g, ctx := errgroup.WithContext(t.Context())
	for w := range writers {
		g.Go(func() error {
			for i := range each {
				if err := drivers.Put(ctx, d, fmt.Sprintf("%d/%d", w, i), fmt.Append(nil, w, i)); err != nil {
					return err
				}
				if w == 0 && i%7 == 0 {
					if err := d.Sync(ctx); err != nil {
						return err
					}
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	after := slate.powerCut(t)
	for w := range writers {
		for i := range each {
			wantObject(t, after, fmt.Sprintf("%d/%d", w, i), fmt.Sprint(w, i))
		}
	}
	if syncs >= writers*each {
		t.Errorf("%d syncs for %d objects", syncs, writers*each)
	}
}

// TestJournal_Torn damages the journal as a power cut may what was not synced: the records before it hold.
func TestJournal_Torn(t *testing.T) {
	damages := map[string]func([]byte) []byte{
		"cut":       func(b []byte) []byte { return b[:len(b)-3] },
		"cut early": func(b []byte) []byte { return b[:len(b)-recordHeader-4] },
		"flipped":   func(b []byte) []byte { b[len(b)-1] ^= 1; return b },
		"zeros":     func(b []byte) []byte { return append(b[:len(b)-10], make([]byte, 10)...) },
	}
	for name, damage := range damages {
		t.Run(name, func(t *testing.T) {
			d, slate := openOnSlate(t)
			put(t, d, "a/first")
			put(t, d, "a/second")
			for name, data := range slate.files {
				if isJournal(name) {
					slate.files[name] = damage(data)
				}
			}
			after := slate.powerCut(t)
			wantObject(t, after, "a/first", "a/first")
			if _, err := after.Stat(t.Context(), "a/second"); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("a torn record: got %v, want none", err)
			}
		})
	}
}

// A segment that is used again holds records of its former life behind the new ones.
func TestJournal_UsedAgain(t *testing.T) {
	d, slate := openOnSlate(t)
	for range 3 {
		put(t, d, "a/long/name")
		put(t, d, "a/long/other")
		if err := d.DeleteAll(t.Context(), "a/long/name", "a/long/other"); err != nil {
			t.Fatal(err)
		}
	}
	put(t, d, "a")
	if got := keys(t, slate.powerCut(t)); len(got) != 1 || got[0] != "a" {
		t.Errorf("got %q, want a alone", got)
	}
	if n := len(d.journal.files()); n > 2 {
		t.Errorf("%d segments, want at most 2", n)
	}
}

func TestJournal_NoRoom(t *testing.T) {
	d, log := logSyncs(t)
	d.journal.open = d.newSegmentFile
	put(t, d, "a/1")
	log.want(t, "first", "file", ".", "data")
	d.journal.active.size = segmentMax
	put(t, d, "a/2")
	log.want(t, "without room", "file", "a", ".")
	if err := d.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	log.want(t, "sync", "system", "mount", "data")
	put(t, d, "a/3")
	log.want(t, "with room again", "data")
	if err := drivers.Put(t.Context(), d, "a/4", make([]byte, smallMax+1)); err != nil {
		t.Fatal(err)
	}
	log.want(t, "a large object", "file", "a")
}

// A journal whose sync fails costs no object: it is synced by itself.
func TestJournal_SyncFails(t *testing.T) {
	d, log := logSyncs(t)
	d.journal.open = d.newSegmentFile
	log.fail = func(name string) error {
		if name == "data" {
			return errors.New("broken disk")
		}
		return nil
	}
	put(t, d, "a/1")
	log.want(t, "first", "file", ".", "data", "file", "a", ".")
	put(t, d, "a/2")
	log.want(t, "second", "file", "a")
	if err := d.Delete(t.Context(), "a/1"); err == nil {
		t.Error("a delete was acknowledged whose object the journal may bring back")
	}
	log.fail = nil
	if err := d.Delete(t.Context(), "a/1"); err != nil {
		t.Error(err)
	}
	wantObject(t, d, "a/2", "a/2")
}

func TestJournal_BoundsDirtyDirectories(t *testing.T) {
	d := openAt(t, t.TempDir())
	for i := range maxDirty {
		d.dirs.mark(fmt.Sprint(i))
	}
	put(t, d, "a/b")
	if n := d.dirs.len(); n != 0 {
		t.Errorf("%d directories are still dirty", n)
	}
}

// The journal of a process that lives is not another one's to replay. One that was closed leaves none.
func TestJournal_Processes(t *testing.T) {
	folder := t.TempDir()
	d := openAt(t, folder)
	put(t, d, "a")
	journals := func() []string {
		names, err := filepath.Glob(filepath.Join(folder, journalPrefix+"*"))
		if err != nil {
			t.Fatal(err)
		}
		return names
	}
	before := journals()
	other := openAt(t, folder)
	if got := journals(); len(before) != 1 || len(got) != 1 {
		t.Errorf("got journals %q, then %q, want one", before, got)
	}
	if n, err := other.Sweep(context.Background(), 0); n != 0 || err != nil {
		t.Errorf("sweep: got %d, %v", n, err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if got := journals(); len(got) != 0 {
		t.Errorf("after close: got %q", got)
	}
	wantObject(t, other, "a", "a")
}

// Whatever a journal holds, Open reports it or goes on.
func FuzzReplay(f *testing.F) {
	record := newRecord("a/b")
	record = append(record, "bytes"...)
	f.Add(bytes.Clone(record))
	f.Fuzz(func(t *testing.T, data []byte) {
		folder := t.TempDir()
		header := append([]byte(segmentMagic), 1, 0, 0, 0, 0, 0, 0, 0)
		if err := os.WriteFile(filepath.Join(folder, "journal.x.tmp"), append(header, data...), 0o600); err != nil {
			t.Fatal(err)
		}
		d, err := Open(Config{Path: folder})
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	})
}
