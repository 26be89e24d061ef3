package metrics_test

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/drivers/mem"
	"github.com/parfait-registry/parfait/drivers/metered"
	"github.com/parfait-registry/parfait/index"
	"github.com/parfait-registry/parfait/metrics"
	"github.com/parfait-registry/parfait/registry"
	"github.com/parfait-registry/parfait/server"
)

// benchServer returns a server that has an image, with or without metrics.
func benchServer(b testing.TB, measured bool) http.Handler {
	b.Helper()
	log := slog.New(slog.DiscardHandler)
	var store drivers.Driver = mem.New()
	var cfg server.Config
	in := index.Config{Database: filepath.Join(b.TempDir(), "index.db")}
	m := metrics.New(metrics.Config{}, "")
	if measured {
		cfg.Measure, cfg.Metrics = m.Route, m.Handler(log)
		in.Watch = func(string) index.Watcher { return m.Index() }
		store = metered.Watched(store, m.Store())
	}
	db, err := index.Open(b.Context(), in, log)
	if err != nil {
		b.Fatal(err)
	}
	r, err := registry.Open(b.Context(), registry.Config{}, store, db, log)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		r.Close(context.Background())
		db.Close()
	})
	s := server.New(cfg, r, nil, log)
	pushBench(b, s)
	return s
}

const benchManifest = `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`

func pushBench(b testing.TB, s http.Handler) {
	b.Helper()
	web := httptest.NewServer(s)
	defer web.Close()
	h := &house{t: b, web: web}
	h.do(201, "PUT", "/v2/library/app/manifests/v1", benchManifest, "Content-Type", "application/vnd.oci.image.index.v1+json")
}

// BenchmarkRatio has two servers, of which one has metrics, answer in turns. The ratio is the rate of that to the rate of
// the other, by the medians of their times.
func BenchmarkRatio(b *testing.B) {
	ask := func(web *httptest.Server) time.Duration {
		start := time.Now()
		resp, err := web.Client().Get(web.URL + "/v2/library/app/manifests/v1")
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != http.StatusOK {
			b.Fatalf("got %d, %v", resp.StatusCode, err)
		}
		resp.Body.Close()
		return time.Since(start)
	}
	with, without := httptest.NewServer(benchServer(b, true)), httptest.NewServer(benchServer(b, false))
	defer with.Close()
	defer without.Close()
	var on, off []time.Duration
	for i := 0; b.Loop(); i++ {
		if i%2 == 0 { // neither has the other's garbage to take away more often
			on, off = append(on, ask(with)), append(off, ask(without))
		} else {
			off, on = append(off, ask(without)), append(on, ask(with))
		}
	}
	slices.Sort(on)
	slices.Sort(off)
	b.ReportMetric(float64(off[len(off)/2])/float64(on[len(on)/2]), "ratio")
}

// A sink takes an answer and forgets it.
type sink struct{ header http.Header }

func (s sink) Header() http.Header         { return s.header }
func (s sink) Write(p []byte) (int, error) { return len(p), nil }
func (s sink) WriteHeader(int)             {}

// BenchmarkHandler is the same without a connection. With metrics and without, a request allocates the same.
func BenchmarkHandler(b *testing.B) {
	for name, measured := range map[string]bool{"with": true, "without": false} {
		b.Run(name, func(b *testing.B) {
			s := benchServer(b, measured)
			r, w := httptest.NewRequest("GET", "/v2/library/app/manifests/v1", nil), sink{make(http.Header)}
			b.ReportAllocs()
			for b.Loop() {
				clear(w.header)
				s.ServeHTTP(w, r)
			}
		})
	}
}

// Metrics cost a request no memory.
func TestAllocations(t *testing.T) {
	allocations := func(measured bool) float64 {
		s := benchServer(t, measured)
		r, w := httptest.NewRequest("GET", "/v2/library/app/manifests/v1", nil), sink{make(http.Header)}
		return testing.AllocsPerRun(1000, func() {
			clear(w.header)
			s.ServeHTTP(w, r)
		})
	}
	if with, without := allocations(true), allocations(false); with != without {
		t.Errorf("got %v allocations with metrics, %v without", with, without)
	}
}
