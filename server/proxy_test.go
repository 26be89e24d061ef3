package server

import (
	"crypto/tls"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/drivers/mem"
)

// TestBehindProxies asks from different places with the headers of different proxies. The Location says what the server
// makes of scheme and host, and the log who it takes for the client.
func TestBehindProxies(t *testing.T) {
	const peer = "192.0.2.1:4711"
	for _, tt := range []struct {
		name     string
		cfg      Config
		peer     string
		tls      bool
		header   []string
		location string // its beginning
		remote   string
	}{
		{"nobody between", Config{}, peer, false, nil, "http://asked/v2/", peer},
		{"nobody between, TLS", Config{}, peer, true, nil, "https://asked/v2/", peer},
		{"a stranger says much", Config{}, peer, false, []string{"X-Forwarded-Proto", "https", "X-Forwarded-Host", "evil", "X-Forwarded-For", "10.0.0.1",
			"Forwarded", "for=10.0.0.2;host=evil;proto=https"}, "/v2/", peer},
		{"as tutorials have it", Config{}, "127.0.0.1:1", false, []string{"X-Real-IP", "198.51.100.7", "X-Forwarded-For", "198.51.100.7",
			"X-Forwarded-By", "10.0.0.2"}, "/v2/", "198.51.100.7"},
		{"as tutorials have it, in a container", Config{}, "172.17.0.3:1", false, []string{"X-Real-IP", "198.51.100.7",
			"X-Forwarded-For", "198.51.100.7"}, "/v2/", "172.17.0.3:1"},
		{"as the manual has it", Config{}, "127.0.0.1:1", false, []string{"X-Forwarded-Proto", "https", "X-Forwarded-For", "198.51.100.7"},
			"https://asked/v2/", "198.51.100.7"},
		{"by IPv6", Config{}, "[::1]:1", false, []string{"X-Forwarded-Proto", "https", "X-Forwarded-For", "2001:db8::7"},
			"https://asked/v2/", "2001:db8::7"},
		{"a host", Config{}, "127.0.0.1:1", false, []string{"X-Forwarded-Proto", "http", "X-Forwarded-Host", "hub.example.com:444"},
			"http://hub.example.com:444/v2/", "127.0.0.1"},
		{"what is no host", Config{}, "127.0.0.1:1", false, []string{"X-Forwarded-Proto", "https", "X-Forwarded-Host", `a"b/c`},
			"https://asked/v2/", "127.0.0.1"},
		{"what is no scheme", Config{}, "127.0.0.1:1", false, []string{"X-Forwarded-Proto", "javascript"}, "/v2/", "127.0.0.1"},
		{"a client that makes up hops", Config{}, "127.0.0.1:1", false, []string{"X-Forwarded-For", "127.0.0.1, 10.9.9.9, 198.51.100.7"}, "/v2/", "198.51.100.7"},
		{"two proxies", Config{TrustedProxies: []string{"10.0.0.0/8"}}, "10.0.0.1:1", false,
			[]string{"X-Forwarded-For", "192.0.2.9, 198.51.100.7", "X-Forwarded-For", "10.0.0.2", "X-Forwarded-Proto", "https, http"}, "https://asked/v2/", "198.51.100.7"},
		{"a hop that is no address", Config{}, "127.0.0.1:1", false, []string{"X-Forwarded-For", "198.51.100.7, unknown"}, "/v2/", "127.0.0.1"},
		{"Forwarded", Config{}, "127.0.0.1:1", false, []string{"Forwarded", `for=192.0.2.9;proto=http;host=evil, For="[2001:db8::7]:80";Proto=HTTPS;host="hub.example.com"`},
			"https://hub.example.com/v2/", "2001:db8::7"},
		{"Forwarded beside others", Config{}, "127.0.0.1:1", false, []string{"Forwarded", "for=192.0.2.9;proto=https;host=evil", "X-Forwarded-For", "198.51.100.7"},
			"/v2/", "198.51.100.7"},
		{"nobody is trusted", Config{TrustedProxies: []string{}}, "127.0.0.1:1", false, []string{"X-Forwarded-Proto", "https"}, "/v2/", "127.0.0.1:1"},
		{"a URL of its own", Config{HTTPHost: "https://hub.example.com"}, "127.0.0.1:1", false, []string{"X-Forwarded-For", "198.51.100.7"},
			"https://hub.example.com/v2/", "198.51.100.7"},
		{"a host of its own", Config{HTTPHost: "hub.example.com"}, "127.0.0.1:1", false, []string{"X-Forwarded-Proto", "https"},
			"https://hub.example.com/v2/", "127.0.0.1"},
		{"paths by choice", Config{HTTPRelativeURLs: true}, "127.0.0.1:1", false, []string{"X-Forwarded-Proto", "https"}, "/v2/", "127.0.0.1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := open(t, mem.New(), tt.cfg)
			r, w := httptest.NewRequest("POST", "http://asked/v2/app/blobs/uploads/", nil), httptest.NewRecorder()
			r.RemoteAddr = tt.peer
			if tt.tls {
				r.TLS = new(tls.ConnectionState)
			}
			for i := 0; i < len(tt.header); i += 2 {
				r.Header.Add(tt.header[i], tt.header[i+1])
			}
			h.server.ServeHTTP(w, r)
			if got := w.Header().Get("Location"); !strings.HasPrefix(got, tt.location+"app/blobs/uploads/") {
				t.Errorf("got Location %s, want %s", got, tt.location)
			}
			if got := h.log.lines(t, "request", 1)[0]["remote"]; got != tt.remote {
				t.Errorf("got client %v, want %s", got, tt.remote)
			}
		})
	}
}

// TestRealmBehindProxy sends clients for tokens to where they came from.
func TestRealmBehindProxy(t *testing.T) {
	h := open(t, mem.New(), Config{})
	h.lock(issuing(), "alice")
	a := h.want(401, "GET", "/v2/", nil, "X-Forwarded-Proto", "https", "X-Forwarded-Host", "hub.example.com")
	if got, want := a.header.Get("WWW-Authenticate"), `Bearer realm="https://hub.example.com/token"`; !strings.HasPrefix(got, want) {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestTrustedProxiesAreChecked(t *testing.T) {
	for _, text := range []string{"10.0.0.0/33", "example.com", ""} {
		if err := (Config{TrustedProxies: []string{text}}).Check(); err == nil || !strings.HasPrefix(err.Error(), "trusted_proxies: ") {
			t.Errorf("%q: got %v", text, err)
		}
	}
	if err := (Config{TrustedProxies: []string{"10.0.0.0/8", "::1", "192.0.2.7"}}).Check(); err != nil {
		t.Error(err)
	}
}

// TestAccel leaves blobs to nginx, and to nobody else.
func TestAccel(t *testing.T) {
	eachDriver(t, func(t *testing.T, d drivers.Driver) {
		h := open(t, d, Config{NginxXAccelRedirect: "/blobs/"})
		blob := h.pushBlob("app", "content").Digest
		path := "/v2/app/blobs/" + blob.String()
		a := h.want(200, "GET", path, nil, "X-Forwarded-For", "198.51.100.7")
		want := "/blobs/docker/registry/v2/blobs/sha256/" + blob.Encoded()[:2] + "/" + blob.Encoded() + "/data"
		if got := a.header.Get("X-Accel-Redirect"); got != want || a.body != "" || a.header.Get("Docker-Content-Digest") != blob.String() {
			t.Errorf("got X-Accel-Redirect %q, body %q and %v, want %s and no body", got, a.body, a.header, want)
		}
		if a := h.want(200, "GET", path, nil); a.body != "content" || a.header.Get("X-Accel-Redirect") != "" {
			t.Errorf("without nginx: got body %q and %v", a.body, a.header)
		}
		if a := h.want(200, "HEAD", path, nil, "X-Forwarded-For", "198.51.100.7"); a.header.Get("Content-Length") != "7" {
			t.Errorf("HEAD: got %v", a.header)
		}
		h.want(404, "GET", "/v2/app/blobs/"+unknown, nil, "X-Forwarded-For", "198.51.100.7")
		for _, key := range h.keys() {
			if strings.Contains(key, blob.Encoded()) && strings.HasSuffix(key, "/data") {
				if err := d.Delete(t.Context(), key); err != nil {
					t.Fatal(err)
				}
			}
		}
		h.want(500, "GET", path, nil, "X-Forwarded-For", "198.51.100.7")
	})
}
