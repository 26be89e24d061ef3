package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestHtpasswdAsks types at a terminal.
func TestHtpasswdAsks(t *testing.T) {
	path := filepath.Join(t.TempDir(), "htpasswd")
	ask := func(line string, answers ...string) (int, string) {
		t.Helper()
		person, terminal := openTerminal(t)
		before := os.Stdin
		os.Stdin = terminal
		defer func() { os.Stdin = before }()
		go func() {
			for _, answer := range answers {
				time.Sleep(200 * time.Millisecond) // what comes before the question may be dropped
				fmt.Fprintln(person, answer)
			}
		}()
		status, _, stderr := command(t, append([]string{"htpasswd"}, strings.Fields(line)...)...)
		return status, stderr
	}
	if status, stderr := ask("-cC4 "+path+" alice", "a secret", "a secret"); status != 0 || !strings.Contains(stderr, "New password: ") || strings.Contains(stderr, "a secret") {
		t.Errorf("got %d, %q", status, stderr)
	}
	if status, stderr := ask("-v "+path+" alice", "a secret"); status != 0 || !strings.Contains(stderr, "Enter password: ") {
		t.Errorf("got %d, %q", status, stderr)
	}
	if status, stderr := ask("-C4 "+path+" alice", "one", "another"); status != 2 || !strings.Contains(stderr, "not the same") {
		t.Errorf("got %d, %q", status, stderr)
	}
}

// openTerminal returns both ends of a terminal.
func openTerminal(t *testing.T) (person, terminal *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("there are no terminals here: %v", err)
	}
	t.Cleanup(func() { person.Close() })
	if err := unix.IoctlSetPointerInt(int(person.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(int(person.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	terminal, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { terminal.Close() })
	return person, terminal
}
