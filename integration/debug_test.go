package integration

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/parfait-registry/parfait/integration/harness"
)

// freeAddr is an address of the loopback interface where nobody listens.
func freeAddr(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// visit gets a page.
func visit(t *testing.T, url string) (status int, body string) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// TestDebug starts the server with the variables of registry:2, and looks into it.
func TestDebug(t *testing.T) {
	addr := freeAddr(t)
	s := harness.StartParfait(t, harness.Options{Env: []string{"REGISTRY_HTTP_DEBUG_ADDR=" + addr,
		"REGISTRY_HTTP_DEBUG_PROMETHEUS_ENABLED=true", "REGISTRY_HTTP_DEBUG_PROMETHEUS_PATH=/prom"}})
	for path, want := range map[string]string{
		"/debug/pprof/":                  "goroutine",
		"/debug/pprof/goroutine?debug=1": "goroutine profile: total",
		"/debug/pprof/heap":              "\x1f\x8b", // gzip
		"/debug/pprof/profile?seconds=1": "\x1f\x8b",
		"/debug/pprof/trace?seconds=1":   "go 1.",
		"/debug/pprof/cmdline":           "serve",
		"/debug/vars":                    `"memstats"`,
		"/debug/health":                  "{}",
		"/prom":                          "parfait_build_info{",
	} {
		if status, body := visit(t, "http://"+addr+path); status != 200 || !strings.Contains(body, want) {
			t.Errorf("%s: got %d %.200q", path, status, body)
		}
	}
	if status, _ := visit(t, "http://"+addr+"/metrics"); status != 404 {
		t.Errorf("/metrics: got %d: it is somewhere else", status)
	}
	_, vars := visit(t, "http://"+addr+"/debug/vars")
	if !json.Valid([]byte(vars)) {
		t.Errorf("no JSON: %.200q", vars)
	}
	for _, path := range []string{"/debug/pprof/", "/debug/vars", "/debug/health", "/prom"} {
		if status, _ := visit(t, s.URL+path); status != 404 {
			t.Errorf("%s is on the address of clients: got %d", path, status)
		}
	}
}

// TestLogs has a request that comes with an id, and one without, in the two formats of the log, and in the audit.
func TestLogs(t *testing.T) {
	for _, tt := range []struct {
		format, want string
		lines        int // with the id of a request that the audit, which is JSON, tells as well
	}{
		{"json", `"request_id":"%s"`, 2},
		{"text", `request_id=%s`, 1},
	} {
		t.Run(tt.format, func(t *testing.T) {
			s := harness.StartParfait(t, harness.Options{Env: []string{"REGISTRY_LOG_FORMATTER=" + tt.format, "REGISTRY_LOG_LEVEL=info", "AUDIT_LOG=stderr", "METRICS_DISABLED=true"}})
			if status, _ := visit(t, s.URL+"/metrics"); status != 404 {
				t.Errorf("/metrics: got %d although they are disabled", status)
			}
			req, err := http.NewRequestWithContext(t.Context(), "DELETE", s.URL+"/v2/app/manifests/v1?secret=hush", nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("X-Request-ID", "edge-1")
			req.Header.Set("Authorization", "Bearer hush")
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			given := resp.Header.Get("X-Request-ID")
			resp, err = http.Get(s.URL + "/v2/")
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			made := resp.Header.Get("X-Request-ID")
			s.Stop()
			lines := func(id string) int { return strings.Count(s.Log(), strings.Replace(tt.want, "%s", id, 1)) }
			if given != "edge-1" || lines(given) != tt.lines || made == "" || lines(made) != 1 {
				t.Errorf("got %d lines of request %q, %d of %q", lines(given), given, lines(made), made)
			}
			if strings.Contains(s.Log(), "hush") {
				t.Error("the log tells a secret")
			}
		})
	}
}
