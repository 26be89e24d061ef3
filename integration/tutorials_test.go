package integration

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	"golang.org/x/sync/errgroup"

	"github.com/parfait-registry/parfait/integration/harness"
)

// circulating is the configuration that tutorials of the first registry pass on.
const circulating = `common:
    loglevel: info
    search_backend: "_env:SEARCH_BACKEND:"
    sqlalchemy_index_database:
        "_env:SQLALCHEMY_INDEX_DATABASE:sqlite:////tmp/docker-registry.db"
prod:
    loglevel: warn
    storage: s3
    s3_access_key: _env:AWS_S3_ACCESS_KEY
    s3_secret_key: _env:AWS_S3_SECRET_KEY
    s3_bucket: _env:AWS_S3_BUCKET
    boto_bucket: _env:AWS_S3_BUCKET
    storage_path: /srv/docker
    smtp_host: localhost
    from_addr: docker@myself.com
    to_addr: my@myself.com
dev:
    loglevel: debug
    storage: local
    storage_path: /home/myself/docker
test:
    storage: local
    storage_path: /tmp/tmpdockertmp
`

// shell is sh with curl, and with parfait and crane on its path.
func shell(t *testing.T) *program {
	t.Helper()
	harness.Command(t, "curl")
	p := newProgram(t, "sh")
	p.args = []string{"-euc"}
	bin := filepath.Join(p.home, "bin")
	if err := os.Mkdir(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, path := range map[string]string{"parfait": harness.Parfait(t), "crane": harness.Tool(t, "crane")} {
		p.link(filepath.Join("bin", name), path)
	}
	p.env = append(p.env, "PATH="+bin+":"+os.Getenv("PATH"))
	return p
}

// TestTutorialStarts starts the server in the ways that tutorials show, pushes an image, and looks for it in the folder
// that the tutorial means.
func TestTutorialStarts(t *testing.T) {
	for _, tt := range []struct {
		name   string
		script string // $SAMPLE is config_sample.yml, $STORE the folder; "$@" starts the server
	}{
		{"the sample copied, storage_path of dev edited", `
			cp "$SAMPLE" config.yml
			sed -i "/^dev:/,/^\$/ s|<<: \*local|&\n    storage_path: $STORE|" config.yml
			exec "$@"`},
		{"a file of one's own", `
			printf 'dev:\n    storage: local\n    storage_path: %s\n    http_addr: %s\n' "$STORE" "$REGISTRY_HTTP_ADDR" > own.yml
			export DOCKER_REGISTRY_CONFIG=$PWD/own.yml
			exec "$@"`},
		{"a flavor of one's own", `
			printf 'common:\n    storage: local\n    http_addr: %s\nacme:\n    storage_path: %s\n' "$REGISTRY_HTTP_ADDR" "$STORE" > own.yml
			export SETTINGS_FLAVOR=acme
			exec "$@" --config own.yml`},
		{"the sample that circulates", `
			printf '%s' "$CIRCULATING" | sed "s|/home/myself/docker|$STORE|" > config.yml
			sed -i "s|^common:|&\n    http_addr: $REGISTRY_HTTP_ADDR|" config.yml
			exec "$@"`},
		{"no flavors, SETTINGS_FLAVOR empty", `
			printf 'storage: local\nstorage_path: %s\nhttp_addr: %s\n' "$STORE" "$REGISTRY_HTTP_ADDR" > config.yml
			export SETTINGS_FLAVOR=
			exec "$@"`},
		{"SETTINGS_FLAVOR=local STORAGE_PATH", `SETTINGS_FLAVOR=local STORAGE_PATH=$STORE exec "$@"`},
		{"SETTINGS_FLAVOR=dev SEARCH_BACKEND=sqlalchemy", `SETTINGS_FLAVOR=dev SEARCH_BACKEND=sqlalchemy STORAGE_PATH=$STORE exec "$@"`},
		{"SQLALCHEMY_INDEX_DATABASE", `
			export SQLALCHEMY_INDEX_DATABASE=sqlite:///$PWD/search/docker-registry.db
			SETTINGS_FLAVOR=dev STORAGE_PATH=$STORE exec "$@"`},
		{"SETTINGS_FLAVOR=test", `SETTINGS_FLAVOR=test STORAGE_PATH=$STORE exec "$@"`},
		{"SETTINGS_FLAVOR=test, below the working directory", `
			mkdir -p tmp
			ln -s "$STORE" tmp/test
			SETTINGS_FLAVOR=test exec "$@"`},
		{"names of the second registry", `REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY=$STORE exec "$@"`},
		{"a flag for the flavor", `STORAGE_PATH=$STORE exec "$@" --flavor local`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			store := t.TempDir()
			s := harness.StartParfait(t, harness.Options{
				Wrap: []string{"sh", "-euc", "unset STORAGE_PATH SETTINGS_FLAVOR\n" + tt.script, "sh"},
				Env: []string{"STORE=" + store, "CIRCULATING=" + circulating,
					"SAMPLE=" + filepath.Join(harness.Root(t), "config_sample.yml")},
			})
			sh := shell(t)
			dir, digest := folder(t, 100, 1)
			sh.env = append(sh.env, "H="+s.Addr, "DIR="+dir)
			sh.run(`crane push "$DIR" $H/team/app:v1`)
			if got, want := sh.run(`curl -fsS http://$H/v2/_catalog`), `{"repositories":["team/app"]}`; got != want {
				t.Errorf("got %s, want %s", got, want)
			}
			if got := sh.run(`curl -fsS "http://$H/v1/search?q=app"`); !strings.Contains(got, `"name":"team/app"`) {
				t.Errorf("search: got %s", got)
			}
			s.Stop()
			link := filepath.Join(store, "docker/registry/v2/repositories/team/app/_manifests/tags/v1/current/link")
			if got, err := os.ReadFile(link); err != nil || string(got) != digest {
				t.Errorf("got %q, %v, want %s in the folder", got, err, digest)
			}
		})
	}
}

// TestTutorialAddress has the server listen on every interface.
func TestTutorialAddress(t *testing.T) {
	l, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	l.Close()
	harness.StartParfait(t, harness.Options{Addr: "0.0.0.0:" + port})
	for _, host := range []string{"127.0.0.1", "localhost"} {
		if got := shell(t).run("curl -fsS http://" + host + ":" + port + "/v2/"); got != "{}" {
			t.Errorf("%s: got %q, want {}", host, got)
		}
	}
}

// TestCirculatingSample reads the sample that circulates as it stands.
func TestCirculatingSample(t *testing.T) {
	sh := shell(t)
	sh.write("config.yml", circulating)
	for flavor, want := range map[string][]string{
		"dev":  {"/home/myself/docker", "debug", "sqlite:////tmp/docker-registry.db"},
		"test": {"/tmp/tmpdockertmp", "info"},
		"prod": {"/srv/docker", "warn", "acme-docker", "localhost"},
	} {
		got := sh.run("AWS_S3_ACCESS_KEY=AKIA AWS_S3_SECRET_KEY=hidden AWS_S3_BUCKET=acme-docker parfait config show --flavor " + flavor)
		for _, want := range want {
			if !strings.Contains(got, want) {
				t.Errorf("%s: got %s\nwant %q in it", flavor, got, want)
			}
		}
		if strings.Contains(got, "hidden") {
			t.Errorf("%s: a secret is shown: %s", flavor, got)
		}
	}
	got := sh.run("parfait config check || true")
	for _, want := range []string{"dev: ok", "test: ok"} {
		if !strings.Contains(got, want) {
			t.Errorf("got %s, want %q in it", got, want)
		}
	}
	// Without a file, the defaults are those of the images registry and registry:2.
	got = shell(t).run("parfait config show")
	for _, want := range []string{"0.0.0.0:5000", "/tmp/registry"} {
		if !strings.Contains(got, want) {
			t.Errorf("got %s, want %q in it", got, want)
		}
	}
}

// TestTutorialCommands types what tutorials of both generations have people type, one after the other.
func TestTutorialCommands(t *testing.T) {
	s := harness.StartParfait(t, harness.Options{})
	sh := shell(t)
	dir, digest := folder(t, 100, 1)
	layer := blobOf(t, dir)
	sh.env = append(sh.env, "H="+s.Addr, "DIR="+dir, "D="+digest, "LAYER="+layer)
	for _, tt := range []struct{ line, want string }{
		{`curl -fsS $H`, `docker-registry server`},
		{`curl -fsS $H/_ping`, `versions`},
		{`curl -fsS http://$H/v1/search`, `"num_results":0`},
		{`curl -fsS $H/v2/`, `{}`},
		{`curl -fsSi $H/v2/`, `Docker-Distribution-Api-Version: registry/2.0`},
		{`curl -fsS $H/v2/_catalog`, `{"repositories":[]}`},
		{`crane push "$DIR" $H/nginx:test`, digest},
		{`curl -fsS $H/v2/_catalog`, `{"repositories":["nginx"]}`},
		{`curl -fsS $H/v2/nginx/tags/list`, `{"name":"nginx","tags":["test"]}`},
		{`curl -fsS -I $H/v2/nginx/manifests/test`, "Docker-Content-Digest: " + digest},
		{`curl -fsS -I $H/v2/nginx/manifests/test`, "Content-Type: application/vnd.oci.image.manifest.v1+json"},
		{`curl -fsS -I -H "Accept: application/vnd.docker.distribution.manifest.v2+json" $H/v2/nginx/manifests/test`, digest},
		{`curl -fsS $H/v2/nginx/manifests/test`, `"layers"`},
		{`curl -fsS $H/v2/nginx/manifests/$D`, `"layers"`},
		{`curl -fsS -o blob $H/v2/nginx/blobs/$LAYER; echo "${LAYER#sha256:}  blob" | sha256sum -c`, "blob: OK"},
		{`curl -fsS -u admin:admin $H/v2/_catalog`, "nginx"}, // nobody asks for it
		{`curl -fsS "http://$H/v1/search?q=ngi"`, `"num_results":1`},
		{`curl -sS -o /dev/null -w '%{http_code}' -X DELETE $H/v2/nginx/manifests/$D`, "202"},
		{`curl -sS -o /dev/null -w '%{http_code}' $H/v2/nginx/manifests/test`, "404"},
		{`curl -fsS $H/v2/nginx/tags/list`, `{"name":"nginx","tags":[]}`},
		{`curl -sS $H/v2/nobody/tags/list`, "NAME_UNKNOWN"},
		{`curl -sS $H/v1/images`, "/v2/"}, // where that went
	} {
		if got := sh.run(tt.line); !strings.Contains(got, tt.want) {
			t.Errorf("%s: got %q, want %q", tt.line, got, tt.want)
		}
	}
}

// testTutorialDocker is the push and the pull of every tutorial, with podman in the place of docker.
func testTutorialDocker(t *testing.T, on store) {
	s := on.start(t, harness.Options{Env: []string{"LOGLEVEL=warn"}})
	podman, sh := newProgram(t, "podman"), shell(t)
	podman.link("image", func() string { dir, _ := folder(t, 1000, 2); return dir }())
	sh.env = append(sh.env, "H="+s.Addr, "IMAGE="+podman.run("pull", "oci:image:v1"), "FLAGS="+strings.Join(podman.args, " "),
		"CONTAINERS_REGISTRIES_CONF="+podman.write("registries.conf", fmt.Sprintf("[[registry]]\nlocation = %q\ninsecure = true\n", s.Addr)))
	got := sh.run(`
		docker() { podman $FLAGS "$@"; }
		docker tag $IMAGE $H/test
		docker push $H/test
		docker rmi -f $IMAGE >&2
		docker pull $H/test`)
	if image := podman.run("images", "--format", "{{.ID}} {{.Repository}}"); !strings.Contains(image, s.Addr+"/test") {
		t.Errorf("got images %q and %q, want the one that was pulled", image, got)
	}
	if got, want := sh.run(`curl -fsS $H/v2/test/tags/list`), `{"name":"test","tags":["latest"]}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// testDockerSearch sends what docker search HOST:PORT/TERM sends, and reads the answer as docker does.
func testDockerSearch(t *testing.T, on store) {
	s := on.start(t, harness.Options{Env: []string{"LOGLEVEL=warn"}})
	crane, w := newProgram(t, "crane"), newWire(t, s.URL)
	dir, _ := folder(t, 100, 1)
	for _, name := range []string{"ubuntu", "library/ubuntu", "team/ubuntu-tools", "team/other", "debian"} {
		crane.run("push", dir, s.Addr+"/"+name+":v1")
	}
	described := s.Addr + "/team/other:v1"
	crane.run("mutate", "--annotation", "org.opencontainers.image.description=not of ubuntu at all", "-t", described, described)
	for i := range 40 {
		crane.run("tag", s.Addr+"/debian:v1", fmt.Sprintf("v%d", i)) // tags are not repositories
	}
	for _, tt := range []struct {
		query, limit string
		total, shown int
	}{{"ubuntu", "25", 4, 4}, {"ubuntu", "2", 4, 2}, {"UBUNTU", "25", 4, 4}, {"", "25", 5, 5}, {"nobody", "25", 0, 0}, {"u%", "100", 0, 0}, {"deb", "1", 1, 1}} {
		ping := w.ask(200, "GET", "/v1/_ping", nil, "User-Agent", "docker/29.0.0 go/go1.26")
		if got := ping.header.Get("X-Docker-Registry-Standalone"); !strings.EqualFold(got, "true") {
			t.Errorf("ping: got X-Docker-Registry-Standalone %q, want true", got)
		}
		a := w.ask(200, "GET", "/v1/search?q="+strings.ReplaceAll(tt.query, "%", "%25")+"&n="+tt.limit, nil,
			"X-Docker-Token", "true", "User-Agent", "docker/29.0.0 go/go1.26")
		var found struct {
			Query      string `json:"query"`
			NumResults int    `json:"num_results"`
			Results    []struct {
				Name        string `json:"name"`
				Description string `json:"description"`
				StarCount   int    `json:"star_count"`
				IsOfficial  bool   `json:"is_official"`
				IsAutomated bool   `json:"is_automated"`
			} `json:"results"`
		}
		if err := json.Unmarshal(a.body, &found); err != nil || found.Results == nil {
			t.Fatalf("%q: got %s, %v", tt.query, a.body, err)
		}
		if found.Query != tt.query || found.NumResults != tt.total || len(found.Results) != tt.shown {
			t.Errorf("%q: got %d of %d results %v, want %d of %d", tt.query, len(found.Results), found.NumResults, found, tt.shown, tt.total)
		}
		for _, r := range found.Results {
			if described := r.Description != ""; described != (r.Name == "team/other") {
				t.Errorf("%q: got %v, want a description of team/other alone", tt.query, r)
			}
		}
	}
}

// testPushManyAtOnce is the script that pushes all local images, all of them at once.
func testPushManyAtOnce(t *testing.T, on store) {
	s := on.start(t, harness.Options{Env: []string{"LOGLEVEL=warn"}})
	sh := shell(t)
	base, _ := folder(t, 50<<10, 2)
	sh.env = append(sh.env, "H="+s.Addr, "DIR="+base)
	sh.run(`
		push_images() {
			for image; do
				crane push "$DIR" $H/library/$image 2>$$.$image.log &
				pids="${pids-} $!"
			done
			for pid in $pids; do wait $pid; done
		}
		push_images ubuntu:latest ubuntu:trusty centos:centos7 centos:centos6 debian:latest alpine:3 busybox:1 nginx:1 \
			redis:7 postgres:17 mysql:8 golang:1.26 node:22 python:3 ruby:3 java:21`)
	got := sh.run(`curl -fsS "$H/v2/_catalog?n=100"; for r in ubuntu centos; do curl -fsS $H/v2/library/$r/tags/list; done`)
	for _, want := range []string{`"tags":["latest","trusty"]`, `"tags":["centos6","centos7"]`, `"library/ubuntu"`} {
		if !strings.Contains(got, want) {
			t.Errorf("got %s, want %q in it", got, want)
		}
	}
	if n := strings.Count(got, `"library/`); n != 14+2 {
		t.Errorf("got %s, want 14 repositories", got)
	}
}

// testPullByManyAtOnce is the day when a new version ships.
func testPullByManyAtOnce(t *testing.T, on store) {
	s := on.start(t, harness.Options{Env: []string{"LOGLEVEL=warn"}})
	ref := reference(t, s.Addr+"/team/app:v2")
	ggcrPush(t, ref, randomImage(t, 256<<10, 3, types.OCIManifestSchema1))
	var hosts errgroup.Group
	for range 32 {
		hosts.Go(func() error {
			transport := &http.Transport{} // connections of its own
			defer transport.CloseIdleConnections()
			img, err := remote.Image(ref, remote.WithTransport(transport), remote.WithContext(t.Context()))
			if err != nil {
				return err
			}
			return validate.Image(img)
		})
	}
	if err := hosts.Wait(); err != nil {
		t.Error(err)
	}
}

// testMirrorRequests is what docker and containerd ask of a registry that is named as a mirror.
func testMirrorRequests(t *testing.T, on store) {
	s := on.start(t, harness.Options{Env: []string{"LOGLEVEL=warn"}})
	dir, digest := folder(t, 100, 1)
	newProgram(t, "crane").run("push", dir, s.Addr+"/library/nginx:latest")
	w := newWire(t, s.URL)
	for target, status := range map[string]int{
		"/v2/library/nginx/manifests/latest?ns=docker.io":   200,
		"/v2/library/nginx/manifests/" + digest:             200,
		"/v2/library/missing/manifests/latest?ns=docker.io": 404, // the client then asks elsewhere
	} {
		w.ask(status, "HEAD", target, nil)
		a := w.ask(status, "GET", target, nil)
		if codes := a.codes(); status == 404 && len(codes) == 0 {
			t.Errorf("%s: got %s, want a code", target, a.body)
		}
	}
}

// TestHTTPSClient is the error that everybody meets first.
func TestHTTPSClient(t *testing.T) {
	s := harness.StartParfait(t, harness.Options{})
	_, err := http.Get("https://" + s.Addr + "/v2/")
	if want := "http: server gave HTTP response to HTTPS client"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %q", err, want)
	}
	newWire(t, s.URL).ask(200, "GET", "/v2/", nil)
}

// TestBehindNginx sends what nginx passes on when it has ended TLS and checked the password, and looks at the Location.
func TestBehindNginx(t *testing.T) {
	const host = "registry.example.com"
	for env, want := range map[string]string{
		"REGISTRY_HTTP_HOST=":                "/v2/", // nobody says by which scheme the client came
		"REGISTRY_HTTP_HOST=https://" + host: "https://" + host + "/v2/",
		"REGISTRY_HTTP_RELATIVEURLS=true":    "/v2/",
		"REGISTRY_HTTP_HOST=https://hub.org": "https://hub.org/v2/",
	} {
		s := harness.StartParfait(t, harness.Options{Env: []string{env, "LOGLEVEL=warn"}})
		sh := shell(t)
		sh.env = append(sh.env, "H="+s.Addr, "HOST="+host)
		got := sh.run(`curl -fsSi -X POST -H "Host: $HOST" -H "X-Real-IP: 10.0.0.1" -H "X-Forwarded-For: 10.0.0.1" \
			-H "X-Forwarded-By: 10.0.0.2" -H "Authorization;" -H "Accept-Encoding;" $H/v2/team/app/blobs/uploads/`)
		if want := "Location: " + want + "team/app/blobs/uploads/"; !strings.Contains(got, want) {
			t.Errorf("%s: got %s, want %s", env, got, want)
		}
	}
}

// blobOf is the digest of the first layer of the image in a folder.
func blobOf(t *testing.T, dir string) string {
	t.Helper()
	layers, err := imageIn(t, dir).Layers()
	if err != nil {
		t.Fatal(err)
	}
	return digestOf(t, layers[0])
}
