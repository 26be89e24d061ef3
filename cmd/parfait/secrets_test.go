package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parfait-registry/parfait/access"
	"github.com/parfait-registry/parfait/logtest"
)

// marker is in every secret of these tests, and in nothing that anybody prints.
const marker = "hush9f3a"

// keepsQuiet fails the test if text has a secret.
func keepsQuiet(t *testing.T, what, text string) {
	t.Helper()
	if i := strings.Index(text, marker); i >= 0 {
		t.Errorf("%s tells a secret: …%s…", what, text[max(0, i-200):min(len(text), i+100)])
	}
}

// secretive has each key that holds a secret, or may, in a flavor that cannot be served, or only just.
const secretive = `
common:
    loglevel: debug
    http_addr: 127.0.0.1:0
    cache: {host: localhost, password: SECRET}
    cache_lru: {host: localhost, password: SECRET}
    email_exceptions: {smtp_host: 127.0.0.1, smtp_port: 1, smtp_login: me, smtp_password: SECRET, to_addr: ops@example.com}
    smtp_password: SECRET
    secret_key: SECRET
    boto_proxy_pass: SECRET
    cloudfront: {keysecret: SECRET}
    oss_accesskey: SECRET
s3: {storage: s3, s3_bucket: b, s3_region: r, s3_endpoint: "http://127.0.0.1:1", s3_access_key: SECRET1, s3_secret_key: SECRET2}
s3-url: {storage: s3, s3_bucket: b, s3_region: r, s3_endpoint: "http://user:SECRET@127.0.0.1:1"}
s3-file: {storage: s3, s3_bucket: b, s3_secret_key: SECRET, s3_secret_key_file: /nope}
s3-half: {storage: s3, s3_bucket: b, s3_secret_key: SECRET}
s3-list: {storage: s3, s3_bucket: b, s3_secret_key: [SECRET]}
swift: {storage: swift, swift_authurl: "http://127.0.0.1:1/v1.0", swift_container: c, swift_user: u, swift_password: SECRET, swift_temp_url_key: SECRET}
swift-url: {storage: swift, swift_authurl: "http://user:SECRET@127.0.0.1:1/v1.0", swift_container: c, swift_user: u, swift_password: SECRET}
azure: {storage: azureblob, azure_storage_account_name: a, azure_storage_container: c, azure_endpoint: "127.0.0.1:1", azure_use_https: false, azure_storage_account_key: SECRET}
azure-sas: {storage: azureblob, azure_storage_account_name: a, azure_storage_container: c, azure_endpoint: "127.0.0.1:1", azure_use_https: false, azure_storage_sas_token: "sv=1&sig=SECRET"}
gcs: {storage: gcs, boto_bucket: b, gcs_endpoint: "http://127.0.0.1:1", gs_access_key: SECRET1, gs_secret_key: SECRET2}
gcs-keyfile: {storage: gcs, boto_bucket: b, gcs_keyfile: KEYFILE}
blob: {storage: blob, blob_url: "s3://b?region=r&endpoint=http://127.0.0.1:1&awssecret=SECRET"}
postgres: {storage: mem, index_database: "postgres://user:SECRET@127.0.0.1:1/index?connect_timeout=1"}
postgres-bad: {storage: mem, index_database: "postgres://user:SECRET@127.0.0.1:port/index"}
mail: {storage: mem, email_exceptions: {smtp_host: localhost, smtp_password: SECRET, to_addr: ops@example.com}}
mail-key: {storage: mem, email_exceptions: {smtp_host: localhost, smtp_secure: KEYFILE, to_addr: ops@example.com}}
events: {storage: mem, notifications: {endpoints: [{url: "https://hook/SECRET", headers: {Authorization: SECRET, Token: [SECRET1, SECRET2]}, format: none}]}}
events-url: {storage: mem, notifications: {endpoints: [{url: "hook://user:SECRET@host"}]}}
events-header: {storage: mem, notifications: {endpoints: [{url: "http://hook", headers: {X: "SECRET\n"}}]}}
events-headers: {storage: mem, notifications: {endpoints: [{url: "http://hook", headers: SECRET}]}}
tokens: {storage: mem, auth: htpasswd, auth_htpasswd_path: USERS, auth_tokens: true, auth_tokens_keyfile: KEYFILE}
tls: {storage: mem, http_tls_certificate: KEYFILE, http_tls_key: KEYFILE}
users: {storage: mem, auth: htpasswd, auth_htpasswd_path: KEYFILE}
`

// TestSecretsInConfiguration shows, checks and serves flavors with secrets in every place that there is for one.
func TestSecretsInConfiguration(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	keyFile, users := filepath.Join(dir, "key"), filepath.Join(dir, "users")
	private := "-----BEGIN PRIVATE KEY-----\n" + marker + "\n-----END PRIVATE KEY-----\n{\"private_key\": \"" + marker + "\"}\n"
	writeUsers(t, users)
	text := strings.NewReplacer("SECRET", marker, "KEYFILE", keyFile, "USERS", users).Replace(secretive)
	for name, content := range map[string]string{keyFile: private, filepath.Join(dir, "config.yml"): text} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, key := range secretKeys() {
		if !strings.Contains(secretive, key+": SECRET") && !strings.Contains(secretive, key+`: "sv=1&sig=SECRET"`) {
			t.Errorf("the key %s, a secret, is not tried here", key)
		}
	}
	_, out, errs := command(t, "config", "check")
	keepsQuiet(t, "config check", out+errs)
	var serving sync.WaitGroup
	for _, flavor := range regexp.MustCompile(`(?m)^[a-z0-9-]+`).FindAllString(secretive, -1) {
		_, out, errs := command(t, "config", "show", "--flavor", flavor)
		keepsQuiet(t, "config show of "+flavor, out+errs)
		serving.Go(func() {
			ctx, stop := context.WithTimeout(t.Context(), 15*time.Second)
			defer stop()
			printed := new(logtest.Buffer)
			status := run(ctx, []string{"serve", "--flavor", flavor}, printed, printed)
			keepsQuiet(t, "serve of "+flavor, printed.String())
			if status == 0 || printed.String() == "" {
				t.Errorf("%s: got status %d and %q, want a mistake and what it is", flavor, status, printed.String())
			}
		})
	}
	serving.Wait()
}

// secretKeys are those that a struct says to be secrets.
func secretKeys() (keys []string) {
	for _, s := range (&settings{ends: newBackEnds()}).structs() {
		for field := range reflect.TypeOf(s).Elem().Fields() {
			if field.Tag.Get("flavor") == "secret" {
				keys = append(keys, field.Tag.Get("yaml"))
			}
		}
	}
	return keys
}

func writeUsers(t *testing.T, path string) {
	t.Helper()
	hash, err := access.HashPassword(marker, access.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	users := new(access.Htpasswd)
	users.Set("alice", hash)
	if err := os.WriteFile(path, users.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestSecretsInRequests logs in, rightly and wrongly, in every way, at the level of the log that tells most, with an audit.
func TestSecretsInRequests(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	writeUsers(t, "users")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	if err := os.WriteFile("config.yml", []byte(fmt.Sprintf(`a: {storage: mem, loglevel: debug, http_addr: %q, auth_htpasswd_path: users,
    auth_tokens: true, audit_log: stdout, access: [{repositories: [a/**], users: [alice], actions: [push, metrics]}]}`, addr)), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	out, errs := new(logtest.Buffer), new(logtest.Buffer)
	ended := make(chan int)
	go func() { ended <- run(ctx, []string{"serve", "--flavor", "a"}, out, errs) }()
	up := func() bool { return askReady(new(http.Client), "http://"+addr+"/readyz") == nil }
	for range 100 {
		if up() {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	ask := func(method, path, body string, headers ...string) (answer string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, "http://"+addr+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(headers); i += 2 {
			req.Header.Set(headers[i], headers[i+1])
		}
		if req.Header.Get("X-User") != "" {
			req.SetBasicAuth(req.Header.Get("X-User"), req.Header.Get("X-Password"))
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		data, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	form := func(values ...string) string {
		v := url.Values{}
		for i := 0; i < len(values); i += 2 {
			v.Set(values[i], values[i+1])
		}
		return v.Encode()
	}
	const kind, urlencoded = "Content-Type", "application/x-www-form-urlencoded"
	ask("GET", "/v2/", "", "X-User", "alice", "X-Password", marker)
	ask("GET", "/v2/", "", "X-User", "alice", "X-Password", marker+"-wrong")
	ask("GET", "/v2/", "", "X-User", "mallory", "X-Password", marker)
	ask("GET", "/v2/b/app/tags/list", "", "X-User", "alice", "X-Password", marker) // denied
	ask("DELETE", "/v2/a/app/manifests/v1", "", "X-User", "alice", "X-Password", marker)
	ask("GET", "/v2/", "", "Authorization", "Bearer "+marker)
	ask("GET", "/v2/", "", "Authorization", "Basic "+marker)
	ask("GET", "/v2/", "", "Authorization", marker+" "+marker)
	ask("GET", "/token?account=alice&password="+marker, "", "X-User", "alice", "X-Password", marker+"-wrong")
	ask("POST", "/token", form("grant_type", "password", "username", "alice", "password", marker+"-wrong"), kind, urlencoded)
	ask("POST", "/token", form("grant_type", "refresh_token", "refresh_token", marker), kind, urlencoded)
	ask("POST", "/token", form("grant_type", marker), kind, urlencoded)
	ask("PUT", "/v2/a/app/manifests/v1?token="+marker, "{}", "X-User", "alice", "X-Password", marker, "Cookie", marker, "Referer", "http://"+marker)
	measured := ask("GET", "/metrics", "", "X-User", "alice", "X-Password", marker)
	if !strings.Contains(measured, "# TYPE parfait_") {
		t.Errorf("got %s, want metrics", measured)
	}
	keepsQuiet(t, "the metrics", measured)
	stop()
	if status := <-ended; status != 0 {
		t.Errorf("got status %d: %s", status, errs)
	}
	keepsQuiet(t, "the log", errs.String())
	keepsQuiet(t, "the audit", out.String())
	for _, part := range []string{`"action":"login"`, `"action":"pull","result":"denied"`, `"action":"delete","result":"denied"`, `"action":"push","result":"failed"`} {
		if !strings.Contains(out.String(), part) {
			t.Errorf("the audit has no %s: %s", part, out)
		}
	}
}
