package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/parfait-registry/parfait/access"
)

// typed runs parfait htpasswd with what it is given on standard input.
func typed(t *testing.T, stdin, line string, words ...string) (status int, stdout, stderr string) {
	t.Helper()
	in, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	fmt.Fprint(w, stdin)
	w.Close()
	before := os.Stdin
	os.Stdin = in
	defer func() { os.Stdin = before }()
	return command(t, append(append([]string{"htpasswd"}, strings.Fields(line)...), words...)...)
}

// TestHtpasswdFile goes through the life of a file, whose lines have costs as low as can be.
func TestHtpasswdFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "htpasswd")
	for _, tt := range []struct {
		line, stdin    string
		password       string // behind the line
		status         int
		stdout, stderr string
	}{
		{"-BbC4 " + path + " alice", "", "first secret", 2, "", "-c makes a new one"},
		{"-BbcC4 " + path + " alice", "", "first secret", 0, "", "Adding password for user alice\n"},
		{"-B -i -C 4 " + path + " bob", "hunter 2\n", "", 0, "", "Adding password for user bob\n"},
		{"-BbC 4 " + path + " carol", "", "third", 0, "", "Adding password for user carol\n"},
		{"-vb " + path + " alice", "", "first secret", 0, "", "Password for user alice correct.\n"},
		{"-vi " + path + " bob", "hunter 2", "", 0, "", "Password for user bob correct.\n"},
		{"-vb " + path + " bob", "", "hunter 3", 1, "", "verification failed"},
		{"-vb " + path + " eve", "", "x", 1, "", "user eve is not in"},
		{"-bC4 " + path + " bob", "", "changed", 0, "", "Updating password for user bob\n"},
		{"-vb " + path + " bob", "", "changed", 0, "", "correct"},
		{"-D " + path + " carol", "", "", 0, "", "Deleting password for user carol\n"},
		{"-D " + path + " carol", "", "", 0, "", "User carol not found\n"},
		{"-vb " + path + " carol", "", "third", 1, "", "user carol is not in"},
	} {
		var words []string
		if tt.password != "" {
			words = []string{tt.password}
		}
		status, stdout, stderr := typed(t, tt.stdin, tt.line, words...)
		if status != tt.status || stdout != tt.stdout || !strings.Contains(stderr, tt.stderr) || tt.password != "" && strings.Contains(stderr, tt.password) {
			t.Errorf("htpasswd %s: got status %d, %q, %q", tt.line, status, stdout, stderr)
		}
	}
	text, err := os.ReadFile(path)
	if lines := strings.Split(string(text), "\n"); err != nil || len(lines) != 3 || !strings.HasPrefix(lines[0], "alice:$2y$04$") || !strings.HasPrefix(lines[1], "bob:$2y$04$") {
		t.Errorf("got %s, %v, want the users in their order", text, err)
	}
	if files, err := os.ReadDir(filepath.Dir(path)); err != nil || len(files) != 1 {
		t.Errorf("got %v, %v beside the file, want nothing", files, err)
	}
}

// TestHtpasswdPrint is what every tutorial types.
func TestHtpasswdPrint(t *testing.T) {
	status, stdout, stderr := typed(t, "", "-Bbn admin admin")
	hash, ok := strings.CutPrefix(stdout, "admin:$2y$10$")
	if status != 0 || !ok || stderr != "" || !strings.HasSuffix(hash, "\n") || strings.Count(hash, "\n") != 1 {
		t.Fatalf("got %d, %q, %q", status, stdout, stderr)
	}
	if _, right := access.ParseHtpasswd([]byte(stdout)).Verify("admin", "admin"); !right {
		t.Error("the password is not that of the line")
	}
	if status, stdout, _ := typed(t, "a secret\n", "-nBiC 4 alice"); status != 0 || !strings.HasPrefix(stdout, "alice:$2y$04$") {
		t.Errorf("got %d, %q", status, stdout)
	}
}

func TestHtpasswdMistakes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "htpasswd")
	for line, want := range map[string]string{
		"":                                   "0 arguments, where there should be 2: file user",
		"-b " + path + " alice":              "file user password",
		path + " alice secret":               "3 arguments, where there should be 2",
		"-n alice secret":                    "2 arguments, where there should be 1: user",
		"-nb alice":                          "user password",
		"-D " + path:                         "file user",
		"-bm " + path + " a b":               "bcrypt alone",
		"-ns a":                              "bcrypt alone",
		"-cn a":                              "choose one",
		"-cD " + path + " a":                 "choose one",
		"-bi " + path + " a b":               "choose one",
		"-bnC3 a b":                          "-C: 3",
		"-bnC18 a b":                         "-C: 18",
		"-bnC x a b":                         "-C",
		"-x":                                 "unknown shorthand flag: 'x'",
		"-bn a:b c":                          `"a:b" is no name for a user`,
		"-bn anonymous c":                    `"anonymous" is no name`,
		"-n alice":                           "no terminal",
		"-ni alice":                          "standard input",
		"-bc /nowhere/htpasswd a b":          "/nowhere",
		"-bnC4 a " + strings.Repeat("x", 73): "72 bytes",
	} {
		status, stdout, stderr := typed(t, "", line)
		if status != 2 || stdout != "" || !strings.Contains(stderr, want) || strings.Count(stderr, "\n") != 1 {
			t.Errorf("htpasswd %s: got status %d, %q, %q, want %s", line, status, stdout, stderr, want)
		}
	}
	for _, args := range []string{"-h", "--help"} {
		if status, stdout, _ := typed(t, "", args); status != 0 || !strings.Contains(stdout, "parfait htpasswd -D file user") {
			t.Errorf("%s: got %d, %q", args, status, stdout)
		}
	}
}

// A file that is changed keeps its mode and its comments, and a link to it stays a link.
func TestHtpasswdKeeps(t *testing.T) {
	dir := t.TempDir()
	path, link := filepath.Join(dir, "users"), filepath.Join(dir, "htpasswd")
	const text = "# our users\n\neve:{SHA}x\n"
	if err := os.WriteFile(path, []byte(text), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	if status, _, stderr := typed(t, "", "-bC4 "+link+" alice secret"); status != 0 {
		t.Fatal(stderr)
	}
	got, err := os.ReadFile(path)
	if err != nil || !strings.HasPrefix(string(got), text+"alice:") {
		t.Errorf("got %q, %v", got, err)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&fs.ModeSymlink == 0 {
		t.Errorf("got %v, %v, want a link", info, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("got %v, %v, want mode 640", info, err)
	}
	if os.Getuid() == 0 {
		if err := os.Chown(path, 1234, 5678); err != nil {
			t.Fatal(err)
		}
		typed(t, "", "-bC4 "+link+" bob secret")
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if owner := info.Sys().(*syscall.Stat_t); owner.Uid != 1234 || owner.Gid != 5678 {
			t.Errorf("got owner %d:%d, want the old one", owner.Uid, owner.Gid)
		}
	}
}

// TestServeAsksForPasswords starts and fails to start with one line.
func TestServeAsksForPasswords(t *testing.T) {
	t.Chdir(t.TempDir())
	t.Setenv("STORAGE_PATH", t.TempDir())
	for _, tt := range []struct{ text, want string }{
		{"", "has no users; type: parfait htpasswd -B users USER"},
		{"alice:{SHA}x\n", `line 1, user "alice": its password is stored as SHA-1`},
	} {
		if err := os.WriteFile("users", []byte(tt.text), 0o600); err != nil {
			t.Fatal(err)
		}
		t.Setenv("REGISTRY_AUTH_HTPASSWD_PATH", "users")
		status, _, stderr := command(t, "serve")
		if status != 2 || !strings.Contains(stderr, tt.want) || strings.Count(stderr, "\n") != 1 {
			t.Errorf("got %d, %q, want %s", status, stderr, tt.want)
		}
	}
	t.Setenv("REGISTRY_AUTH_HTPASSWD_PATH", "nowhere")
	if status, _, stderr := command(t, "serve"); status != 2 || !strings.Contains(stderr, "auth_htpasswd_path: open nowhere: no such file") {
		t.Errorf("got %d, %q", status, stderr)
	}
	rules := []byte("a:\n  storage: mem\n  auth: htpasswd\n  auth_htpasswd_path: users\n  access:\n  - {repositories: [team/**], users: [alice], actions: [read]}\n  - {repositories: [A], users: [alice], actions: [pull]}\n")
	if err := os.WriteFile("config.yml", rules, 0o600); err != nil {
		t.Fatal(err)
	}
	status, stdout, _ := command(t, "config", "check")
	for _, want := range []string{`rule 1: action "read" is none of`, "rule 2: repository pattern"} {
		if status != 2 || !strings.Contains(stdout, want) {
			t.Errorf("got %d, %q, want %s", status, stdout, want)
		}
	}
	if _, stdout, _ := command(t, "config", "show", "-f", "a"); !bytes.Contains([]byte(stdout), []byte("access:  # config.yml:5\n  - repositories: [\"team/**\"]  # config.yml:6\n")) {
		t.Errorf("got %s", stdout)
	}
}

func TestHtpasswdByName(t *testing.T) {
	for line, want := range map[string]string{
		"htpasswd -Bbn admin admin":       "htpasswd -Bbn admin admin",
		"/usr/bin/htpasswd -n x":          "htpasswd -n x",
		"/parfait serve":                  "serve",
		"parfait htpasswd -n x":           "htpasswd -n x",
		"/usr/bin/htpasswd-parfait serve": "serve",
	} {
		if got := strings.Join(arguments(strings.Fields(line)), " "); got != want {
			t.Errorf("%s: got %q, want %q", line, got, want)
		}
	}
}
