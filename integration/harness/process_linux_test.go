package harness_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/parfait-registry/parfait/integration/harness"
)

// Servers end with the process of their test, even if that is killed.
func TestOrphans(t *testing.T) {
	t.Parallel()
	if os.Getenv("HARNESS_ORPHANS") != "" {
		fmt.Println("PID", harness.VersityGW(t).PID)
		fmt.Println("PID", harness.PostgreSQL(t).PID)
		select {} // until the kill
	}
	harness.Tool(t, "versitygw") // so that no compiler is at work when the process is killed
	temp, err := os.MkdirTemp("", "parfait-orphans-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(temp)
	if err := os.Chmod(temp, 0o755); err != nil { // so that PostgreSQL gets at its folder in there
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^TestOrphans$", "-test.v")
	cmd.Env = append(os.Environ(), "HARNESS_ORPHANS=1", "TMPDIR="+temp)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var pids []int
	for lines := bufio.NewScanner(out); len(pids) < 2 && lines.Scan(); {
		if text, ok := strings.CutPrefix(lines.Text(), "PID "); ok {
			pid, err := strconv.Atoi(text)
			if err != nil {
				t.Fatal(err)
			}
			if !running(pid) {
				t.Errorf("process %d does not run before the kill", pid)
			}
			pids = append(pids, pid)
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // its status is that of the kill
	if len(pids) != 2 {
		t.Fatalf("got processes %d, want two", pids)
	}
	for deadline := time.Now().Add(20 * time.Second); running(pids[0]) || running(pids[1]); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			for _, pid := range pids {
				_ = syscall.Kill(pid, syscall.SIGKILL) // one of them may have ended
			}
			t.Fatalf("a process of %d outlives its test", pids)
		}
	}
}

// Running says whether the process is there. One that has ended, for which nobody has waited, is not.
func running(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(stat), ") Z ")
}
