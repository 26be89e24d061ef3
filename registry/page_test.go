package registry_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/parfait-registry/parfait/registry"
)

// populate makes n repositories r/0000, r/0001, ….
func populate(t *testing.T, f *fixture, n int) {
	t.Helper()
	var all sync.WaitGroup
	turns := make(chan struct{}, 32) // the index shares commits among those at once
	for i := range n {
		turns <- struct{}{}
		all.Go(func() {
			defer func() { <-turns }()
			index := []byte(`{"schemaVersion": 2, "manifests": []}`)
			repo := registry.Name(fmt.Sprintf("r/%04d", i))
			if _, err := f.PutManifest(t.Context(), repo, registry.Reference{Tag: "v1"}, v1.MediaTypeImageIndex, index); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}

// Whatever part of the repositories somebody sees, its pages have all of it, in order, each as long as was asked for.
func TestListsOfSome(t *testing.T) {
	databases(t, func(t *testing.T, p place) {
		const repos = 2100
		f, ctx := start(t, registry.Config{}, p), t.Context()
		populate(t, f, repos)
		for name, sees := range map[string]func(repo string) bool{
			"all":         nil,
			"none":        func(string) bool { return false },
			"the first":   func(repo string) bool { return repo == "r/0000" },
			"the last":    func(repo string) bool { return repo == "r/2099" },
			"every third": func(repo string) bool { return (repo[5]+repo[4]+repo[3]+repo[2])%3 == 0 },
			"some far":    func(repo string) bool { return strings.HasSuffix(repo, "99") },
		} {
			var want []string
			for i := range repos {
				if repo := fmt.Sprintf("r/%04d", i); sees == nil || sees(repo) {
					want = append(want, repo)
				}
			}
			for _, n := range []int{400, 3 * repos} {
				t.Run(fmt.Sprintf("%s, %d a page", name, n), func(t *testing.T) {
					if got := catalog(ctx, t, f, n, sees); !slices.Equal(got, want) {
						t.Errorf("catalog: got %d, want %d", len(got), len(want))
					}
					if got := search(ctx, t, f, n, len(want), sees); !slices.Equal(got, want) {
						t.Errorf("search: got %d, want %d", len(got), len(want))
					}
				})
			}
		}
	})
}

func catalog(ctx context.Context, t *testing.T, f *fixture, n int, sees func(string) bool) (all []string) {
	t.Helper()
	last := ""
	for {
		page, err := f.Repositories(ctx, last, n, sees)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, page.Items...)
		if !page.More {
			return all
		}
		if len(page.Items) != n {
			t.Fatalf("after %q: got %d items and more behind them, want %d", last, len(page.Items), n)
		}
		last = page.Items[n-1]
	}
}

func search(ctx context.Context, t *testing.T, f *fixture, n, want int, sees func(string) bool) (all []string) {
	t.Helper()
	for number := 1; ; number++ {
		found, total, err := f.Search(ctx, "R/", n, number, sees)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range found {
			all = append(all, f.Name)
		}
		if total != want && len(found) > 0 {
			t.Fatalf("page %d: got a total of %d, want %d", number, total, want)
		}
		if len(found) < n {
			return all
		}
	}
}
