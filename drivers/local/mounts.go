package local

import (
	"context"
	"errors"
	"maps"
	"os"
	"slices"
	"sync"
	"syscall"
)

// mounts are the file systems on which something was staged. There is more than one if a directory below the root is
// a mount point.
type mounts struct {
	mu   sync.Mutex
	dirs map[uint64]*os.File // mu guards dirs: a directory on each, by the number of its device
	all  bool                // mu guards all: whether Sync has once synced every file system
}

// touch notes the file system of f, which is a file in dir.
func (d *Driver) touch(f *os.File, dir string) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	return d.noteMount(info, dir)
}

// touchDir notes the file system of dir. If dir is gone, whoever removed it sees to that.
func (d *Driver) touchDir(dir string) error {
	info, err := d.root.Stat(dir)
	if err == nil {
		err = d.noteMount(info, dir)
	}
	if absent(err) {
		return nil
	}
	return err
}

// noteMount keeps dir open, if it is the first directory on the file system that info tells.
func (d *Driver) noteMount(info os.FileInfo, dir string) error {
	device := uint64(info.Sys().(*syscall.Stat_t).Dev)
	d.mounts.mu.Lock()
	defer d.mounts.mu.Unlock()
	if d.mounts.dirs[device] != nil {
		return nil
	}
	handle, err := d.root.OpenDir(dir)
	if err != nil {
		return err
	}
	if d.mounts.dirs == nil {
		d.mounts.dirs = make(map[uint64]*os.File)
	}
	d.mounts.dirs[device] = handle
	return nil
}

// Sync implements [drivers.Stager]. The first one after Open syncs every file system of the machine: a process before
// this one may have staged to any that is mounted below the root.
func (d *Driver) Sync(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return failure("sync", "", err)
	}
	d.syncing.Lock()
	defer d.syncing.Unlock()
	retired := d.journal.rotate()
	dirty := d.dirs.all()
	dirs, first := d.mounts.toSync()
	if first {
		d.syncers.system()
	}
	for _, dir := range dirs {
		if err := d.syncers.mount(dir); err != nil {
			return failure("sync", "", err)
		}
	}
	d.mounts.synced()
	d.dirs.clean(dirty)
	if err := d.journal.settle(retired); err != nil {
		return failure("sync", "", err)
	}
	return nil
}

// toSync returns a directory on each file system, and whether others may want a sync as well.
func (m *mounts) toSync() (dirs []*os.File, first bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Collect(maps.Values(m.dirs)), !m.all
}

// synced notes that every file system has been synced.
func (m *mounts) synced() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.all = true
}

func (m *mounts) close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	var errs []error
	for _, dir := range m.dirs {
		errs = append(errs, dir.Close())
	}
	clear(m.dirs)
	return errors.Join(errs...)
}
