package traces_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/drivers/mem"
	"github.com/parfait-registry/parfait/drivers/metered"
	"github.com/parfait-registry/parfait/index"
	"github.com/parfait-registry/parfait/registry"
	"github.com/parfait-registry/parfait/server"
	"github.com/parfait-registry/parfait/traces"
)

// BenchmarkHeadBlob is a look-up in the index, without traces, with traces that the sampler leaves out, and with all of
// them, of which most are dropped here.
func BenchmarkHeadBlob(b *testing.B) {
	collector := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer collector.Close()
	for _, tt := range []struct{ name, exporter, sampler string }{{"off", "none", ""}, {"left out", "otlp", "always_off"}, {"on", "otlp", "always_on"}} {
		b.Run(tt.name, func(b *testing.B) {
			b.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.URL)
			b.Setenv("OTEL_TRACES_EXPORTER", tt.exporter)
			b.Setenv("OTEL_TRACES_SAMPLER", tt.sampler)
			s := benchServer(b)
			const blob = "sha256:2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"
			s.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("POST", "/v2/app/blobs/uploads/?digest="+blob, strings.NewReader("x")))
			b.ReportAllocs()
			for b.Loop() {
				w := httptest.NewRecorder()
				if s.ServeHTTP(w, httptest.NewRequest("HEAD", "/v2/app/blobs/"+blob, nil)); w.Code != http.StatusOK {
					b.Fatalf("got %d", w.Code)
				}
			}
		})
	}
}

// benchServer is put together as the command does it.
func benchServer(b *testing.B) http.Handler {
	b.Helper()
	log := slog.New(slog.DiscardHandler)
	tr, err := traces.Open(b.Context(), "", log)
	if err != nil {
		b.Fatal(err)
	}
	var store drivers.Driver = mem.New()
	in, cfg := index.Config{Database: filepath.Join(b.TempDir(), "index.db")}, server.Config{}
	if tr != nil {
		b.Cleanup(func() { tr.Close(context.Background()) })
		store, in.Watch, cfg.Trace = metered.Watched(store, tr.Store("mem")), tr.Index, tr.Request
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
	return server.New(cfg, r, nil, log)
}
