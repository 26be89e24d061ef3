package index_test

import (
	"fmt"
	"testing"

	"github.com/parfait-registry/parfait/index"
)

// A page takes the same time however long the list is.
func BenchmarkPage(b *testing.B) {
	for _, size := range []int{100, 100_000} {
		db := open(b, "")
		fill(b, db, size)
		middle := fmt.Sprintf("n%06d", size/2)
		for name, page := range map[string]func() ([]string, error){
			"tags":         func() ([]string, error) { return db.Tags(b.Context(), "repo", middle, 50) },
			"repositories": func() ([]string, error) { return db.Repositories(b.Context(), middle, 50) },
		} {
			b.Run(fmt.Sprintf("%s/%d", name, size), func(b *testing.B) {
				for b.Loop() {
					if got, err := page(); err != nil || len(got) < 49 {
						b.Fatal(len(got), err)
					}
				}
			})
		}
	}
}

// fill makes n tags in one repository, and n repositories.
func fill(b *testing.B, db *index.DB, n int) {
	b.Helper()
	m := manifest("{}")
	err := db.Rebuild(b.Context(), func(x *index.Builder) error {
		if err := x.Manifest("repo", m); err != nil {
			return err
		}
		for i := range n {
			name := fmt.Sprintf("n%06d", i)
			if err := x.Tag("repo", name, m.Digest); err != nil {
				return err
			}
			if err := x.Manifest(name, m); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
}

func BenchmarkManifest(b *testing.B) {
	db := open(b, "")
	fill(b, db, 1000)
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			if _, err := db.Manifest(b.Context(), "repo", "n000500"); err != nil {
				b.Error(err)
			}
		}
	})
}
