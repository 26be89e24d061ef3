package harness

import (
	"context"
	"embed"
	"net/http"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"text/template"
	"time"
)

// A Swift is OpenStack Swift on one device: a proxy server, the servers of accounts, containers and objects, and
// memcached. It authenticates with version 1. A stop ends its tokens, and leaves what it stores.
type Swift struct {
	AuthURL, User, Password string
	Addr                    string // host:port of the proxy server

	t       testing.TB
	servers []*Server
}

// OpenStackSwift starts Swift as Debian packages it, which takes some seconds. All of it is in a folder of its own, but for
// /etc/swift/swift.conf, whose path is built in. Its servers run as the user swift if the tests run as root.
func OpenStackSwift(t testing.TB) *Swift {
	t.Helper()
	names := []string{"memcached", "account", "container", "object", "proxy"}
	programs := swiftPrograms(t, names)
	account := unprivileged(t, "swift")
	dir := account.folder(t, "swift")
	addrs := make(map[string]string)
	for _, name := range names {
		addrs[name] = freeAddr(t)
	}
	makeRings(t, account, dir, addrs)
	s := &Swift{
		AuthURL: "http://" + addrs["proxy"] + "/auth/v1.0", User: "test:tester", Password: "testing", Addr: addrs["proxy"],
		t: t,
	}
	for _, name := range names {
		c := command{name: filepath.Base(programs[name]), ready: answers("/healthcheck"), home: dir, user: account}
		args := []string{programs[name]}
		if name == "memcached" {
			c.ready = listens
			args = append(args, "--listen", "127.0.0.1", "--port", port(addrs[name]), "--udp-port", "0")
		} else {
			args = append(args, swiftConfig(t, dir, name, addrs), "--verbose")
		}
		c.args = func(string) []string { return args }
		s.servers = append(s.servers, newServer(t, c, addrs[name]))
	}
	s.Start()
	return s
}

// SwiftPrograms are the paths of the programs with which the servers of these names start.
func swiftPrograms(t testing.TB, names []string) map[string]string {
	t.Helper()
	const packages = "swift-proxy, swift-account, swift-container, swift-object and memcached"
	programs := make(map[string]string)
	for _, name := range names {
		program := name
		if name != "memcached" {
			program = "swift-" + name + "-server"
		}
		path, err := exec.LookPath(program)
		if err != nil {
			missing(t, "Swift is not installed, as there is no %s: it is in Debian's packages %s", program, packages)
		}
		programs[name] = path
	}
	if _, err := os.Stat("/etc/swift/swift.conf"); err != nil {
		missing(t, "Swift is not installed whole: reinstall Debian's package swift: %v", err)
	}
	return programs
}

//go:embed swift
var swiftFiles embed.FS

// MakeRings makes the folder of the device, and the files by which the servers find one another and it. They are of
// Swift's own making, with the Python that it is installed for.
func makeRings(t testing.TB, account *account, dir string, addrs map[string]string) {
	t.Helper()
	script, err := swiftFiles.ReadFile("swift/rings.py")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "/usr/bin/python3", "-", dir, "account:"+port(addrs["account"]),
		"container:"+port(addrs["container"]), "object:"+port(addrs["object"]))
	cmd.Dir, cmd.Env, cmd.Stdin = dir, environment(dir), strings.NewReader(string(script))
	bind(cmd, account, syscall.SIGKILL)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("make the rings of Swift: %v\n%s", err, out)
	}
}

// SwiftConfig writes the configuration of one server into dir and returns the file's path.
func swiftConfig(t testing.TB, dir, name string, addrs map[string]string) string {
	t.Helper()
	source := "storage-server.conf"
	if name == "proxy" {
		source = "proxy-server.conf"
	}
	who := "swift"
	if os.Getuid() != 0 {
		u, err := user.Current()
		if err != nil {
			t.Fatal(err)
		}
		who = u.Username
	}
	path := filepath.Join(dir, name+"-server.conf")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	config := struct{ Name, Port, User, Dir, Memcached string }{name, port(addrs[name]), who, dir, addrs["memcached"]}
	if err := template.Must(template.ParseFS(swiftFiles, "swift/"+source)).Execute(file, config); err != nil {
		t.Fatal(err)
	}
	return path
}

// Start starts Swift, again after Stop or Kill, on the same addresses and folder, and waits until it serves.
func (s *Swift) Start() {
	s.t.Helper()
	for _, server := range s.servers {
		server.launch()
	}
	for _, server := range s.servers {
		if !server.waitReady() {
			s.t.Fatalf("%s does not start on %s", server.command.name, server.Addr)
		}
	}
	// The proxy server says that it is well without a look at the others.
	var err error
	for deadline := time.Now().Add(startLimit); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if err = s.try(); err == nil {
			return
		}
	}
	s.t.Fatalf("Swift does not serve on %s after %v: %v", s.Addr, startLimit, err)
}

// Try stores and removes an object.
func (s *Swift) try() error {
	ctx := context.Background()
	url, header, err := s.login(ctx)
	if err != nil {
		return err
	}
	container := url + "/" + fresh()
	for _, step := range []struct{ method, url string }{
		{http.MethodPut, container}, {http.MethodPut, container + "/o"}, {http.MethodGet, container + "/o"},
		{http.MethodDelete, container + "/o"}, {http.MethodDelete, container},
	} {
		if _, _, err := ask(ctx, step.method, step.url, header, "o"); err != nil {
			return err
		}
	}
	return nil
}

// Login returns the URL of the account, below which are the containers, and a header for requests about it.
func (s *Swift) Login(t testing.TB) (url string, header http.Header) {
	t.Helper()
	url, header, err := s.login(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return url, header
}

func (s *Swift) login(ctx context.Context) (url string, header http.Header, err error) {
	answer, _, err := ask(ctx, http.MethodGet, s.AuthURL, http.Header{"X-Auth-User": {s.User}, "X-Auth-Key": {s.Password}}, "")
	if err != nil {
		return "", nil, err
	}
	return answer.Get("X-Storage-Url"), http.Header{"X-Auth-Token": {answer.Get("X-Auth-Token")}}, nil
}

// NewContainer makes a container that no other test has, and returns its name.
func (s *Swift) NewContainer(t testing.TB) string {
	t.Helper()
	url, header := s.Login(t)
	name := fresh()
	if _, _, err := ask(t.Context(), http.MethodPut, url+"/"+name, header, ""); err != nil {
		t.Fatal(err)
	}
	return name
}

// Stop asks all servers of Swift to end and waits for that.
func (s *Swift) Stop() {
	s.t.Helper()
	for _, server := range s.servers {
		server.Stop()
	}
}

// Kill ends all servers of Swift with SIGKILL and waits for that.
func (s *Swift) Kill() {
	for _, server := range s.servers {
		server.Kill()
	}
}

// Log is what the servers have printed so far, one after another.
func (s *Swift) Log() string {
	var logs strings.Builder
	for _, server := range s.servers {
		logs.WriteString(server.command.name + ":\n" + server.Log())
	}
	return logs.String()
}
