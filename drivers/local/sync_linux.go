package local

import (
	"os"

	"golang.org/x/sys/unix"
)

// syncMount syncs the file system that f is on.
func syncMount(f *os.File) error {
	return os.NewSyscallError("syncfs", unix.Syncfs(int(f.Fd())))
}

// syncData syncs the bytes of f.
func syncData(f *os.File) error {
	return call("fdatasync", func() error { return unix.Fdatasync(int(f.Fd())) })
}

// syncSystem syncs every file system, and returns when that is done. The kernel reports no errors.
func syncSystem() { unix.Sync() }

// startWriteback has the kernel begin to write n bytes of f from off on, and does not wait for it. It is a hint: errors
// come back from the sync of the file.
func startWriteback(f *os.File, off, n int64) {
	_ = unix.SyncFileRange(int(f.Fd()), off, n, unix.SYNC_FILE_RANGE_WRITE)
}
