package registry_test

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"testing"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/parfait-registry/parfait/drivers/mem"
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
			var view *registry.View
			if sees != nil {
				view = &registry.View{Sees: sees, Spans: spans("", "r/0100!", "r/0500", "s", "t", "z")}
			}
			var want []string
			for i := range repos {
				if repo := fmt.Sprintf("r/%04d", i); sees == nil || sees(repo) && (i <= 100 || i >= 500) {
					want = append(want, repo)
				}
			}
			for _, n := range []int{400, 3 * repos} {
				t.Run(fmt.Sprintf("%s, %d a page", name, n), func(t *testing.T) {
					if got := catalog(ctx, t, f, n, view); !slices.Equal(got, want) {
						t.Errorf("catalog: got %d, want %d", len(got), len(want))
					}
					if got := search(ctx, t, f, n, len(want), view); !slices.Equal(got, want) {
						t.Errorf("search: got %d, want %d", len(got), len(want))
					}
				})
			}
		}
	})
}

// spans are from each name on and before the next one.
func spans(names ...string) iter.Seq2[string, string] {
	return func(yield func(from, before string) bool) {
		for pair := range slices.Chunk(names, 2) {
			if !yield(pair[0], pair[1]) {
				return
			}
		}
	}
}

// A list of some costs what is in it: nobody is asked about what is outside of the spans.
func TestListsOfSomeAreCheap(t *testing.T) {
	f := start(t, registry.Config{}, place{store: mem.New()})
	populate(t, f, 50)
	asked := 0
	view := &registry.View{Sees: func(string) bool { asked++; return true }, Spans: spans("r/0003", "r/0003!", "r/0040", "r/0043")}
	want := []string{"r/0003", "r/0040", "r/0041", "r/0042"}
	if got := catalog(t.Context(), t, f, 10, view); !slices.Equal(got, want) || asked != len(want) {
		t.Errorf("got %q, of %d that were looked at, want %q and nothing else", got, asked, want)
	}
	asked = 0
	if got := search(t.Context(), t, f, 10, len(want), view); !slices.Equal(got, want) || asked != len(want) {
		t.Errorf("search: got %q, of %d that were looked at, want %q and nothing else", got, asked, want)
	}
}

func catalog(ctx context.Context, t *testing.T, f *fixture, n int, v *registry.View) (all []string) {
	t.Helper()
	last := ""
	for {
		page, err := f.Repositories(ctx, last, n, v)
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

func search(ctx context.Context, t *testing.T, f *fixture, n, want int, v *registry.View) (all []string) {
	t.Helper()
	for number := 1; ; number++ {
		found, total, err := f.Search(ctx, "R/", n, number, v)
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
