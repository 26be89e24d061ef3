//go:build !linux

package local

import (
	"os"

	"golang.org/x/sys/unix"
)

// syncMount syncs the file system that f is on, and all others with it.
func syncMount(*os.File) error {
	unix.Sync()
	return nil
}

// syncData syncs f.
func syncData(f *os.File) error { return f.Sync() }

// syncSystem syncs every file system.
func syncSystem() { unix.Sync() }

// startWriteback does nothing where the kernel takes no such hint.
func startWriteback(*os.File, int64, int64) {}
