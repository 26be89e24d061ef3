package harness

import (
	"crypto/tls"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// Options say how to start Parfait. The zero Options serve a new folder with flavor dev of the built-in configuration.
type Options struct {
	Storage string   // STORAGE_PATH; empty: a new temporary folder
	Config  string   // text of a configuration file; empty: the built-in one
	Flavor  string   // SETTINGS_FLAVOR; empty: dev
	Addr    string   // host:port to listen on; empty: a free port of the loopback interface
	Env     []string // further NAME=value pairs, which win over the fields above
	Args    []string // further arguments of serve
	Ready   string   // path that answers 200 once the server serves; empty: /readyz

	// TLS is how a client speaks to a server that Env or Config tells to speak TLS; nil: without.
	TLS *tls.Config

	// Wrap is a command that runs Parfait, such as strace and its arguments. Server.PID and its signals are then those
	// of that command: `strace -D -f` leaves Parfait itself in that place.
	Wrap []string
}

// StartParfait builds and starts Parfait.
func StartParfait(t testing.TB, o Options) *Server {
	t.Helper()
	program := Parfait(t)
	o.fill(t)
	args := append(append([]string{}, o.Wrap...), program, "serve")
	args = append(append(args, o.flags(t)...), o.Args...)
	s := start(t, command{
		name:  "parfait",
		args:  func(string) []string { return args },
		env:   o.environment,
		ready: o.answers,
	}, o.Addr)
	s.Storage = o.Storage
	if o.TLS != nil {
		s.URL = "https://" + s.Addr
	}
	return s
}

// RunParfait runs a command of Parfait that ends by itself, such as reindex, and returns what it has printed on both
// outputs and its exit status, which is -1 after a signal. Of the options, those about listening have no effect.
func RunParfait(t testing.TB, o Options, args ...string) (output string, status int) {
	t.Helper()
	program := Parfait(t)
	o.fill(t)
	dir := t.TempDir()
	args = append(append(o.flags(t), args...), o.Args...)
	if len(o.Wrap) > 0 {
		program, args = o.Wrap[0], append(append(append([]string{}, o.Wrap[1:]...), program), args...)
	}
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Dir = dir
	cmd.Env = append(environment(dir), o.environment("")...)
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// Answers says of a server whether it is ready.
func (o *Options) answers(addr string) error {
	if o.TLS == nil {
		return answers(o.Ready)(addr)
	}
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: o.TLS}}
	resp, err := client.Get("https://" + addr + o.Ready)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", o.Ready, resp.Status)
	}
	return nil
}

// Fill sets the defaults.
func (o *Options) fill(t testing.TB) {
	if o.Storage == "" {
		o.Storage = t.TempDir()
	}
	if o.Flavor == "" {
		o.Flavor = "dev"
	}
	if o.Ready == "" {
		o.Ready = "/readyz"
	}
}

// Flags name the configuration file, which they make, if there is to be one.
func (o *Options) flags(t testing.TB) []string {
	t.Helper()
	if o.Config == "" {
		return nil
	}
	file := filepath.Join(t.TempDir(), "config.yml")
	if err := os.WriteFile(file, []byte(o.Config), 0o644); err != nil {
		t.Fatal(err)
	}
	return []string{"--config", file}
}

func (o *Options) environment(addr string) []string {
	env := []string{"SETTINGS_FLAVOR=" + o.Flavor, "STORAGE_PATH=" + o.Storage}
	if addr != "" {
		env = append(env, "REGISTRY_HTTP_ADDR="+addr)
	}
	return append(env, o.Env...)
}

// Parfait is the path of the program of this tree, built once in a test run; with the race detector in it if the
// environment has PARFAIT_RACE=1.
func Parfait(t testing.TB) string {
	t.Helper()
	path, err := parfait(Root(t))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// Built is the folder with Parfait, if this process has built it.
var built struct {
	once sync.Once
	dir  string
	err  error
}

func parfait(root string) (string, error) {
	built.once.Do(func() { built.dir, built.err = buildParfait(root) })
	return filepath.Join(built.dir, "parfait"), built.err
}

func buildParfait(root string) (dir string, err error) {
	if err := readTree(root); err != nil {
		return "", err
	}
	dir, err = os.MkdirTemp("", "parfait-build-")
	if err != nil {
		return "", err
	}
	args := []string{"build", "-buildvcs=false", "-tags", "disable_grpc_modules", "-ldflags", "-X main.version=test", "-o", filepath.Join(dir, "parfait")}
	cgo := "CGO_ENABLED=0"
	if os.Getenv("PARFAIT_RACE") == "1" {
		args, cgo = append(args, "-race"), "CGO_ENABLED=1"
	}
	cmd := exec.Command("go", append(args, "./cmd/parfait")...)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), cgo)
	if out, err := cmd.CombinedOutput(); err != nil {
		return dir, fmt.Errorf("build parfait: %w\n%s", err, out)
	}
	return dir, nil
}

// ReadTree looks at every file that Parfait may be built of. The go command repeats the result of a test only while the
// files that the test itself has looked at stay the same, and what a compiler in another process reads is not among them.
func readTree(root string) error {
	return filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() && path != root && (entry.Name()[0] == '.' || entry.Name() == "bin") {
			return fs.SkipDir
		}
		return err
	})
}
