package index_test

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/parfait-registry/parfait/index"
)

// noticing returns db with a notice for the endpoint in each change of the repository, which says what that was.
func noticing(db *index.DB, endpoint, repo, event string) *index.DB {
	return db.Telling(func(d index.Done) []index.Notice {
		if d.Blob.Size > 0 {
			event += fmt.Sprint(" ", d.Blob.Size)
		}
		for _, c := range d.Changes {
			if c.Kind == index.Tag && c.Digest == "" {
				event += " -" + c.Ref
			}
		}
		return []index.Notice{{Endpoint: endpoint, Repo: repo, At: time.Now(), Event: []byte(event)}}
	})
}

// events returns what is queued.
func events(t *testing.T, db *index.DB, endpoint, repo string) []string {
	t.Helper()
	notices, err := db.Notices(t.Context(), endpoint, repo, 1000)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, n := range notices {
		all = append(all, string(n.Event))
	}
	return all
}

func TestNotices(t *testing.T) {
	onEach(t, func(t *testing.T, db *index.DB) {
		ctx := t.Context()
		tell := func(event string) *index.DB { return noticing(db, "hook", "a", event) }
		d := digest.FromString("layer")
		m := manifest("{}", d)
		if _, err := tell("too early").PutManifest(ctx, "a", m, "v1"); err == nil {
			t.Fatal("a manifest without its layer was taken")
		}
		select {
		case <-db.Noticed():
			t.Error("a change that failed is told")
		default:
		}
		if _, err := tell("blob").AddBlob(ctx, "a", index.Blob{Digest: d, Size: 5}, index.Session{}); err != nil {
			t.Fatal(err)
		}
		select {
		case <-db.Noticed():
		case <-time.After(10 * time.Second):
			t.Error("nobody is woken")
		}
		if _, err := tell("manifest").PutManifest(ctx, "a", m, "v1", "v2"); err != nil {
			t.Fatal(err)
		}
		if _, _, err := noticing(db, "hook", "b", "mount").MountBlob(ctx, "b", "a", d); err != nil {
			t.Fatal(err)
		}
		if _, err := tell("gone").RemoveManifest(ctx, "a", m.Digest); err != nil {
			t.Fatal(err)
		}
		if _, err := tell("gone before").RemoveManifest(ctx, "a", m.Digest); !errors.Is(err, index.ErrNotFound) {
			t.Fatal(err)
		}
		if err := db.Notify(ctx, []index.Notice{{Endpoint: "other", Repo: "c", At: time.Now(), Event: []byte("pull")}}); err != nil {
			t.Fatal(err)
		}

		if got, want := events(t, db, "hook", "a"), []string{"blob", "manifest", "gone -v1 -v2"}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		if got := events(t, db, "hook", "b"); !slices.Equal(got, []string{"mount 5"}) {
			t.Errorf("mounted: got %q", got)
		}
		for _, tt := range []struct {
			last string
			n    int
			want []string
		}{{"", 10, []string{"a", "b"}}, {"", 1, []string{"a"}}, {"a", 10, []string{"b"}}, {"b", 10, nil}} {
			if got, err := db.NoticedRepositories(ctx, "hook", tt.last, tt.n); !slices.Equal(got, tt.want) || err != nil {
				t.Errorf("repositories after %q: got %q, %v", tt.last, got, err)
			}
		}
		first, err := db.Notices(ctx, "hook", "a", 2)
		if err != nil || len(first) != 2 || first[0].Repo != "a" || time.Since(first[0].At).Abs() > time.Minute {
			t.Fatalf("got %v, %v", first, err)
		}
		if err := db.Told(ctx, first); err != nil {
			t.Fatal(err)
		}
		if got := events(t, db, "hook", "a"); !slices.Equal(got, []string{"gone -v1 -v2"}) {
			t.Errorf("after telling: got %q", got)
		}
		if got, err := db.NoticedEndpoints(ctx); err != nil || len(got) != 2 || got["hook"].Notices != 2 || got["other"].Notices != 1 ||
			time.Since(got["hook"].Oldest).Abs() > time.Minute || got["other"].Oldest.IsZero() {
			t.Errorf("endpoints: got %v, %v", got, err)
		}
	})
}

// What is dropped is the oldest, and never another endpoint's. No number is given twice.
func TestDropNotices(t *testing.T) {
	onEach(t, func(t *testing.T, db *index.DB) {
		ctx := t.Context()
		old, now := time.Now().Add(-time.Hour), time.Now()
		queue := func(endpoint string, at time.Time, events ...string) {
			t.Helper()
			for _, e := range events {
				if err := db.Notify(ctx, []index.Notice{{Endpoint: endpoint, Repo: "a", At: at, Event: []byte(e)}}); err != nil {
					t.Fatal(err)
				}
			}
		}
		queue("hook", old, "1", "2", "3")
		queue("other", old, "1")
		queue("hook", now, "4")
		drop := func(before time.Time, n int, want int64) {
			t.Helper()
			if got, err := db.DropNotices(ctx, "hook", before, n); got != want || err != nil {
				t.Errorf("got %d, %v, want %d", got, err, want)
			}
		}
		drop(old, 10, 0)
		drop(now.Add(-time.Minute), 2, 2)
		if got := events(t, db, "hook", "a"); !slices.Equal(got, []string{"3", "4"}) {
			t.Errorf("got %q", got)
		}
		drop(now.Add(-time.Minute), 10, 1)
		last, err := db.Notices(ctx, "hook", "a", 1)
		if err != nil || len(last) != 1 {
			t.Fatal(last, err)
		}
		drop(now.Add(time.Minute), 10, 1)
		queue("hook", now, "5")
		next, err := db.Notices(ctx, "hook", "a", 1)
		if err != nil || len(next) != 1 || next[0].ID <= last[0].ID {
			t.Errorf("got %v after %v, %v", next, last, err)
		}
		if got := events(t, db, "other", "a"); len(got) != 1 {
			t.Errorf("another endpoint: got %q", got)
		}
	})
}

// The notice of the last change of a tag is the last one.
func TestNoticesInOrder(t *testing.T) {
	onEach(t, func(t *testing.T, db *index.DB) {
		ctx := t.Context()
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				for j := range 10 {
					text := fmt.Sprintf(`{"n":%d}`, 100*i+j)
					m := manifest(text)
					if _, err := noticing(db, "hook", "a", m.Digest.String()).PutManifest(ctx, "a", m, "v1"); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
		m, err := db.Manifest(ctx, "a", "v1")
		if err != nil {
			t.Fatal(err)
		}
		got := events(t, db, "hook", "a")
		if len(got) != 80 || got[79] != m.Digest.String() {
			t.Errorf("the last of %d notices is of %s, but the tag points to %s", len(got), got[len(got)-1], m.Digest)
		}
	})
}
