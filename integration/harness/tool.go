package harness

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"testing"
)

type tool struct {
	module, version string
	pkg             string // below module; empty: module itself
}

var tools = map[string]tool{
	"crane":           {"github.com/google/go-containerregistry", "v0.22.1", "cmd/crane"},
	"cyclonedx-gomod": {"github.com/CycloneDX/cyclonedx-gomod", "v1.10.0", "cmd/cyclonedx-gomod"},
	"docker-compose":  {"github.com/docker/compose/v2", "v2.40.3", "cmd"},
	"fake-gcs-server": {"github.com/fsouza/fake-gcs-server", "v1.56.1", ""},
	"helm":            {"helm.sh/helm/v3", "v3.22.0", "cmd/helm"},
	"minio":           {"github.com/minio/minio", "v0.0.0-20260212201848-7aac2a2c5b7c", ""},
	"oras":            {"oras.land/oras", "v1.3.3", "cmd/oras"},
	"pebble":          {"github.com/letsencrypt/pebble/v2", "v2.8.0", "cmd/pebble"},
	"pebble-dns":      {"github.com/letsencrypt/pebble/v2", "v2.8.0", "cmd/pebble-challtestsrv"},
	"regbot":          {"github.com/regclient/regclient", "v0.11.7", "cmd/regbot"},
	"regctl":          {"github.com/regclient/regclient", "v0.11.7", "cmd/regctl"},
	"regsync":         {"github.com/regclient/regclient", "v0.11.7", "cmd/regsync"},
	"registry":        {"github.com/distribution/distribution/v3", "v3.1.2", "cmd/registry"},
	"toxiproxy":       {"github.com/Shopify/toxiproxy/v2", "v2.5.0", "cmd/server"},
	"versitygw":       {"github.com/versity/versitygw", "v1.8.0", "cmd/versitygw"},
}

// Tool is the path of a program written in Go: crane, cyclonedx-gomod, helm, oras, regbot, regctl, regsync, docker-compose
// in its second version, or one of the servers, of which registry is that of distribution. The first use on a machine
// builds it, which takes up to some minutes.
func Tool(t testing.TB, name string) string {
	t.Helper()
	if _, ok := tools[name]; !ok {
		t.Fatalf("no tool is named %q", name)
	}
	path, err := Build(t.Context(), name, runtime.GOOS, t.Logf)
	if err != nil {
		missing(t, "%v", err)
	}
	return path
}

// Build is Tool for those that are no tests, and for any operating system: that of containers is linux. It tells log
// what takes long.
func Build(ctx context.Context, name, system string, log func(format string, args ...any)) (path string, err error) {
	tool, ok := tools[name]
	if !ok {
		return "", fmt.Errorf("no tool is named %q", name)
	}
	file := name + "-" + tool.version
	if system != runtime.GOOS {
		file += "-" + system
	}
	path, err = inCache(file)
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	log("building %s %s", name, tool.version)
	if err := tool.build(ctx, path, system); err != nil {
		return "", fmt.Errorf("build %s %s: %w", name, tool.version, err)
	}
	return path, nil
}

// Cached is the path of a thing in the cache of tools.
func cached(t testing.TB, name string) string {
	t.Helper()
	path, err := inCache(name)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func inCache(name string) (path string, err error) {
	cache, err := os.UserCacheDir()
	return filepath.Join(cache, "parfait-tools", name), err
}

// Build makes the program at target, unless it is there.
//
// It is built in a module that requires nothing else, as `go install pkg@version` would, but without the look-ups that
// fail where a proxy has the version and not the list of all versions, and for modules that exclude versions of others,
// too.
func (tool tool) build(ctx context.Context, target, system string) error {
	return provide(target, func(dir string) (string, error) {
		mod := fmt.Sprintf("module tool\n\ngo 1.26\n\nrequire %s %s\n", tool.module, tool.version)
		if err := os.WriteFile(filepath.Join(dir, "go.mod"), []byte(mod), 0o644); err != nil {
			return "", err
		}
		program := filepath.Join(dir, "program")
		cmd := exec.CommandContext(ctx, "go", "build", "-mod=mod", "-trimpath", "-ldflags", "-s -w", "-o", program,
			path.Join(tool.module, tool.pkg))
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=off", "CGO_ENABLED=0", "GOOS="+system)
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("%w\n%s", err, out)
		}
		return program, nil
	})
}

// Provide puts what create makes at target, whole or not at all, unless it is there. Create works in a new folder and
// returns a path in it. Other processes that want the same wait; whoever comes second finds it there.
func provide(target string, create func(dir string) (string, error)) error {
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return err
	}
	unlock, err := lock(target + ".lock")
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := os.Stat(target); err == nil {
		return nil
	}
	dir, err := os.MkdirTemp(filepath.Dir(target), "build-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	made, err := create(dir)
	if err != nil {
		return err
	}
	return os.Rename(made, target)
}
