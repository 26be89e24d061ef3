package integration

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/platforms"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/parfait-registry/parfait/integration/harness"
)

// alicesPassword is what nothing but a client of alice may print.
const alicesPassword = "open-sesame-4711"

// guarded serves a folder with a password file, and perhaps with tokens.
func guarded(t *testing.T, tokens bool) (s *harness.Server, digest string) {
	t.Helper()
	return guardedOn(t, place(func(*testing.T, *harness.Options) {}), tokens)
}

// guardedOn serves with a password file, and perhaps with tokens. Alice may do everything below alice; all users may pull
// what is below shared, and everybody what is below public. There are images shared/app:v1, public/app:v1 and
// secret/app:v1, whose digest is returned.
func guardedOn(t *testing.T, on store, tokens bool) (s *harness.Server, digest string) {
	t.Helper()
	var users strings.Builder
	for user, password := range map[string]string{"alice": alicesPassword, "root": "of-root"} {
		users.WriteString(htpasswdLine(t, user, password))
	}
	p := newProgram(t, "crane")
	s = on.start(t, harness.Options{Config: fmt.Sprintf(`dev:
    storage: local
    storage_path: _env:STORAGE_PATH
    index_database: _env:INDEX_DATABASE
    http_addr: _env:REGISTRY_HTTP_ADDR
    loglevel: info
    auth: htpasswd
    auth_htpasswd_path: %s
    auth_htpasswd_realm: Registry Realm
    auth_tokens: %v
    admins: [root]
    access:
        - {repositories: [alice/**], users: [alice], actions: [push, delete]}
        - {repositories: [shared/**], users: ["*"], actions: [pull]}
        - {repositories: [public/**], users: [anonymous], actions: [pull]}
`, p.write("htpasswd", users.String()), tokens)})
	dir, digest := folder(t, 10<<10, 2)
	p.run("auth", "login", s.Addr, "-u", "root", "-p", "of-root")
	for _, repo := range []string{"shared", "public", "secret"} {
		p.run("push", dir, s.Addr+"/"+repo+"/app:v1")
	}
	return s, digest
}

// htpasswdLine is the line of a user in a password file.
func htpasswdLine(t *testing.T, user, password string) string {
	t.Helper()
	line, status := harness.RunParfait(t, harness.Options{}, "htpasswd", "-BbnC", "5", user, password)
	if status != 0 {
		t.Fatal(line)
	}
	return line
}

// TestLogin has every client log in, push, pull, mount, delete, be refused, and log out, with passwords and with tokens.
func TestLogin(t *testing.T) {
	for _, way := range []struct {
		name, scheme string
		tokens       bool
	}{{"Basic", "Basic ", false}, {"Bearer", "Bearer ", true}} {
		t.Run(way.name, func(t *testing.T) {
			s, digest := guarded(t, way.tokens)
			for _, client := range []struct {
				name   string
				test   func(t *testing.T, addr, digest string)
				mounts int // at the least
			}{
				{"crane", craneLogin, 2},
				{"skopeo", skopeoLogin, 1},
				{"podman", podmanLogin, 0},
				{"oras", orasLogin, 2},
				{"regctl", regctlLogin, 2},
				{"helm", helmLogin, 0},
				{"docker", dockerLogin, 0},
				{"containerd", containerdLogin, 2},
				{"go-containerregistry", ggcrLogin, 2},
			} {
				t.Run(client.name, func(t *testing.T) {
					rec := harness.Record(t, s)
					client.test(t, rec.Addr, digest)
					checkLogin(t, rec, way.scheme, client.mounts)
				})
			}
			if strings.Contains(s.Log(), alicesPassword) {
				t.Error("the log has a password")
			}
		})
	}
}

// checkLogin looks at what a client has sent: the credentials that it was asked for, and mounts that were made.
func checkLogin(t *testing.T, rec *harness.Recorder, scheme string, mounts int) {
	t.Helper()
	shown, mounted, scopes := 0, 0, 0
	for _, r := range rec.Requests() {
		auth, q := r.Header.Get("Authorization"), r.URL.Query()
		switch {
		case r.Status >= 500:
			t.Errorf("%v", r)
		case r.URL.Path == "/token":
			if len(strings.Fields(strings.Join(q["scope"], " "))) > 1 {
				scopes++
			}
		case strings.HasPrefix(r.URL.Path, "/v2/") && strings.HasPrefix(auth, scheme):
			shown++
		case auth != "" && auth != "Basic Og==":
			t.Errorf("%v: got Authorization %.10s…, want %s", r, auth, scheme)
		}
		if r.Method == http.MethodPost && q.Get("from") != "" && r.Status == http.StatusCreated {
			mounted++
		}
		if r.Status == http.StatusUnauthorized && r.Response.Get("WWW-Authenticate") == "" {
			t.Errorf("%v: got no challenge", r)
		}
	}
	if shown == 0 {
		t.Errorf("no credentials were shown by %s", scheme)
	}
	if mounted < mounts {
		t.Errorf("got %d mounts, want %d: of what is alice's and, but for skopeo, which does not always try, of what is shared", mounted, mounts)
	}
	if mounts > 0 && scheme == "Bearer " && scopes == 0 && !postsForms(rec) {
		t.Error("no token was asked for with two scopes")
	}
}

// postsForms reports whether a client asked for tokens with forms, whose scopes are not recorded.
func postsForms(rec *harness.Recorder) bool {
	return slices.ContainsFunc(rec.Requests(), func(r harness.Request) bool { return r.URL.Path == "/token" && r.Method == http.MethodPost })
}

func craneLogin(t *testing.T, addr, digest string) {
	dir, own := folder(t, 10<<10, 2)
	newProgram(t, "crane").follow(addr, own, dir, []step{
		{line: "push F P/alice/crane:v1", stat: "fails", want: "401"},
		{line: "digest P/shared/app:v1", stat: "fails", want: "401"},
		{line: "digest P/public/app:v1", want: digest},
		{line: "auth login P -u alice -p guessed"}, // which is not looked at before it is needed
		{line: "push F P/alice/crane:v1", stat: "fails"},
		{line: "auth login P -u alice -p " + alicesPassword},
		{line: "push F P/alice/crane:v1", want: "@D"},
		{line: "pull P/alice/crane:v1 out.tar"},
		{line: "cp P/alice/crane:v1 P/alice/crane/copy:v1"},
		{line: "cp P/shared/app:v1 P/alice/crane/shared:v1"},
		{line: "digest P/alice/crane/shared:v1", want: digest},
		{line: "catalog P", want: "alice/crane\nalice/crane/copy\nalice/crane/shared\n"},
		{line: "catalog P", want: "!secret"},
		{line: "push F P/shared/app:v2", stat: "fails"},
		{line: "digest P/secret/app:v1", stat: "fails"},
		{line: "digest P/secret/none:v1", stat: "fails"},
		{line: "delete P/alice/crane:v1"},
		{line: "digest P/alice/crane:v1", stat: "fails", want: "404"},
		{line: "delete P/shared/app:v1", stat: "fails"},
		{line: "auth logout P"},
		{line: "digest P/shared/app:v1", stat: "fails"},
	})
}

func skopeoLogin(t *testing.T, addr, digest string) {
	dir, own := folder(t, 10<<10, 2)
	p := newProgram(t, "skopeo")
	p.env = append(p.env, "REGISTRY_AUTH_FILE="+filepath.Join(p.home, "auth.json"))
	p.follow(addr, own, dir, []step{
		{line: "copy --dest-tls-verify=false oci:F:v1 docker://P/alice/skopeo:v1", stat: "fails"},
		{line: "inspect --tls-verify=false docker://P/public/app:v1", want: digest},
		{line: "login --tls-verify=false -u alice -p guessed P", stat: "fails", want: "invalid username/password"},
		{line: "login --tls-verify=false -u alice -p " + alicesPassword + " P", want: "Login Succeeded"},
		{line: "copy --dest-tls-verify=false oci:F:v1 docker://P/alice/skopeo:v1"},
		{line: "inspect --tls-verify=false docker://P/alice/skopeo:v1", want: own},
		{line: "list-tags --tls-verify=false docker://P/alice/skopeo", want: "v1"},
		{line: "copy --src-tls-verify=false --dest-tls-verify=false docker://P/alice/skopeo:v1 docker://P/alice/skopeo/copy:v1"},
		{line: "copy --src-tls-verify=false --dest-tls-verify=false docker://P/shared/app:v1 docker://P/alice/skopeo/shared:v1"},
		{line: "copy --dest-tls-verify=false oci:F:v1 docker://P/shared/app:v2", stat: "fails"},
		{line: "inspect --tls-verify=false docker://P/secret/app:v1", stat: "fails"},
		{line: "delete --tls-verify=false docker://P/alice/skopeo:v1"},
		{line: "inspect --tls-verify=false docker://P/alice/skopeo:v1", stat: "fails", want: "unknown"},
		{line: "logout P", want: "Removed login"},
		{line: "inspect --tls-verify=false docker://P/shared/app:v1", stat: "fails"},
	})
}

func podmanLogin(t *testing.T, addr, digest string) {
	p := newProgram(t, "podman")
	p.env = append(p.env, "REGISTRY_AUTH_FILE="+p.write("auth.json", "{}"),
		"CONTAINERS_REGISTRIES_CONF="+p.write("registries.conf", fmt.Sprintf("[[registry]]\nlocation = %q\ninsecure = true\n", addr)))
	dir, own := folder(t, 10<<10, 2)
	p.link("in", dir)
	image := p.run("pull", "oci:in:v1")
	p.follow(addr, own, dir, []step{
		{line: "push " + image + " P/alice/podman:v1", stat: "fails"},
		{line: "pull P/public/app:v1"},
		{line: "login -u alice -p guessed P", stat: "fails", want: "invalid username/password"},
		{line: "login -u alice -p " + alicesPassword + " P", want: "Login Succeeded"},
		{line: "push " + image + " P/alice/podman:v1"},
		{line: "pull P/alice/podman:v1"},
		{line: "pull P/shared/app:v1"},
		{line: "search P/alice/podman", want: "alice/podman"},
		{line: "search P/app", want: "shared/app"},
		{line: "search P/app", want: "!secret"},
		{line: "push " + image + " P/shared/app:v2", stat: "fails"},
		{line: "pull P/secret/app:v1", stat: "fails"},
		{line: "logout P", want: "Removed login"},
		{line: "pull P/shared/app:v1", stat: "fails"},
	})
	_ = digest
}

func orasLogin(t *testing.T, addr, digest string) {
	dir, own := folder(t, 10<<10, 2)
	newProgram(t, "oras").follow(addr, own, dir, []step{
		{line: "cp --from-oci-layout F:v1 --to-plain-http P/alice/oras:v1", stat: "fails"},
		{line: "resolve --plain-http P/public/app:v1", want: digest},
		{line: "login --plain-http P -u alice -p guessed", stat: "fails", want: "unauthorized"},
		{line: "login --plain-http P -u alice -p " + alicesPassword, want: "Login Succeeded"},
		{line: "cp --from-oci-layout F:v1 --to-plain-http P/alice/oras:v1", want: "Copied"},
		{line: "resolve --plain-http P/alice/oras:v1", want: own},
		{line: "cp --from-plain-http --to-plain-http P/alice/oras:v1 P/alice/oras/copy:v1", want: "Copied"},
		{line: "cp --from-plain-http --to-plain-http P/shared/app:v1 P/alice/oras/shared:v1", want: "Copied"},
		{line: "repo tags --plain-http P/alice/oras", want: "v1"},
		{line: "repo ls --plain-http P", want: "alice/oras"},
		{line: "repo ls --plain-http P", want: "!secret"},
		{line: "cp --from-oci-layout F:v1 --to-plain-http P/shared/app:v2", stat: "fails"},
		{line: "resolve --plain-http P/secret/app:v1", stat: "fails"},
		{line: "manifest delete -f --plain-http P/alice/oras:v1", want: "Deleted"},
		{line: "resolve --plain-http P/alice/oras:v1", stat: "fails", want: "not found"},
		{line: "logout P"},
		{line: "resolve --plain-http P/shared/app:v1", stat: "fails"},
	})
}

func regctlLogin(t *testing.T, addr, digest string) {
	dir, own := folder(t, 10<<10, 2)
	p := newProgram(t, "regctl")
	p.run("registry", "set", addr, "--tls", "disabled", "--skip-check")
	p.follow(addr, own, dir, []step{
		{line: "image copy ocidir://F:v1 P/alice/regctl:v1", stat: "fails"},
		{line: "image digest P/public/app:v1", want: digest},
		{line: "registry login P -u alice -p guessed", stat: "fails"},
		{line: "registry login P -u alice -p " + alicesPassword},
		{line: "image copy ocidir://F:v1 P/alice/regctl:v1"},
		{line: "image digest P/alice/regctl:v1", want: own},
		{line: "image copy P/alice/regctl:v1 P/alice/regctl/copy:v1"},
		{line: "image copy P/shared/app:v1 P/alice/regctl/shared:v1"},
		{line: "tag ls P/alice/regctl", want: "v1"},
		{line: "repo ls P", want: "alice/regctl"},
		{line: "repo ls P", want: "!secret"},
		{line: "image copy ocidir://F:v1 P/shared/app:v2", stat: "fails"},
		{line: "image digest P/secret/app:v1", stat: "fails"},
		{line: "tag rm P/alice/regctl:v1"},
		{line: "image digest P/alice/regctl:v1", stat: "fails"},
		{line: "registry logout P"},
		{line: "image digest P/shared/app:v1", stat: "fails"},
	})
}

func helmLogin(t *testing.T, addr, _ string) {
	p := newProgram(t, "helm")
	p.run("create", "mychart")
	p.run("package", "mychart")
	if err := os.Mkdir(filepath.Join(p.home, "out"), 0o755); err != nil {
		t.Fatal(err)
	}
	p.follow(addr, "", "", []step{
		{line: "push --plain-http mychart-0.1.0.tgz oci://P/alice/charts", stat: "fails"},
		{line: "registry login --plain-http P -u alice -p guessed", stat: "fails"},
		{line: "registry login --plain-http P -u alice -p " + alicesPassword},
		{line: "push --plain-http mychart-0.1.0.tgz oci://P/alice/charts"},
		{line: "pull --plain-http oci://P/alice/charts/mychart --version 0.1.0 -d out"},
		{line: "show chart --plain-http oci://P/alice/charts/mychart --version 0.1.0", want: "name: mychart"},
		{line: "push --plain-http mychart-0.1.0.tgz oci://P/shared/charts", stat: "fails"},
		{line: "registry logout P"},
		{line: "show chart --plain-http oci://P/alice/charts/mychart --version 0.1.0", stat: "fails"},
	})
	if got, want := p.read("mychart-0.1.0.tgz"), p.read(filepath.Join("out", "mychart-0.1.0.tgz")); got != want {
		t.Error("the chart that was pulled is not the one that was pushed")
	}
}

// dockerLogin needs no engine: without one, the program logs in by itself.
func dockerLogin(t *testing.T, addr, _ string) {
	p := newProgram(t, "docker")
	p.env = append(p.env, "DOCKER_HOST=unix://"+filepath.Join(p.home, "no-engine"), "DOCKER_CONFIG="+p.home)
	p.follow(addr, "", "", []step{
		{line: "login -u alice -p guessed P", stat: "fails", want: "nauthorized"},
		{line: "login -u alice -p " + alicesPassword + " P", want: "Login Succeeded"},
		{line: "logout P", want: "Removing login"},
	})
}

func containerdLogin(t *testing.T, addr, _ string) {
	resolver := func(user, password string) remotes.Resolver {
		authorizer := docker.NewDockerAuthorizer(docker.WithAuthCreds(func(string) (string, string, error) { return user, password, nil }))
		return docker.NewResolver(docker.ResolverOptions{Hosts: docker.ConfigureDefaultRegistries(
			docker.WithPlainHTTP(docker.MatchAllHosts), docker.WithAuthorizer(authorizer))})
	}
	store := containerdStore(t)
	push := func(user, password, name string, annotations map[string]string) error {
		d := containerdWrite(t, store, v1.MediaTypeImageLayerGzip, []byte("a layer of containerd"))
		d.Annotations = annotations
		pusher, err := resolver(user, password).Pusher(t.Context(), name)
		if err != nil {
			return err
		}
		return remotes.PushContent(t.Context(), pusher, d, store, nil, platforms.All, nil)
	}
	if err := push("alice", alicesPassword, addr+"/alice/containerd:v1", nil); err != nil {
		t.Error(err)
	}
	host, _, _ := strings.Cut(addr, ":")
	for _, to := range []string{"/alice/containerd/copy:v1", "/alice/containerd/more:v1"} {
		if err := push("alice", alicesPassword, addr+to, map[string]string{"containerd.io/distribution.source." + host: "alice/containerd"}); err != nil {
			t.Error(err)
		}
	}
	for _, name := range []string{"/shared/app:v1", "/public/app:v1"} {
		if _, _, err := resolver("alice", alicesPassword).Resolve(t.Context(), addr+name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, _, err := resolver("alice", alicesPassword).Resolve(t.Context(), addr+"/secret/app:v1"); err == nil {
		t.Error("what is secret was resolved")
	}
	for _, tt := range []struct{ user, password, name string }{
		{"alice", alicesPassword, "/shared/containerd:v1"}, {"alice", "guessed", "/alice/containerd:v2"}, {"", "", "/alice/containerd:v2"},
	} {
		if err := push(tt.user, tt.password, addr+tt.name, nil); err == nil {
			t.Errorf("%s as %q: it was pushed", tt.name, tt.user)
		}
	}
}

func ggcrLogin(t *testing.T, addr, digest string) {
	alice := remote.WithAuth(&authn.Basic{Username: "alice", Password: alicesPassword})
	img := randomImage(t, 10<<10, 2, "application/vnd.oci.image.manifest.v1+json")
	if err := remote.Write(reference(t, addr+"/alice/ggcr:v1"), img, alice); err != nil {
		t.Fatal(err)
	}
	for _, from := range []string{"/alice/ggcr:v1", "/shared/app:v1"} {
		source, err := remote.Image(reference(t, addr+from), alice)
		if err != nil {
			t.Fatal(err)
		}
		if err := remote.Write(reference(t, addr+"/alice/ggcr/copy"+strings.ReplaceAll(from, "/", "-")), source, alice); err != nil {
			t.Errorf("%s: %v", from, err)
		}
	}
	if d, err := remote.Head(reference(t, addr+"/public/app:v1")); err != nil || d.Digest.String() != digest {
		t.Errorf("without credentials: got %v, %v", d, err)
	}
	if err := remote.Delete(reference(t, addr+"/alice/ggcr:v1"), alice); err != nil {
		t.Error(err)
	}
	for name, err := range map[string]error{
		"push of what is shared":   remote.Write(reference(t, addr+"/shared/ggcr:v1"), img, alice),
		"push without credentials": remote.Write(reference(t, addr+"/alice/ggcr:v2"), img),
		"delete of what is public": remote.Delete(reference(t, addr+"/public/app:v1"), alice),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// TestReplicasTakeEachOthersTokens starts two servers on one index, which has the keys.
func TestReplicasTakeEachOthersTokens(t *testing.T) {
	users := newProgram(t, "sh").write("htpasswd", htpasswdLine(t, "alice", alicesPassword))
	o := harness.Options{Storage: t.TempDir(), Env: []string{"INDEX_DATABASE=" + harness.PostgreSQL(t).NewDatabase(t),
		"REGISTRY_AUTH_HTPASSWD_PATH=" + users, "AUTH_TOKENS=true"}}
	a, b := harness.StartParfait(t, o), harness.StartParfait(t, o)
	for _, pair := range [][2]*harness.Server{{a, b}, {b, a}} {
		giver, taker := newWire(t, pair[0].URL), newWire(t, pair[1].URL)
		var given struct {
			Token        string `json:"token"`
			RefreshToken string `json:"refresh_token"`
		}
		answer := giver.ask(200, "GET", "/token?offline_token=true&scope=repository:app:pull,push", nil,
			"Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte("alice:"+alicesPassword)))
		if err := json.Unmarshal(answer.body, &given); err != nil {
			t.Fatal(err)
		}
		taker.ask(202, "POST", "/v2/app/blobs/uploads/", nil, "Authorization", "Bearer "+given.Token)
		form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {given.RefreshToken}, "scope": {"repository:app:pull"}}
		answer = taker.ask(200, "POST", "/token", strings.NewReader(form.Encode()), "Content-Type", "application/x-www-form-urlencoded")
		if err := json.Unmarshal(answer.body, &given); err != nil {
			t.Fatal(err)
		}
		giver.ask(404, "GET", "/v2/app/tags/list", nil, "Authorization", "Bearer "+given.Token)
		giver.ask(401, "POST", "/v2/app/blobs/uploads/", nil, "Authorization", "Bearer "+given.Token)
	}
}

// TestHtpasswdByName is what tutorials type with --entrypoint htpasswd.
func TestHtpasswdByName(t *testing.T) {
	sh := shell(t)
	sh.link(filepath.Join("bin", "htpasswd"), harness.Parfait(t))
	sh.run("mkdir auth; htpasswd -Bbn admin admin >> auth/htpasswd")
	s := harness.StartParfait(t, harness.Options{Env: []string{"REGISTRY_AUTH=htpasswd", "REGISTRY_AUTH_HTPASSWD_REALM=Registry Realm",
		"REGISTRY_AUTH_HTPASSWD_PATH=" + filepath.Join(sh.home, "auth", "htpasswd")}})
	sh.env = append(sh.env, "H="+s.Addr)
	for line, want := range map[string]string{
		"curl -sSi $H/v2/":                           `Www-Authenticate: Basic realm="Registry Realm"`,
		"curl -fsS -u admin:admin $H/v2/":            "{}",
		"curl -fsS -u admin:admin $H/v2/_catalog":    `{"repositories":[]}`,
		"curl -sS -u admin:nimda $H/v2/_catalog":     "UNAUTHORIZED",
		"curl -fsS $H/readyz":                        "ok",
		"crane auth login $H -u admin -p admin 2>&1": "logged in",
	} {
		if got := sh.run(line); !strings.Contains(got, want) {
			t.Errorf("%s: got %s, want %s", line, got, want)
		}
	}
}

// TestTokenServer has one registry give the tokens that others take: Parfait, by the variables of registry:2, and
// distribution itself.
func TestTokenServer(t *testing.T) {
	issuer, _ := guarded(t, true)
	crane := newProgram(t, "crane")
	jwks := crane.write("jwks.json", newProgram(t, "sh").run("-c", "curl -fsS "+issuer.URL+"/token/jwks.json"))
	env := []string{"REGISTRY_AUTH=token", "REGISTRY_AUTH_TOKEN_REALM=" + issuer.URL + "/token", "REGISTRY_AUTH_TOKEN_SERVICE=parfait",
		"REGISTRY_AUTH_TOKEN_ISSUER=parfait", "REGISTRY_AUTH_TOKEN_JWKS=" + jwks}
	for name, s := range map[string]*harness.Server{
		"parfait":      harness.StartParfait(t, harness.Options{Env: env}),
		"distribution": harness.StartDistribution(t, "", env...),
	} {
		t.Run(name, func(t *testing.T) {
			dir, digest := folder(t, 1000, 1)
			newProgram(t, "oras").follow(s.Addr, digest, dir, []step{ // crane takes no realm at another private address
				{line: "cp --from-oci-layout F:v1 --to-plain-http P/alice/app:v1", stat: "fails", want: "401"},
				{line: "login --plain-http P -u alice -p guessed", stat: "fails"},
				{line: "login --plain-http P -u alice -p " + alicesPassword, want: "Login Succeeded"},
				{line: "cp --from-oci-layout F:v1 --to-plain-http P/alice/app:v1", want: "Copied"},
				{line: "resolve --plain-http P/alice/app:v1", want: digest},
				{line: "cp --from-plain-http --to-plain-http P/alice/app:v1 P/alice/copy:v1", want: "Copied"},
				{line: "repo ls --plain-http P", want: "alice/app"},
				{line: "cp --from-oci-layout F:v1 --to-plain-http P/shared/app:v1", stat: "fails"},
				{line: "resolve --plain-http P/secret/app:v1", stat: "fails"},
				{line: "logout P"},
				{line: "resolve --plain-http P/alice/app:v1", stat: "fails"},
			})
		})
	}
}
