package server

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/parfait-registry/parfait/drivers/mem"
)

// TestAudit does all that the audit tells, and much that it does not.
func TestAudit(t *testing.T) {
	h := open(t, mem.New(), Config{})
	manifest, _, layer := h.pushImage("shared/app", "v1", "layer")
	h.pushImage("secret/app", "v1", "layer")
	var out bytes.Buffer
	h.server.cfg.Audit = slog.New(slog.NewJSONHandler(&out, nil))
	cfg := rules()
	cfg.Tokens = true
	h.lock(cfg, "alice", "root")

	expect := func(what string, lines ...string) {
		t.Helper()
		var got []string
		for text := range strings.Lines(out.String()) {
			var line struct {
				Msg, Result, User, Remote, Repository, Reference, Digest, From string
				Status                                                         int
			}
			if err := json.Unmarshal([]byte(text), &line); err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(line.Remote, "127.0.0.1") && line.Remote != "198.51.100.7" {
				t.Errorf("%s: got a line without where: %s", what, text)
			}
			got = append(got, strings.Join(strings.Fields(fmt.Sprintf("%s %s %d %s %s %s %s %s", line.Msg, line.Result, line.Status, line.User,
				line.Repository, line.Reference, line.Digest, line.From)), " "))
		}
		out.Reset()
		if !slices.Equal(got, lines) {
			t.Errorf("%s:\ngot  %q\nwant %q", what, got, lines)
		}
	}
	alice, blob := as("alice"), digest.FromString("blob").String()

	h.want(401, "GET", "/v2/", nil)
	h.want(200, "GET", "/v2/", nil, alice...)
	h.want(200, "GET", "/v2/shared/app/manifests/v1", nil, alice...)
	h.want(404, "GET", "/v2/shared/app/manifests/v2", nil, alice...)
	h.want(200, "GET", "/token", nil)
	h.want(404, "PUT", "/nowhere", nil)
	expect("what is no matter")

	session := strings.TrimPrefix(h.want(202, "POST", "/v2/alice/app/blobs/uploads/", nil, alice...).header.Get("Location"), h.web.URL)
	h.want(202, "PATCH", session, strings.NewReader("blob"), alice...)
	id := session[strings.LastIndexByte(session, '/')+1:]
	h.want(201, "PUT", session+"?digest="+blob, nil, alice...)
	expect("a blob", "push ok 201 alice alice/app "+id+" "+blob)
	h.want(201, "POST", "/v2/alice/app/blobs/uploads/?digest="+blob, strings.NewReader("blob"), alice...)
	expect("a blob at once", "push ok 201 alice alice/app "+blob)
	h.want(201, "POST", "/v2/alice/app/blobs/uploads/?from=shared/app&mount="+layer.Digest.String(), nil, alice...)
	expect("a mount", "mount ok 201 alice alice/app "+layer.Digest.String()+" shared/app")
	h.want(202, "POST", "/v2/alice/app/blobs/uploads/?from=secret/app&mount="+layer.Digest.String(), nil, alice...)
	expect("a mount that becomes an upload")

	document := encode(v1.Index{MediaType: v1.MediaTypeImageIndex, Manifests: []v1.Descriptor{}})
	h.want(400, "PUT", "/v2/alice/app/manifests/v1", strings.NewReader("{"), append(alice, "Content-Type", v1.MediaTypeImageIndex)...)
	expect("a manifest that is none", "push failed 400 alice alice/app v1")
	h.want(400, "PUT", "/v2/alice/app/manifests/v1", strings.NewReader(document), append(alice, "Content-Type", "text/plain")...)
	expect("another one", "push failed 400 alice alice/app v1")
	whole := strings.Replace(document, "{", `{"schemaVersion":2,`, 1)
	whole = strings.Replace(whole, `"schemaVersion":0,`, "", 1)
	h.want(201, "PUT", "/v2/alice/app/manifests/v1", strings.NewReader(whole), append(alice, "Content-Type", v1.MediaTypeImageIndex)...)
	expect("a manifest", "push ok 201 alice alice/app v1 "+digest.FromString(whole).String())
	h.want(202, "DELETE", "/v2/alice/app/manifests/v1", nil, alice...)
	h.want(404, "DELETE", "/v2/alice/app/manifests/v1", nil, alice...)
	expect("deletes", "delete ok 202 alice alice/app v1", "delete failed 404 alice alice/app v1")

	h.want(401, "DELETE", "/v2/shared/app/manifests/v1", nil)
	h.want(403, "DELETE", "/v2/shared/app/manifests/"+manifest.Digest.String(), nil, append(alice, "X-Forwarded-For", "198.51.100.7")...)
	h.want(403, "GET", "/v2/secret/app/tags/list", nil, alice...)
	h.want(403, "POST", "/v2/secret/app/blobs/uploads/", nil, alice...)
	expect("what is denied", "delete denied 401 shared/app v1", "delete denied 403 alice shared/app "+manifest.Digest.String(),
		"pull denied 403 alice secret/app", "push denied 403 alice secret/app")

	h.want(401, "GET", "/v2/", nil, "Authorization", basic("alice", "guess"))
	h.want(401, "GET", "/v2/alice/app/tags/list", nil, "Authorization", "Bearer nonsense")
	h.want(401, "GET", "/token", nil, "Authorization", basic("mallory", "guess"))
	h.want(401, "POST", "/token", strings.NewReader("grant_type=password&username=alice&password=guess"), "Content-Type", "application/x-www-form-urlencoded")
	expect("logins", "login failed 401 alice", "login failed 401 alice/app", "login failed 401 mallory", "login failed 401")
}

// TestAuditOfLimits sends too much. A push is told as one that has failed; a pull is not, and neither is what is refused to
// an address: whoever is held back must not fill the audit.
func TestAuditOfLimits(t *testing.T) {
	h := open(t, mem.New(), Config{MaxRequestsPerUser: 0.1})
	var out bytes.Buffer
	h.server.cfg.Audit = slog.New(slog.NewJSONHandler(&out, nil))
	h.lock(rules(), "alice")
	h.want(200, "GET", "/v2/", nil, as("alice")...)
	h.want(429, "GET", "/v2/alice/app/tags/list", nil, as("alice")...)
	h.want(429, "PUT", "/v2/alice/app/manifests/v1", strings.NewReader("{}"), as("alice")...)
	h.want(429, "DELETE", "/v2/alice/app/manifests/v1", nil, as("alice")...)
	got := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(got) != 2 || !strings.Contains(got[0], `"push","result":"failed","status":429,"user":"alice"`) || !strings.Contains(got[1], `"delete","result":"failed","status":429`) {
		t.Errorf("got %q, want the push and the delete", got)
	}
	out.Reset()
	h.server = h.server.With(Config{MaxRequestsPerAddress: 0.1, Audit: h.server.cfg.Audit}, nil)
	h.web = httptest.NewServer(h.server)
	defer h.web.Close()
	h.want(200, "GET", "/v2/", nil)
	h.want(429, "PUT", "/v2/alice/app/manifests/v1", strings.NewReader("{}"))
	if out.Len() > 0 {
		t.Errorf("got %s, want nothing", out.String())
	}
}
