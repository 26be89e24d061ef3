package server

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/parfait-registry/parfait/access"
	"github.com/parfait-registry/parfait/drivers/mem"
)

const realm = "Registry Realm"

// lock asks for credentials from now on. Each user's password is the name with "'s secret" behind it.
func (h *house) lock(cfg access.Config, users ...string) {
	h.t.Helper()
	file := new(access.Htpasswd)
	for _, user := range users {
		hash, err := access.HashPassword(user+"'s secret", access.MinCost)
		if err != nil {
			h.t.Fatal(err)
		}
		file.Set(user, hash)
	}
	cfg.HtpasswdPath, cfg.HtpasswdRealm = filepath.Join(h.t.TempDir(), "htpasswd"), realm
	if err := os.WriteFile(cfg.HtpasswdPath, file.Bytes(), 0o600); err != nil {
		h.t.Fatal(err)
	}
	guard, err := access.Open(h.t.Context(), cfg, h.index, h.log.logger())
	if err != nil {
		h.t.Fatal(err)
	}
	h.server = New(h.server.cfg, h.server.reg, guard, h.server.log)
	h.web = httptest.NewServer(h.server)
	h.t.Cleanup(h.web.Close)
}

// basic is the value of an Authorization header.
func basic(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

// as is the header of a request of a user who knows the password; none for nobody.
func as(user string) []string {
	if user == "" {
		return nil
	}
	return []string{"Authorization", basic(user, user+"'s secret")}
}

// rules are those of most tests. Alice may do everything below alice, and pull what is below shared; everybody may pull
// what is below public; nobody but root has anything to do below secret.
func rules() access.Config {
	return access.Config{
		Admins: []string{"root"},
		Groups: map[string][]string{"team": {"alice", "bob"}},
		Rules: []access.Rule{
			{Repositories: []string{"alice/**"}, Users: []string{"alice"}, Actions: []string{"pull", "push", "delete"}},
			{Repositories: []string{"shared/**"}, Groups: []string{"team"}, Actions: []string{"pull"}},
			{Repositories: []string{"public/**"}, Users: []string{"anonymous"}, Actions: []string{"pull"}},
		},
	}
}

// TestListsShowWhatMayBePulled follows the pages of the catalog, and looks at search and the page for people.
func TestListsShowWhatMayBePulled(t *testing.T) {
	h := open(t, mem.New(), Config{})
	var all []string
	for i := range 12 {
		for _, place := range []string{"alice", "public", "secret", "shared"} {
			repo := fmt.Sprintf("%s/%02d", place, i)
			h.pushManifest(repo, "v1", v1.MediaTypeImageIndex, map[string]any{"schemaVersion": 2, "manifests": []string{}})
			all = append(all, repo)
		}
	}
	slices.Sort(all)
	cfg := rules()
	cfg.Rules = append(cfg.Rules, access.Rule{Users: []string{"anonymous"}, Actions: []string{"catalog"}})
	h.lock(cfg, "alice", "bob", "root")
	for user, places := range map[string]string{"": "public", "bob": "public shared", "alice": "alice public shared", "root": "alice public secret shared"} {
		var want []string
		for _, repo := range all {
			if place, _, _ := strings.Cut(repo, "/"); strings.Contains(places, place) {
				want = append(want, repo)
			}
		}
		for _, n := range []int{1, 5, 12, 48, 100} {
			if got := h.followCatalog(n, as(user)...); !slices.Equal(got, want) {
				t.Errorf("%q, catalog, %d a page: got %q, want %q", user, n, got, want)
			}
		}
		var found struct {
			NumResults int `json:"num_results"`
			Results    []struct{ Name string }
		}
		a := h.want(200, "GET", "/v1/search?n=100&q=0", nil, as(user)...)
		if err := json.Unmarshal([]byte(a.body), &found); err != nil || len(found.Results) != found.NumResults || found.NumResults != len(strings.Fields(places))*11 {
			t.Errorf("%q, search: got %s", user, a.body)
		}
		page := h.want(200, "GET", "/", nil, append(as(user), "Accept", "text/html")...).body
		for _, repo := range all[:20] {
			if place, _, _ := strings.Cut(repo, "/"); strings.Contains(page, ">"+repo+"<") && !strings.Contains(places, place) {
				t.Errorf("%q, page: got %s on it", user, repo)
			}
		}
		if !strings.Contains(page, fmt.Sprintf("<p>%d in all</p>", len(want))) {
			t.Errorf("%q, page: got %s, want %d in all", user, page, len(want))
		}
	}
}

// followCatalog returns all pages of the catalog.
func (h *house) followCatalog(n int, header ...string) (all []string) {
	h.t.Helper()
	for path := fmt.Sprintf("/v2/_catalog?n=%d", n); path != ""; {
		a := h.want(200, "GET", path, nil, header...)
		var page struct{ Repositories []string }
		if err := json.Unmarshal([]byte(a.body), &page); err != nil {
			h.t.Fatal(err)
		}
		all = append(all, page.Repositories...)
		path, _, _ = strings.Cut(strings.TrimPrefix(a.header.Get("Link"), "<"), ">")
		if path != "" && len(page.Repositories) != n {
			h.t.Errorf("got %d of %d repositories on a page with more behind it", len(page.Repositories), n)
		}
	}
	return all
}

// TestPageAsksForPassword: a browser has nobody else to ask.
func TestPageAsksForPassword(t *testing.T) {
	h := open(t, mem.New(), Config{})
	repositories(h, 1)
	h.lock(access.Config{}, "alice")
	a := h.want(401, "GET", "/", nil, "Accept", "text/html")
	if got := a.header.Get("WWW-Authenticate"); got != `Basic realm="`+realm+`"` {
		t.Errorf("got challenge %q", got)
	}
	if !strings.Contains(a.body, "docker push") || strings.Contains(a.body, "r/000") || strings.Contains(a.body, "<form") {
		t.Errorf("got %s, want a page without the list", a.body)
	}
	if a := h.want(200, "GET", "/", nil, append(as("alice"), "Accept", "text/html")...); !strings.Contains(a.body, ">r/000</a>") {
		t.Errorf("got %s, want the list", a.body)
	}
	h.want(200, "GET", "/", nil) // a program reads the issue line
	h.lock(access.Config{Rules: []access.Rule{{Users: []string{"bob"}, Actions: []string{"catalog"}}}}, "alice")
	if a := h.want(200, "GET", "/", nil, append(as("alice"), "Accept", "text/html")...); strings.Contains(a.body, "r/000") {
		t.Errorf("got %s, want a page without the list", a.body)
	}
}

// TestMountFromOthers: what may not be pulled is not there to be mounted.
func TestMountFromOthers(t *testing.T) {
	h := open(t, mem.New(), Config{})
	secret := h.pushBlob("secret/app", "a secret").Digest.String()
	shared := h.pushBlob("shared/app", "for the team").Digest.String()
	h.lock(rules(), "alice", "bob", "root")
	for _, tt := range []struct {
		user, query string
		status      int
	}{
		{"alice", "mount=" + shared + "&from=shared/app", 201},
		{"alice", "mount=" + shared, 201},
		{"alice", "mount=" + secret + "&from=secret/app", 202},
		{"alice", "mount=" + secret + "&from=secret/none", 202},
		{"alice", "mount=" + secret + "&from=shared/app", 202},
		{"alice", "mount=" + secret + "&from=public/app", 202},
		{"alice", "mount=" + secret + "&from=", 202},
		{"alice", "mount=" + secret, 202},
		{"alice", "mount=" + unknown, 202},
		{"root", "mount=" + secret + "&from=secret/app", 201},
		{"root", "mount=" + secret, 201},
	} {
		to := fmt.Sprintf("alice/%s%d", tt.user, len(tt.query))
		a := h.do("POST", "/v2/"+to+"/blobs/uploads/?"+tt.query, nil, as(tt.user)...)
		if a.status != tt.status {
			t.Errorf("%s, %s: got %d, want %d", tt.user, tt.query, a.status, tt.status)
		}
		if a.status == 202 {
			h.want(404, "HEAD", "/v2/"+to+"/blobs/"+secret, nil, as("root")...)
		}
	}
}

// TestEveryUserWithoutRules is registry:2's way.
func TestEveryUserWithoutRules(t *testing.T) {
	h := open(t, mem.New(), Config{})
	h.pushImage("app", "v1", "layer")
	h.lock(access.Config{}, "alice")
	for _, path := range []string{"/v2/", "/v2/_catalog", "/v1/search", "/v2/app/tags/list", "/v2/app/manifests/v1"} {
		h.want(200, "GET", path, nil, as("alice")...)
		h.want(401, "GET", path, nil)
	}
	h.want(202, "DELETE", "/v2/app/manifests/v1", nil, as("alice")...)
	if got := h.followCatalog(5, as("alice")...); !slices.Equal(got, []string{"app"}) {
		t.Errorf("got %q", got)
	}
}

// TestRefusalNeedsNoBody: who may not push is told before it has sent anything.
func TestRefusalNeedsNoBody(t *testing.T) {
	h := open(t, mem.New(), Config{})
	h.lock(rules(), "alice")
	for _, request := range []string{
		"POST /v2/secret/app/blobs/uploads/?digest=" + unknown, "PUT /v2/secret/app/manifests/v1", "PATCH /v2/secret/app/blobs/uploads/0",
	} {
		conn, r := dial(t, h)
		fmt.Fprintf(conn, "%s HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n", request)
		resp, err := http.ReadResponse(r, nil)
		if err != nil || resp.StatusCode != 401 || resp.Header.Get("WWW-Authenticate") == "" {
			t.Errorf("%s: got %v, %v", request, resp, err)
		}
		conn.Close()
	}
}

// TestSecretsAreNotLogged: neither right nor wrong ones, in whatever form they come.
func TestSecretsAreNotLogged(t *testing.T) {
	h := open(t, mem.New(), Config{})
	h.lock(rules(), "alice")
	secrets := []string{"alice's secret", "guessed-1", "guessed-2", "guessed-3"}
	h.want(200, "GET", "/v2/", nil, as("alice")...)
	h.want(401, "GET", "/v2/", nil, "Authorization", basic("alice", "guessed-1"))
	h.want(401, "GET", "/v2/", nil, "Authorization", "Bearer guessed-2")
	h.want(401, "GET", "/v2/", nil, "Authorization", "Basic guessed-3")
	h.want(403, "GET", "/v2/secret/app/tags/list", nil, as("alice")...)
	lines := h.log.lines(t, "request", 5)
	if lines[0]["user"] != "alice" || lines[1]["user"] != nil || !strings.Contains(fmt.Sprint(lines[1]["err"]), `wrong password of user "alice"`) ||
		!strings.Contains(fmt.Sprint(lines[4]["err"]), "lacks repository:secret/app:pull") {
		t.Errorf("got %v in the log, want who asked and what was wrong", lines)
	}
	for _, secret := range secrets {
		for _, form := range []string{secret, base64.StdEncoding.EncodeToString([]byte("alice:" + secret))} {
			if strings.Contains(h.log.String(), form) {
				t.Errorf("the log has %q", form)
			}
		}
	}
}

func FuzzAuthorization(f *testing.F) {
	for _, s := range []string{basic("alice", "alice's secret"), "Basic", "Basic ", "basic Og==", "Bearer x", "Bearer", "Basic YWxpY2U=", "Negotiate x", "\x00"} {
		f.Add(s)
	}
	h := &house{t: f, log: new(journal), server: bare(Config{})}
	h.lock(access.Config{}, "alice")
	f.Fuzz(func(t *testing.T, value string) {
		r := httptest.NewRequest("GET", "/v2/_catalog", nil)
		r.Header["Authorization"] = []string{value}
		client, err := h.server.client(r)
		if _, password, _ := r.BasicAuth(); err == nil && client.User() != "" && (client.User() != "alice" || password != "alice's secret") {
			t.Errorf("%q: got user %q", value, client.User())
		}
		if err != nil && strings.Contains(err.Error(), "alice's secret") {
			t.Errorf("%q: got %v", value, err)
		}
	})
}
