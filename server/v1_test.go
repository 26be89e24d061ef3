package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/parfait-registry/parfait/drivers/drivertest"
	"github.com/parfait-registry/parfait/drivers/mem"
)

func TestIssue(t *testing.T) {
	for issue, want := range map[string]string{
		"":                         `"docker-registry server"`,
		"acme":                     `"acme"`,
		`"docker-registry server"`: `"\"docker-registry server\""`, // as the original sample has it
	} {
		w := httptest.NewRecorder()
		bare(Config{Issue: issue}).ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
		if got := w.Body.String(); got != want+"\n" || w.Header().Get("X-Docker-Registry-Standalone") != "True" {
			t.Errorf("%q: got %q, want %q", issue, got, want)
		}
	}
}

func TestPing(t *testing.T) {
	w := httptest.NewRecorder()
	bare(Config{Debug: true, Flavor: "prod", Version: "v1.2.3"}).ServeHTTP(w, httptest.NewRequest("GET", "/v1/_ping", nil))
	var got struct {
		Host, Launch []string
		Versions     map[string]string
	}
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || len(got.Host) == 0 || got.Versions["parfait"] != "v1.2.3" {
		t.Errorf("got %s, %v", w.Body, err)
	}
	if h := w.Header(); h.Get("X-Docker-Registry-Config") != "prod" || h.Get("X-Docker-Registry-Standalone") != "True" {
		t.Errorf("got %v", h)
	}
}

// repositories pushes one manifest to each of n repositories r/000, r/001, ….
func repositories(h *house, n int) {
	for i := range n {
		h.pushManifest(fmt.Sprintf("r/%03d", i), "v1", v1.MediaTypeImageIndex, map[string]any{
			"schemaVersion": 2, "manifests": []string{}, "annotations": map[string]string{"org.opencontainers.image.description": "<number> " + fmt.Sprint(i)},
		})
	}
}

func TestSearch(t *testing.T) {
	h := open(t, mem.New(), Config{MaxPageSize: 100})
	repositories(h, 120)
	for _, tt := range []struct {
		query                      string
		results, pages, page, size int // pages are not counted behind the last one
	}{
		{"q=r", 100, 2, 1, 100},
		{"", 100, 2, 1, 100},
		{"q=r&page=2", 20, 2, 2, 100},
		{"q=r&page=3", 0, 0, 3, 100},
		{"q=r&n=25", 25, 5, 1, 25},
		{"q=r&n=25&page=5", 20, 5, 5, 25},
		{"q=r&n=1000", 100, 2, 1, 100},
		{"q=R&n=0&page=0", 100, 2, 1, 100},
		{"q=r&n=99999999999999999999&page=99999999999999999999", 0, 0, 2147483647, 100},
	} {
		var got struct {
			NumPages   int `json:"num_pages"`
			NumResults int `json:"num_results"`
			Page       int `json:"page"`
			PageSize   int `json:"page_size"`
			Results    []struct{ Name, Description string }
		}
		a := h.want(200, "GET", "/v1/search?"+tt.query, nil, "X-Docker-Token", "true")
		if err := json.Unmarshal([]byte(a.body), &got); err != nil {
			t.Fatal(err)
		}
		if len(got.Results) != tt.results || got.NumPages != tt.pages || got.Page != tt.page || got.PageSize != tt.size || tt.results > 0 && got.NumResults != 120 {
			t.Errorf("%s: got %d results, %+v", tt.query, len(got.Results), got)
		}
		if len(got.Results) > 0 && got.Results[0].Description == "" {
			t.Errorf("%s: got %+v, want a description", tt.query, got.Results[0])
		}
	}
}

func TestSearchOff(t *testing.T) {
	for _, backend := range []string{"none", "false"} {
		h := open(t, mem.New(), Config{SearchBackend: backend})
		repositories(h, 1)
		h.want(404, "GET", "/v1/search?q=r", nil)
		if a := h.want(200, "GET", "/", nil, "Accept", "text/html"); strings.Contains(a.body, "r/000") || strings.Contains(a.body, "<form") {
			t.Errorf("%s: got %s, want no repositories", backend, a.body)
		}
		h.want(200, "GET", "/v1/_ping", nil)
	}
	h := open(t, mem.New(), Config{SearchBackend: "sqlalchemy"})
	h.want(200, "GET", "/v1/search", nil)
}

func TestPageForPeople(t *testing.T) {
	h := open(t, mem.New(), Config{HTTPHost: "https://r.example.com/", Issue: `"our <registry>"`})
	get := func(path string) answer {
		t.Helper()
		return h.want(200, "GET", path, nil, "Accept", "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8")
	}
	a := get("/")
	for _, want := range []string{"<h1>r.example.com</h1>", "our &lt;registry&gt;", "docker push r.example.com/NAME:TAG", "No repository yet"} {
		if !strings.Contains(a.body, want) {
			t.Errorf("got %s, want %s in it", a.body, want)
		}
	}
	if got := regexp.MustCompile(`(src|href)="[^"]*//|@import|<script`).FindString(a.body); got != "" {
		t.Errorf("the page is not all there is: %s", got)
	}
	if got := a.header.Get("Content-Security-Policy"); !strings.HasPrefix(got, "default-src 'none'") {
		t.Errorf("got policy %q", got)
	}
	repositories(h, htmlPage+1)
	a = get("/")
	if !strings.Contains(a.body, ">r/049</a><span>&lt;number&gt; 49</span>") || strings.Contains(a.body, "r/050") || !strings.Contains(a.body, `href="/?page=2&amp;q="`) || strings.Contains(a.body, "Previous") {
		t.Errorf("got %s", a.body)
	}
	a = get("/?page=2")
	if strings.Contains(a.body, "r/049") || !strings.Contains(a.body, "r/050") || !strings.Contains(a.body, `href="/?page=1&amp;q="`) || strings.Contains(a.body, "Next") {
		t.Errorf("got %s", a.body)
	}
	if a = get("/?page=99"); !strings.Contains(a.body, "Nothing on this page") || strings.Contains(a.body, "Next") {
		t.Errorf("got %s", a.body)
	}
	a = get("/?q=r/003")
	if !strings.Contains(a.body, ">r/003</a>") || strings.Contains(a.body, "r/004") || !strings.Contains(a.body, `value="r/003"`) {
		t.Errorf("got %s", a.body)
	}
	if a = get(`/?q=%22%3E%3Cscript%3E`); !strings.Contains(a.body, "No repository matches") || strings.Contains(a.body, "<script") {
		t.Errorf("got %s", a.body)
	}
}

func TestReady(t *testing.T) {
	var broken atomic.Bool
	h := open(t, drivertest.Faulty(mem.New(), func(drivertest.Op) error {
		if broken.Load() {
			return errors.New("ouch")
		}
		return nil
	}), Config{})
	h.want(200, "GET", "/readyz", nil)
	broken.Store(true)
	a := h.want(503, "GET", "/readyz", nil)
	if strings.Join(a.codes(), "") != "UNAVAILABLE" || !strings.Contains(a.body, "ouch") || a.header.Get("Retry-After") == "" {
		t.Errorf("got %v %s, want the reason", a.header, a.body)
	}
	h.want(200, "GET", "/healthz", nil)
	h.log.lines(t, "request failed", 1)
	broken.Store(false)
}
