package local

import (
	"context"
	"io"
	"io/fs"
	"iter"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/parfait-registry/parfait/drivers"
)

// readDirBatch is how many directory entries are read at once.
const readDirBatch = 1024

// List implements [drivers.Driver]. Objects that come and go meanwhile may or may not be among those it yields. Files
// that no key can name are skipped.
func (d *Driver) List(ctx context.Context, prefix, after string) iter.Seq2[drivers.Object, error] {
	return func(yield func(drivers.Object, error) bool) {
		l := lister{ctx: ctx, d: d, prefix: prefix, after: after, wanted: isKey, yield: yield}
		l.walk(prefix[:strings.LastIndexByte(prefix, '/')+1])
	}
}

// Sweep implements [drivers.Sweeper]: it removes the temporary files under which writers that a crash ended have left
// their objects. A writer that outlives its file fails, and no harm is done.
func (d *Driver) Sweep(ctx context.Context, age time.Duration) (int, error) {
	var removed int
	var failed error
	limit := time.Now().Add(-age)
	l := lister{ctx: ctx, d: d, wanted: isLeftOver, yield: func(o drivers.Object, err error) bool {
		if err == nil && o.ModTime.Before(limit) {
			if err = d.root.Unlink(o.Key); absent(err) {
				err = nil // its writer was alive
			}
			d.prune(path.Dir(o.Key))
			removed++
		}
		failed = err
		return err == nil
	}}
	l.walk("")
	return removed, failed
}

// A lister yields the files that it wants in byte order of their names.
type lister struct {
	ctx           context.Context // of the call that the lister serves
	d             *Driver
	prefix, after string
	wanted        func(name string) bool
	yield         func(drivers.Object, error) bool
}

func isKey(name string) bool { return drivers.ValidKey(name) == nil }

// isLeftOver reports whether name is that of a writer's file. The journal of a process may be old and needed.
func isLeftOver(name string) bool { return isTemp(name) && !isJournal(name) }

func isTemp(name string) bool { return strings.HasSuffix(name, tempSuffix) }

// An entry is a file, or a directory whose name ends in a slash: so they sort as the keys do that they stand for, and
// a-b comes before a/b.
type entry struct {
	name    string // from the root on
	size    int64
	modTime time.Time
}

// walk yields what is in dir, which is "" or ends in a slash, and below. It reports whether to go on.
func (l *lister) walk(dir string) bool {
	entries, err := l.read(dir)
	if err != nil {
		l.yield(drivers.Object{}, failure("list", l.prefix, err))
		return false
	}
	for _, e := range entries {
		more := false
		if strings.HasSuffix(e.name, "/") {
			more = l.walk(e.name)
		} else {
			more = l.yield(drivers.Object{Key: e.name, Size: e.size, ModTime: e.modTime}, nil)
		}
		if !more {
			return false
		}
	}
	return true
}

// read returns the sorted entries of dir that are wanted or may lead to such. A directory that is not there is empty.
func (l *lister) read(dir string) ([]entry, error) {
	if err := l.ctx.Err(); err != nil {
		return nil, err
	}
	if dir != "" && !isKey(dir+"x") {
		return nil, nil // no key begins like this
	}
	f, err := l.d.root.OpenDir(dir)
	if absent(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var entries []entry
	for {
		batch, readErr := f.ReadDir(readDirBatch)
		for _, e := range batch {
			if entries, err = l.appendEntry(entries, dir, e); err != nil {
				return nil, err
			}
		}
		if readErr == io.EOF || absent(readErr) { // the directory itself may go while it is read
			break
		}
		if readErr != nil {
			return nil, readErr
		}
	}
	slices.SortFunc(entries, func(a, b entry) int { return strings.Compare(a.name, b.name) })
	return entries, nil
}

// appendEntry appends e, if it is wanted or may lead to something that is.
func (l *lister) appendEntry(entries []entry, dir string, e fs.DirEntry) ([]entry, error) {
	info, err := l.stat(dir, e)
	if err != nil || info == nil {
		return entries, err
	}
	name := dir + e.Name()
	switch {
	case info.IsDir():
		name += "/"
		if !isKey(name+"x") || name <= l.after && !strings.HasPrefix(l.after, name) {
			return entries, nil
		}
	case !info.Mode().IsRegular() || name <= l.after || !l.wanted(name):
		return entries, nil
	}
	if !strings.HasPrefix(name, l.prefix) {
		return entries, nil
	}
	return append(entries, entry{name, info.Size(), info.ModTime()}), nil
}

// stat describes e, or what e links to. It returns nil if that is gone.
func (l *lister) stat(dir string, e fs.DirEntry) (fs.FileInfo, error) {
	info, err := e.Info()
	if err == nil && info.Mode()&os.ModeSymlink != 0 {
		info, err = l.d.root.Stat(dir + e.Name())
	}
	if absent(err) {
		return nil, nil
	}
	return info, err
}
