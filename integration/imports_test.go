package integration

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/parfait-registry/parfait/integration/harness"
)

const module = "github.com/parfait-registry/parfait"

// rooms are the packages, with what of ours each may import. Tests may import anything.
func rooms() map[string][]string {
	return map[string][]string{
		"":                   {},
		"flavors":            {},
		"drivers":            {},
		"drivers/drivertest": {"drivers"},
		"drivers/local":      {"drivers"},
		"drivers/mem":        {"drivers"},
		"drivers/metered":    {"drivers"},
		"drivers/parts":      {"drivers", "drivers/parts/sums"},
		"drivers/parts/sums": {},
		"drivers/retry":      {"drivers"},
		"drivers/s3":         {"drivers", "drivers/parts", "drivers/retry"},
		"drivers/gcs":        {"drivers", "drivers/parts", "drivers/retry"},
		"drivers/gocloud":    {"drivers", "drivers/parts", "drivers/retry"},
		"drivers/swift":      {"drivers", "drivers/parts", "drivers/retry"},
		"index":              {},
		"registry":           {"drivers", "index"},
		"legacy":             {"drivers", "registry"},
		"logtest":            {},
		"mail":               {},
		"access":             {},
		"doctor":             {"drivers"},
		"events":             {"index", "registry"},
		"deploy/oci":         {},
		"certs":              {},
		"server":             {"access", "registry"},
		"traces":             {"drivers/metered", "index", "server"},
		"metrics":            {"drivers", "drivers/metered", "index", "registry", "server"},
		"cmd/parfait": {"", "flavors", "drivers", "drivers/local", "drivers/mem", "drivers/metered", "drivers/s3", "drivers/gcs", "drivers/swift", "drivers/gocloud",
			"access", "certs", "doctor", "events", "index", "legacy", "mail", "metrics", "registry", "server", "traces"},
		"integration":         {"integration/harness"},
		"integration/harness": {},
		"integration/images":  {"integration/harness"},
		"integration/load":    {},
		"integration/scale":   {"index"},
	}
}

// What a package knows nothing of, it does not import.
func TestImports(t *testing.T) {
	may := rooms()
	for _, p := range packages(t) {
		room := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
		allowed, known := may[room]
		if !known {
			t.Errorf("package %q has no place in the plan: add it to rooms", room)
		}
		for _, path := range p.Imports {
			ours, ok := strings.CutPrefix(path, module)
			if ours = strings.TrimPrefix(ours, "/"); ok && !slices.Contains(allowed, ours) {
				t.Errorf("package %q imports %q", room, ours)
			}
			if path == "net/http" && slices.Contains([]string{"access", "certs", "flavors", "index", "legacy", "registry", "drivers", "drivers/local", "drivers/mem"}, room) {
				t.Errorf("package %q knows nothing of HTTP, but imports net/http", room)
			}
			if strings.HasPrefix(path, "github.com/prometheus/") && room != "metrics" {
				t.Errorf("package %q imports %s: metrics have their place in metrics", room, path)
			}
			if strings.HasPrefix(path, "go.opentelemetry.io/") && room != "traces" {
				t.Errorf("package %q imports %s: traces have their place in traces", room, path)
			}
			if path == "database/sql" && room != "index" {
				t.Errorf("package %q imports database/sql: queries have their place in index", room)
			}
		}
	}
}

type goPackage struct {
	ImportPath string
	Imports    []string
}

func packages(t *testing.T) []goPackage {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports", "./...")
	cmd.Dir = harness.Root(t)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var all []goPackage
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		err := d.Decode(&p)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}
