package integration

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/parfait-registry/parfait/integration/harness"
)

// passedOn is what tutorials have nginx do with TLS, passwords and /v2/. Its blanks are the address to listen on, the
// folder of the certificate, the file of users, and the registry.
const passedOn = `
	server {
		listen %s ssl;
		ssl_certificate %[2]s/domain.crt;
		ssl_certificate_key %[2]s/domain.key;
		client_max_body_size 0;
		chunked_transfer_encoding on;
		location /v2/ {
			auth_basic "Restricted";
			auth_basic_user_file %s;
			add_header Docker-Distribution-Api-Version registry/2.0 always;
			proxy_pass http://%s;
			proxy_set_header Host $http_host;
			proxy_set_header X-Real-IP $remote_addr;
			proxy_set_header X-Forwarded-For $remote_addr;
			proxy_set_header X-Forwarded-By $server_addr:$server_port;
			proxy_set_header Authorization "";
			proxy_set_header Accept-Encoding "";
			proxy_read_timeout 900;
		}
	}
`

// TestNginxOfTutorials has nginx end TLS and ask for passwords, before a registry that was told nothing of it.
func TestNginxOfTutorials(t *testing.T) {
	certs, _ := selfSigned(t)
	s := harness.StartParfait(t, harness.Options{Env: []string{"LOGLEVEL=info"}})
	p := newProgram(t, "crane")
	users := p.write("htpasswd", htpasswdLine(t, "alice", alicesPassword))
	proxy := harness.StartNginx(t, func(addr string) string { return fmt.Sprintf(passedOn, addr, certs, users, s.Addr) })
	host := "localhost:" + proxy.Addr[strings.LastIndexByte(proxy.Addr, ':')+1:]

	dir, digest := folder(t, 3<<20, 2)
	p.env = append(p.env, "SSL_CERT_FILE="+filepath.Join(certs, "ca.crt"))
	p.fails("push", dir, host+"/team/crane:v1")
	p.run("auth", "login", host, "-u", "alice", "-p", alicesPassword)
	p.run("push", dir, host+"/team/crane:v1")
	p.run("validate", "--remote", host+"/team/crane:v1")
	if got := p.run("digest", host+"/team/crane:v1"); got != digest {
		t.Errorf("got %s, want %s", got, digest)
	}
	known := t.TempDir()
	copyOf(t, filepath.Join(certs, "ca.crt"), filepath.Join(known, "ca.crt"))
	skopeo := newProgram(t, "skopeo")
	ref := "docker://" + host + "/team/skopeo:v1"
	skopeo.run("copy", "--dest-cert-dir", known, "--dest-creds", "alice:"+alicesPassword, "oci:"+dir+":v1", ref)
	skopeo.run("copy", "--src-cert-dir", known, "--src-creds", "alice:"+alicesPassword, ref, "dir:out")

	if log := s.Log(); !strings.Contains(log, `"remote":"127.0.0.1"`) || strings.Contains(log, alicesPassword) {
		t.Errorf("the log has no client without a port, as nginx tells it, or has the password")
	}
}

// TestNginxSendsBlobs has nginx send blobs from the folder of the registry.
func TestNginxSendsBlobs(t *testing.T) {
	const location = `
	server {
		listen %s;
		client_max_body_size 0;
		location / {
			proxy_pass http://%s;
			proxy_set_header Host $http_host;
			proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
			proxy_set_header X-Forwarded-Proto $scheme;
		}
		location /blobs/ {
			internal;
			alias %s/;
			add_header Docker-Content-Digest $upstream_http_docker_content_digest;
			add_header X-Sent-By nginx;
		}
	}
`
	s := harness.StartParfait(t, harness.Options{Env: []string{"NGINX_X_ACCEL_REDIRECT=/blobs/", "LOGLEVEL=info"}})
	proxy := harness.StartNginx(t, func(addr string) string { return fmt.Sprintf(location, addr, s.Addr, s.Storage) })
	dir, digest := folder(t, 3<<20, 2)
	p := newProgram(t, "crane")
	p.run("push", dir, proxy.Addr+"/team/app:v1")
	p.run("validate", "--remote", proxy.Addr+"/team/app:v1")
	if got := p.run("digest", proxy.Addr+"/team/app:v1"); got != digest {
		t.Errorf("got %s, want %s", got, digest)
	}
	layer := blobOf(t, dir)
	path := "/v2/team/app/blobs/" + layer
	sent := newWire(t, proxy.URL).ask(200, "GET", path, nil)
	if got := rawDescriptor("", sent.body).Digest.String(); got != layer || sent.header.Get("X-Sent-By") != "nginx" {
		t.Errorf("got %s by %q, want %s by nginx", got, sent.header.Get("X-Sent-By"), layer)
	}
	if got := sent.header.Get("Docker-Content-Digest"); got != layer {
		t.Errorf("got Docker-Content-Digest %q, want %s", got, layer)
	}
	part := newWire(t, proxy.URL).ask(206, "GET", path, nil, "Range", "bytes=100-199")
	if string(part.body) != string(sent.body[100:200]) {
		t.Errorf("a range: got %d other bytes", len(part.body))
	}
	if a := newWire(t, s.URL).ask(200, "GET", path, nil); len(a.body) != len(sent.body) {
		t.Errorf("without nginx: got %d bytes, want %d", len(a.body), len(sent.body))
	}
	if !strings.Contains(s.Log(), `"bytes":0,`) {
		t.Errorf("the log does not have a blob that nginx has sent: %s", s.Log())
	}
}
