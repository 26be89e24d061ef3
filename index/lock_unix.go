//go:build unix

package index

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// lockFile locks the file at path for as long as this process lives or until it is closed. The file holds the number
// of the process that has it.
func lockFile(path string) (io.Closer, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		defer f.Close()
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		holder, _ := io.ReadAll(io.LimitReader(f, 32))
		return nil, fmt.Errorf("%s is in use by process %s: one process at a time can serve a store with an SQLite index; "+
			"stop it first, or use PostgreSQL to run several", strings.TrimSuffix(path, ".lock"), strings.TrimSpace(string(holder)))
	}
	if err := f.Truncate(0); err == nil {
		fmt.Fprintln(f, os.Getpid())
	}
	return f, nil
}

// whoLocks says which process has the lock of [lockFile] on the file at path; "" is none. Where none has it, it is taken
// for a moment, together with others that look.
func whoLocks(path string) (string, error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer f.Close()
	err = unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB)
	if !errors.Is(err, unix.EWOULDBLOCK) {
		return "", err
	}
	holder, err := io.ReadAll(io.LimitReader(f, 32))
	return "process " + strings.TrimSpace(string(holder)), err
}
