package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Bounds of what is left on a file system: bytes, and files in percent.
const (
	spaceFail, spaceWarn   = 64 << 20, 1 << 30
	inodesFail, inodesWarn = 1, 5

	// What is less than spacePercent is worth a word unless it is more than spacePlenty.
	spacePercent = 5
	spacePlenty  = 20 << 30
)

// Files a server wants to have open: two for each connection, and some.
const filesFail, filesWarn = 256, 4096

// Existing returns path, or the nearest folder above it that there is.
func Existing(path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	for {
		_, err := os.Stat(abs)
		if err == nil || !errors.Is(err, fs.ErrNotExist) || abs == filepath.Dir(abs) {
			return abs, err
		}
		abs = filepath.Dir(abs)
	}
}

// Folder reports whether a folder can be written to, or made. what says what it is for. It reports whether it is there.
func Folder(r *Report, check, what, path string) (there bool) {
	at, err := Existing(path)
	if err == nil {
		err = writable(at)
	}
	abs, absErr := filepath.Abs(path)
	if err = errors.Join(err, absErr); err != nil {
		r.Fail(check, fmt.Sprintf("have user %d own it, or name another folder", os.Geteuid()), "%s, %s, cannot be written: %v", path, what, err)
		return false
	}
	if at != abs {
		r.OK(check, "%s, %s, is not there yet: serve makes it", path, what)
		return false
	}
	warnOfOwner(r, check, at)
	return true
}

// writable returns an error unless things can be made in the folder at path.
func writable(path string) error {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return err
	case !info.IsDir():
		return fmt.Errorf("%s is no folder", path)
	}
	if err := unix.Access(path, unix.W_OK|unix.X_OK); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// warnOfOwner says that root may do what the server's own user may not.
func warnOfOwner(r *Report, check, path string) {
	var stat unix.Stat_t
	if err := unix.Stat(path, &stat); err == nil && os.Geteuid() == 0 && stat.Uid != 0 {
		r.Warn(check, "run the doctor as the user that the server runs as", "%s belongs to user %d, and root may do what that user may not", path, stat.Uid)
	}
}

// Space reports how much room the file system of each path has, each file system once.
func Space(r *Report, paths ...string) {
	seen := map[uint64]bool{}
	for _, path := range paths {
		at, err := Existing(path)
		var device unix.Stat_t
		var fs unix.Statfs_t
		if err == nil {
			err = errors.Join(unix.Stat(at, &device), unix.Statfs(at, &fs))
		}
		if err != nil {
			r.Skip("disk space", "%s: %v", path, err)
			continue
		}
		if !seen[uint64(device.Dev)] {
			seen[uint64(device.Dev)] = true
			space(r, at, uint64(fs.Bavail)*uint64(fs.Bsize), fs.Blocks*uint64(fs.Bsize))
			inodes(r, at, uint64(fs.Ffree), fs.Files)
		}
	}
}

func space(r *Report, path string, free, all uint64) {
	const check, fix = "disk space", "delete images and wait for collection (gc_grace), run parfait gc, or give it more"
	text := fmt.Sprintf("%s has %d MiB of %d MiB left", path, free>>20, all>>20)
	switch {
	case free < spaceFail:
		r.Fail(check, fix, "%s", text)
	case free < spaceWarn, free < spacePlenty && free*100 < all*spacePercent:
		r.Warn(check, fix, "%s", text)
	default:
		r.OK(check, "%s", text)
	}
}

func inodes(r *Report, path string, free, all uint64) {
	const check, fix = "disk inodes", "make the file system anew with more of them (mkfs -i), or use one without a limit"
	text := fmt.Sprintf("%s has %d of %d left", path, free, all)
	switch {
	case all == 0:
		r.OK(check, "%s has as many as it needs", path)
	case free*100 < all*inodesFail:
		r.Fail(check, fix, "%s", text)
	case free*100 < all*inodesWarn:
		r.Warn(check, fix, "%s", text)
	default:
		r.OK(check, "%s", text)
	}
}

// Files reports how many files a process may have open.
func Files(r *Report) {
	const check, fix = "file limit", "raise it: LimitNOFILE= of systemd, --ulimit nofile= of docker, ulimit -n of a shell"
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		r.Skip(check, "%v", err)
		return
	}
	most := uint64(limit.Max) // Go raises the limit to that at the start
	switch {
	case most < filesFail:
		r.Fail(check, fix, "a process may have %d files open, and every connection is one", most)
	case most < filesWarn:
		r.Warn(check, fix, "a process may have %d files open, and every connection is one", most)
	default:
		r.OK(check, "a process may have %d files open", most)
	}
}
