package harness

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// The cache is that of the configuration which the registry image ships: without it HEAD of a blob takes twice the CPU.
const distributionConfig = `version: 0.1
log:
  level: error
  accesslog:
    disabled: true
storage:
  cache:
    blobdescriptor: inmemory
  filesystem:
    rootdirectory: %q
  delete:
    enabled: true
  redirect:
    disable: true
  maintenance:
    uploadpurging:
      enabled: false
http:
  addr: %s
`

// StartDistribution starts the registry of distribution, which registry:2 and registry:3 hold, on the folder root; a new
// temporary one if root is empty.
func StartDistribution(t testing.TB, root string) *Server {
	t.Helper()
	program := Tool(t, "registry")
	if root == "" {
		root = t.TempDir()
	}
	s := start(t, command{
		name:  "distribution",
		args:  func(addr string) []string { return []string{program, "serve", DistributionConfig(t, root, addr)} },
		env:   func(string) []string { return []string{"OTEL_TRACES_EXPORTER=none"} },
		ready: answers("/v2/"),
	}, "")
	s.Storage = root
	return s
}

// DistributionConfig writes the configuration file with which distribution keeps its store in the folder root, and
// returns its path.
func DistributionConfig(t testing.TB, root, addr string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.yml")
	if err := os.WriteFile(path, fmt.Appendf(nil, distributionConfig, root, addr), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}
