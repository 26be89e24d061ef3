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
		ctx := t.Context()
		addBlobs(t, db, "a", "x", "y", "z")
		if early, err := db.TakeOver(ctx, time.Hour, 10); len(early) != 0 || err != nil {
			t.Errorf("within the hour: got %v, %v", early, err)
		}
		time.Sleep(100 * time.Millisecond)
		const age = 50 * time.Millisecond
		some, err := db.TakeOver(ctx, age, 2)
		rest, errRest := db.TakeOver(ctx, age, 2)
		if len(some) != 2 || len(rest) != 1 || err != nil || errRest != nil {
			t.Fatalf("got %v, %v and %v, %v, want two entries and one", some, err, rest, errRest)
		}
		if listed, err := db.Outbox(ctx, 0, 10); len(listed) != 3 || err != nil {
			t.Errorf("the list: got %v, %v, want three entries", listed, err)
		}
		time.Sleep(2 * age)
		if again, err := db.TakeOver(ctx, age, 10); len(again) != 3 || err != nil {
			t.Errorf("when they have aged again: got %v, %v, want three entries", again, err)
		}
	})
}
