package integration

import (
	"context"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/drivers/local"
	"github.com/parfait-registry/parfait/index"
	"github.com/parfait-registry/parfait/integration/harness"
	"github.com/parfait-registry/parfait/integration/scale"
	"github.com/parfait-registry/parfait/registry"
	"github.com/parfait-registry/parfait/server"
)

// BenchmarkCollect collects 10,000 blobs from a folder, out of an index of a million, while clients get manifests. It
// reports how long that takes, and what the slowest of a hundred GETs takes with and without it.
func BenchmarkCollect(b *testing.B) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(max(3, runtime.GOMAXPROCS(0)))) // as the server has it
	defer debug.SetGCPercent(debug.SetGCPercent(200))
	b.Run("sqlite", func(b *testing.B) {
		benchmarkCollect(b, func() string { return filepath.Join(b.TempDir(), "index.db") })
	})
	b.Run("postgres", func(b *testing.B) {
		p := harness.PostgreSQL(b)
		benchmarkCollect(b, func() string { return p.NewDatabase(b) })
	})
}

func benchmarkCollect(b *testing.B, database func() string) {
	log := slog.New(slog.DiscardHandler)
	for b.Loop() {
		b.StopTimer()
		store, db := openScale(b, database())
		reg, err := registry.Open(b.Context(), registry.Config{GCDisabled: true}, store, db, log)
		if err != nil {
			b.Fatal(err)
		}
		web := httptest.NewServer(server.New(server.Config{}, reg, nil, log))
		gc, err := registry.OpenGC(b.Context(), registry.Config{}, store, db, log)
		if err != nil {
			b.Fatal(err)
		}
		getManifests(b, web.URL, func() { time.Sleep(3 * time.Second) }) // warms up
		without := getManifests(b, web.URL, func() { time.Sleep(10 * time.Second) })
		var took time.Duration
		with := getManifests(b, web.URL, func() {
			b.StartTimer()
			began := time.Now()
			if done, err := gc.Collect(b.Context(), nil); done.Blobs != int64(scale.Full.Garbage) || err != nil {
				b.Error(done, err)
			}
			took = time.Since(began)
			b.StopTimer()
		})
		b.ReportMetric(took.Seconds(), "s/collection")
		for name, times := range map[string][]time.Duration{"without": without, "with": with} {
			slices.Sort(times)
			b.ReportMetric(float64(times[len(times)/2].Microseconds()), "p50-µs-"+name)
			b.ReportMetric(float64(times[len(times)*99/100].Microseconds()), "p99-µs-"+name)
		}
		web.Close()
		if err := reg.Close(context.Background()); err != nil {
			b.Error(err)
		}
		if err := db.Close(); err != nil {
			b.Error(err)
		}
		b.StartTimer()
	}
}

// openScale fills an index, and a folder with the garbage.
func openScale(b *testing.B, database string) (drivers.Driver, *index.DB) {
	b.Helper()
	store, err := local.Open(local.Config{Path: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	db, err := index.Open(b.Context(), index.Config{Database: database, Grace: time.Millisecond}, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	if err := scale.Full.Fill(b.Context(), db); err != nil {
		b.Fatal(err)
	}
	const root = "docker/registry/v2/"
	for i := range scale.Full.Garbage {
		content := scale.Garbage(i)
		hex := digest.FromBytes(content).Encoded()
		for key, data := range map[string]string{
			root + "blobs/sha256/" + hex[:2] + "/" + hex + "/data":                                string(content),
			root + "repositories/" + scale.GarbageRepository + "/_layers/sha256/" + hex + "/link": "sha256:" + hex,
		} {
			if err := drivers.StagePut(b.Context(), store, key, []byte(data)); err != nil {
				b.Fatal(err)
			}
		}
	}
	if err := store.Sync(b.Context()); err != nil {
		b.Fatal(err)
	}
	return store, db
}

// getManifests has four clients get manifests of all repositories, each 500 in a second, until do has returned. It
// returns how long each took.
func getManifests(b *testing.B, url string, do func()) (times []time.Duration) {
	b.Helper()
	ctx, stop := context.WithCancel(b.Context())
	var mu sync.Mutex
	var clients sync.WaitGroup
	for client := range 4 {
		clients.Go(func() {
			var own []time.Duration
			random := rand.New(rand.NewPCG(1, uint64(client)))
			for tick := time.Tick(2 * time.Millisecond); ctx.Err() == nil; <-tick {
				began := time.Now()
				resp, err := http.Get(url + "/v2/" + scale.Repository(random.IntN(scale.Full.Repositories)) + "/manifests/v1")
				if err != nil {
					b.Error(err)
					return
				}
				_, err = io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
				if err != nil || resp.StatusCode != http.StatusOK {
					b.Error(resp.Status, err)
					return
				}
				own = append(own, time.Since(began))
			}
			mu.Lock()
			defer mu.Unlock()
			times = append(times, own...)
		})
	}
	do()
	stop()
	clients.Wait()
	return times
}
