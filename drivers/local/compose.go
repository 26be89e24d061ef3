package local

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"syscall"
)

// Compose implements [drivers.Composer]. One source becomes dst by a rename. Several are copied, and so is one on
// another file system; they stay. After an error the sources are where they were.
func (d *Driver) Compose(ctx context.Context, dst string, srcs ...string) error {
	if err := check(ctx, dst); err != nil {
		return failure("compose", dst, err)
	}
	if len(srcs) == 1 {
		err := d.move(ctx, dst, srcs[0])
		if !errors.Is(err, syscall.EXDEV) {
			return err
		}
	}
	return d.concatenate(ctx, dst, srcs)
}

// move makes src dst. The bytes are synced before the rename, since src may have been staged.
func (d *Driver) move(ctx context.Context, dst, src string) error {
	f, _, err := d.openObject(ctx, src)
	if err != nil {
		return failure("compose", src, err)
	}
	defer f.Close()
	if err := d.syncers.file(f); err != nil {
		return failure("compose", src, err)
	}
	if err := d.rename(src, dst); err != nil {
		return failure("compose", dst, err)
	}
	if err := d.syncDirs(path.Dir(dst)); err != nil {
		d.rename(dst, src) // the caller may want to try again; if this fails as well, the disk is beyond that
		return failure("compose", dst, err)
	}
	return d.forget(ctx, dst)
}

// rename renames src's file, and makes the directories that dst takes.
func (d *Driver) rename(src, dst string) error {
	var err error
	for range createTries {
		err = d.root.Rename(src, dst)
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := d.makeDirs(path.Dir(dst)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return err
}

func (d *Driver) concatenate(ctx context.Context, dst string, srcs []string) error {
	w, err := d.newWriter(ctx, dst)
	if err != nil {
		return failure("compose", dst, err)
	}
	defer w.Close()
	w.durable = true
	for _, src := range srcs {
		if err := w.appendObject(src); err != nil {
			return failure("compose", src, err)
		}
	}
	if err := w.commit(); err != nil {
		return failure("compose", dst, err)
	}
	return nil
}

func (w *writer) appendObject(src string) error {
	f, _, err := w.d.openObject(w.ctx, src)
	if err != nil {
		return err
	}
	defer f.Close()
	return w.appendFile(f)
}
