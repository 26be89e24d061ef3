package local

import (
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"strings"
	"sync"
)

// dirtyDirs knows the directories in which a directory was made since they were last synced. An object is durable once
// its file, the directory that the file is in, and every dirty directory above are synced; whoever made them dirty,
// since an object is as lost with a directory that another writer made and has not synced yet.
//
// What else changes in a directory is not noted. Who makes or removes a file syncs the directory, or the first one
// above that is still there, or has leave not to (see [drivers.Stager]).
type dirtyDirs struct {
	mu     sync.Mutex
	marks  map[string]int64 // mu guards marks: dirty directory to when it became so, as a count of events
	count  int64            // mu guards count
	making map[string]int   // mu guards making: directory to how many are just being made in it, which makes it dirty, too

	deletes int // mu guards deletes: how many have removed a file, or are about to, and have not synced that yet
}

// beingMade is the mark of a directory that is dirty because something is just being made in it.
const beingMade = -1

func newDirtyDirs() *dirtyDirs {
	return &dirtyDirs{marks: make(map[string]int64), making: make(map[string]int)}
}

// mkdir makes dir. That it exists is no error; that its parent does not is [fs.ErrNotExist].
func (t *dirtyDirs) mkdir(root folder, dir string) error {
	parent := path.Dir(dir)
	t.mu.Lock()
	t.making[parent]++ // before anybody can see dir
	t.mu.Unlock()
	err := root.Mkdir(dir)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.making[parent]--; t.making[parent] == 0 {
		delete(t.making, parent)
	}
	if err == nil {
		t.mark(parent)
	} else if errors.Is(err, fs.ErrExist) {
		err = nil
	}
	return err
}

// rmdir removes dir if it is an empty directory, and reports whether it is gone. A mark of it goes as well, lest marks
// of what comes and goes add up; not one that is newer, and so another directory's of that name. A delete that is under
// way may need it: where a directory that it looks for was made anew, nothing but the mark above says that the old one
// went. So it goes to the parent then.
func (t *dirtyDirs) rmdir(root folder, dir string) bool {
	t.mu.Lock()
	mark := t.marks[dir]
	t.mu.Unlock()
	err := root.Rmdir(dir)
	if err == nil && mark != 0 {
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.marks[dir] == mark {
			delete(t.marks, dir)
		}
		if t.deletes > 0 {
			t.mark(path.Dir(dir))
		}
	}
	return err == nil || errors.Is(err, fs.ErrNotExist)
}

func (t *dirtyDirs) beginDelete() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.deletes++
}

func (t *dirtyDirs) endDelete() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.deletes--
}

// mark notes that dir is dirty from now on. The caller holds mu.
func (t *dirtyDirs) mark(dir string) {
	t.count++
	t.marks[dir] = t.count
}

// dirty returns dir's mark, or 0 if it is clean.
func (t *dirtyDirs) dirty(dir string) int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	if mark := t.marks[dir]; mark != 0 || t.making[dir] == 0 {
		return mark
	}
	return beingMade
}

// all returns the marks of all dirty directories.
func (t *dirtyDirs) all() map[string]int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return maps.Clone(t.marks)
}

// len returns the number of dirty directories.
func (t *dirtyDirs) len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.marks)
}

// clean notes that directories were synced after they were found with these marks. Those that have changed since
// stay dirty.
func (t *dirtyDirs) clean(marks map[string]int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for dir, mark := range marks {
		if t.marks[dir] == mark {
			delete(t.marks, dir)
		}
	}
}

// makeDirs makes dir and what is missing above it. It fails with [fs.ErrNotExist] if someone removes one meanwhile, or
// if the folder itself is gone: to make that would be to write beside a disk that is not mounted.
func (d *Driver) makeDirs(dir string) error {
	if dir == "." {
		return fs.ErrNotExist
	}
	err := d.dirs.mkdir(d.root, dir)
	if parent := path.Dir(dir); parent != "." && errors.Is(err, fs.ErrNotExist) {
		if err := d.makeDirs(parent); err != nil {
			return err
		}
		err = cmp.Or(d.dirs.mkdir(d.root, dir), d.makeSiblings(dir))
	}
	return err
}

// makeSiblings makes the 256 directories over which a layout spreads its objects as soon as it makes the first of them,
// as in blobs/sha256/ab. So the directory above is synced once, and not for the first object in each.
func (d *Driver) makeSiblings(dir string) error {
	parent, name := path.Split(dir)
	digits, err := hex.DecodeString(name)
	if err != nil || len(digits) != 1 || !strings.HasPrefix(path.Base(parent), "sha") {
		return nil
	}
	for i := range 256 {
		if err := d.dirs.mkdir(d.root, fmt.Sprintf("%s%02x", parent, i)); err != nil {
			return err
		}
	}
	return nil
}

// prune removes dir if it is empty, and its parents likewise up to the root, which stays. What cannot be removed, such
// as a mount point, stays. It returns the first directory that is still there.
func (d *Driver) prune(dir string) string {
	for dir != "." && d.dirs.rmdir(d.root, dir) {
		dir = path.Dir(dir)
	}
	return dir
}

// syncDirs makes durable that a file came to dir or went from it. If dir itself is gone, it went with the file, and
// that it did is what has to be synced. If it was made anew, the directory above is dirty, or was synced since.
func (d *Driver) syncDirs(dir string) error {
	for changed := true; ; dir = path.Dir(dir) {
		mark := d.dirs.dirty(dir)
		if changed || mark != 0 {
			err := d.syncDir(dir)
			changed = absent(err)
			if err != nil && !changed {
				return err
			}
			if err == nil {
				d.dirs.clean(map[string]int64{dir: mark})
			}
		}
		if dir == "." {
			return nil
		}
	}
}

func (d *Driver) syncDir(dir string) error {
	f, err := d.root.OpenDir(dir)
	if err != nil {
		return err
	}
	return cmp.Or(d.syncers.file(f), f.Close())
}
