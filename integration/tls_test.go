package integration

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/parfait-registry/parfait/integration/harness"
)

// selfSigned has parfait make certificates in a new folder, for localhost and for users, and returns the folder and what
// a client has to trust.
func selfSigned(t *testing.T, users ...string) (dir string, trust *tls.Config) {
	t.Helper()
	dir = t.TempDir()
	certify(t, "self-signed", "--dir", dir)
	for _, user := range users {
		certify(t, "client", "--dir", dir, user)
	}
	return dir, &tls.Config{RootCAs: poolOf(t, filepath.Join(dir, "ca.crt"))}
}

func certify(t *testing.T, args ...string) {
	t.Helper()
	if out, status := harness.RunParfait(t, harness.Options{}, append([]string{"cert"}, args...)...); status != 0 {
		t.Fatal(out)
	}
}

func poolOf(t *testing.T, file string) *x509.CertPool {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(data) {
		t.Fatalf("%s has no certificate", file)
	}
	return pool
}

// encrypted are the variables that have a server speak TLS.
func encrypted(dir string) []string {
	return []string{"LOGLEVEL=info", "REGISTRY_HTTP_TLS_CERTIFICATE=" + filepath.Join(dir, "domain.crt"),
		"REGISTRY_HTTP_TLS_KEY=" + filepath.Join(dir, "domain.key")}
}

// TestTLS pushes and pulls with clients that know the authority and nothing else of the server.
func TestTLS(t *testing.T) {
	certs, trust := selfSigned(t)
	s := harness.StartParfait(t, harness.Options{Env: encrypted(certs), TLS: trust})
	ca := filepath.Join(certs, "ca.crt")
	known := t.TempDir() // as /etc/docker/certs.d/HOST:PORT
	copyOf(t, ca, filepath.Join(known, "ca.crt"))
	host := "localhost:" + s.Addr[strings.LastIndexByte(s.Addr, ':')+1:]
	for _, client := range []struct {
		name string
		test func(t *testing.T, p *program, dir, ref, digest string)
	}{
		{"crane", func(t *testing.T, p *program, dir, ref, digest string) {
			p.fails("push", dir, ref)
			p.env = append(p.env, "SSL_CERT_FILE="+ca)
			p.run("push", dir, ref)
			p.run("validate", "--remote", ref)
		}},
		{"skopeo", func(t *testing.T, p *program, dir, ref, digest string) {
			p.fails("copy", "oci:"+dir+":v1", "docker://"+ref)
			p.run("copy", "--dest-cert-dir", known, "oci:"+dir+":v1", "docker://"+ref)
			p.run("copy", "--src-cert-dir", known, "docker://"+ref, "dir:out")
		}},
		{"podman", func(t *testing.T, p *program, dir, ref, digest string) {
			p.link("in", dir)
			p.run("push", "--cert-dir", known, "--digestfile", "digest", p.run("pull", "oci:in:v1"), "docker://"+ref)
			p.run("pull", "--cert-dir", known, ref)
		}},
		{"oras", func(t *testing.T, p *program, dir, ref, digest string) {
			p.run("cp", "--from-oci-layout", dir+":v1", "--to-ca-file", ca, "--to-plain-http=false", ref)
			p.run("pull", "--ca-file", ca, "--plain-http=false", ref) // which it else does on localhost
		}},
		{"regctl", func(t *testing.T, p *program, dir, ref, digest string) {
			p.env = append(p.env, "SSL_CERT_FILE="+ca)
			p.run("image", "copy", "ocidir://"+dir+":v1", ref)
			p.run("manifest", "get", ref)
		}},
	} {
		t.Run(client.name, func(t *testing.T) {
			dir, digest := folder(t, 100<<10, 2)
			ref := host + "/tls/" + client.name + ":v1"
			client.test(t, newProgram(t, client.name), dir, ref, digest)
			crane := newProgram(t, "crane")
			crane.env = append(crane.env, "SSL_CERT_FILE="+ca)
			if got := crane.run("digest", ref); got != digest && client.name != "podman" {
				t.Errorf("got %s, want %s", got, digest)
			}
		})
	}
	sh := shell(t)
	sh.env = append(sh.env, "H="+host, "CA="+ca)
	if got := sh.run(`curl -fsS --cacert "$CA" -o /dev/null -w '%{http_version}' https://$H/v2/`); got != "2" {
		t.Errorf("got HTTP/%s, want 2", got)
	}
	if got := sh.run(`curl -fsSi --http1.1 --cacert "$CA" -X POST https://$H/v2/a/blobs/uploads/`); !strings.Contains(got, "Location: https://"+host+"/v2/a/") {
		t.Errorf("got %s, want a Location by https", got)
	}
	sh.fails(`curl -fsS --cacert "$CA" --tls-max 1.1 https://$H/v2/`)
	if got := sh.fails(`curl -fsSv http://$H/v2/`); !strings.Contains(got, "400") {
		t.Errorf("without TLS: got %s, want a 400", got)
	}
	sh.env = append(sh.env, "REGISTRY_HTTP_ADDR="+s.Addr)
	sh.env = append(sh.env, encrypted(certs)...)
	sh.run("parfait healthcheck")
}

func copyOf(t *testing.T, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestOpenSSL serves with what tutorials make with openssl: an RSA key, and a certificate that has signed itself.
func TestOpenSSL(t *testing.T) {
	harness.Command(t, "openssl")
	sh := shell(t)
	sh.run(`mkdir certs
		openssl req -newkey rsa:4096 -nodes -sha256 -keyout certs/domain.key -addext "subjectAltName = DNS:localhost,IP:127.0.0.1" \
			-x509 -days 365 -out certs/domain.crt -subj /CN=localhost 2>&1`)
	dir := filepath.Join(sh.home, "certs")
	s := harness.StartParfait(t, harness.Options{Env: encrypted(dir), TLS: &tls.Config{RootCAs: poolOf(t, filepath.Join(dir, "domain.crt"))}})
	image, digest := folder(t, 10<<10, 1)
	crane := newProgram(t, "crane")
	crane.env = append(crane.env, "SSL_CERT_FILE="+filepath.Join(dir, "domain.crt"))
	name := "localhost:" + s.Addr[strings.LastIndexByte(s.Addr, ':')+1:] + "/team/app:v1"
	if got := crane.run("push", image, name); !strings.Contains(got, digest) {
		t.Errorf("got %s, want %s", got, digest)
	}
}

// TestCertificateSwap replaces the certificate while a pull runs, which goes on, and then by nonsense.
func TestCertificateSwap(t *testing.T) {
	certs, trust := selfSigned(t)
	s := harness.StartParfait(t, harness.Options{Env: encrypted(certs), TLS: trust})
	ca := filepath.Join(certs, "ca.crt")
	dir, _ := folder(t, 64<<20, 1)
	crane := newProgram(t, "crane")
	crane.env = append(crane.env, "SSL_CERT_FILE="+ca)
	crane.run("push", dir, s.Addr+"/team/app:v1")
	layer := blobOf(t, dir)

	client := &http.Client{Transport: &http.Transport{TLSClientConfig: trust}}
	pull, err := client.Get(s.URL + "/v2/team/app/blobs/" + layer)
	if err != nil {
		t.Fatal(err)
	}
	defer pull.Body.Close()
	got := new(bytes.Buffer)
	if _, err := io.CopyN(got, pull.Body, 1<<20); err != nil {
		t.Fatal(err)
	}
	old := pull.TLS.PeerCertificates[0].SerialNumber
	certify(t, "self-signed", "--dir", certs, "--force")
	if err := eventually(10*time.Second, func() error {
		fresh := &http.Client{Transport: &http.Transport{TLSClientConfig: trust, DisableKeepAlives: true}}
		resp, err := fresh.Get(s.URL + "/v2/")
		if err != nil {
			t.Fatal(err) // there is no moment without a certificate
		}
		resp.Body.Close()
		if resp.TLS.PeerCertificates[0].SerialNumber.Cmp(old) == 0 {
			return fmt.Errorf("the old certificate is still shown:\n%s", s.Log())
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(got, pull.Body); err != nil {
		t.Fatalf("the pull did not survive the change: %v", err)
	}
	if d := rawDescriptor("", got.Bytes()).Digest.String(); d != layer {
		t.Errorf("got %s, want %s", d, layer)
	}

	if err := os.WriteFile(filepath.Join(certs, "domain.crt"), []byte("nonsense"), 0o644); err != nil {
		t.Fatal(err)
	}
	time.Sleep(3500 * time.Millisecond) // until nobody can be writing it any more
	for range 2 {
		crane.run("digest", s.Addr+"/team/app:v1")
		time.Sleep(1100 * time.Millisecond)
	}
	if n := strings.Count(s.Log(), "the new certificate is of no use"); n != 1 {
		t.Errorf("got %d complaints, want 1:\n%s", n, s.Log())
	}
}

// eventually calls try until it succeeds, and returns its last error if it does not in time.
func eventually(limit time.Duration, try func() error) error {
	for deadline := time.Now().Add(limit); ; time.Sleep(50 * time.Millisecond) {
		if err := try(); err == nil || time.Now().After(deadline) {
			return err
		}
	}
}

// TestClientCertificates has users show certificates in the place of passwords, to a server with rules.
func TestClientCertificates(t *testing.T) {
	certs, trust := selfSigned(t, "alice", "bob")
	_, strange := selfSigned(t) // whose authority is another one
	alice, err := tls.LoadX509KeyPair(filepath.Join(certs, "alice.crt"), filepath.Join(certs, "alice.key"))
	if err != nil {
		t.Fatal(err)
	}
	trust.Certificates = []tls.Certificate{alice}
	s := harness.StartParfait(t, harness.Options{TLS: trust, Config: fmt.Sprintf(`dev:
    storage: local
    storage_path: _env:STORAGE_PATH
    http_addr: _env:REGISTRY_HTTP_ADDR
    http_tls_certificate: %[1]s/domain.crt
    http_tls_key: %[1]s/domain.key
    http_tls_clientcas: [%[1]s/ca.crt]
    auth: certificate
    access:
        - {repositories: [team/**], users: [alice], actions: [push]}
        - {repositories: [team/**], users: ["*"], actions: [pull]}
`, certs)})
	known := func(user string) string { // as in /etc/docker/certs.d
		dir := t.TempDir()
		copyOf(t, filepath.Join(certs, "ca.crt"), filepath.Join(dir, "ca.crt"))
		if user != "" {
			copyOf(t, filepath.Join(certs, user+".crt"), filepath.Join(dir, "client.cert"))
			copyOf(t, filepath.Join(certs, user+".key"), filepath.Join(dir, "client.key"))
		}
		return dir
	}
	dir, _ := folder(t, 10<<10, 1)
	ref := "docker://" + s.Addr + "/team/app:v1"
	skopeo := newProgram(t, "skopeo")
	skopeo.fails("copy", "--dest-cert-dir", known(""), "oci:"+dir+":v1", ref)
	if got := skopeo.fails("copy", "--dest-cert-dir", known("bob"), "oci:"+dir+":v1", ref); !strings.Contains(got, "denied") {
		t.Errorf("bob pushes: got %s, want that it is denied", got)
	}
	skopeo.run("copy", "--dest-cert-dir", known("alice"), "oci:"+dir+":v1", ref)
	skopeo.run("copy", "--src-cert-dir", known("bob"), ref, "dir:out")
	if !strings.Contains(s.Log(), `"user":"bob"`) {
		t.Errorf("the log does not tell who pulled: %s", s.Log())
	}
	strange.RootCAs = trust.RootCAs
	certify(t, "client", "--dir", t.TempDir(), "alice")
	if _, err := (&http.Client{Transport: &http.Transport{TLSClientConfig: strange}}).Get(s.URL + "/healthz"); err == nil {
		t.Error("who has no certificate gets an answer")
	}
}

// TestACME gets certificates from an authority, which comes to see whether the host is this one.
func TestACME(t *testing.T) {
	authority := harness.StartPebble(t)
	roots := authority.Roots(t)
	trust := &tls.Config{RootCAs: roots, ServerName: "registry.example.com"}
	cache := filepath.Join(t.TempDir(), "acme")
	s := harness.StartParfait(t, harness.Options{Addr: authority.Target, TLS: trust, Env: []string{
		"SSL_CERT_FILE=" + authority.CA,
		"REGISTRY_HTTP_TLS_LETSENCRYPT_CACHEFILE=" + cache,
		"REGISTRY_HTTP_TLS_LETSENCRYPT_HOSTS=[registry.example.com, images.example.com]",
		"REGISTRY_HTTP_TLS_LETSENCRYPT_EMAIL=admin@example.com",
		"REGISTRY_HTTP_TLS_LETSENCRYPT_DIRECTORYURL=" + authority.Directory,
	}})
	serial := func(host string) (string, error) {
		conn, err := tls.Dial("tcp", s.Addr, &tls.Config{RootCAs: roots, ServerName: host})
		if err != nil {
			return "", err
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].SerialNumber.String(), nil
	}
	first, err := serial("registry.example.com")
	if err != nil {
		t.Fatal(err)
	}
	if second, err := serial("images.example.com"); err != nil || second == first {
		t.Errorf("got certificate %s, %v, want one of its own", second, err)
	}
	if _, err := serial("other.example.com"); err == nil {
		t.Error("there is a certificate for a host that is not named")
	}
	s.Stop()
	authority.Stop()
	s.Start() // with what the folder has
	if got, err := serial("registry.example.com"); err != nil || got != first {
		t.Errorf("after a restart: got %s, %v, want %s", got, err, first)
	}
	info, err := os.Stat(cache)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("got %v, %v, want a folder that is closed to others", info, err)
	}
}
