package local

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/parfait-registry/parfait/drivers"
)

// A syncLog notes what is synced, by its path from the root. Temporary files are noted as "file".
type syncLog struct {
	mu     sync.Mutex
	synced []string                // mu guards synced
	fail   func(name string) error // mu guards fail: if not nil, the error of a sync
}

// logSyncs opens a driver whose syncs are noted from now on.
func logSyncs(t *testing.T) (*Driver, *syncLog) {
	folder := t.TempDir()
	d, l := openAt(t, folder), new(syncLog)
	noJournal(d)
	d.syncers = syncers{
		file: func(f *os.File) error {
			name := strings.TrimPrefix(strings.TrimPrefix(f.Name(), folder), "/")
			if strings.HasSuffix(name, tempSuffix) {
				name = "file"
			}
			return l.note(path.Clean(name))
		},
		data:   func(*os.File) error { return l.note("data") },
		mount:  func(*os.File) error { return l.note("mount") },
		system: func() { l.note("system") },
	}
	return d, l
}

// noJournal has d sync every object by itself.
func noJournal(d *Driver) {
	d.journal.open = func() (*os.File, error) { return nil, errNoRoom }
}

func (l *syncLog) note(name string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.synced = append(l.synced, name)
	if l.fail != nil {
		return l.fail(name)
	}
	return nil
}

// want checks what was synced since the last check, in order.
func (l *syncLog) want(t *testing.T, what string, want ...string) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if !slices.Equal(l.synced, want) {
		t.Errorf("%s: synced %q, want %q", what, l.synced, want)
	}
	l.synced = nil
}

const (
	fanout = "docker/registry/v2/blobs/sha256/ab"
	blob   = fanout + "/abcd/data"
	blob2  = fanout + "/abef/data"
	part   = "docker/registry/v2/repositories/r/_uploads/s/0"
	part2  = "docker/registry/v2/repositories/r/_uploads/s/1"
)

// TestSyncs_Budget holds the price of each operation, with nothing above a blob's own directory to be made.
func TestSyncs_Budget(t *testing.T) {
	ctx := t.Context()
	for _, tt := range []struct {
		name string
		do   func(d *Driver) error
		want []string
	}{
		{"create", func(d *Driver) error { return drivers.Put(ctx, d, blob2, nil) },
			[]string{"file", path.Dir(blob2), fanout}},
		{"create in a directory", func(d *Driver) error { return drivers.Put(ctx, d, blob+"2", nil) },
			[]string{"file", path.Dir(blob)}},
		{"replace", func(d *Driver) error { return drivers.Put(ctx, d, blob, nil) },
			[]string{"file", path.Dir(blob)}},
		{"compose", func(d *Driver) error { return d.Compose(ctx, blob2, part) },
			[]string{part, path.Dir(blob2), fanout}},
		{"compose over an object", func(d *Driver) error { return d.Compose(ctx, blob, part) },
			[]string{part, path.Dir(blob)}},
		{"compose of two", func(d *Driver) error { return d.Compose(ctx, blob2, part, part2) },
			[]string{"file", path.Dir(blob2), fanout}},
		{"stage", func(d *Driver) error { return drivers.StagePut(ctx, d, blob2, nil) }, nil},
		{"unstage", func(d *Driver) error { return d.Unstage(ctx, part) }, nil},
		{"delete", func(d *Driver) error { return d.Delete(ctx, blob) }, []string{fanout}},
		{"delete beside another", func(d *Driver) error { return d.Delete(ctx, part) }, []string{path.Dir(part)}},
		{"delete of several", func(d *Driver) error { return d.DeleteAll(ctx, blob, blob2, fanout+"/none/data", part) },
			[]string{fanout, path.Dir(part)}},
		{"delete absent", func(d *Driver) error { return d.Delete(ctx, blob2) }, []string{fanout}},
		{"sync", func(d *Driver) error { return d.Sync(ctx) }, []string{"system", "mount"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d, log := logSyncs(t)
			for _, key := range []string{fanout + "/other/data", blob, part, part2, "docker/registry/v2/repositories/x"} {
				put(t, d, key)
			}
			log.synced = nil
			if err := tt.do(d); err != nil {
				t.Fatal(err)
			}
			slices.Sort(log.synced) // DeleteAll has no order
			slices.Sort(tt.want)
			log.want(t, tt.name, tt.want...)
		})
	}
}

func TestSyncs_EveryNewDirectory(t *testing.T) {
	d, log := logSyncs(t)
	put(t, d, "a/b/c/data")
	log.want(t, "first", "file", "a/b/c", "a/b", "a", ".")
	put(t, d, "a/b/x/data")
	log.want(t, "second", "file", "a/b/x", "a/b")
}

// TestSyncs_OthersDirectories has directories that another writer made and has not synced, or will not.
func TestSyncs_OthersDirectories(t *testing.T) {
	d, log := logSyncs(t)
	first, err := d.Create(t.Context(), "a/b/1")
	if err != nil {
		t.Fatal(err)
	}
	put(t, d, "a/b/2")
	log.want(t, "while another writer has made the directories", "file", "a/b", "a", ".")
	if err := first.Commit(); err != nil {
		t.Fatal(err)
	}
	log.want(t, "the other writer", "file", "a/b")

	stage(t, d, "x/y/1")
	log.want(t, "stage")
	put(t, d, "x/y/2")
	log.want(t, "below staged directories", "file", "x/y", "x", ".")
	put(t, d, "x/y/3")
	log.want(t, "once they are synced", "file", "x/y")

	dropped, err := d.Create(t.Context(), "m/n/o")
	if err != nil {
		t.Fatal(err)
	}
	put(t, d, "m/1")
	if err := dropped.Close(); err != nil {
		t.Fatal(err)
	}
	log.want(t, "beside a writer that is dropped then", "file", "m", ".")
}

func TestSyncs_Sync(t *testing.T) {
	d, log := logSyncs(t)
	stage(t, d, "a/b/1")
	if err := d.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	log.want(t, "first sync", "system", "mount")
	put(t, d, "a/b/2")
	log.want(t, "below directories that were synced", "file", "a/b")
	if err := d.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	log.want(t, "second sync", "mount")
}

func TestSyncs_BoundsDirtyDirectories(t *testing.T) {
	d, log := logSyncs(t)
	for i := range maxDirty {
		d.dirs.mark(fmt.Sprint(i))
	}
	stage(t, d, "a/b")
	log.want(t, "stage", "system", "mount")
	if n := d.dirs.len(); n != 0 {
		t.Errorf("%d directories are still dirty", n)
	}
}

func TestSyncs_RemovedDirectoriesAreForgotten(t *testing.T) {
	d, _ := logSyncs(t)
	for range 3 {
		stage(t, d, "a/b/c/d")
		if err := d.Unstage(t.Context(), "a/b/c/d"); err != nil {
			t.Fatal(err)
		}
	}
	if got := d.dirs.all(); len(got) != 1 || got["."] == 0 {
		t.Errorf("dirty directories: got %v, want the root", got)
	}
}

// TestSyncs_Fail fails each sync of each operation in turn. The operation must fail, and must work when it is tried
// again with all the syncs that it then needs.
func TestSyncs_Fail(t *testing.T) {
	ctx := t.Context()
	broken := errors.New("broken disk")
	for _, tt := range []struct {
		name string
		do   func(d *Driver) error
		want []string // keys in the end
	}{
		{"create", func(d *Driver) error { return drivers.Put(ctx, d, "x/y/z", nil) }, []string{"a/1", "a/2", "x/y/z"}},
		{"compose", func(d *Driver) error { return d.Compose(ctx, "x/y/z", "a/1") }, []string{"a/2", "x/y/z"}},
		{"compose of two", func(d *Driver) error { return d.Compose(ctx, "x/y/z", "a/1", "a/2") },
			[]string{"a/1", "a/2", "x/y/z"}},
		{"delete", func(d *Driver) error { return d.Delete(ctx, "a/1") }, []string{"a/2"}},
		{"delete all", func(d *Driver) error { return d.DeleteAll(ctx, "a/1", "a/2") }, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for nth := 0; ; nth++ {
				d, log := logSyncs(t)
				put(t, d, "a/1")
				put(t, d, "a/2")
				var failed string
				log.synced = nil
				log.fail = func(name string) error {
					if failed == "" && len(log.synced) > nth {
						failed = name
						return broken
					}
					return nil
				}
				err := tt.do(d)
				if failed == "" {
					break
				}
				if !errors.Is(err, broken) {
					t.Fatalf("sync of %q failed: got error %v", failed, err)
				}
				log.synced = nil
				if err := tt.do(d); err != nil {
					t.Fatalf("again after the sync of %q failed: %v", failed, err)
				}
				if !slices.Contains(log.synced, failed) {
					t.Errorf("again after the sync of %q failed: synced only %q", failed, log.synced)
				}
				if got := keys(t, d); !slices.Equal(got, tt.want) {
					t.Errorf("after the sync of %q failed: got keys %q, want %q", failed, got, tt.want)
				}
			}
		})
	}
}

// A disk holds what a crash would leave: of a directory, the entries that it had when it was last synced.
type disk struct {
	root    uint64
	mu      sync.Mutex
	entries map[uint64]map[string]uint64 // mu guards entries: of each directory, by the number of its inode
	files   map[uint64]bool              // mu guards files: whose bytes are synced
	held    []*os.File                   // mu guards held: the directories, so that no inode comes back as another
}

// openOnDisk opens a driver whose files and directories are synced to a disk.
func openOnDisk(t *testing.T, folder string) (*Driver, *disk) {
	info, err := os.Stat(folder)
	if err != nil {
		t.Fatal(err)
	}
	k := &disk{root: inode(info), entries: make(map[uint64]map[string]uint64), files: make(map[uint64]bool)}
	t.Cleanup(func() {
		for _, f := range k.held {
			f.Close()
		}
	})
	d := openAt(t, folder)
	noJournal(d)
	d.syncers.file = k.sync
	return d, k
}

func inode(info fs.FileInfo) uint64 { return info.Sys().(*syscall.Stat_t).Ino }

// sync stands in for fsync.
func (k *disk) sync(f *os.File) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.IsDir() {
		k.files[inode(info)] = true
		return nil
	}
	list, err := f.ReadDir(-1)
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // which it is once the directory is removed
		return err
	}
	entries := make(map[string]uint64)
	for _, e := range list {
		var stat unix.Stat_t // of what is in f: another directory may have its name by now
		err := unix.Fstatat(int(f.Fd()), e.Name(), &stat, unix.AT_SYMLINK_NOFOLLOW)
		if err == unix.ENOENT {
			continue // the entry went meanwhile; as the error of fsync, it would say that f did
		}
		if err != nil {
			return err
		}
		entries[e.Name()] = stat.Ino
	}
	if k.entries[inode(info)] == nil {
		fd, err := unix.Dup(int(f.Fd()))
		if err != nil {
			return err
		}
		k.held = append(k.held, os.NewFile(uintptr(fd), f.Name()))
	}
	k.entries[inode(info)] = entries
	return nil
}

// holds reports whether key's object would be there after a crash.
func (k *disk) holds(key string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	at := k.root
	for name := range strings.SplitSeq(key, "/") {
		next, ok := k.entries[at][name]
		if !ok {
			return false
		}
		at = next
	}
	return k.files[at]
}

// TestSyncs_DirectoryMadeAnew deletes an object while others make its directory anew, and remove that with its parent
// when the delete is between the two.
func TestSyncs_DirectoryMadeAnew(t *testing.T) {
	ctx := t.Context()
	for range 20 { // DeleteAll has no order, and syncs x before a/b in every other run
		d, disk := openOnDisk(t, t.TempDir())
		for _, key := range []string{"a/b/1", "a/b/2", "a/c", "x/1", "x/2"} {
			put(t, d, key)
		}
		d.syncers.file = func(f *os.File) error {
			var err error
			switch path.Base(f.Name()) {
			case "x":
				err = errors.Join(d.Unstage(ctx, "a/b/2"), drivers.StagePut(ctx, d, "a/b/3", nil))
			case "b":
				err = errors.Join(d.Unstage(ctx, "a/b/3"), d.Unstage(ctx, "a/c"))
			}
			return cmp.Or(err, disk.sync(f))
		}
		if err := d.DeleteAll(ctx, "a/b/1", "x/1"); err != nil {
			t.Fatal(err)
		}
		if disk.holds("a/b/1") {
			t.Fatal("a/b/1 was deleted and is on the disk")
		}
	}
}

// TestSyncs_Crash creates, composes and deletes in shared directories from many sides, while others stage there. What
// was acknowledged must be on a disk that keeps nothing but what was synced.
func TestSyncs_Crash(t *testing.T) {
	folder := t.TempDir()
	d, disk := openOnDisk(t, folder)
	g, ctx := errgroup.WithContext(t.Context())
	for side := range 8 {
		g.Go(func() error {
			for i := range 100 {
				key := fmt.Sprintf("a/%d/%d/%d", i%2, (side+i)%3, side)
				staged := fmt.Sprintf("a/%d/s/%d", i%2, side)
				if err := drivers.StagePut(ctx, d, staged, nil); err != nil {
					return err
				}
				var err error
				if i%3 == 0 {
					err = d.Compose(ctx, key, staged)
				} else {
					err = drivers.Put(ctx, d, key, nil)
				}
				if err != nil {
					return err
				}
				if !disk.holds(key) {
					return fmt.Errorf("%s was created and is not on the disk", key)
				}
				if err := d.Unstage(ctx, staged); err != nil {
					return err
				}
				if err := d.DeleteAll(ctx, key, fmt.Sprintf("a/%d/none", side%2)); err != nil {
					return err
				}
				if disk.holds(key) {
					return fmt.Errorf("%s was deleted and is on the disk", key)
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	if err := d.DeleteAll(t.Context(), "a/0/s/none", "a/1/s/none"); err != nil { // which an Unstage of nothing leaves
		t.Fatal(err)
	}
	if got := files(t, folder); len(got) != 0 {
		t.Errorf("got files %q, want none", got)
	}
}
