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
%s
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
// temporary one if root is empty. Env are NAME=value pairs, which win over its configuration.
func StartDistribution(t testing.TB, root string, env ...string) *Server {
	t.Helper()
	if root == "" {
		root = t.TempDir()
	}
	s := startDistribution(t, inFolder(root), env...)
	s.Storage = root
	return s
}

// StartDistribution2 is StartDistribution with version 2.8, which Debian has, and registry:2 holds.
func StartDistribution2(t testing.TB, root string) *Server {
	t.Helper()
	program := Command(t, "docker-registry")
	s := start(t, command{
		name: "docker-registry",
		args: func(addr string) []string {
			return []string{program, "serve", writeDistributionConfig(t, inFolder(root), addr)}
		},
		ready: answers("/"),
	}, "")
	s.Storage = root
	return s
}

// StartDistributionOnS3 starts it on a bucket that it reaches at endpoint, with the keys of store.
func StartDistributionOnS3(t testing.TB, store *S3, endpoint, bucket string) *Server {
	t.Helper()
	return startDistribution(t, fmt.Sprintf("  s3: {regionendpoint: %q, forcepathstyle: true, secure: false, region: %q, bucket: %q, accesskey: %q, secretkey: %q}",
		endpoint, store.Region, bucket, store.AccessKey, store.SecretKey))
}

func startDistribution(t testing.TB, storage string, env ...string) *Server {
	t.Helper()
	program := Tool(t, "registry")
	return start(t, command{
		name: "distribution",
		args: func(addr string) []string {
			return []string{program, "serve", writeDistributionConfig(t, storage, addr)}
		},
		env:   func(string) []string { return append([]string{"OTEL_TRACES_EXPORTER=none"}, env...) },
		ready: answers("/"), // which asks for no credentials
	}, "")
}

func inFolder(root string) string { return fmt.Sprintf("  filesystem: {rootdirectory: %q}", root) }

// DistributionConfig writes the configuration file with which distribution keeps its store in the folder root, and
// returns its path.
func DistributionConfig(t testing.TB, root, addr string) string {
	t.Helper()
	return writeDistributionConfig(t, inFolder(root), addr)
}

func writeDistributionConfig(t testing.TB, storage, addr string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.yml")
	if err := os.WriteFile(path, fmt.Appendf(nil, distributionConfig, storage, addr), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}
