package integration

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/parfait-registry/parfait/integration/harness"
)

// The tour of the README does what it says: its commands run as they stand, but for the port, and crane comes from the
// harness, which knows how to get it without fetching it each time.
func TestREADME(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(harness.Root(t), "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	server := harness.StartParfait(t, harness.Options{})
	bin := t.TempDir()
	if err := os.Symlink(harness.Tool(t, "crane"), filepath.Join(bin, "crane")); err != nil {
		t.Fatal(err)
	}
	var script strings.Builder
	blocks := strings.Split(string(text), "```sh\n")[1:]
	for _, block := range blocks {
		commands, _, _ := strings.Cut(block, "```")
		for line := range strings.Lines(commands) {
			if !strings.HasPrefix(line, "go install ") {
				script.WriteString(strings.ReplaceAll(line, "localhost:5000", server.Addr))
			}
		}
	}
	if n := strings.Count(script.String(), "crane"); n < 8 {
		t.Fatalf("the tour has %d commands of crane; was it taken out?", n)
	}
	cmd := exec.CommandContext(t.Context(), "sh", "-eux")
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"))
	cmd.Stdin = strings.NewReader(script.String())
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{`"name":"team/app"`, "Go and its licenses", `{"name":"team/app","tags":[]}`} {
		if !strings.Contains(string(out), want) {
			t.Errorf("the tour has not printed %s:\n%s", want, out)
		}
	}
}
