package integration

import (
	"crypto/tls"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/parfait-registry/parfait/integration/harness"
)

// An engine is Docker's, which pulls and pushes by itself when the program docker tells it to.
type engine struct{ host string } // host is a value for DOCKER_HOST

// newEngine finds the engine that docker talks to.
func newEngine(t *testing.T) engine {
	t.Helper()
	program := harness.Command(t, "docker")
	out, err := exec.CommandContext(t.Context(), program, "version", "--format", "{{.Server.Version}}").CombinedOutput()
	if err != nil {
		harness.Missing(t, "no engine answers docker; on Debian, install docker.io, docker-compose and iptables, and start dockerd: %s", out)
	}
	t.Logf("engine %s", out)
	host, err := exec.CommandContext(t.Context(), program, "context", "inspect", "--format", "{{.Endpoints.docker.Host}}").Output()
	if err != nil {
		t.Fatal(err)
	}
	return engine{strings.TrimSpace(string(host))}
}

// docker is the client, with a configuration of its own.
func (e engine) docker(t *testing.T) *program {
	t.Helper()
	p := newProgram(t, "docker")
	p.env = append(p.env, "DOCKER_HOST="+e.host)
	return p
}

// test types what everybody types. Restart has the registry go and come back.
func (e engine) test(t *testing.T, addr string, restart func()) {
	docker := e.docker(t)
	name := addr + "/team/engine"
	id, prints := buildImage(t, docker, name+":v1")
	defer docker.try("", "rmi", "--force", id) // it is gone if the registry did not give it back

	login(t, docker, addr, "anything") // nobody asks for it
	digest := push(t, docker, name+":v1")
	if got := newProgram(t, "crane").run("digest", name+":v1"); got != digest {
		t.Errorf("the registry has %s, want %s", got, digest)
	}
	if got := docker.run("search", addr+"/engine"); !strings.Contains(got, "team/engine") {
		t.Errorf("search: got %q, want team/engine", got)
	}
	pull := func(ref string) {
		t.Helper()
		docker.run("rmi", "--force", id)
		if got := docker.run("pull", ref); !strings.Contains(got, "Digest: "+digest) {
			t.Errorf("pull %s: got %q, want %s", ref, got, digest)
		}
		if got := docker.run("inspect", "--format", "{{.Id}} {{.RepoDigests}}", ref); !strings.HasPrefix(got, id) || !strings.Contains(got, digest) {
			t.Errorf("%s: got %q, want %s and %s", ref, got, id, digest)
		}
		if got := docker.run("run", "--rm", ref); got != prints {
			t.Errorf("%s: got %q, want %q", ref, got, prints)
		}
	}
	pull(name + ":v1")
	pull(name + "@" + digest)
	restart()
	pull(name + ":v1")

	docker.run("tag", name+":v1", addr+"/team/copy:v2")
	if got := push(t, docker, addr+"/team/copy:v2"); got != digest {
		t.Errorf("push of a copy: got %s, want %s", got, digest)
	}
	if got := docker.fails("pull", name+":v3"); !strings.Contains(got, "manifest unknown") && !strings.Contains(got, "not found") {
		t.Errorf("pull of a tag that is not there: got %q", got)
	}
}

// testPasswords meets a registry that asks for a password, by TLS, and takes it itself or gives tokens for it.
func (e engine) testPasswords(t *testing.T) {
	users := filepath.Join(t.TempDir(), "users")
	if out, status := harness.RunParfait(t, harness.Options{}, "htpasswd", "-cb", users, "alice", "secret"); status != 0 {
		t.Fatal(out)
	}
	addr := outsideAddr(t)
	host, _, _ := net.SplitHostPort(addr)
	certs := t.TempDir()
	certify(t, "self-signed", "--dir", certs, host)
	ca := filepath.Join(certs, "ca.crt")
	for name, tokens := range map[string]string{"Basic": "false", "Bearer": "true"} {
		t.Run(name, func(t *testing.T) {
			s := harness.StartParfait(t, harness.Options{Addr: addr, TLS: &tls.Config{RootCAs: poolOf(t, ca)},
				Env: append(encrypted(certs), "REGISTRY_AUTH=htpasswd", "REGISTRY_AUTH_HTPASSWD_PATH="+users, "AUTH_TOKENS="+tokens)})
			e.testLogin(t, s, ca)
		})
	}
}

// testLogin trusts an authority, logs in, pushes, pulls and logs out.
func (e engine) testLogin(t *testing.T, s *harness.Server, ca string) {
	docker, ref := e.docker(t), s.Addr+"/team/engine:v1"
	id, _ := buildImage(t, docker, ref)
	defer docker.try("", "rmi", "--force", id)
	refused := func(reasons string, args ...string) {
		t.Helper()
		if got := docker.fails(args...); !regexp.MustCompile("(?i)" + reasons).MatchString(got) {
			t.Errorf("%s: got %q, want %s", docker.line(args), got, reasons)
		}
	}
	const denied = "unauthorized|no basic auth credentials|authentication required"
	refused("certificate", "login", "--username", "alice", "--password", "secret", s.Addr)
	trusted := filepath.Join("/etc/docker/certs.d", s.Addr)
	if err := os.MkdirAll(trusted, 0o755); err != nil {
		harness.Missing(t, "the engine cannot be told whom to trust: %v", err)
	}
	defer os.RemoveAll(trusted)
	copyOf(t, ca, filepath.Join(trusted, "ca.crt"))
	start := time.Now()
	refused(denied, "push", ref)
	if took := time.Since(start); took > 20*time.Second {
		t.Errorf("docker has pushed in vain for %v: it does not see that it has to log in", took)
	}
	refused(denied, "login", "--username", "alice", "--password", "wrong", s.Addr)
	refused(denied, "push", ref)
	login(t, docker, s.Addr, "secret")
	push(t, docker, ref)
	docker.run("rmi", "--force", id)
	docker.run("pull", ref)
	docker.run("logout", s.Addr)
	docker.run("rmi", "--force", id)
	refused(denied, "pull", ref)
}

// outsideAddr is a free address that is not of the loopback interface, where engines trust every certificate.
func outsideAddr(t *testing.T) string {
	t.Helper()
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, addr := range addrs {
		network, ok := addr.(*net.IPNet)
		if !ok || network.IP.To4() == nil || !network.IP.IsGlobalUnicast() {
			continue
		}
		l, err := net.Listen("tcp", net.JoinHostPort(network.IP.String(), "0"))
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		return l.Addr().String()
	}
	harness.Missing(t, "there is no address but that of the loopback interface")
	return ""
}

func login(t *testing.T, docker *program, addr, password string) {
	t.Helper()
	if got := docker.pipe(password, "login", "--username", "alice", "--password-stdin", addr); !strings.Contains(got, "Login Succeeded") {
		t.Errorf("login: got %q", got)
	}
}

// push returns the digest that docker says.
func push(t *testing.T, docker *program, ref string) string {
	t.Helper()
	got := docker.run("push", ref)
	found := regexp.MustCompile(`digest: (sha256:[0-9a-f]{64})`).FindStringSubmatch(got)
	if found == nil {
		t.Fatalf("push %s: got %q, want a digest in it", ref, got)
	}
	return found[1]
}

// buildImage makes an image of several layers that was never there, and returns its ID and what it prints when it runs.
func buildImage(t *testing.T, docker *program, name string) (id, prints string) {
	t.Helper()
	parfait, err := os.ReadFile(filepath.Join(harness.Root(t), "bin/rootfs/parfait")) // it is for Linux, whatever this is
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(docker.write("parfait", string(parfait)), 0o755); err != nil {
		t.Fatal(err)
	}
	docker.write("noise", string(randomBytes(t, 5<<20)))
	docker.write("Dockerfile", `FROM scratch
COPY parfait /parfait
COPY noise /noise
COPY Dockerfile /some/folder/Dockerfile
ENTRYPOINT ["/parfait", "version"]
`)
	docker.run("build", "--quiet", "--tag", name, ".")
	id = docker.run("inspect", "--format", "{{.Id}}", name)
	return id, docker.run("run", "--rm", name)
}
