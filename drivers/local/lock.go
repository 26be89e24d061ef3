//go:build unix

package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"

	"golang.org/x/sys/unix"

	"github.com/parfait-registry/parfait/drivers"
)

var _ drivers.Locker = (*Driver)(nil)

// Lock implements [drivers.Locker], by flock(2) of a file at key, which is made.
func (d *Driver) Lock(ctx context.Context, key string, shared bool) (io.Closer, error) {
	f, err := d.lock(ctx, key, shared)
	if err != nil {
		return nil, failure("lock", key, err)
	}
	return f, nil
}

func (d *Driver) lock(ctx context.Context, key string, shared bool) (*os.File, error) {
	if err := check(ctx, key); err != nil {
		return nil, err
	}
	if err := d.makeDirs(path.Dir(key)); err != nil {
		return nil, err
	}
	f, err := d.root.OpenFile(key, os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return nil, err
	}
	how := unix.LOCK_EX
	if shared {
		how = unix.LOCK_SH
	}
	err = call("flock", func() error { return unix.Flock(int(f.Fd()), how|unix.LOCK_NB) })
	switch {
	case errors.Is(err, unix.EWOULDBLOCK):
		err = drivers.ErrLocked
	case errors.Is(err, unix.ENOLCK), errors.Is(err, unix.ENOSYS), errors.Is(err, unix.ENOTSUP):
		err = fmt.Errorf("%w: %w", errors.ErrUnsupported, err)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
