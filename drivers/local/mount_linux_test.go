package local

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/parfait-registry/parfait/drivers"
)

// mountSmall mounts a file system of 1 MiB at folder, where the test may do so.
func mountSmall(t *testing.T, folder string) {
	t.Helper()
	if err := os.MkdirAll(folder, 0o777); err != nil {
		t.Fatal(err)
	}
	err := unix.Mount("none", folder, "tmpfs", 0, "size=1m")
	if errors.Is(err, unix.EPERM) {
		t.Skip("mounting needs CAP_SYS_ADMIN")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(folder, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}

func TestDriver_Full(t *testing.T) {
	folder := t.TempDir()
	mountSmall(t, folder)
	testFull(t, folder, syscall.ENOSPC)
}

// TestDriver_FileTooLarge is TestDriver_Full where no mount is permitted: a limit of the process stands in for the
// end of the disk.
func TestDriver_FileTooLarge(t *testing.T) {
	if os.Getenv("PARFAIT_TEST_LIMITED") != "" {
		signal.Ignore(syscall.SIGXFSZ)
		if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: 1 << 20, Max: 1 << 20}); err != nil {
			t.Fatal(err)
		}
		testFull(t, t.TempDir(), syscall.EFBIG)
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestDriver_FileTooLarge$")
	cmd.Env = append(os.Environ(), "PARFAIT_TEST_LIMITED=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// testFull writes 2 MiB below folder, which has room for 1. The error must come through, from then on, and nothing
// may be left.
func testFull(t *testing.T, folder string, target error) {
	d := openAt(t, folder)
	put(t, d, "a/small")
	w, err := d.Create(t.Context(), "a/b/large")
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if _, err := io.Copy(w, bytes.NewReader(make([]byte, 2<<20))); !errors.Is(err, target) {
		t.Errorf("write: got error %v, want %v", err, target)
	}
	if err := w.Commit(); !errors.Is(err, target) {
		t.Errorf("commit after a failed write: got error %v, want %v", err, target)
	}
	if err := drivers.Put(t.Context(), d, "a/part", make([]byte, 600<<10)); err != nil {
		t.Fatal(err)
	}
	if err := d.Compose(t.Context(), "a/b/large", "a/part", "a/part"); !errors.Is(err, target) {
		t.Errorf("compose: got error %v, want %v", err, target)
	}
	want := []string{"a", "a/part", "a/small"}
	if got := files(t, folder); !slices.Equal(got, want) {
		t.Errorf("got files %q, want %q", got, want)
	}
}

// TestDriver_Mounts has a store on two file systems, as when blobs have a disk of their own.
func TestDriver_Mounts(t *testing.T) {
	folder := t.TempDir()
	mountSmall(t, filepath.Join(folder, "blobs"))
	d := openAt(t, folder)
	mounts := 0
	d.syncers.mount = func(f *os.File) error {
		mounts++
		return syncMount(f)
	}
	for _, srcs := range [][]string{{"uploads/1"}, {"uploads/1", "uploads/2"}} {
		stage(t, d, "uploads/1")
		stage(t, d, "uploads/2")
		if err := d.Compose(t.Context(), "blobs/a/b", srcs...); err != nil {
			t.Fatal(err)
		}
		if err := d.Unstage(t.Context(), "uploads/1"); err != nil {
			t.Fatal(err)
		}
		wantObject(t, d, "blobs/a/b", "uploads/1uploads/2"[:9*len(srcs)])
	}
	if err := d.Sync(t.Context()); err != nil || mounts != 1 {
		t.Errorf("sync: got %d file systems, %v, want 1", mounts, err)
	}
	stage(t, d, "blobs/staged")
	if err := d.Sync(t.Context()); err != nil || mounts != 3 {
		t.Errorf("sync after staging on both: got %d file systems, %v, want 2 more", mounts, err)
	}
	if err := d.DeleteAll(t.Context(), "blobs/a/b", "blobs/staged", "uploads/2"); err != nil {
		t.Fatal(err)
	}
	if got, want := files(t, folder), []string{"blobs"}; !slices.Equal(got, want) {
		t.Errorf("got files %q, want %q: a mount point cannot be removed", got, want)
	}
}

func TestOpen_ReadOnly(t *testing.T) {
	folder := t.TempDir()
	mountSmall(t, folder)
	if err := unix.Mount("none", folder, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Config{Path: folder}); !errors.Is(err, syscall.EROFS) {
		t.Errorf("got error %v, want %v", err, syscall.EROFS)
	}
}
