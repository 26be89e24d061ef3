package local

import (
	"context"
	"errors"
	"path"
	"syscall"
)

// Delete implements [drivers.Driver]. It removes the directories that become empty, too.
func (d *Driver) Delete(ctx context.Context, key string) error {
	return d.DeleteAll(ctx, key)
}

// DeleteAll implements [drivers.BatchDeleter]. It syncs once what many keys share, and stops at the first error.
func (d *Driver) DeleteAll(ctx context.Context, keys ...string) error {
	d.dirs.beginDelete()
	defer d.dirs.endDelete()
	toSync := make(map[string]string) // directory to a key that was in it
	for _, key := range keys {
		dir, err := d.remove(ctx, key)
		if err != nil {
			return failure("delete", key, err)
		}
		toSync[dir] = key
	}
	for dir, key := range toSync {
		if err := d.syncDirs(dir); err != nil {
			return failure("delete", key, err)
		}
	}
	return d.forget(ctx, keys...)
}

// Unstage implements [drivers.Stager]: it is Delete without a sync. Where there was nothing to remove, as after a
// Compose, the directory stays even if it is empty: it is where the next object will be staged.
func (d *Driver) Unstage(ctx context.Context, key string) error {
	err := check(ctx, key)
	if err == nil {
		err = d.root.Unlink(key)
	}
	if absent(err) || errors.Is(err, syscall.EISDIR) {
		return nil
	}
	if err == nil {
		err = d.touchDir(d.prune(path.Dir(key)))
	}
	if err != nil {
		return failure("delete", key, err)
	}
	return nil
}

// remove removes key's file, if there is one, and the directories that nothing needs any more. It returns the
// directory in which something went, which is to be synced even if nothing did: another delete may be about to.
func (d *Driver) remove(ctx context.Context, key string) (string, error) {
	if err := check(ctx, key); err != nil {
		return "", err
	}
	err := d.root.Unlink(key)
	if err != nil && !absent(err) && !errors.Is(err, syscall.EISDIR) {
		return "", err
	}
	return d.prune(path.Dir(key)), nil
}
