package local

import (
	"cmp"
	"context"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"strconv"
	"syscall"

	"github.com/parfait-registry/parfait/drivers"
)

const (
	// writebackEvery is how many bytes are written before the kernel is told to begin with them, so that the sync of
	// a large object finds little left to do.
	writebackEvery = 8 << 20

	// createTries bounds how often a directory may be removed under a writer that makes it.
	createTries = 100

	// maxDirty bounds the memory for directories that staging made: about 200 bytes each.
	maxDirty = 1 << 16

	tempSuffix = ".tmp"
)

// Create implements [drivers.Driver].
func (d *Driver) Create(ctx context.Context, key string) (drivers.Writer, error) {
	w, err := d.newWriter(ctx, key)
	if err != nil {
		return nil, failure("create", key, err)
	}
	w.durable, w.record = true, newRecord(key)
	return w, nil
}

// CreateNew implements [drivers.ConditionalCreator], by a hard link. It says [errors.ErrUnsupported] where the file system
// has none.
func (d *Driver) CreateNew(ctx context.Context, key string) (drivers.Writer, error) {
	w, err := d.newWriter(ctx, key)
	if err != nil {
		return nil, failure("create", key, err)
	}
	w.durable, w.onlyNew = true, true
	return w, nil
}

// Stage implements [drivers.Stager]: it is Create without a sync.
func (d *Driver) Stage(ctx context.Context, key string) (drivers.Writer, error) {
	w, err := d.newWriter(ctx, key)
	if err != nil {
		return nil, failure("create", key, err)
	}
	if err := d.touch(w.file, path.Dir(key)); err != nil {
		w.Close()
		return nil, failure("create", key, err)
	}
	return w, nil
}

// A writer writes a temporary file beside the object, which is where a rename cannot meet another file system.
type writer struct {
	ctx     context.Context // of the request that the writer serves
	d       *Driver
	key     string
	durable bool // whether Commit syncs
	onlyNew bool // whether Commit leaves an older object alone

	file   *os.File
	temp   string // the name of file; "" once it was committed or dropped
	size   int64  // bytes written
	begun  int64  // bytes of which writeback has begun
	failed error  // the first error; the object is not whole after it
	record []byte // for the journal, with the bytes so far; nil if they are not for it
}

func (d *Driver) newWriter(ctx context.Context, key string) (*writer, error) {
	if err := check(ctx, key); err != nil {
		return nil, err
	}
	f, temp, err := d.createTemp(key)
	if err != nil {
		return nil, err
	}
	return &writer{ctx: ctx, d: d, key: key, file: f, temp: temp}, nil
}

// createTemp makes a temporary file beside key, and the directories that it takes.
func (d *Driver) createTemp(key string) (f *os.File, temp string, err error) {
	for range createTries {
		temp = tempName(key)
		f, err = d.root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
		switch {
		case err == nil:
			return f, temp, nil
		case errors.Is(err, fs.ErrExist):
			continue
		case !errors.Is(err, fs.ErrNotExist):
			return nil, "", err
		}
		if err := d.makeDirs(path.Dir(key)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, "", err
		}
	}
	return nil, "", err
}

// tempName returns <key>.<random>.tmp, with as much of a long name as a file system allows.
func tempName(key string) string {
	const maxName = 255
	dir, name := path.Split(key)
	ending := "." + strconv.FormatUint(rand.Uint64(), 36) + tempSuffix
	return dir + name[:min(len(name), maxName-len(ending))] + ending
}

func (w *writer) Write(p []byte) (int, error) {
	if err := w.usable(); err != nil {
		return 0, failure("write", w.key, err)
	}
	if w.size+int64(len(p)) > smallMax {
		w.dropRecord()
	}
	if w.record != nil {
		w.record = append(w.record, p...)
	}
	n, err := w.file.Write(p)
	w.wrote(int64(n))
	if err != nil {
		w.failed = err
		return n, failure("write", w.key, err)
	}
	return n, nil
}

// appendFile writes the rest of src, by copy_file_range(2) where the system has it.
func (w *writer) appendFile(src *os.File) error {
	for {
		if err := w.usable(); err != nil {
			return err
		}
		n, err := io.CopyN(w.file, src, writebackEvery)
		w.wrote(n)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			w.failed = err
			return err
		}
	}
}

// wrote notes that n bytes were written, and has the kernel begin with those that it has not begun with.
func (w *writer) wrote(n int64) {
	w.size += n
	if pending := w.size - w.begun; pending >= writebackEvery {
		startWriteback(w.file, w.begun, pending)
		w.begun = w.size
	}
}

func (w *writer) usable() error {
	switch {
	case w.failed != nil:
		return w.failed
	case w.temp == "":
		return fs.ErrClosed
	}
	return w.ctx.Err()
}

func (w *writer) Commit() error {
	err := w.commit()
	if err != nil {
		w.Close()
		return failure("commit", w.key, err)
	}
	return nil
}

func (w *writer) commit() error {
	if err := w.usable(); err != nil {
		return err
	}
	defer w.dropRecord()
	if w.record != nil {
		if t, err := w.d.journal.add(w.key, w.record); err == nil {
			return w.commitJournaled(t)
		}
	}
	if w.durable {
		return cmp.Or(w.commitSynced(), w.d.forget(w.ctx, w.key))
	}
	if err := w.rename(); err != nil {
		return err
	}
	return w.staged()
}

// commitSynced ends a commit of an object that is synced by itself.
func (w *writer) commitSynced() error {
	if err := w.d.syncers.file(w.file); err != nil {
		return err
	}
	if err := w.rename(); err != nil {
		return err
	}
	return w.d.syncDirs(path.Dir(w.key))
}

// rename gives the object its key.
func (w *writer) rename() error {
	if err := w.file.Close(); err != nil {
		return err
	}
	if err := w.name(); err != nil {
		return err
	}
	w.temp = ""
	return nil
}

// commitJournaled ends a commit of which the journal has a record, or will not have it.
func (w *writer) commitJournaled(t ticket) error {
	if err := t.wait(); err != nil {
		t.renamed()
		if err := w.commitSynced(); err != nil || t.alone {
			return err // a record of these very bytes does no harm
		}
		return w.d.forget(w.ctx, w.key)
	}
	err := w.d.touch(w.file, path.Dir(w.key))
	if err == nil {
		err = w.rename()
	}
	t.renamed()
	if err != nil {
		return err
	}
	if t.full {
		go w.d.Sync(context.WithoutCancel(w.ctx)) // until it works, objects are synced by themselves
	}
	return w.staged()
}

// staged bounds what is not synced.
func (w *writer) staged() error {
	if w.d.dirs.len() > maxDirty {
		return w.d.Sync(w.ctx)
	}
	return nil
}

// dropRecord gives back the memory of the record.
func (w *writer) dropRecord() {
	if w.record != nil {
		records.Put((*[recordMax]byte)(w.record[:recordMax]))
		w.record = nil
	}
}

// name gives the file the name of the object, and no other.
func (w *writer) name() error {
	if !w.onlyNew {
		return w.d.root.Rename(w.temp, w.key)
	}
	err := w.d.root.Link(w.temp, w.key)
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENOTSUP) || errors.Is(err, syscall.ENOSYS) {
		return errors.ErrUnsupported
	}
	if err != nil {
		return err
	}
	return w.d.root.Unlink(w.temp)
}

// Close drops the file unless it was committed, and the directories that it alone needed.
func (w *writer) Close() error {
	if w.temp == "" {
		return nil
	}
	w.dropRecord()
	w.file.Close() // nobody wants the bytes
	err := w.d.root.Unlink(w.temp)
	w.temp = ""
	w.d.prune(path.Dir(w.key))
	if err != nil {
		return failure("write", w.key, err)
	}
	return nil
}
