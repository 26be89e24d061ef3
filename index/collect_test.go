package index_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/parfait-registry/parfait/index"
)

// graces runs a test on an empty index of each kind with a grace period, and in a time of its own, that passes only while
// the test sleeps.
func graces(t *testing.T, grace time.Duration, test func(t *testing.T, db *index.DB)) {
	databases(t, func(t *testing.T, database string) {
		synctest.Test(t, func(t *testing.T) { test(t, openWith(t, index.Config{Database: database, Grace: grace})) })
	})
}

// outlive waits until what was seen last before the call can be claimed.
func outlive(db *index.DB) { time.Sleep(db.Grace() + db.Grace()/4 + time.Millisecond) }

func lease(t testing.TB, db *index.DB, name string) *index.Lease {
	t.Helper()
	l, err := db.Lease(t.Context(), name, 1000*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// settle says that the store shows all that the index has noted.
func settle(t testing.TB, db *index.DB) {
	t.Helper()
	entries, err := db.Outbox(t.Context(), 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		s, err := db.State(t.Context(), e)
		if err != nil {
			t.Fatal(err)
		}
		if err := db.Settle(t.Context(), []index.Change{{Entry: e, State: s}}); err != nil {
			t.Fatal(err)
		}
	}
}

// claim claims all that there is to claim and returns it.
func claim(t testing.TB, db *index.DB, l *index.Lease) []index.Blob {
	t.Helper()
	settle(t, db)
	if _, _, err := db.Claim(t.Context(), l, 100); err != nil {
		t.Fatal(err)
	}
	settle(t, db)
	claimed, _, err := db.Claimed(t.Context(), "", 100)
	if err != nil {
		t.Fatal(err)
	}
	return claimed
}

func digests(blobs []index.Blob) (all []digest.Digest) {
	for _, b := range blobs {
		all = append(all, b.Digest)
	}
	return all
}

func TestClaim(t *testing.T) {
	graces(t, 24*time.Hour, func(t *testing.T, db *index.DB) {
		ctx, l := t.Context(), lease(t, db, "collect")
		layers := addBlobs(t, db, "a", "config", "layer", "garbage")
		addBlobs(t, db, "b", "garbage")
		m := manifest("{}", layers[:2]...)
		if _, err := db.PutManifest(ctx, "a", m, "v1"); err != nil {
			t.Fatal(err)
		}
		outlive(db)
		addBlobs(t, db, "a", "fresh")
		settle(t, db)
		n, changes, err := db.Claim(ctx, l, 100)
		var from []string
		for _, c := range changes {
			from = append(from, c.Repo)
			if c.Kind != index.Layer || c.Ref != layers[2].String() || c.Digest != "" {
				t.Errorf("got the change %v", c)
			}
		}
		slices.Sort(from)
		if n != 1 || !slices.Equal(from, []string{"a", "b"}) || err != nil {
			t.Errorf("got %d claims in %v, %v, want one in a and b", n, from, err)
		}
		if claimed, next, err := db.Claimed(ctx, "", 1); len(claimed) > 0 || next != layers[2] || err != nil {
			t.Errorf("while links are in the store: got %v, %q, %v, want none and the next page", claimed, next, err)
		}
		settle(t, db)
		claimed, next, err := db.Claimed(ctx, "", 10)
		if want := []index.Blob{blob("garbage")}; !slices.Equal(claimed, want) || next != "" || err != nil {
			t.Errorf("claimed: got %v, %q, %v, want %v", claimed, next, err, want)
		}
		for _, repo := range []string{"a", "b"} {
			if _, err := db.Blob(ctx, repo, layers[2]); err != index.ErrNotFound {
				t.Errorf("a claimed blob of %s: got %v, want ErrNotFound", repo, err)
			}
		}
		if q, err := db.Queue(ctx); q.Blobs != 2 || q.Claimed != 1 || time.Since(q.Oldest) < db.Grace() || err != nil {
			t.Errorf("got the queue %+v, %v, want two blobs, one claimed", q, err)
		}
		if err := db.Forget(ctx, l, claimed); err != nil {
			t.Fatal(err)
		}
		if q, err := db.Queue(ctx); q.Blobs != 1 || q.Claimed != 0 || err != nil {
			t.Errorf("got the queue %+v, %v, want the fresh one", q, err)
		}
	})
}

// Who meets a claim waits for its end, or does as if the blob were not there.
func TestClaimedBlob(t *testing.T) {
	graces(t, 24*time.Hour, func(t *testing.T, db *index.DB) {
		ctx, l := t.Context(), lease(t, db, "collect")
		was := manifest("{was}")
		if _, err := db.PutManifest(ctx, "a", was, "v1"); err != nil {
			t.Fatal(err)
		}
		if _, err := db.RemoveManifest(ctx, "a", was.Digest); err != nil {
			t.Fatal(err)
		}
		layer, foreign := addBlobs(t, db, "a", "layer")[0], addBlobs(t, db, "a", "foreign")[0]
		stale, err := db.Hold(ctx, layer)
		if !stale.Stored || err != nil {
			t.Fatalf("got %+v, %v, want it stored", stale, err)
		}
		outlive(db)
		claimed := claim(t, db, l)
		if len(claimed) != 3 {
			t.Fatalf("claimed %v, want layer, foreign and the manifest that was", claimed)
		}
		if _, err := db.Hold(ctx, layer); err != index.ErrClaimed {
			t.Errorf("hold: got %v, want ErrClaimed", err)
		}
		if err := db.AddSession(ctx, index.Session{ID: "s", Repo: "a", Algorithm: digest.SHA256}); err != nil {
			t.Fatal(err)
		}
		if _, err := db.SessionParts(ctx, "s", layer); err != index.ErrClaimed {
			t.Errorf("look-up of a session: got %v, want ErrClaimed", err)
		}
		for _, h := range []index.Hold{stale, {}} {
			if _, err := db.AddBlob(ctx, "a", blob("layer"), index.Session{Hold: h}); err != index.ErrStale {
				t.Errorf("push after the look %+v: got %v, want ErrStale", h, err)
			}
		}
		if _, _, err := db.MountBlob(ctx, "b", "a", layer); err != index.ErrNotFound {
			t.Errorf("mount: got %v, want ErrNotFound", err)
		}
		var missing *index.MissingError
		if _, err := db.PutManifest(ctx, "a", manifest("{}", layer)); !errors.As(err, &missing) {
			t.Errorf("push of a manifest that names it: got %v, want a MissingError", err)
		}
		if _, err := db.PutManifest(ctx, "a", was); err != index.ErrClaimed {
			t.Errorf("push of the manifest that was: got %v, want ErrClaimed", err)
		}
		elsewhere := manifest("{elsewhere}")
		elsewhere.Elsewhere = []digest.Digest{foreign}
		if _, err := db.PutManifest(ctx, "a", elsewhere, "v1"); err != nil {
			t.Errorf("push of a manifest that does not need it: got %v", err)
		}
		if err := db.Forget(ctx, l, claimed); err != nil {
			t.Fatal(err)
		}
		if _, err := db.AddBlob(ctx, "a", blob("layer"), index.Session{Hold: stale}); err != index.ErrStale {
			t.Errorf("push of bytes that were seen and are gone: got %v, want ErrStale", err)
		}
		for _, d := range []digest.Digest{layer, foreign} {
			if h, err := db.Hold(ctx, d); h.Stored || err != nil {
				t.Errorf("hold of what is gone: got %+v, %v", h, err)
			}
		}
		addBlobs(t, db, "a", "layer", "foreign")
		if _, err := db.PutManifest(ctx, "a", was); err != nil {
			t.Errorf("push of the manifest again: got %v", err)
		}
	})
}

// Whoever was told of a blob has it for a grace period, wherever the answer came from.
func TestAskedForIsKept(t *testing.T) {
	for name, ask := range map[string]func(ctx context.Context, db *index.DB, d digest.Digest) error{
		"look-up": func(ctx context.Context, db *index.DB, d digest.Digest) error {
			_, err := db.Blob(ctx, "a", d)
			return err
		},
		"hold": func(ctx context.Context, db *index.DB, d digest.Digest) error {
			_, err := db.Hold(ctx, d)
			return err
		},
		"session": func(ctx context.Context, db *index.DB, d digest.Digest) error {
			_, err := db.Session(ctx, "s", d)
			return err
		},
		"mount": func(ctx context.Context, db *index.DB, d digest.Digest) error {
			_, _, err := db.MountBlob(ctx, "b", "a", d)
			return err
		},
		"push": func(ctx context.Context, db *index.DB, d digest.Digest) error {
			_, err := db.AddBlob(ctx, "a", blob("layer"), index.Session{})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			graces(t, 24*time.Hour, func(t *testing.T, db *index.DB) {
				ctx, l := t.Context(), lease(t, db, "collect")
				d := addBlobs(t, db, "a", "layer")[0]
				if err := db.AddSession(ctx, index.Session{ID: "s", Repo: "a", Algorithm: digest.SHA256}); err != nil {
					t.Fatal(err)
				}
				for end := time.Now().Add(2 * db.Grace()); time.Now().Before(end); time.Sleep(db.Grace() / 10) {
					if err := ask(ctx, db, d); err != nil {
						t.Fatal(err)
					}
				}
				asked := time.Now()
				for ; time.Since(asked) <= db.Grace(); time.Sleep(db.Grace() / 10) {
					if err := l.Renew(ctx); err != nil {
						t.Fatal(err)
					}
					if claimed := claim(t, db, l); len(claimed) > 0 {
						t.Fatalf("claimed %v after it was asked for, in a grace period of %v", time.Since(asked), db.Grace())
					}
				}
				outlive(db)
				if err := l.Renew(ctx); err != nil {
					t.Fatal(err)
				}
				if claimed := claim(t, db, l); !slices.Equal(digests(claimed), []digest.Digest{d}) {
					t.Errorf("in the end: claimed %v", claimed)
				}
			})
		})
	}
}

// A look-up of an unreferenced blob writes once in a quarter of the grace period; of another one, never.
func TestRenewals(t *testing.T) {
	databases(t, func(t *testing.T, database string) {
		synctest.Test(t, func(t *testing.T) {
			var mu sync.Mutex
			calls := make(map[string]int)
			db := openWith(t, index.Config{Database: database, Observe: func(_ context.Context, call string) error {
				mu.Lock()
				defer mu.Unlock()
				calls[call]++
				return nil
			}})
			layers := addBlobs(t, db, "a", "layer", "alone")
			if _, err := db.PutManifest(t.Context(), "a", manifest("{}", layers[0])); err != nil {
				t.Fatal(err)
			}
			for hour := range 24 {
				for range 10 {
					for _, d := range layers {
						if _, err := db.Blob(t.Context(), "a", d); err != nil {
							t.Fatal(err)
						}
					}
				}
				if want := hour / 6; calls["renew"] != want {
					t.Fatalf("after %d hours: %d renewals, want %d", hour, calls["renew"], want)
				}
				time.Sleep(time.Hour)
			}
		})
	})
}

// A blob may become unreferenced while a look-up of it is cached: by what another repository does.
func TestCachedBlobIsKept(t *testing.T) {
	graces(t, 24*time.Hour, func(t *testing.T, db *index.DB) {
		ctx, l := t.Context(), lease(t, db, "collect")
		d := addBlobs(t, db, "a", "layer")[0]
		addBlobs(t, db, "b", "layer")
		m := manifest("{}", d)
		if _, err := db.PutManifest(ctx, "b", m); err != nil {
			t.Fatal(err)
		}
		look := func() error {
			_, err := db.Blob(ctx, "a", d)
			return err
		}
		if err := look(); err != nil {
			t.Fatal(err)
		}
		if _, err := db.RemoveManifest(ctx, "b", m.Digest); err != nil {
			t.Fatal(err)
		}
		for end := time.Now().Add(3 * db.Grace()); time.Now().Before(end); time.Sleep(time.Hour) {
			if err := look(); err != nil {
				t.Fatalf("%v before the end: %v", time.Until(end), err)
			}
			if claimed := claim(t, db, l); slices.Contains(digests(claimed), d) {
				t.Fatalf("claimed %v, of which somebody asked a moment ago", claimed)
			}
		}
	})
}

// The bytes that a push writes after its look may be deleted if it takes longer than the look is good for.
func TestHoldEnds(t *testing.T) {
	graces(t, 24*time.Hour, func(t *testing.T, db *index.DB) {
		ctx := t.Context()
		for _, wait := range []bool{false, true} {
			h, err := db.Hold(ctx, blob("layer").Digest)
			if h.Stored || err != nil {
				t.Fatal(h, err)
			}
			var want error
			if wait {
				time.Sleep(db.Grace() / 2)
				want = index.ErrStale
			}
			// Another repository each time: that the first one has it must not decide.
			if _, err := db.AddBlob(ctx, "a", blob("layer"), index.Session{Hold: h}); err != want {
				t.Errorf("a push that waits, %v: got %v, want %v", wait, err, want)
			}
			if !wait {
				if _, err := db.RemoveBlob(ctx, "a", blob("layer").Digest); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}

func TestLeases(t *testing.T) {
	graces(t, time.Hour, func(t *testing.T, db *index.DB) {
		ctx := t.Context()
		first, err := db.Lease(ctx, "work", 100*time.Millisecond)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := db.Lease(ctx, "work", time.Minute); err != index.ErrLeased {
			t.Errorf("a second holder: got %v, want ErrLeased", err)
		}
		lease(t, db, "other work")
		time.Sleep(60 * time.Millisecond)
		if err := first.Renew(ctx); err != nil {
			t.Errorf("renewal: %v", err)
		}
		time.Sleep(60 * time.Millisecond)
		if _, err := db.Lease(ctx, "work", time.Minute); err != index.ErrLeased {
			t.Errorf("a second holder after a renewal: got %v, want ErrLeased", err)
		}
		time.Sleep(60 * time.Millisecond)
		second := lease(t, db, "work")
		if err := first.Renew(ctx); err != index.ErrLeased {
			t.Errorf("renewal of what somebody else has: got %v, want ErrLeased", err)
		}
		if _, _, err := db.Claim(ctx, first, 1); err != index.ErrLeased {
			t.Errorf("claim of who has lost the lease: got %v, want ErrLeased", err)
		}
		if _, err := db.RemoveUntagged(ctx, first, index.MaybeUntagged{}); err != index.ErrLeased {
			t.Errorf("removal of who has lost the lease: got %v, want ErrLeased", err)
		}
		if err := db.Forget(ctx, first, nil); err != index.ErrLeased {
			t.Errorf("end of claims of who has lost the lease: got %v, want ErrLeased", err)
		}
		if err := errors.Join(first.End(ctx), second.Renew(ctx), second.End(ctx)); err != nil {
			t.Errorf("the end of a lost lease did something: %v", err)
		}
		lease(t, db, "work")
	})
}

// Who is killed leaves leases. On SQLite the next process knows that nobody has them.
func TestLeaseOfTheDead(t *testing.T) {
	databases(t, func(t *testing.T, database string) {
		db, err := index.Open(t.Context(), index.Config{Database: database}, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		lease(t, db, "work")
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		again := open(t, database)
		_, err = again.Lease(t.Context(), "work", time.Minute)
		if again.Exclusive() && err != nil || !again.Exclusive() && err != index.ErrLeased {
			t.Errorf("exclusive %v: got %v", again.Exclusive(), err)
		}
	})
}
