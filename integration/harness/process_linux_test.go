package harness_test

import (
	"bufio"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/parfait-registry/parfait/integration/harness"
)

// A server ends with the process of its test, even if that is killed.
func TestOrphan(t *testing.T) {
	t.Parallel()
	if os.Getenv("HARNESS_ORPHAN") != "" {
		s := harness.VersityGW(t)
		t.Logf("address %s", s.Addr)
		<-t.Context().Done() // that is never: the process is killed
	}
	harness.Tool(t, "versitygw") // so that no compiler runs when the process is killed
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^TestOrphan$", "-test.v")
	cmd.Env = append(os.Environ(), "HARNESS_ORPHAN=1", "TMPDIR="+t.TempDir())
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	addr, lines := "", bufio.NewScanner(out)
	for addr == "" && lines.Scan() {
		_, addr, _ = strings.Cut(lines.Text(), "address ")
	}
	if conn, err := net.Dial("tcp", addr); err != nil {
		t.Errorf("before the kill: %v", err)
	} else {
		conn.Close()
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // its status is that of the kill
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			return
		}
		conn.Close()
		if time.Now().After(deadline) {
			t.Fatalf("the server on %s outlives its test", addr)
		}
	}
}
