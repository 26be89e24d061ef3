package integration

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/parfait-registry/parfait/integration/harness"
)

// TestLoad runs every scenario of the load program for a moment, on a registry that is not ours as well, so that what it
// accepts is not what we happen to answer.
func TestLoad(t *testing.T) {
	ours := harness.StartParfait(t, harness.Options{})
	theirs := harness.StartDistribution(t, "")
	var out, progress bytes.Buffer
	cmd := exec.CommandContext(t.Context(), buildLoad(t), "-rounds", "2", "-time", "50ms", "-blob", "1MiB", "-tags", "40",
		"-repositories", "20", "-pages", "5", "-base", "parfait", fmt.Sprintf("-pid=parfait=%d", ours.PID),
		"distribution="+theirs.URL, "parfait="+ours.URL, "empty")
	cmd.Stdout, cmd.Stderr = &out, &progress
	if err := cmd.Run(); err != nil {
		t.Fatalf("load: %v\n%s", err, progress.String())
	}
	for _, want := range []string{
		"| speed | parfait | distribution | empty | × as fast as distribution | × as fast as empty |",
		"| GET manifest by tag, 32 clients |",
		"| peak memory |",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}

// TestPeers measures Parfait and distribution side by side and prints the tables. It takes minutes, so it runs only
// when PARFAIT_BENCH_PEERS has the flags of the load program: `make bench-peers`.
func TestPeers(t *testing.T) {
	flags, ok := os.LookupEnv("PARFAIT_BENCH_PEERS")
	if !ok {
		t.Skip("a benchmark: run it with make bench-peers")
	}
	ours := harness.StartParfait(t, harness.Options{Env: []string{"LOGLEVEL=error"}})
	theirs := harness.StartDistribution(t, "")
	args := append(strings.Fields(flags),
		fmt.Sprintf("-pid=parfait=%d", ours.PID), fmt.Sprintf("-pid=distribution=%d", theirs.PID),
		"parfait="+ours.URL, "distribution="+theirs.URL, "empty")
	cmd := exec.CommandContext(t.Context(), buildLoad(t), args...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("load: %v", err)
	}
}

func buildLoad(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "load")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-o", path, "./load")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build load: %v\n%s", err, out)
	}
	return path
}
