package server

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/parfait-registry/parfait/access"
	"github.com/parfait-registry/parfait/drivers/mem"
)

// A visit is what an allowed request to a route is answered with, where there is such a repository and where there is
// none.
type visit struct{ here, absent int }

// elsewhere marks routes that decide for themselves, and have tests of their own.
var elsewhere = visit{}

// visits has each route. A route that is not in it fails the test.
var visits = map[string]visit{
	"GET /":            {200, 200},
	"GET /healthz":     {200, 200},
	"GET /readyz":      {200, 200},
	"GET /metrics":     {200, 200},
	"GET /_ping":       {200, 200},
	"GET /v1/_ping":    {200, 200},
	"GET /v1/search":   {200, 200},
	"GET /v2/":         {200, 200},
	"GET /v2":          {200, 200},
	"GET /v2/_catalog": {200, 200},

	"GET /token":           elsewhere,
	"POST /token":          elsewhere,
	"GET /token/jwks.json": elsewhere,

	"POST /v2/{name...}/blobs/uploads":             {202, 202},
	"POST /v2/{name...}/blobs/uploads/":            {202, 202},
	"GET /v2/{name...}/blobs/uploads/{session}":    {404, 404},
	"PATCH /v2/{name...}/blobs/uploads/{session}":  {404, 404},
	"PUT /v2/{name...}/blobs/uploads/{session}":    {404, 404},
	"DELETE /v2/{name...}/blobs/uploads/{session}": {404, 404},
	"GET /v2/{name...}/blobs/{digest}":             {200, 404},
	"HEAD /v2/{name...}/blobs/{digest}":            {200, 404},
	"DELETE /v2/{name...}/blobs/{digest}":          {405, 404}, // a manifest names it
	"GET /v2/{name...}/manifests/{reference}":      {200, 404},
	"PUT /v2/{name...}/manifests/{reference}":      {400, 400}, // without a body
	"DELETE /v2/{name...}/manifests/{reference}":   {404, 404}, // of a tag that there is not
	"GET /v2/{name...}/tags/list":                  {200, 404},
	"GET /v2/{name...}/referrers/{digest}":         {200, 200},
}

// A visitor is a kind of client.
type visitor struct {
	name   string
	header []string
	wrong  bool              // its credentials prove nothing
	user   bool              // it has shown a password: what it may not do is a 403
	token  bool              // it has shown a token
	lists  bool              // it may ask for the list of repositories
	reads  bool              // it may read the metrics
	may    map[string]string // the scopes that it has in each place
}

// refused returns the status with which a visitor is sent away, or 0 if it is not.
func (v visitor) refused(s scope, place string) int {
	may := false
	switch s {
	case scopeNone:
		return 0
	case scopePage:
		may = !v.wrong
	case scopeBase:
		may = v.user || v.token
	case scopeCatalog, scopeSearch:
		may = v.lists
	case scopeMetrics:
		may = v.reads
	default:
		may = slices.Contains(strings.Fields(v.may[place]), string(s))
	}
	switch {
	case may:
		return 0
	case v.user:
		return 403
	}
	return 401
}

// places are those where a visitor goes: where it may do something, and where it may not.
func (v visitor) places() []string {
	places := slices.Sorted(maps.Keys(v.may))
	if !slices.Contains(places, "secret") {
		places = append(places, "secret")
	}
	return places
}

// fault is what a challenge says is wrong with the token.
func (v visitor) fault() string {
	switch {
	case v.token:
		return "insufficient_scope"
	case v.wrong && len(v.header) > 0 && strings.HasPrefix(strings.ToLower(v.header[1]), "bearer "):
		return "invalid_token"
	}
	return ""
}

// A matrix is a house with images of the name app in several places, which visitors come to.
type matrix struct {
	*house
	blob      string
	challenge func(s scope, repo, fault string) string
}

func newMatrix(t *testing.T) *matrix {
	h := open(t, mem.New(), Config{Metrics: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})})
	m := &matrix{house: h}
	for _, place := range []string{"alice", "shared", "public", "secret"} {
		_, _, layer := h.pushImage(place+"/app", "v1", "layer")
		m.blob = layer.Digest.String()
	}
	return m
}

// visit sends a visitor to every route of the router's own table, for repositories that it may use and may not, and that
// are there and are not.
func (m *matrix) visit(t *testing.T, who visitor) {
	for _, rt := range m.server.routes() {
		methods := []string{rt.method}
		if rt.method == "GET" {
			methods = append(methods, "HEAD")
		}
		want, ok := visits[rt.method+" "+rt.pattern]
		if !ok {
			t.Fatalf("%s %s: say in visits what it answers", rt.method, rt.pattern)
		}
		if want == elsewhere {
			continue
		}
		for _, method := range methods {
			for _, place := range who.places() {
				t.Run(fmt.Sprintf("%s, %s %s, %s", who.name, method, rt.pattern, place), func(t *testing.T) {
					here := m.do(method, m.path(rt, method, place+"/app"), nil, who.header...)
					absent := m.do(method, m.path(rt, method, place+"/not"), nil, who.header...)
					if status := who.refused(rt.scope, place); status != 0 {
						m.checkRefusal(t, here, status, method, rt, place+"/app", who.fault())
						m.checkRefusal(t, absent, status, method, rt, place+"/not", who.fault())
						return
					}
					if here.status != want.here || absent.status != want.absent {
						t.Errorf("got %d %s and %d %s, want %d and %d", here.status, here.body, absent.status, absent.body, want.here, want.absent)
					}
				})
			}
		}
	}
}

// path makes a path of a pattern.
func (m *matrix) path(rt route, method, repo string) string {
	reference := "v1"
	if method == "DELETE" {
		reference = "v2"
	}
	path := strings.NewReplacer("{name...}", repo, "{session}", "0", "{digest}", m.blob, "{reference}", reference).Replace(rt.pattern)
	if method == "PUT" {
		path += "?digest=" + m.blob
	}
	return path
}

// checkRefusal holds a refusal to the word. It does not say whether there is such a repository: what it says is the
// same of both.
func (m *matrix) checkRefusal(t *testing.T, a answer, status int, method string, rt route, repo, fault string) {
	t.Helper()
	detail := map[scope]string{
		scopePull:    `,"detail":[{"Type":"repository","Class":"","Name":"REPO","Action":"pull"}]`,
		scopePush:    `,"detail":[{"Type":"repository","Class":"","Name":"REPO","Action":"pull"},{"Type":"repository","Class":"","Name":"REPO","Action":"push"}]`,
		scopeDelete:  `,"detail":[{"Type":"repository","Class":"","Name":"REPO","Action":"delete"}]`,
		scopeCatalog: `,"detail":[{"Type":"registry","Class":"","Name":"catalog","Action":"*"}]`,
		scopeMetrics: `,"detail":[{"Type":"registry","Class":"","Name":"metrics","Action":"*"}]`,
	}[rt.scope]
	challenge := m.challenge(rt.scope, repo, fault)
	body := `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"` + detail + `}]}` + "\n"
	if status == 403 {
		challenge, body = "", `{"errors":[{"code":"DENIED","message":"requested access to the resource is denied"}]}`+"\n"
	}
	if strings.HasPrefix(rt.pattern, "/v1/") {
		body = map[int]string{401: `{"error":"authentication required"}`, 403: `{"error":"requested access to the resource is denied"}`}[status] + "\n"
	}
	if method == "HEAD" {
		body = ""
	}
	body = strings.ReplaceAll(body, "REPO", repo)
	if a.status != status || a.header.Get("WWW-Authenticate") != challenge || a.body != body {
		t.Errorf("got %d, challenge %q, %s, want %d, challenge %q, %s", a.status, a.header.Get("WWW-Authenticate"), a.body, status, challenge, body)
	}
	want := []string{"Content-Length", "Content-Type", "Date", "X-Content-Type-Options", "X-Request-Id"}
	if strings.HasPrefix(rt.pattern, "/v2") {
		want = append(want, "Docker-Distribution-Api-Version")
	}
	if status == 401 {
		want = append(want, "Www-Authenticate")
	}
	for key := range a.header {
		if !slices.Contains(want, key) {
			t.Errorf("got %s: %s in a refusal", key, a.header.Get(key))
		}
	}
	if got := a.header.Get("Content-Type"); got != "application/json" {
		t.Errorf("got Content-Type %q", got)
	}
}

// TestPasswordMatrix has visitors that log in by passwords, under rules.
func TestPasswordMatrix(t *testing.T) {
	m := newMatrix(t)
	m.lock(rules(), "alice", "bob", "root")
	m.challenge = func(scope, string, string) string { return `Basic realm="` + realm + `"` }
	all := "pull push delete"
	for _, who := range []visitor{
		{name: "nobody", may: map[string]string{"public": "pull"}},
		{name: "empty credentials", header: []string{"Authorization", basic("", "")}, may: map[string]string{"public": "pull"}},
		{name: "alice", header: as("alice"), user: true, lists: true, may: map[string]string{"alice": all, "shared": "pull", "public": "pull"}},
		{name: "bob", header: as("bob"), user: true, lists: true, may: map[string]string{"shared": "pull", "public": "pull"}},
		{name: "root", header: as("root"), user: true, lists: true, reads: true, may: map[string]string{"alice": all, "shared": all, "public": all, "secret": all}},
		{name: "wrong password", header: []string{"Authorization", basic("alice", "bob's secret")}, wrong: true},
		{name: "unknown user", header: []string{"Authorization", basic("eve", "eve's secret")}, wrong: true},
		{name: "empty password", header: []string{"Authorization", basic("alice", "")}, wrong: true},
		{name: "another scheme", header: []string{"Authorization", "Digest username=alice"}, wrong: true},
		{name: "a token", header: []string{"Authorization", "Bearer abc.def.ghi"}, wrong: true},
		{name: "no base64", header: []string{"Authorization", "Basic alice:alice's secret"}, wrong: true},
		{name: "two headers", header: append(as("alice"), as("root")...), wrong: true},
	} {
		m.visit(t, who)
	}
}

// TestServerRuleMatrix has users of whom not all may ask for the list, or read the metrics.
func TestServerRuleMatrix(t *testing.T) {
	m := newMatrix(t)
	m.lock(access.Config{Rules: []access.Rule{{Users: []string{"alice"}, Actions: []string{"catalog"}}, {Users: []string{"bob"}, Actions: []string{"metrics"}}}},
		"alice", "bob")
	m.challenge = func(scope, string, string) string { return `Basic realm="` + realm + `"` }
	m.visit(t, visitor{name: "alice", header: as("alice"), user: true, lists: true})
	m.visit(t, visitor{name: "bob", header: as("bob"), user: true, reads: true})
	m.visit(t, visitor{name: "nobody"})
}
