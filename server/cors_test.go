package server

import (
	"strings"
	"testing"
	"time"

	"github.com/parfait-registry/parfait/drivers/mem"
)

// TestCORS asks as browsers do, of different configurations.
func TestCORS(t *testing.T) {
	const ui = "https://ui.example.com"
	for _, tt := range []struct {
		name   string
		cfg    CORSConfig
		method string
		header []string
		status int
		want   map[string]string // headers; "" is none
	}{
		{"off", CORSConfig{}, "GET", []string{"Origin", ui}, 200, map[string]string{"Access-Control-Allow-Origin": "", "Vary": ""}},
		{"off, asked beforehand", CORSConfig{}, "OPTIONS", []string{"Origin", ui, "Access-Control-Request-Method", "GET"}, 405, nil},
		{"the site", CORSConfig{Origins: []string{ui}}, "GET", []string{"Origin", ui}, 200,
			map[string]string{"Access-Control-Allow-Origin": ui, "Vary": "Origin", "Access-Control-Allow-Credentials": ""}},
		{"another site", CORSConfig{Origins: []string{ui}}, "GET", []string{"Origin", "https://evil.example.com"}, 200,
			map[string]string{"Access-Control-Allow-Origin": "", "Vary": "Origin"}},
		{"sites of a domain", CORSConfig{Origins: []string{"https://*.example.com"}}, "GET", []string{"Origin", ui}, 200,
			map[string]string{"Access-Control-Allow-Origin": ui}},
		{"a site that ends like it", CORSConfig{Origins: []string{"https://*.example.com"}}, "GET", []string{"Origin", "https://evil.org/.example.com"}, 200,
			map[string]string{"Access-Control-Allow-Origin": ""}},
		{"all sites", CORSConfig{Origins: []string{"*"}}, "GET", []string{"Origin", ui}, 200, map[string]string{"Access-Control-Allow-Origin": ui}},
		{"all sites, unnamed", CORSConfig{Origins: []string{"*"}, SendWildcard: true}, "GET", []string{"Origin", ui}, 200,
			map[string]string{"Access-Control-Allow-Origin": "*"}},
		{"all sites, with credentials", CORSConfig{Origins: []string{"*"}, SendWildcard: true, SupportsCredentials: true}, "GET", []string{"Origin", ui}, 200,
			map[string]string{"Access-Control-Allow-Origin": ui, "Access-Control-Allow-Credentials": "true"}},
		{"no browser", CORSConfig{Origins: []string{"*"}}, "GET", nil, 200, map[string]string{"Access-Control-Allow-Origin": ""}},
		{"asked beforehand", CORSConfig{Origins: []string{ui}, MaxAge: time.Minute}, "OPTIONS", []string{"Origin", ui,
			"Access-Control-Request-Method", "DELETE", "Access-Control-Request-Headers", "authorization"}, 204, map[string]string{
			"Access-Control-Allow-Origin": ui, "Access-Control-Allow-Methods": "GET, HEAD, POST, PUT, PATCH, DELETE",
			"Access-Control-Allow-Headers": "authorization", "Access-Control-Max-Age": "60"}},
		{"asked beforehand, bounded", CORSConfig{Origins: []string{ui}, Methods: []string{"GET"}, Headers: []string{"Content-Type"}}, "OPTIONS",
			[]string{"Origin", ui, "Access-Control-Request-Method", "GET", "Access-Control-Request-Headers", "authorization"}, 204,
			map[string]string{"Access-Control-Allow-Methods": "GET", "Access-Control-Allow-Headers": "Content-Type"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := open(t, mem.New(), Config{CORS: tt.cfg})
			a := h.want(tt.status, tt.method, "/v2/", nil, tt.header...)
			for key, want := range tt.want {
				if got := strings.Join(a.header.Values(key), ", "); got != want && !(key == "Vary" && strings.HasPrefix(got, want) && want != "") {
					t.Errorf("%s: got %q, want %q", key, got, want)
				}
			}
		})
	}
	h := open(t, mem.New(), Config{CORS: CORSConfig{Origins: []string{ui}}})
	h.lock(rules(), "alice")
	h.want(204, "OPTIONS", "/v2/alice/app/manifests/v1", nil, "Origin", ui, "Access-Control-Request-Method", "DELETE")
	if a := h.want(401, "GET", "/v2/alice/app/manifests/v1", nil, "Origin", ui); a.header.Get("Access-Control-Allow-Origin") != ui ||
		!strings.Contains(a.header.Get("Access-Control-Expose-Headers"), "WWW-Authenticate") {
		t.Errorf("got %v, want a 401 that the script may read", a.header)
	}
}
