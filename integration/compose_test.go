package integration

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parfait-registry/parfait/integration/harness"
)

// TestCompose brings up docker-compose.yml, with every docker-compose and in every flavor that it is made for, and lets
// all clients and the engine itself have a go at it. It needs fixed ports, so it runs only when `make compose` asks for it.
func TestCompose(t *testing.T) {
	if os.Getenv("PARFAIT_COMPOSE") == "" {
		t.Skip("make compose runs it")
	}
	known := make(map[string]bool)
	for _, tt := range api {
		known[tt.name] = true
	}
	for name := range leftOut {
		if !known[name] {
			t.Errorf("there is no test %q to leave out", name)
		}
	}
	e := newEngine(t)
	makeImages(t)
	t.Run("image", func(t *testing.T) { checkImage(t, e.docker(t)) })
	t.Run("passwords", e.testPasswords)
	for _, tt := range []struct {
		name    string
		program func(t testing.TB, name string) string
		flavors []flavor
	}{
		{"version 1", harness.Command, []flavor{{name: "s3"}, {name: "dev"}}},
		{"version 2", harness.Tool, []flavor{{name: "gcs"}, production}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newComposition(t, e, tt.program(t, "docker-compose"))
			for _, f := range tt.flavors {
				t.Run(f.name, func(t *testing.T) { c.test(t, f) })
			}
		})
	}
}

// A flavor is one that docker-compose.yml serves when the environment says so.
type flavor struct {
	name  string
	env   []string
	check func(t *testing.T) // looks from aside at what has been stored; may be nil
}

var production = flavor{"prod", []string{
	"COMPOSE_PROFILES=postgres", "INDEX_DATABASE=postgres://postgres:parfait-secret@postgres/parfait"}, checkPostgres}

// checkPostgres looks for the facts in PostgreSQL.
func checkPostgres(t *testing.T) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), harness.Command(t, "psql"), "--no-psqlrc", "--tuples-only", "--no-align",
		"--command", "select count(*) from repositories where name = 'team/engine'",
		"postgres://postgres:parfait-secret@127.0.0.1:5432/parfait")
	if out, err := cmd.CombinedOutput(); err != nil || strings.TrimSpace(string(out)) != "1" {
		t.Errorf("psql: got %s, %v, want 1", out, err)
	}
}

// leftOut is what TestAPI has to do alone: the test needs a registry of its own.
var leftOut = map[string]string{
	"relative locations":         "it needs another setting",
	"podman search in a catalog": "it needs other settings",
	"pages":                      "it needs an empty registry",
	"docker search":              "it needs an empty registry",
}

// makeImages builds what docker-compose.yml names.
func makeImages(t *testing.T) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "make", "images")
	cmd.Dir = harness.Root(t)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("make images: %v\n%s", err, out)
	}
}

// checkImage looks for anything in the image of Parfait that is of use to an intruder.
func checkImage(t *testing.T, docker *program) {
	t.Helper()
	if got := docker.run("inspect", "--format", "{{.Config.User}}", "parfait"); got != "65532:65532" {
		t.Errorf("it runs as %q, want 65532:65532", got)
	}
	id := docker.run("create", "parfait")
	defer docker.try("", "rm", "--volumes", id)
	docker.run("export", "--output", "files.tar", id)
	for r := tar.NewReader(strings.NewReader(docker.read("files.tar"))); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg && h.Size > 0 && h.Name != "parfait" {
			t.Errorf("there is /%s in it", h.Name)
		}
	}
}

// A composition is docker-compose.yml at work, in a project of its own. It is a store, whose one server all tests share.
type composition struct {
	t       *testing.T // that of all flavors
	engine  engine
	program string   // docker-compose
	args    []string // that come before all others
	addr    string   // of Parfait
}

// newComposition sees to it that all is taken down again, volumes included.
func newComposition(t *testing.T, e engine, program string) *composition {
	t.Helper()
	file := filepath.Join(harness.Root(t), "docker-compose.yml")
	c := &composition{t: t, engine: e, program: program, args: []string{"-f", file, "-p", "parfait-integration"}, addr: "127.0.0.1:5000"}
	checkPorts(t, file)
	c.takeDown(t)
	return c
}

// checkPorts fails the test if a port is another's.
func checkPorts(t *testing.T, file string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	ports := regexp.MustCompile(`- "([^"]*):\d+"`).FindAllStringSubmatch(string(text), -1)
	if len(ports) != 4 {
		t.Fatalf("got ports %q, want 4", ports)
	}
	for _, port := range ports {
		if !strings.HasPrefix(port[1], "127.0.0.1:") {
			t.Errorf("%s is not of the loopback interface alone", port[1])
		}
		l, err := net.Listen("tcp", port[1])
		if err != nil {
			t.Fatalf("docker-compose.yml needs %s for itself: %v", port[1], err)
		}
		l.Close()
	}
}

// takeDown removes everything when the test ends, or this process does: after Ctrl-C or a panic, too. So it is left to
// another process, whose standard input ends then, and which pays no heed to Ctrl-C.
func (c *composition) takeDown(t *testing.T) {
	t.Helper()
	const script = `trap '' HUP INT TERM
		cat
		sleep 1 # what Ctrl-C has interrupted comes to its end
		out=$("$@" 2>&1) || { printf '%s\n' "$out" >&2; exit 1; }`
	args := append([]string{"-c", script, "sh", c.program}, c.args...)
	cmd := exec.Command("sh", append(args, "down", "--volumes", "--remove-orphans")...)
	cmd.Env, cmd.Stderr = c.command(t, production).env, os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("take down: %v", err)
		}
	})
}

// command is docker-compose for one flavor.
func (c *composition) command(t *testing.T, f flavor) *program {
	t.Helper()
	p := c.engine.docker(t)
	p.path, p.args = c.program, c.args
	p.env = append(append(p.env, "SETTINGS_FLAVOR="+f.name), f.env...)
	return p
}

// test has the registry be used in one flavor.
func (c *composition) test(t *testing.T, f flavor) {
	p := c.command(t, f)
	t.Cleanup(func() {
		if t.Failed() {
			logs, errs, _ := c.command(c.t, f).try("", "logs", "--no-color", "--tail", "300") // an error says itself in errs
			t.Logf("logs:\n%s%s", logs, errs)
		}
	})
	c.up(t, p)
	if log := p.run("logs", "--no-color", "parfait"); !strings.Contains(log, fmt.Sprintf(`"flavor":%q`, f.name)) {
		t.Fatalf("Parfait does not say that it serves the flavor %s:\n%s", f.name, log)
	}
	for _, tt := range api {
		t.Run(tt.name, func(t *testing.T) {
			if why, ok := leftOut[tt.name]; ok {
				t.Skip(why)
			}
			tt.test(t, c)
		})
	}
	t.Run("engine", func(t *testing.T) {
		c.engine.test(t, c.addr, func() {
			p.run("down")
			c.up(t, p)
		})
	})
	if f.check != nil {
		f.check(t)
	}
}

// start hands out the server that is there.
func (c *composition) start(t *testing.T, o harness.Options) *harness.Server {
	t.Helper()
	for _, e := range o.Env {
		if !strings.HasPrefix(e, "LOGLEVEL=") {
			t.Fatalf("the test needs a server of its own, with %s: see leftOut", e)
		}
	}
	return harness.Running(c.addr)
}

// up has all services run, and be well.
func (c *composition) up(t *testing.T, p *program) {
	t.Helper()
	p.run("up", "-d", "--build")
	docker := c.engine.docker(t)
	const format = `{{.Name}} {{.State.Status}} {{.State.Health.Status}}`
	var states []string
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
		states = strings.Split(docker.run(append([]string{"inspect", "--format", format}, lines(p.run("ps", "-q"))...)...), "\n")
		if !slices.ContainsFunc(states, func(s string) bool { return !strings.HasSuffix(s, " running healthy") }) {
			return
		}
	}
	t.Fatalf("not every service is well after a minute: %q", states)
}
