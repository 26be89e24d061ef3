package local

import (
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// A folder is the root of a driver: its methods are those of package os, for names below it.
//
// It is no [os.Root]. That looks at each component of a name with a system call of its own, which was half of the
// server's time for pushes of small images. Nothing is lost by it: keys have no component that leads out (see
// [drivers.ValidKey]), and a symbolic link that does is the operator's, who moved a part of the store to another disk.
type folder string

// path returns where name is; "." is the folder itself.
func (f folder) path(name string) string { return filepath.Join(string(f), name) }

func (f folder) OpenFile(name string, flag int, perm os.FileMode) (*os.File, error) {
	return os.OpenFile(f.path(name), flag, perm)
}

func (f folder) Open(name string) (*os.File, error)    { return os.Open(f.path(name)) }
func (f folder) Stat(name string) (os.FileInfo, error) { return os.Stat(f.path(name)) }
func (f folder) Mkdir(name string) error               { return os.Mkdir(f.path(name), 0o777) }

// Rename is os.Rename without its look at what is in the way.
func (f folder) Rename(from, to string) error {
	return call("rename", func() error { return unix.Rename(f.path(from), f.path(to)) })
}

// Link gives the file from a second name, unless there is something by that name.
func (f folder) Link(from, to string) error {
	return call("link", func() error { return unix.Link(f.path(from), f.path(to)) })
}

// OpenDir opens a directory.
func (f folder) OpenDir(name string) (*os.File, error) {
	return os.OpenFile(f.path(name), unix.O_RDONLY|unix.O_DIRECTORY, 0)
}

// Unlink removes a file, where os.Remove would take an empty directory as well.
func (f folder) Unlink(name string) error {
	return call("unlink", func() error { return unix.Unlink(f.path(name)) })
}

// Rmdir removes an empty directory.
func (f folder) Rmdir(name string) error {
	return call("rmdir", func() error { return unix.Rmdir(f.path(name)) })
}

// call makes a system call, again if a signal interrupts it, as some network file systems let it.
func call(name string, do func() error) error {
	for {
		if err := do(); err != unix.EINTR {
			return os.NewSyscallError(name, err)
		}
	}
}
