package index_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/parfait-registry/parfait/index"
)

func blob(s string) index.Blob {
	return index.Blob{Digest: digest.FromString(s), Size: int64(len(s))}
}

// addBlobs gives repo the blobs and returns their digests.
func addBlobs(t testing.TB, db *index.DB, repo string, contents ...string) (digests []digest.Digest) {
	t.Helper()
	for _, s := range contents {
		if _, err := db.AddBlob(t.Context(), repo, blob(s), index.Session{}); err != nil {
			t.Fatal(err)
		}
		digests = append(digests, blob(s).Digest)
	}
	return digests
}

func manifest(payload string, blobs ...digest.Digest) index.Manifest {
	return index.Manifest{Digest: digest.FromString(payload), MediaType: "application/x", Payload: []byte(payload), Blobs: blobs}
}

func facts(t testing.TB, db *index.DB) string {
	t.Helper()
	var lines []string
	for line, err := range db.Facts(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

func TestBlobs(t *testing.T) {
	onEach(t, func(t *testing.T, db *index.DB) {
		ctx := t.Context()
		b := blob("hello")
		if _, err := db.Blob(ctx, "a", b.Digest); err != index.ErrNotFound {
			t.Errorf("a blob of no repository: got %v, want ErrNotFound", err)
		}
		addBlobs(t, db, "a", "hello")
		if got, err := db.Blob(ctx, "a", b.Digest); got != b || err != nil {
			t.Errorf("got %v, %v, want %v", got, err, b)
		}
		if _, err := db.Blob(ctx, "b", b.Digest); err != index.ErrNotFound {
			t.Errorf("a blob of another repository: got %v, want ErrNotFound", err)
		}
		if _, _, err := db.MountBlob(ctx, "b", "c", b.Digest); err != index.ErrNotFound {
			t.Errorf("mount from a repository that lacks the blob: got %v, want ErrNotFound", err)
		}
		for _, from := range []string{"a", ""} {
			if got, _, err := db.MountBlob(ctx, "b"+from, from, b.Digest); got != b || err != nil {
				t.Errorf("mount from %q: got %v, %v, want %v", from, got, err, b)
			}
		}
		for n, want := range map[int][]string{0: nil, 2: {"a", "ba"}, 9: {"a", "ba", "b"}} {
			if got, err := db.BlobRepositories(ctx, b.Digest, n); !slices.Equal(got, want) || err != nil {
				t.Errorf("%d repositories with the blob: got %q, %v, want %q", n, got, err, want)
			}
		}
		if _, err := db.RemoveBlob(ctx, "a", b.Digest); err != nil {
			t.Fatal(err)
		}
		if _, err := db.RemoveBlob(ctx, "a", b.Digest); err != index.ErrNotFound {
			t.Errorf("second removal: got %v, want ErrNotFound", err)
		}
		if _, err := db.Blob(ctx, "b", b.Digest); err != nil {
			t.Errorf("the mounted blob went with the other one: %v", err)
		}
	})
}

func TestManifests(t *testing.T) {
	onEach(t, func(t *testing.T, db *index.DB) {
		ctx := t.Context()
		layers := addBlobs(t, db, "a", "config", "layer")
		m := manifest("{}", layers...)
		m.Annotations = map[string]string{"org.opencontainers.image.description": "An image"}

		missing := manifest("{x}", layers[0], digest.FromString("nowhere"))
		var want *index.MissingError
		if _, err := db.PutManifest(ctx, "a", missing, "v1"); !errors.As(err, &want) || !slices.Equal(want.Digests, missing.Blobs[1:]) {
			t.Errorf("missing blob: got %v", err)
		}
		if _, err := db.Manifest(ctx, "a", "v1"); err != index.ErrNotFound {
			t.Errorf("the refused manifest is there: %v", err)
		}
		if _, err := db.PutManifest(ctx, "a", m, "v1", "v2"); err != nil {
			t.Fatal(err)
		}
		got, err := db.Manifest(ctx, "a", "v2")
		if err != nil || got.Digest != m.Digest || string(got.Payload) != "{}" || got.MediaType != m.MediaType {
			t.Errorf("got %v, %v", got, err)
		}
		parent := manifest("[]")
		parent.Manifests = []digest.Digest{m.Digest}
		if _, err := db.PutManifest(ctx, "a", parent); err != nil {
			t.Fatal(err)
		}
		var named *index.NamedError
		if _, err := db.RemoveManifest(ctx, "a", m.Digest); !errors.As(err, &named) || named.Manifest != parent.Digest {
			t.Errorf("removal of an index's child: got %v", err)
		}
		if _, err := db.RemoveBlob(ctx, "a", layers[1]); !errors.As(err, &named) || named.Manifest != m.Digest {
			t.Errorf("removal of a manifest's layer: got %v", err)
		}
		for _, d := range []digest.Digest{parent.Digest, m.Digest} {
			if _, err := db.RemoveManifest(ctx, "a", d); err != nil {
				t.Fatal(err)
			}
		}
		if tags, err := db.Tags(ctx, "a", "", 10); len(tags) != 0 || err != nil {
			t.Errorf("tags after the manifest went: %v, %v", tags, err)
		}
		if names, err := db.Repositories(ctx, "", 10); len(names) != 0 || err != nil {
			t.Errorf("catalog after the last manifest went: %v, %v", names, err)
		}
		if got := facts(t, db); strings.Contains(got, "referenced 1") || strings.Contains(got, "referenced -") {
			t.Errorf("references left over:\n%s", got)
		}
	})
}

// A layer that need not be in the registry may still come later, and is referenced then.
func TestBlobAfterItsManifest(t *testing.T) {
	onEach(t, func(t *testing.T, db *index.DB) {
		m := manifest("{}")
		m.Elsewhere = []digest.Digest{blob("foreign").Digest}
		if _, err := db.PutManifest(t.Context(), "a", m); err != nil {
			t.Fatal(err)
		}
		addBlobs(t, db, "a", "foreign")
		want := fmt.Sprintf("blob %s referenced 1 times", m.Elsewhere[0])
		if got := facts(t, db); !strings.Contains(got, want) {
			t.Errorf("got\n%s\nwant the line %s", got, want)
		}
	})
}

func TestPages(t *testing.T) {
	onEach(t, func(t *testing.T, db *index.DB) {
		ctx := t.Context()
		if _, err := db.Tags(ctx, "a", "", 2); err != index.ErrNotFound {
			t.Errorf("tags of no repository: got %v, want ErrNotFound", err)
		}
		tags := []string{"1.0", "B", "a", "a-1", "b"}
		for _, repo := range []string{"a", "a-b", "a/b"} {
			if _, err := db.PutManifest(ctx, repo, manifest("{}"), tags...); err != nil {
				t.Fatal(err)
			}
		}
		var got []string
		for last := ""; ; last = got[len(got)-1] {
			page, err := db.Tags(ctx, "a", last, 2)
			if err != nil {
				t.Fatal(err)
			}
			if got = append(got, page...); len(page) < 2 {
				break
			}
		}
		if !slices.Equal(got, tags) {
			t.Errorf("got tags %v, want %v", got, tags)
		}
		if names, err := db.Repositories(ctx, "a", 1); !slices.Equal(names, []string{"a-b"}) || err != nil {
			t.Errorf("second page of the catalog: got %v, %v", names, err)
		}
	})
}

func TestReferrers(t *testing.T) {
	onEach(t, func(t *testing.T, db *index.DB) {
		ctx := t.Context()
		subject := digest.FromString("subject")
		for i := range 5 {
			m := manifest(fmt.Sprint(i))
			m.Subject, m.ArtifactType = subject, fmt.Sprintf("type/%d", i%2)
			m.Annotations = map[string]string{"n": fmt.Sprint(i)}
			if _, err := db.PutManifest(ctx, "a", m); err != nil {
				t.Fatal(err)
			}
		}
		all, err := db.Referrers(ctx, "a", subject, "", "", 10)
		if err != nil || len(all) != 5 || all[0].Annotations["n"] == "" || all[0].Size != 1 {
			t.Fatalf("got %v, %v", all, err)
		}
		rest, err := db.Referrers(ctx, "a", subject, "", all[1].Digest, 2)
		if err != nil || len(rest) != 2 || rest[0].Digest != all[2].Digest {
			t.Errorf("second page: got %v, %v", rest, err)
		}
		if odd, err := db.Referrers(ctx, "a", subject, "type/1", "", 10); len(odd) != 2 || err != nil {
			t.Errorf("of one type: got %v, %v", odd, err)
		}
		if none, err := db.Referrers(ctx, "b", subject, "", "", 10); len(none) != 0 || err != nil {
			t.Errorf("of another repository: got %v, %v", none, err)
		}
	})
}

func TestSearch(t *testing.T) {
	onEach(t, func(t *testing.T, db *index.DB) {
		ctx := t.Context()
		for repo, text := range map[string]string{"team/app_one": "The 100% App", "team/apptwo": "", "other": "an APP, too"} {
			m := manifest(repo)
			m.Annotations = map[string]string{"org.opencontainers.image.description": text}
			if _, err := db.PutManifest(ctx, repo, m, "v1"); err != nil {
				t.Fatal(err)
			}
		}
		for _, tt := range []struct {
			term string
			want []string
		}{
			{"", []string{"other", "team/app_one", "team/apptwo"}},
			{"ApP", []string{"other", "team/app_one", "team/apptwo"}},
			{"app_", []string{"team/app_one"}},
			{"100%", []string{"team/app_one"}},
			{`\`, nil},
		} {
			found, total, err := db.Search(ctx, tt.term, 10, 0)
			var got []string
			for _, f := range found {
				got = append(got, f.Name)
			}
			if err != nil || !slices.Equal(got, tt.want) || total != len(tt.want) {
				t.Errorf("search %q: got %v, %d, %v, want %v", tt.term, got, total, err, tt.want)
			}
		}
	})
}

// What clients send is not always text as PostgreSQL has it.
func TestOddText(t *testing.T) {
	onEach(t, func(t *testing.T, db *index.DB) {
		const odd = "nul \x00 and no UTF-8 \xff"
		m := manifest("{}")
		m.ArtifactType, m.Annotations = odd, map[string]string{"org.opencontainers.image.description": odd, odd: odd}
		if _, err := db.PutManifest(t.Context(), "a", m, "v1"); err != nil {
			t.Fatal(err)
		}
		found, total, err := db.Search(t.Context(), odd, 10, 0)
		if len(found) != 1 || total != 1 || err != nil {
			t.Errorf("got %v, %d, %v", found, total, err)
		}
		if _, err := db.Referrers(t.Context(), "a", m.Digest, odd, "", 10); err != nil {
			t.Error(err)
		}
	})
}

// Transactions that share a commit succeed and fail each on its own.
func TestSharedCommit(t *testing.T) {
	onEach(t, func(t *testing.T, db *index.DB) {
		stale := index.Session{ID: "none", Size: 1}
		var wg sync.WaitGroup
		for i := range 200 {
			wg.Go(func() {
				if i%5 == 0 {
					if _, err := db.AddBlob(t.Context(), "a", blob(fmt.Sprint(i)), stale); err != index.ErrConflict {
						t.Errorf("blob %d: got %v, want ErrConflict", i, err)
					}
					return
				}
				if _, err := db.AddBlob(t.Context(), "a", blob(fmt.Sprint(i)), index.Session{}); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		for i := range 200 {
			_, err := db.Blob(t.Context(), "a", blob(fmt.Sprint(i)).Digest)
			if there := err == nil; there != (i%5 != 0) {
				t.Errorf("blob %d: there is %v, %v", i, there, err)
			}
		}
	})
}

func TestRebuild(t *testing.T) {
	onEach(t, func(t *testing.T, db *index.DB) {
		ctx := t.Context()
		layers := addBlobs(t, db, "a", "layer")
		m := manifest("{}", layers...)
		if _, err := db.PutManifest(ctx, "a", m, "v1"); err != nil {
			t.Fatal(err)
		}
		before := facts(t, db)
		stop := errors.New("stop")
		if err := db.Rebuild(ctx, func(*index.Builder) error { return stop }); err != stop {
			t.Errorf("got %v, want %v", err, stop)
		}
		if got := facts(t, db); got != before {
			t.Errorf("a rebuild that failed has changed the index to\n%s", got)
		}
		err := db.Rebuild(ctx, func(b *index.Builder) error {
			shown := b.Shown(ctx, []index.Blob{blob("layer"), blob("{}"), blob("unnamed")})
			_, adopted := b.Adopt(ctx, index.Batch{Repo: "a", Layers: []index.Blob{blob("layer")}, Manifests: []index.Manifest{m},
				Tags: []index.TagTarget{{Tag: "v1", Digest: m.Digest}}})
			return errors.Join(shown, adopted)
		})
		if err != nil {
			t.Fatal(err)
		}
		if got := facts(t, db); got != before {
			t.Errorf("got\n%s\nwant\n%s", got, before)
		}
		if left, err := db.Outbox(ctx, 0, 10); len(left) != 0 || err != nil {
			t.Errorf("outbox after a rebuild: %v, %v", left, err)
		}
	})
}

// What is looked up again is not asked again, and is never what it was before the last change.
func TestCache(t *testing.T) {
	var asked atomic.Int64
	db := openWith(t, index.Config{Observe: func(_ context.Context, call string) error {
		if call == "manifest-by-tag" {
			asked.Add(1)
		}
		return nil
	}})
	var wg sync.WaitGroup
	for writer := range 4 {
		repo := fmt.Sprint("repo", writer)
		wg.Go(func() {
			for i := range 100 {
				m := manifest(fmt.Sprint(writer, " ", i))
				if _, err := db.PutManifest(t.Context(), repo, m, "v1"); err != nil {
					t.Error(err)
				}
				for range 3 {
					if got, err := db.Manifest(t.Context(), repo, "v1"); err != nil || got.Digest != m.Digest {
						t.Errorf("%s after push %d: got %s, %v", repo, i, got.Payload, err)
					}
				}
				if i%10 != 0 {
					continue
				}
				if _, err := db.RemoveTag(t.Context(), repo, "v1"); err != nil {
					t.Error(err)
				}
				if _, err := db.Manifest(t.Context(), repo, "v1"); err != index.ErrNotFound {
					t.Errorf("%s after the removal of its tag: got %v", repo, err)
				}
			}
		})
	}
	wg.Wait()
	before := asked.Load()
	for range 50 {
		if _, err := db.Manifest(t.Context(), "repo0", "v1"); err != nil {
			t.Fatal(err)
		}
	}
	if n := asked.Load() - before; n > 1 {
		t.Errorf("asked %d times for what nobody has changed", n)
	}
}

func TestObserve(t *testing.T) {
	broken := errors.New("broken")
	databases(t, func(t *testing.T, database string) {
		db := openWith(t, index.Config{Database: database, Observe: func(_ context.Context, call string) error {
			if call == "blob" || call == "add-blob" {
				return broken
			}
			return nil
		}})
		if _, err := db.Blob(t.Context(), "a", blob("x").Digest); err != broken {
			t.Errorf("look-up: got %v", err)
		}
		if _, err := db.AddBlob(t.Context(), "a", blob("x"), index.Session{}); err != broken {
			t.Errorf("transaction: got %v", err)
		}
	})
}
