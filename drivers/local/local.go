// Package local keeps objects as files below one folder: the key is the path. An object appears by a rename once its
// bytes are on disk, so a reader sees an old object, a new one or none, never a part of one. While it is written it
// is a file in the same directory whose name ends in ".tmp", which nothing here ever shows; [Driver.Sweep] removes
// what a crash left of those.
//
// What is acknowledged is on disk, directory entries included: Commit syncs the file, its directory, and each
// directory above in which a directory came or went. Only objects that are staged (see [drivers.Stager]) wait for
// Sync. So do the files of small objects, which are on disk in a journal meanwhile, with one sync for many of them: it is
// in files "journal.*.tmp" of the folder while a process writes there. Directories that no object needs any more are
// removed.
//
// A writer needs at most 128 KiB of memory. List holds the matching names of one directory a level.
//
// Several processes may read one folder, and write to it if it is on NFS, whose servers answer a mkdir when it is
// durable. On a local file system one process writes: it alone knows which new directories still want a sync.
package local

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/parfait-registry/parfait/drivers"
)

// Config is what a flavor says about this driver.
type Config struct {
	// Path is the folder that holds the objects. It is made if it is not there. Symbolic links below it are followed,
	// wherever they lead. No default.
	Path string `yaml:"storage_path"`
}

// A Driver stores objects below one folder. Make one with [Open].
type Driver struct {
	root    folder
	dirs    *dirtyDirs
	mounts  mounts
	syncers syncers
	journal journal
	syncing sync.Mutex // one Sync at a time
}

// syncers are the ways to the disk, all of them, so that a test can count and fail them.
type syncers struct {
	file   func(*os.File) error // syncs one file or directory
	data   func(*os.File) error // syncs the bytes of one file, and what it takes to read them
	mount  func(*os.File) error // syncs the file system that a file is on
	system func()               // syncs every file system
}

var (
	_ drivers.Driver             = (*Driver)(nil)
	_ drivers.Composer           = (*Driver)(nil)
	_ drivers.BatchDeleter       = (*Driver)(nil)
	_ drivers.ConditionalCreator = (*Driver)(nil)
	_ drivers.Stager             = (*Driver)(nil)
	_ drivers.Sweeper            = (*Driver)(nil)
)

// Open returns a driver on the folder that cfg names, after it has made and removed a file there. Errors name the
// folder and the configuration key. Directories below it are taken to be durable: after an unclean stop, call Sync
// before anything else. What a process that did not end well has left in its journal is made durable first.
func Open(cfg Config) (*Driver, error) {
	if cfg.Path == "" {
		return nil, errors.New("storage_path is empty; it names the folder of storage: local")
	}
	d, err := open(cfg.Path)
	if err != nil {
		return nil, fmt.Errorf("storage_path %q: %w", cfg.Path, err)
	}
	return d, nil
}

func open(path string) (*Driver, error) {
	d := &Driver{dirs: newDirtyDirs(), syncers: syncers{file: (*os.File).Sync, data: syncData, mount: syncMount, system: syncSystem}}
	if err := d.makeFolder(path); err != nil {
		return nil, err
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	d.root = folder(abs)
	if err := d.tryWrite(); err != nil {
		d.Close()
		return nil, err
	}
	d.journal.open, d.journal.sync = d.newSegmentFile, func(f *os.File) error { return d.syncers.data(f) }
	if err := d.replay(context.Background()); err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

// makeFolder is a durable os.MkdirAll.
func (d *Driver) makeFolder(folder string) error {
	var parents []string // of each directory that is to be made
	for dir := filepath.Clean(folder); ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
			break
		}
		parents = append(parents, filepath.Dir(dir))
	}
	if err := os.MkdirAll(folder, 0o777); err != nil {
		return err
	}
	for _, dir := range parents {
		f, err := os.Open(dir)
		if err != nil {
			return err
		}
		if err := cmp.Or(d.syncers.file(f), f.Close()); err != nil {
			return err
		}
	}
	return nil
}

// tryWrite makes a file and removes it, and adds the file system of the folder to those that Sync syncs.
func (d *Driver) tryWrite() error {
	f, name, err := d.createTemp("parfait")
	if err != nil {
		return err
	}
	defer d.root.Unlink(name)
	defer f.Close()
	if _, err := f.WriteString("parfait"); err != nil {
		return err
	}
	return d.touch(f, ".")
}

// Close makes durable what is in the journal, and removes that. Nothing else may be called afterwards, but what is open
// stays readable.
func (d *Driver) Close() error {
	return errors.Join(d.closeJournal(), d.mounts.close())
}

func (d *Driver) closeJournal() error {
	files := d.journal.files()
	if len(files) == 0 {
		return nil
	}
	defer func() {
		for _, f := range files {
			f.Close()
		}
	}()
	if err := d.Sync(context.Background()); err != nil {
		return err // the next Open has the records
	}
	return d.removeSegments(files)
}

// Open implements [drivers.Driver]. An object up to its end comes as the [*os.File] itself, so that it can be sent with
// sendfile(2).
func (d *Driver) Open(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	f, size, err := d.openObject(ctx, key)
	if err != nil {
		return nil, failure("open", key, err)
	}
	switch {
	case off < 0:
		err = fs.ErrInvalid
	case off > size:
		err = drivers.ErrRange
	case n < 0 || n > size-off:
		n = size - off
	}
	if err != nil {
		f.Close()
		return nil, failure("open", key, err)
	}
	if off+n == size {
		if _, err := f.Seek(off, io.SeekStart); err != nil {
			f.Close()
			return nil, failure("open", key, err)
		}
		return f, nil
	}
	return section{io.NewSectionReader(f, off, n), f}, nil
}

// A section is a part of a file.
type section struct {
	*io.SectionReader
	io.Closer
}

// openObject opens the file of key and tells its size in bytes.
func (d *Driver) openObject(ctx context.Context, key string) (*os.File, int64, error) {
	if err := check(ctx, key); err != nil {
		return nil, 0, err
	}
	f, err := d.root.Open(key)
	if err != nil {
		return nil, 0, objectError(nil, err)
	}
	info, err := f.Stat()
	if err := objectError(info, err); err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, info.Size(), nil
}

// Stat implements [drivers.Driver].
func (d *Driver) Stat(ctx context.Context, key string) (drivers.Object, error) {
	if err := check(ctx, key); err != nil {
		return drivers.Object{}, failure("stat", key, err)
	}
	info, err := d.root.Stat(key)
	if err := objectError(info, err); err != nil {
		return drivers.Object{}, failure("stat", key, err)
	}
	return drivers.Object{Key: key, Size: info.Size(), ModTime: info.ModTime()}, nil
}

// check says what stands against an operation on key before it begins.
func check(ctx context.Context, key string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return drivers.ValidKey(key)
}

// absent reports whether err says that there is no such file, or no such directory above it.
func absent(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}

// objectError is the error of a look at a key's file: what is no regular file is no object, and neither is what
// would be below one.
func objectError(info fs.FileInfo, err error) error {
	if absent(err) || err == nil && !info.Mode().IsRegular() {
		return fs.ErrNotExist
	}
	return err
}

// failure says that op on key did not work because of err, less the path that package os put into it.
func failure(op, key string, err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		err = e.Err
	} else if e, ok := errors.AsType[*os.LinkError](err); ok {
		err = e.Err
	}
	return &drivers.Error{Driver: "local", Op: op, Key: key, Err: err}
}
