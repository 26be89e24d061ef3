package index_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/parfait-registry/parfait/index"
	"github.com/parfait-registry/parfait/integration/harness"
)

// benchmarks runs a benchmark on each database. PostgreSQL syncs as it does when it is installed.
func benchmarks(b *testing.B, bench func(b *testing.B, database func() string)) {
	b.Run("sqlite", func(b *testing.B) {
		bench(b, func() string { return filepath.Join(b.TempDir(), "index.db") })
	})
	b.Run("postgres", func(b *testing.B) {
		p := harness.PostgreSQL(b)
		bench(b, func() string { return p.NewDatabase(b) })
	})
}

// A page takes the same time however long the list is.
func BenchmarkPage(b *testing.B) {
	benchmarks(b, func(b *testing.B, database func() string) {
		for _, size := range []int{100, 100_000} {
			db := open(b, database())
			fill(b, db, size)
			middle := fmt.Sprintf("n%06d", size/2)
			for name, page := range map[string]func() (int, error){
				"tags": func() (int, error) {
					tags, err := db.Tags(b.Context(), "repo", middle, 50)
					return len(tags), err
				},
				"repositories": func() (int, error) {
					names, err := db.Repositories(b.Context(), middle, 50)
					return len(names), err
				},
				"referrers": func() (int, error) {
					list, err := db.Referrers(b.Context(), "repo", digest.FromString("subject"), "", "", 50)
					return len(list), err
				},
			} {
				b.Run(fmt.Sprintf("%s/%d", name, size), func(b *testing.B) {
					for b.Loop() {
						if n, err := page(); err != nil || n < 49 {
							b.Fatal(n, err)
						}
					}
				})
			}
		}
	})
}

// fill makes n tags and n referrers of something in one repository, and n repositories.
func fill(b *testing.B, db *index.DB, n int) {
	b.Helper()
	m := manifest("{}")
	err := db.Rebuild(b.Context(), func(x *index.Builder) error {
		adopt := func(repo string, tag string, m index.Manifest) error {
			batch := index.Batch{Repo: repo, Manifests: []index.Manifest{m}}
			if tag != "" {
				batch.Tags = []index.TagTarget{{Tag: tag, Digest: manifest("{}").Digest}}
			}
			_, err := x.Adopt(b.Context(), batch)
			return err
		}
		if err := adopt("repo", "", m); err != nil {
			return err
		}
		for i := range n {
			name := fmt.Sprintf("n%06d", i)
			referrer := manifest(name)
			referrer.Subject = digest.FromString("subject")
			if err := errors.Join(adopt("repo", name, referrer), adopt(name, "", m)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
}

// BenchmarkLookUp looks up what is in no cache: of more tags than that holds, one after the other.
func BenchmarkLookUp(b *testing.B) {
	benchmarks(b, func(b *testing.B, database func() string) {
		const tags = 10_000
		db := open(b, database())
		fill(b, db, tags)
		var next atomic.Int64
		b.ResetTimer()
		b.RunParallel(func(p *testing.PB) {
			for p.Next() {
				if _, err := db.Manifest(b.Context(), "repo", fmt.Sprintf("n%06d", next.Add(1)%tags)); err != nil {
					b.Error(err)
				}
			}
		})
	})
}

// BenchmarkCached looks up what was looked up before.
func BenchmarkCached(b *testing.B) {
	db := open(b, "")
	fill(b, db, 1)
	b.ResetTimer()
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			if _, err := db.Manifest(b.Context(), "repo", "n000000"); err != nil {
				b.Error(err)
			}
		}
	})
}

// BenchmarkPush has eight clients push images, each to a repository of its own: two blobs, and a manifest that names
// these and a layer that all have.
func BenchmarkPush(b *testing.B) {
	benchmarks(b, func(b *testing.B, database func() string) {
		const clients = 8
		db := open(b, database())
		for i := range clients {
			addBlobs(b, db, fmt.Sprint("repo", i), "base")
		}
		var next atomic.Int64
		var wg sync.WaitGroup
		b.ResetTimer()
		for i := range clients {
			repo := fmt.Sprint("repo", i)
			wg.Go(func() {
				for n := next.Add(1); n <= int64(b.N); n = next.Add(1) {
					layers := addBlobs(b, db, repo, fmt.Sprint("config", n), fmt.Sprint("layer", n))
					m := manifest(fmt.Sprint("manifest", n), append(layers, blob("base").Digest)...)
					if _, err := db.PutManifest(b.Context(), repo, m, "latest"); err != nil {
						b.Error(err)
					}
				}
			})
		}
		wg.Wait()
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "images/s")
	})
}
