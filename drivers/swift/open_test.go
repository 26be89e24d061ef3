package swift_test

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/drivers/swift"
	"github.com/parfait-registry/parfait/integration/harness"
)

const password = "correct-horse" // no error may tell it

// wantOpenError checks that Open fails in time, with one line that begins with key, has text in it and tells no secret.
func wantOpenError(t *testing.T, cfg swift.Config, key, text string) {
	t.Helper()
	start := time.Now()
	_, err := swift.Open(t.Context(), cfg, slog.New(slog.DiscardHandler))
	if err == nil {
		t.Fatalf("got no error, want one about %s", key)
	}
	if !strings.HasPrefix(err.Error(), key+": ") || !strings.Contains(err.Error(), text) {
		t.Errorf("got error %q, want one about %s with %q", err, key, text)
	}
	if strings.Contains(err.Error(), "\n") || len(err.Error()) > 400 {
		t.Errorf("the error is not one line: %q", err)
	}
	for _, secret := range []string{cfg.Password, cfg.TempURLKey} {
		if secret != "" && secret != "testing" && strings.Contains(err.Error(), secret) {
			t.Errorf("the error tells a secret: %q", err)
		}
	}
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("the error came after %v", took)
	}
}

func TestOpen_Config(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*swift.Config)
		key    string
		text   string
	}{
		"no URL":             {func(c *swift.Config) { c.AuthURL = "" }, "swift_authurl", "not set"},
		"no user":            {func(c *swift.Config) { c.User = "" }, "swift_user", "not set"},
		"no password":        {func(c *swift.Config) { c.Password = "" }, "swift_password", "not set"},
		"no container":       {func(c *swift.Config) { c.Container = "" }, "swift_container", "not set"},
		"container in one":   {func(c *swift.Config) { c.Container = "a/b" }, "swift_container", `"a/b"`},
		"long container":     {func(c *swift.Config) { c.Container = strings.Repeat("x", 257) }, "swift_container", "256"},
		"host as URL":        {func(c *swift.Config) { c.AuthURL = "localhost:5000" }, "swift_authurl", "no http"},
		"password in URL":    {func(c *swift.Config) { c.AuthURL = "http://me:" + password + "@h/v1" }, "swift_authurl", "more than"},
		"storage URL":        {func(c *swift.Config) { c.ObjectStorageURL = "x" }, "swift_object_storage_url", "no http"},
		"no version":         {func(c *swift.Config) { c.AuthURL = "http://localhost:5000/" }, "swift_auth_version", "1, 2 or 3"},
		"version 4":          {func(c *swift.Config) { c.AuthVersion = "4" }, "swift_auth_version", `"4"`},
		"endpoint type":      {func(c *swift.Config) { c.EndpointType = "secret" }, "swift_endpoint_type", `"secret"`},
		"endpoint of v1":     {func(c *swift.Config) { c.EndpointType = "internalURL" }, "swift_endpoint_type", "version 1"},
		"prefix":             {func(c *swift.Config) { c.Path = "/a b" }, "storage_path", "/a b"},
		"long prefix":        {func(c *swift.Config) { c.Path = strings.Repeat("x", 200) }, "storage_path", "199"},
		"small parts":        {func(c *swift.Config) { c.PartSize = 1 << 20 }, "storage_part_size", "5MiB"},
		"few buffers":        {func(c *swift.Config) { c.Buffers = 1 << 20 }, "storage_buffers", "1048576"},
		"no CA file":         {func(c *swift.Config) { c.CACert = "/none/ca.pem" }, "swift_cacert", "/none/ca.pem"},
		"CA file of nothing": {func(c *swift.Config) { c.CACert = "swift.go" }, "swift_cacert", "PEM"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := swift.NewConfig()
			cfg.AuthURL, cfg.User, cfg.Password = "http://localhost:1/auth/v1.0", "me", password
			tt.change(&cfg)
			if tt.key == "storage_path" && tt.text == "/a b" {
				_, err := swift.Open(t.Context(), cfg, slog.New(slog.DiscardHandler))
				if err == nil || !strings.HasPrefix(err.Error(), "storage_path") {
					t.Errorf("got error %v, want one about storage_path", err)
				}
				return
			}
			wantOpenError(t, cfg, tt.key, tt.text)
		})
	}
}

// TestOpen_NoIdentityService has Open meet what is no identity service, or none that it can reach.
func TestOpen_NoIdentityService(t *testing.T) {
	page := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>hello</html>") })
	plain, secure := httptest.NewServer(page), httptest.NewTLSServer(page)
	t.Cleanup(plain.Close) // after the tests in parallel
	t.Cleanup(secure.Close)
	quiet := slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo) // it sees failed handshakes
	plain.Config.ErrorLog, secure.Config.ErrorLog = quiet, quiet
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { silent.Close() })
	absent := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(absent.Close)
	for name, tt := range map[string]struct{ url, key, text string }{
		"nobody listens":      {"http://127.0.0.1:1/v3", "swift_authurl", "refused"},
		"no such host":        {"http://swift.invalid/v3", "swift_authurl", "swift.invalid"},
		"nobody answers":      {"http://" + silent.Addr().String() + "/v3", "swift_authurl", "no answer within 8s"},
		"a web page, v1":      {plain.URL + "/v1.0", "swift_authurl", "version 1"},
		"a web page, v2":      {plain.URL + "/v2.0", "swift_authurl", "version 2"},
		"a web page, v3":      {plain.URL + "/v3", "swift_authurl", "version 3"},
		"nothing there":       {absent.URL + "/v3", "swift_authurl", "404 Not Found"},
		"unknown certificate": {secure.URL + "/v3", "swift_cacert", "certificate"},
		"TLS to who has none": {"https://" + plain.Listener.Addr().String() + "/v3", "swift_authurl", "HTTP response to HTTPS"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := swift.NewConfig()
			cfg.AuthURL, cfg.User, cfg.Password = tt.url, "me", password
			wantOpenError(t, cfg, tt.key, tt.text)
		})
	}
}

// testOpenErrors has Open meet a Swift that does not let it do its work.
func testOpenErrors(t *testing.T, s *harness.Swift) {
	account, _ := s.Login(t)
	for name, tt := range map[string]struct {
		change   func(*swift.Config)
		director func(n int, r *http.Request) act
		key      string
		text     string
	}{
		"wrong password":     {func(c *swift.Config) { c.Password = password }, nil, "swift_user, swift_password", `"test:tester" in: 401`},
		"wrong user":         {func(c *swift.Config) { c.User = "me" }, nil, "swift_user, swift_password", "401"},
		"wrong path":         {func(c *swift.Config) { c.AuthURL = "http://" + s.Addr + "/v1.0" }, nil, "swift_authurl", "no identity service of version 1"},
		"storage elsewhere":  {func(c *swift.Config) { c.ObjectStorageURL = "http://127.0.0.1:1/v1/x" }, nil, "swift_object_storage_url", "refused"},
		"another's account":  {func(c *swift.Config) { c.ObjectStorageURL = account + "2" }, nil, "swift_user", "403"},
		"no container of it": {nil, deny("HEAD"), "swift_user", "may not use container"},
		"nothing to list":    {nil, deny("GET"), "swift_user", "may not list container"},
		"read-only":          {nil, deny("PUT"), "swift_user", "may not write to container"},
		"nothing to delete":  {nil, deny("DELETE"), "swift_user", "may not delete from container"},
		"out of order": {nil, func(_ int, r *http.Request) act {
			if r.Method == http.MethodPut {
				return busy
			}
			return pass
		}, "swift_container", "503 Service Unavailable"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e, cfg := watch(t, s)
			e.direct(tt.director)
			if tt.change != nil {
				tt.change(&cfg)
			}
			wantOpenError(t, cfg, tt.key, tt.text)
		})
	}
	t.Run("no container, and none to be made", func(t *testing.T) {
		e, cfg := watch(t, s)
		cfg.Container += "-none"
		e.direct(deny("PUT"))
		wantOpenError(t, cfg, "swift_user", "may not create container")
	})
	t.Run("no large objects", func(t *testing.T) {
		e, cfg := watch(t, s)
		e.edit = func(r *http.Request, body []byte) []byte {
			if r.URL.Path == "/info" {
				return []byte(`{"swift": {}}`)
			}
			return body
		}
		wantOpenError(t, cfg, "swift_object_storage_url", "static large objects")
	})
	t.Run("cancelled", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := swift.Open(ctx, config(t, s), slog.New(slog.DiscardHandler)); err == nil {
			t.Error("got no error")
		}
	})
}

// deny has Swift forbid a method for objects and containers.
func deny(method string) func(int, *http.Request) act {
	return func(_ int, r *http.Request) act {
		if r.Method == method && r.URL.Path != "/info" {
			return denied
		}
		return pass
	}
}

// testOpen looks at what Open leaves behind, and that it needs no more than it says.
func testOpen(t *testing.T, s *harness.Swift) {
	t.Run("makes the container", func(t *testing.T) {
		cfg := config(t, s)
		cfg.Container += " of täst?"
		d := open(t, cfg)
		if err := drivers.Put(t.Context(), d, "a", []byte("A")); err != nil {
			t.Fatal(err)
		}
		if got := names(t, s, url.PathEscape(cfg.Container)); !slices.Equal(got, []string{"a"}) {
			t.Errorf("the container has %q, want a", got)
		}
		if err := drivers.Compose(t.Context(), d, "b", "a"); err != nil {
			t.Error(err)
		}
		if err := drivers.DeleteAll(t.Context(), d, "a", "b"); err != nil {
			t.Error(err)
		}
		if got := names(t, s, url.PathEscape(cfg.Container)); len(got) != 0 {
			t.Errorf("the container has %q, want nothing", got)
		}
	})
	t.Run("over a bad line", func(t *testing.T) {
		e, cfg := watch(t, s)
		e.direct(func(n int, _ *http.Request) act { return []act{busy, lost, pass, unheard}[n%4] })
		open(t, cfg)
		if got := names(t, s, cfg.Container); len(got) != 0 {
			t.Errorf("Open left %q", got)
		}
	})
	t.Run("without its information", func(t *testing.T) {
		e, cfg := watch(t, s)
		e.direct(func(_ int, r *http.Request) act {
			if r.URL.Path == "/info" {
				return denied
			}
			return pass
		})
		d := open(t, cfg)
		if err := drivers.Put(t.Context(), d, "a", []byte("A")); err != nil {
			t.Fatal(err)
		}
		if err := drivers.DeleteAll(t.Context(), d, "a", "b"); err != nil {
			t.Error(err)
		}
	})
	t.Run("with a certificate of its own", func(t *testing.T) {
		e, cfg := watch(t, s)
		secure := httptest.NewTLSServer(e)
		defer secure.Close()
		secure.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)
		cfg.ObjectStorageURL = secure.URL + strings.TrimPrefix(cfg.ObjectStorageURL, e.URL)
		wantOpenError(t, cfg, "swift_cacert", "certificate")
		cfg.CACert = filepath.Join(t.TempDir(), "ca.pem")
		block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw})
		if err := os.WriteFile(cfg.CACert, block, 0o644); err != nil {
			t.Fatal(err)
		}
		open(t, cfg)
	})
}

// A keystone is an identity service of versions 2 and 3 that lets anybody in, with a token of the real Swift.
type keystone struct {
	*httptest.Server
	catalog string // of version 2 or 3

	mu     sync.Mutex
	asked  string // what it was last asked
	logins int
}

func newKeystone(t *testing.T, s *harness.Swift, catalog string) *keystone {
	k := &keystone{catalog: catalog}
	k.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_, header := s.Login(t)
		k.mu.Lock()
		k.asked = r.Method + " " + r.URL.Path + " " + string(body)
		k.logins++
		k.mu.Unlock()
		if r.URL.Path == "/v3/auth/tokens" {
			w.Header().Set("X-Subject-Token", header.Get("X-Auth-Token"))
			w.WriteHeader(http.StatusCreated)
			fmt.Fprintf(w, `{"token": {"expires_at": "2099-01-01T00:00:00Z", "catalog": %s}}`, k.catalog)
			return
		}
		fmt.Fprintf(w, `{"access": {"token": {"id": %q, "expires": "2099-01-01T00:00:00Z"}, "serviceCatalog": %s}}`,
			header.Get("X-Auth-Token"), k.catalog)
	}))
	t.Cleanup(k.Close)
	return k
}

// testKeystone checks what is asked of identity services of versions 2 and 3, and what is made of their answers.
func testKeystone(t *testing.T, s *harness.Swift) {
	account, _ := s.Login(t)
	v2 := fmt.Sprintf(`[{"type": "compute", "endpoints": [{"region": "A", "publicURL": "http://127.0.0.1:1"}]},
		{"type": "object-store", "endpoints": [
			{"region": "A", "publicURL": "http://127.0.0.1:1/v1/x", "internalURL": "http://127.0.0.1:1/v1/y"},
			{"region": "B", "publicURL": "http://public.example/v1/AUTH_test", "internalURL": %q}]}]`, account)
	v3 := fmt.Sprintf(`[{"type": "object-store", "endpoints": [
		{"region": "A", "interface": "public", "url": "http://127.0.0.1:1/v1/x"},
		{"region": "B", "interface": "public", "url": "http://public.example/v1/AUTH_test"},
		{"region": "B", "interface": "internal", "url": %q}]}]`, account)
	v2asks := `POST /v2.0/tokens {"auth": {"passwordCredentials": {"username": "test:tester", "password": "testing"}%s}}`
	v3asks := `POST /v3/auth/tokens {"auth": {"identity": {"methods": ["password"], "password": {"user":
		{"name": "test:tester", "password": "testing", "domain": %s}}}%s}}`
	for name, tt := range map[string]struct {
		path, catalog string
		change        func(*swift.Config)
		asked         string
	}{
		"v2": {"/v2.0", v2, nil, fmt.Sprintf(v2asks, "")},
		"v2, tenant": {"/v2.0", v2, func(c *swift.Config) { c.TenantName = "ten" },
			fmt.Sprintf(v2asks, `, "tenantName": "ten"`)},
		"v2, tenant's ID": {"/v2.0/", v2, func(c *swift.Config) { c.TenantID = "10" },
			fmt.Sprintf(v2asks, `, "tenantId": "10"`)},
		"v2, by its key": {"/v2.0", v2, func(c *swift.Config) { c.AuthVersion = "2.0" }, fmt.Sprintf(v2asks, "")},
		"v3":             {"/v3", v3, nil, fmt.Sprintf(v3asks, `{"name": "Default"}`, "")},
		"v3, user's domain": {"/v3", v3, func(c *swift.Config) { c.DomainName, c.TenantName = "dom", "ten" },
			fmt.Sprintf(v3asks, `{"name": "dom"}`, `, "scope": {"project": {"name": "ten", "domain": {"name": "dom"}}}`)},
		"v3, both domains": {"/v3", v3, func(c *swift.Config) { c.DomainID, c.TenantName, c.TenantDomainName = "7", "ten", "td" },
			fmt.Sprintf(v3asks, `{"id": "7"}`, `, "scope": {"project": {"name": "ten", "domain": {"name": "td"}}}`)},
		"v3, tenant's domain's ID": {"/v3", v3, func(c *swift.Config) { c.TenantName, c.TenantDomainID = "ten", "8" },
			fmt.Sprintf(v3asks, `{"name": "Default"}`, `, "scope": {"project": {"name": "ten", "domain": {"id": "8"}}}`)},
		"v3, tenant's ID": {"/v3", v3, func(c *swift.Config) { c.TenantID = "10" },
			fmt.Sprintf(v3asks, `{"name": "Default"}`, `, "scope": {"project": {"id": "10"}}`)},
		"v3, URL of the store": {"/v3", `[]`, func(c *swift.Config) { c.ObjectStorageURL, c.EndpointType = account, "" },
			fmt.Sprintf(v3asks, `{"name": "Default"}`, "")},
	} {
		t.Run(name, func(t *testing.T) {
			k := newKeystone(t, s, tt.catalog)
			cfg := config(t, s)
			cfg.AuthURL, cfg.RegionName, cfg.EndpointType = k.URL+tt.path, "B", "internal"
			if tt.change != nil {
				tt.change(&cfg)
			}
			d := open(t, cfg)
			if got, want := compact(t, k.asked), compact(t, tt.asked); got != want {
				t.Errorf("asked\n %s\nwant\n %s", got, want)
			}
			if err := drivers.Put(t.Context(), d, "a", []byte("A")); err != nil {
				t.Error(err)
			}
			signed, err := d.SignURL(t.Context(), http.MethodGet, "a", time.Minute)
			if want := "http://public.example/v1/AUTH_test/"; cfg.ObjectStorageURL == "" && !strings.HasPrefix(signed, want) {
				t.Errorf("signed %q, %v, want what begins with %s", signed, err, want)
			}
		})
	}
	for name, tt := range map[string]struct {
		change    func(*swift.Config)
		key, text string
	}{
		"unknown region":      {func(c *swift.Config) { c.RegionName = "C" }, "swift_region_name", `"C"`},
		"no such endpoint":    {func(c *swift.Config) { c.EndpointType = "admin"; c.RegionName = "" }, "swift_endpoint_type", "admin"},
		"wrong region":        {func(c *swift.Config) { c.RegionName, c.EndpointType = "A", "public" }, "swift_object_storage_url", "127.0.0.1:1"},
		"no store of its own": {func(c *swift.Config) { c.RegionName, c.EndpointType = "A", "internal" }, "swift_region_name", "internal"},
	} {
		t.Run(name, func(t *testing.T) {
			k := newKeystone(t, s, v3)
			cfg := config(t, s)
			cfg.AuthURL, cfg.RegionName, cfg.EndpointType = k.URL+"/v3", "B", "internal"
			tt.change(&cfg)
			wantOpenError(t, cfg, tt.key, tt.text)
		})
	}
}

// compact is a request without the space in its JSON.
func compact(t *testing.T, asked string) string {
	t.Helper()
	i := strings.IndexByte(asked, '{')
	if i < 0 {
		return asked
	}
	var body any
	if err := json.Unmarshal([]byte(asked[i:]), &body); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(body) // sorts the keys
	if err != nil {
		t.Fatal(err)
	}
	return asked[:i] + string(text)
}

// testToken lets the token expire under many requests at once: one of them gets a new one.
func testToken(t *testing.T, s *harness.Swift) {
	account, _ := s.Login(t)
	k := newKeystone(t, s, `[]`)
	cfg := config(t, s)
	cfg.AuthURL, cfg.ObjectStorageURL = k.URL+"/v2.0", account
	d := open(t, cfg)
	logins := func() int {
		k.mu.Lock()
		defer k.mu.Unlock()
		return k.logins
	}
	before := logins()
	s.Stop() // the tokens are memcached's
	s.Start()
	var g errgroup.Group
	for i := range 30 {
		g.Go(func() error { return drivers.Put(t.Context(), d, fmt.Sprint(i), []byte("x")) })
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	if n := logins() - before; n != 1 {
		t.Errorf("logged in %d times, want once", n)
	}
}
