package integration

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/parfait-registry/parfait/integration/harness"
)

// pages are those with commands in blocks of sh, with what there has to be in the folder that they run in, further
// variables, and what they have to print. prepare returns pairs of what a page says and what stands for that here.
var pages = []struct {
	name    string
	prepare func(t *testing.T, dir, server string) []string
	env     []string
	want    []string
}{
	{"README.md", func(*testing.T, string, string) []string { return nil }, nil, []string{`"name":"team/app"`, "Go and its licenses", `{"name":"team/app","tags":[]}`}},
	{"docs/operations.md", pushSome, []string{"STORAGE_PATH=registry"}, []string{
		"a server listens on", "parfait_build_info{", "3 blobs with", "0 of them mended", "would collect", "is valid until", "has 1 who can log in"}},
	{"docs/migration.md", oldRegistries, nil, []string{
		"flavor registry-filesystem", "old-v2", "3 blobs with", "app:v1", "copied/app", "0 findings"}},
}

// TestDocs runs the commands of each page as they stand, one block after the other, but for the port. A block that begins
// with "# needs" cannot run here, and is checked as far as it goes without what it needs.
func TestDocs(t *testing.T) {
	for _, page := range pages {
		t.Run(page.name, func(t *testing.T) {
			text, err := os.ReadFile(filepath.Join(harness.Root(t), page.name))
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			server := harness.StartParfait(t, harness.Options{Storage: filepath.Join(dir, "registry"), Env: []string{"LOGLEVEL=warn"}})
			replaced := strings.NewReplacer(append(page.prepare(t, dir, server.Addr), "localhost:5000", server.Addr)...)
			var script strings.Builder
			for _, block := range strings.Split(string(text), "```sh\n")[1:] {
				commands, _, _ := strings.Cut(block, "```")
				if strings.HasPrefix(commands, "# needs ") {
					checkBlock(t, commands)
					continue
				}
				for line := range strings.Lines(commands) {
					if !strings.HasPrefix(line, "go install ") { // the harness has crane
						script.WriteString(replaced.Replace(line))
					}
				}
			}
			out := runIn(t, dir, script.String(), append(page.env, "REGISTRY_HTTP_ADDR="+server.Addr)...)
			for _, want := range page.want {
				if !strings.Contains(out, want) {
					t.Errorf("%q was not printed:\n%s", want, out)
				}
			}
		})
	}
}

// runIn runs a script in a folder, with crane and parfait, and returns what it prints.
func runIn(t *testing.T, dir, script string, env ...string) string {
	t.Helper()
	bin := filepath.Join(dir, "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, path := range map[string]string{"crane": harness.Tool(t, "crane"), "parfait": harness.Parfait(t)} {
		if err := os.Symlink(path, filepath.Join(bin, name)); err != nil && !os.IsExist(err) {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "sh", "-eux")
	cmd.Dir = dir
	cmd.Env = append(append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH")), env...)
	cmd.Stdin = strings.NewReader(script)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return string(out)
}

var (
	fileOfTree    = regexp.MustCompile(`\bdeploy/[\w./-]+`)
	literal       = regexp.MustCompile(`--from-literal=(\w+)=`)
	secretOfChart = regexp.MustCompile(`key: (\w+)[,}]`)
)

// checkBlock checks commands without what they need: that a shell can read them, that the files that they name are there,
// that make has their targets, that the chart takes what is set, and that a server could read its configuration.
func checkBlock(t *testing.T, commands string) {
	t.Helper()
	root := harness.Root(t)
	syntax := exec.CommandContext(t.Context(), "sh", "-n")
	syntax.Stdin = strings.NewReader(commands)
	if out, err := syntax.CombinedOutput(); err != nil {
		t.Errorf("%v: %s\n%s", err, out, commands)
	}
	for _, file := range fileOfTree.FindAllString(commands, -1) {
		if _, err := os.Stat(filepath.Join(root, file)); err != nil {
			t.Error(err)
		}
	}
	for line := range strings.Lines(commands) {
		switch program, rest, _ := strings.Cut(strings.TrimSpace(line), " "); program {
		case "make":
			make := exec.CommandContext(t.Context(), "sh", "-c", "make --dry-run "+rest)
			make.Dir = root
			if out, err := make.CombinedOutput(); err != nil {
				t.Errorf("%s%v\n%s", line, err, out)
			}
		case "helm":
			helm := exec.CommandContext(t.Context(), "sh", "-c", harness.Tool(t, "helm")+" "+strings.Replace(rest, "install", "template", 1))
			helm.Dir = root
			if out, err := helm.CombinedOutput(); err != nil {
				t.Errorf("%s%v\n%s", line, err, out)
			}
		case "kubectl":
			checkSecret(t, line)
		}
	}
	if strings.Contains(commands, "parfait serve") {
		shown := strings.NewReplacer("./bin/parfait serve", "parfait config show", "parfait serve", "parfait config show").Replace(commands)
		if out := runIn(t, t.TempDir(), shown); !strings.Contains(out, "storage: ") {
			t.Errorf("%s\n%s", commands, out)
		}
	}
}

// checkSecret compares the keys of a secret with those that the chart reads.
func checkSecret(t *testing.T, line string) {
	t.Helper()
	template, err := os.ReadFile(filepath.Join(harness.Root(t), "deploy/helm/parfait/templates/deployment.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	read := make(map[string]bool)
	for _, m := range secretOfChart.FindAllStringSubmatch(string(template), -1) {
		read[m[1]] = true
	}
	for _, m := range literal.FindAllStringSubmatch(line, -1) {
		if !read[m[1]] {
			t.Errorf("the chart does not read %s of its secret", m[1])
		}
	}
}

// pushSome pushes an image to the server of a page.
func pushSome(t *testing.T, _, server string) []string {
	t.Helper()
	image, _ := folder(t, 1000, 1)
	newProgram(t, "crane").run("push", image, server+"/team/app:v1")
	return nil
}

// oldRegistries makes what the page on migration begins with: a folder of distribution, one of docker-registry 0.x, and a
// registry on port 5001.
func oldRegistries(t *testing.T, dir, _ string) []string {
	t.Helper()
	image, _ := folder(t, 1000, 1)
	crane := newProgram(t, "crane")
	old := harness.StartDistribution(t, filepath.Join(dir, "old-v2"))
	crane.run("push", image, old.Addr+"/team/app:v1")
	old.Stop()

	id := strings.Repeat("ab", 32)
	layer := newProgram(t, "sh").pipe("", "-c", "mkdir x && echo hello > x/file && tar -cf layer x && base64 -w0 layer")
	config, err := json.Marshal(map[string]any{"id": id, "created": "2014-05-01T00:00:00Z", "architecture": "amd64", "os": "linux", "config": map[string]any{}})
	if err != nil {
		t.Fatal(err)
	}
	script := fmt.Sprintf(`
mkdir -p old-v1/images/%[1]s old-v1/repositories/library/app
printf '%%s' '%[2]s' | base64 -d > old-v1/images/%[1]s/layer
printf '%%s' '%[3]s' > old-v1/images/%[1]s/json
printf '["%[1]s"]' > old-v1/images/%[1]s/ancestry
printf '%[1]s' > old-v1/repositories/library/app/tag_v1
`, id, layer, config)
	runIn(t, dir, script)

	other := harness.StartDistribution(t, "")
	crane.run("push", image, other.Addr+"/copied/app:v1")
	return []string{"old-registry:5001", other.Addr}
}
