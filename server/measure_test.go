package server

import (
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/parfait-registry/parfait/drivers/drivertest"
	"github.com/parfait-registry/parfait/drivers/mem"
)

// A teller keeps what it is told of requests.
type teller struct {
	mu  sync.Mutex // guards all
	all []told
}

type told struct {
	pattern string
	Request
}

func (y *teller) measure(pattern string) func(Request) {
	return func(q Request) {
		y.mu.Lock()
		defer y.mu.Unlock()
		y.all = append(y.all, told{pattern, q})
	}
}

// last is what it was told last, once that is about method.
func (y *teller) last(t *testing.T, method string) told {
	t.Helper()
	var got told
	waitFor(t, func() bool {
		y.mu.Lock()
		defer y.mu.Unlock()
		if len(y.all) > 0 {
			got = y.all[len(y.all)-1]
		}
		return got.Method == method
	})
	return got
}

// Every request is told of once, with its route and what became of it.
func TestMeasure(t *testing.T) {
	y := new(teller)
	h := open(t, mem.New(), Config{Measure: y.measure})
	_, _, layer := h.pushImage("team/app", "v1", "layer")
	blob := "/v2/team/app/blobs/" + layer.Digest.String()
	for _, tt := range []struct {
		method, path, body string
		pattern, repo      string
		status             int
		in, out            int64
	}{
		{"GET", blob, "", "/v2/{name...}/blobs/{digest}", "team/app", 200, 0, 5},
		{"HEAD", blob, "", "/v2/{name...}/blobs/{digest}", "team/app", 200, 0, 0},
		{"GET", "/v2/team/none/manifests/v1", "", "/v2/{name...}/manifests/{reference}", "team/none", 404, 0, -1},
		{"POST", "/v2/team/app/blobs/uploads/?digest=" + layer.Digest.String(), "layer", "/v2/{name...}/blobs/uploads/", "team/app", 201, 5, 0},
		{"BREW", blob, "", "/v2/{name...}/blobs/{digest}", "team/app", 405, 0, -1},
		{"GET", "/nowhere", "", "", "", 404, 0, -1},
	} {
		before := len(y.all)
		h.want(tt.status, tt.method, tt.path, strings.NewReader(tt.body))
		got := y.last(t, tt.method)
		if got.pattern != tt.pattern || got.Repository != tt.repo || got.Status != tt.status || got.In != tt.in || tt.out >= 0 && got.Out != tt.out ||
			got.Duration <= 0 || got.Cut || len(y.all) != before+1 {
			t.Errorf("%s %s: got %+v", tt.method, tt.path, got)
		}
	}
}

// An answer that the store spoils in its middle is told as one that was cut.
func TestMeasureCut(t *testing.T) {
	y := new(teller)
	broken := false
	store := drivertest.Faulty(mem.New(), func(op drivertest.Op) error {
		if broken && op.Kind == drivertest.Read && op.N > 0 {
			return drivertest.ErrInjected
		}
		return nil
	})
	h := open(t, store, Config{Measure: y.measure})
	_, _, layer := h.pushImage("team/app", "v1", pattern(1<<20))
	broken = true
	if _, err := h.try("GET", "/v2/team/app/blobs/"+layer.Digest.String(), nil); err == nil {
		t.Fatal("got no error")
	}
	if got := y.last(t, "GET"); !got.Cut || got.Status != http.StatusOK {
		t.Errorf("got %+v, want an answer that was cut", got)
	}
}

// Metrics are there if somebody has some.
func TestMetricsRoute(t *testing.T) {
	has := func(h *house) bool {
		return slices.ContainsFunc(h.server.routes(), func(r route) bool { return r.pattern == "/metrics" })
	}
	if has(open(t, mem.New(), Config{})) {
		t.Error("there is a route without metrics")
	}
	h := open(t, mem.New(), Config{Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("up 1\n")) })})
	h.server.Drain()
	if a := h.want(200, "GET", "/metrics", nil); a.body != "up 1\n" || a.header.Get("Cache-Control") != "no-store" {
		t.Errorf("got %+v", a)
	}
}
