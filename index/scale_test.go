package index_test

import (
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/parfait-registry/parfait/index"
	"github.com/parfait-registry/parfait/integration/scale"
)

// BenchmarkScale looks into an index of a million blobs, and into one of a hundredth of that.
func BenchmarkScale(b *testing.B) {
	hundredth := scale.Full
	hundredth.Repositories, hundredth.Tags = hundredth.Repositories/100, hundredth.Tags/100
	benchmarks(b, func(b *testing.B, database func() string) {
		for name, size := range map[string]scale.Registry{"hundredth": hundredth, "full": scale.Full} {
			b.Run(name, func(b *testing.B) {
				db := openWith(b, index.Config{Database: database(), Grace: time.Millisecond})
				if err := size.Fill(b.Context(), db); err != nil {
					b.Fatal(err)
				}
				benchmarkScale(b, db, size)
			})
		}
	})
}

func benchmarkScale(b *testing.B, db *index.DB, size scale.Registry) {
	ctx, middle := b.Context(), size.Repositories/2
	for _, page := range []struct {
		name string
		of   func() (int, error)
	}{
		{"tags", func() (int, error) {
			tags, err := db.Tags(ctx, scale.TagsRepository, scale.Tag(size.Tags/2), 100)
			return len(tags), err
		}},
		{"repositories", func() (int, error) {
			names, err := db.Repositories(ctx, scale.Repository(middle), 100)
			return len(names), err
		}},
		{"blobs", func() (int, error) {
			blobs, err := db.Blobs(ctx, digest.FromString("somewhere"), 100)
			return len(blobs), err
		}},
		{"garbage", func() (int, error) {
			garbage, _, err := db.Garbage(ctx, index.Place{}, 100)
			return len(garbage), err
		}},
	} {
		b.Run("page of "+page.name, func(b *testing.B) {
			for b.Loop() {
				if n, err := page.of(); n != 100 || err != nil {
					b.Fatal(n, err)
				}
			}
		})
	}
	b.Run("all garbage", func(b *testing.B) {
		for b.Loop() {
			found := 0
			for after := (index.Place{}); ; {
				garbage, next, err := db.Garbage(ctx, after, 1000)
				if err != nil {
					b.Fatal(err)
				}
				if len(garbage) == 0 {
					break
				}
				found, after = found+len(garbage), next
			}
			if found != size.Garbage {
				b.Fatalf("found %d blobs", found)
			}
		}
	})
	b.Run("queue", func(b *testing.B) {
		for b.Loop() {
			if q, err := db.Queue(ctx); q.Blobs < size.Garbage || err != nil {
				b.Fatal(q, err)
			}
		}
	})
}
