package server

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/parfait-registry/parfait/access"
	"github.com/parfait-registry/parfait/drivers/mem"
	"github.com/parfait-registry/parfait/registry"
)

// A sink takes an answer and forgets it.
type sink struct{ header http.Header }

func (s sink) Header() http.Header         { return s.header }
func (s sink) Write(p []byte) (int, error) { return len(p), nil }
func (s sink) WriteHeader(int)             {}

// benchmark measures a request on its own, and with a connection around it. The header is a list of keys and values.
func benchmark(b *testing.B, h http.Handler, method, path string, header ...string) {
	b.Run("handler", func(b *testing.B) {
		r := httptest.NewRequest(method, path, nil)
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		w := sink{make(http.Header)}
		b.ReportAllocs()
		for b.Loop() {
			clear(w.header)
			h.ServeHTTP(w, r)
		}
	})
	b.Run("connection", func(b *testing.B) {
		web := httptest.NewServer(h)
		defer web.Close()
		b.ReportAllocs()
		for b.Loop() {
			req, err := http.NewRequest(method, web.URL+path, nil)
			if err != nil {
				b.Fatal(err)
			}
			for i := 0; i < len(header); i += 2 {
				req.Header.Set(header[i], header[i+1])
			}
			resp, err := web.Client().Do(req)
			if err != nil {
				b.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != http.StatusOK {
				b.Fatalf("got %d, %v", resp.StatusCode, err)
			}
			resp.Body.Close()
		}
	})
}

// benchmarkRegistry measures a request on a quiet server, which logs warnings, and on a loud one, which logs it.
func benchmarkRegistry(b *testing.B, method, path string) {
	for name, level := range map[string]slog.Level{"quiet": slog.LevelWarn, "loud": slog.LevelInfo} {
		b.Run(name, func(b *testing.B) {
			log := slog.New(slog.NewTextHandler(io.Discard, &slog.HandlerOptions{Level: level}))
			h := openWith(b, mem.New(), Config{}, registry.Config{}, new(journal), log)
			h.pushImage("library/app", "v1", pattern(2048))
			benchmark(b, h.server, method, path)
		})
	}
}

func BenchmarkGetManifest(b *testing.B) { benchmarkRegistry(b, "GET", "/v2/library/app/manifests/v1") }

// BenchmarkAuth is what it costs to know who asks, beside nobody who does.
func BenchmarkAuth(b *testing.B) {
	const path = "/v2/alice/app/manifests/v1"
	log := slog.New(slog.NewTextHandler(io.Discard, &slog.HandlerOptions{Level: slog.LevelWarn}))
	h := openWith(b, mem.New(), Config{}, registry.Config{}, new(journal), log)
	h.pushImage("alice/app", "v1", pattern(2048))
	b.Run("off", func(b *testing.B) { benchmark(b, h.server, "GET", path) })
	h.lock(issuing(), "alice")
	token := h.get("alice", "scope=repository:alice/app:pull")
	b.Run("password", func(b *testing.B) { benchmark(b, h.server, "GET", path, as("alice")...) })
	b.Run("token", func(b *testing.B) { benchmark(b, h.server, "GET", path, token.header()...) })
}

// BenchmarkPasswordRatio has two servers, one that asks for passwords and one that does not, answer in turns. The ratio is
// the rate of the first to that of the second.
func BenchmarkPasswordRatio(b *testing.B) {
	log := slog.New(slog.NewTextHandler(io.Discard, &slog.HandlerOptions{Level: slog.LevelWarn}))
	h := openWith(b, mem.New(), Config{}, registry.Config{}, new(journal), log)
	h.pushImage("alice/app", "v1", pattern(2048))
	free := h.web
	h.lock(access.Config{}, "alice")
	ask := func(web *httptest.Server, header ...string) time.Duration {
		start := time.Now()
		req, err := http.NewRequest("GET", web.URL+"/v2/alice/app/manifests/v1", nil)
		if err != nil {
			b.Fatal(err)
		}
		for i := 0; i < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
		resp, err := web.Client().Do(req)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != http.StatusOK {
			b.Fatalf("got %d, %v", resp.StatusCode, err)
		}
		resp.Body.Close()
		return time.Since(start)
	}
	var off, on time.Duration
	for b.Loop() {
		off += ask(free)
		on += ask(h.web, as("alice")...)
	}
	b.ReportMetric(float64(off)/float64(on), "ratio")
}

func BenchmarkHeadBlob(b *testing.B) {
	benchmarkRegistry(b, "HEAD", "/v2/library/app/blobs/sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a")
}

func BenchmarkEmptyHandler(b *testing.B) {
	benchmark(b, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), "GET", "/v2/library/app/manifests/v1")
}

// BenchmarkRoute is what the server itself adds: middleware, router and the parsing of a name and a digest.
func BenchmarkRoute(b *testing.B) {
	s := with(new(journal), func(w http.ResponseWriter, _ *http.Request) error {
		_, _, err := repoAndDigest(w)
		return err
	})
	s.log = slog.New(slog.DiscardHandler)
	benchmark(b, s, "GET", "/v2/library/app/blobs/sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a")
}
