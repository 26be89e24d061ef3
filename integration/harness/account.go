package harness

import (
	"os"
	"os/user"
	"strconv"
	"testing"
)

// An account is a user of the system that a server runs as.
type account struct{ uid, gid int }

// Unprivileged is the account of a server that does not run as root: nil, for the own one, unless the tests run as root.
func unprivileged(t testing.TB, name string) *account {
	t.Helper()
	if os.Getuid() != 0 {
		return nil
	}
	u, err := user.Lookup(name)
	if err != nil {
		missing(t, "no user %s for a server that does not run as root: %v", name, err)
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		t.Fatal(err)
	}
	gid, err := strconv.Atoi(u.Gid)
	if err != nil {
		t.Fatal(err)
	}
	return &account{uid, gid}
}

// Folder makes a folder of the account's, which ends with the test. Others than the own account do not get at t.TempDir.
func (a *account) folder(t testing.TB, name string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "parfait-"+name+"-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if a != nil {
		if err := os.Chown(dir, a.uid, a.gid); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
