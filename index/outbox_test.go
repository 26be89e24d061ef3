package index_test

import (
	"testing"
	"time"

	"github.com/parfait-registry/parfait/index"
)

func TestOutbox(t *testing.T) {
	onEach(t, func(t *testing.T, db *index.DB) {
		ctx := t.Context()
		layers := addBlobs(t, db, "a", "layer")
		m := manifest("{}", layers...)
		if _, err := db.PutManifest(ctx, "a", m, "v1"); err != nil {
			t.Fatal(err)
		}
		if _, err := db.RemoveTag(ctx, "a", "v1"); err != nil {
			t.Fatal(err)
		}
		entries, err := db.Outbox(ctx, 0, 10)
		if err != nil || len(entries) != 4 {
			t.Fatalf("got %v, %v, want layer, revision, tag, tag", entries, err)
		}
		for i, want := range []index.State{{Digest: layers[0]}, {Digest: m.Digest, Payload: m.Payload}, {}, {}} {
			got, err := db.State(ctx, entries[i])
			if err != nil || got.Digest != want.Digest || string(got.Payload) != string(want.Payload) {
				t.Errorf("state of %v: got %v, %v", entries[i], got, err)
			}
		}
		var shown []index.Change
		for _, e := range entries[:3] {
			shown = append(shown, index.Change{Entry: e})
		}
		if err := db.Settle(ctx, shown); err != nil {
			t.Fatal(err)
		}
		if left, err := db.Outbox(ctx, 0, 10); len(left) != 1 || left[0] != entries[3] || err != nil {
			t.Errorf("after settling: got %v, %v", left, err)
		}
	})
}

// The store is to be left alone where it has the bytes of a manifest for good: of a blob that was pushed, or once an
// entry was settled that said so.
func TestStored(t *testing.T) {
	onEach(t, func(t *testing.T, db *index.DB) {
		ctx := t.Context()
		revision := func(repo string, m index.Manifest) index.Change {
			t.Helper()
			changes, err := db.PutManifest(ctx, repo, m)
			if err != nil || len(changes) != 1 || changes[0].Kind != index.Revision {
				t.Fatalf("got %v, %v, want one revision", changes, err)
			}
			return changes[0]
		}
		first := revision("a", manifest("{}"))
		if again := revision("b", manifest("{}")); first.Stored || again.Stored {
			t.Error("the bytes of a manifest are stored before anybody has settled that")
		}
		gone := index.Change{Entry: first.Entry}
		if err := db.Settle(ctx, []index.Change{gone}); err != nil {
			t.Fatal(err)
		}
		if revision("c", manifest("{}")).Stored {
			t.Error("the bytes are stored though what was settled is that there are none")
		}
		if err := db.Settle(ctx, []index.Change{first}); err != nil {
			t.Fatal(err)
		}
		later := revision("d", manifest("{}"))
		if state, err := db.State(ctx, later.Entry); !later.Stored || !state.Stored || err != nil {
			t.Errorf("after settling: got %v, then %v, %v, want both stored", later.Stored, state.Stored, err)
		}
		addBlobs(t, db, "a", "[]")
		if !revision("a", manifest("[]")).Stored {
			t.Error("the bytes of a blob that was pushed are not stored")
		}
	})
}

func TestTakeOver(t *testing.T) {
	onEach(t, func(t *testing.T, db *index.DB) {
		// before takes over up to two entries that were posted or taken over before a time.
		before := func(at time.Time, want int) {
			t.Helper()
			if got, err := db.TakeOver(t.Context(), time.Since(at), 2); len(got) != want || err != nil {
				t.Errorf("got %v, %v, want %d entries", got, err, want)
			}
		}
		pause := func() time.Time {
			time.Sleep(20 * time.Millisecond) // more than the unit of the index's times
			defer time.Sleep(20 * time.Millisecond)
			return time.Now()
		}
		start := pause()
		addBlobs(t, db, "a", "x", "y", "z")
		before(start, 0)
		posted := pause()
		before(posted, 2)
		before(posted, 1)
		before(posted, 0)
		if listed, err := db.Outbox(t.Context(), 0, 10); len(listed) != 3 || err != nil {
			t.Errorf("the list: got %v, %v, want three entries", listed, err)
		}
		before(pause(), 2) // they have aged again
	})
}
