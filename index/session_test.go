package index_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/parfait-registry/parfait/index"
)

func TestSessions(t *testing.T) {
	onEach(t, func(t *testing.T, db *index.DB) {
		ctx := t.Context()
		s := index.Session{ID: "s1", Repo: "a", Algorithm: digest.SHA256, Started: time.Now()}
		if err := db.AddSession(ctx, s); err != nil {
			t.Fatal(err)
		}
		if err := db.GrowSession(ctx, s, "p0", 5, []byte("state")); err != nil {
			t.Fatal(err)
		}
		if err := db.GrowSession(ctx, s, "p0x", 7, nil); err != index.ErrConflict {
			t.Errorf("two chunks at one place: got %v, want ErrConflict", err)
		}
		s.Size = 5
		if err := db.GrowSession(ctx, s, "p5", 9, []byte("more")); err != nil {
			t.Fatal(err)
		}
		addBlobs(t, db, "b", "hello")
		got, err := db.SessionParts(ctx, "s1", blob("hello").Digest)
		if err != nil || got.Size != 9 || !slices.Equal(got.Parts, []string{"p0", "p5"}) || string(got.HashState) != "more" || !got.Hold.Stored {
			t.Errorf("got %+v, %v", got, err)
		}
		if _, err := db.AddBlob(ctx, "a", blob("x"), s); err != index.ErrConflict {
			t.Errorf("commit of an old state: got %v, want ErrConflict", err)
		}
		if _, err := db.Blob(ctx, "a", blob("x").Digest); err != index.ErrNotFound {
			t.Errorf("the refused commit left its blob: %v", err)
		}
		if old, err := db.ExpiredSessions(ctx, time.Now().Add(time.Hour), 10); len(old) != 1 || err != nil {
			t.Errorf("expired: got %v, %v", old, err)
		}
		if _, err := db.AddBlob(ctx, "a", blob("hello"), got); err != nil {
			t.Fatal(err)
		}
		if _, err := db.Session(ctx, "s1", ""); err != index.ErrNotFound {
			t.Errorf("the session outlived its commit: %v", err)
		}
	})
}

// TestHeldBytes has sessions whose bytes the index holds, in memory or in the database, which ends sessions in memory for
// want of room.
func TestHeldBytes(t *testing.T) {
	onEach(t, func(t *testing.T, db *index.DB) {
		ctx, data := t.Context(), bytes.Repeat([]byte("x"), 90<<10)
		const sessions = 250 // 22 MiB
		for i := range sessions {
			s := index.Session{ID: fmt.Sprint("s", i), Repo: "a", Algorithm: digest.SHA256, Started: time.Now()}
			if err := db.AddSession(ctx, s); err != nil {
				t.Fatal(err)
			}
			if err := db.HoldBytes(ctx, s, data); err != nil {
				t.Fatal(err)
			}
			if err := db.HoldBytes(ctx, s, data); err != index.ErrConflict {
				t.Fatalf("session %d, bytes at one place: got %v, want ErrConflict", i, err)
			}
		}
		check := func(id string, size int) index.Session {
			t.Helper()
			got, err := db.SessionParts(ctx, id, "")
			if err != nil || got.Size != int64(size) || len(got.Data) != size || got.Parts != nil || got.HashState != nil || got.Hold.Stored {
				t.Fatalf("%s: got %d bytes, of which %d are held, parts %v, %v", id, got.Size, len(got.Data), got.Parts, err)
			}
			return got
		}
		for i := range sessions {
			s := check(fmt.Sprint("s", i), len(data))
			if err := db.HoldBytes(ctx, s, append(data, 'y')); err != nil {
				t.Fatal(err)
			}
		}
		if err := db.SaveSessions(ctx); err != nil {
			t.Fatal(err)
		}
		grown := check("s0", len(data)+1)
		if err := db.GrowSession(ctx, grown, "p0", 100<<10, []byte("state")); err != nil {
			t.Fatal(err)
		}
		got, err := db.SessionParts(ctx, "s0", "")
		if err != nil || got.Size != 100<<10 || got.Data != nil || !slices.Equal(got.Parts, []string{"p0"}) || string(got.HashState) != "state" {
			t.Errorf("grown: got %d bytes, of which %d are held, parts %v, %v", got.Size, len(got.Data), got.Parts, err)
		}
		if _, err := db.AddBlob(ctx, "a", blob("x"), check("s1", len(data)+1)); err != nil {
			t.Fatal(err)
		}
		if err := db.RemoveSession(ctx, check("s2", len(data)+1)); err != nil {
			t.Fatal(err)
		}
		old, err := db.ExpiredSessions(ctx, time.Now().Add(time.Hour), 2*sessions)
		if err != nil || len(old) != sessions-2 {
			t.Errorf("got %d sessions, %v, want %d", len(old), err, sessions-2)
		}
	})
}

// A session that is young is gone once its blob is there, and is there if that fails.
func TestYoungSession(t *testing.T) {
	onEach(t, func(t *testing.T, db *index.DB) {
		ctx := t.Context()
		s := index.Session{ID: "s", Repo: "a", Algorithm: digest.SHA256, Started: time.Now()}
		if err := db.AddSession(ctx, s); err != nil {
			t.Fatal(err)
		}
		stale := s
		stale.Size = 3
		for name, err := range map[string]error{
			"hold": db.HoldBytes(ctx, stale, []byte("hello")), "grow": db.GrowSession(ctx, stale, "p", 5, nil), "remove": db.RemoveSession(ctx, stale),
		} {
			if err != index.ErrConflict {
				t.Errorf("%s in another state: got %v, want ErrConflict", name, err)
			}
		}
		ended, cancel := context.WithCancel(ctx)
		cancel()
		if _, err := db.AddBlob(ended, "a", blob("x"), s); !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled: got %v", err)
		}
		if _, err := db.Session(ctx, "s", ""); err != nil {
			t.Errorf("after a blob that failed: %v", err)
		}
		if old, err := db.ExpiredSessions(ctx, time.Now().Add(-time.Hour), 9); len(old) != 0 || err != nil {
			t.Errorf("not expired: got %v, %v", old, err)
		}
		if old, err := db.ExpiredSessions(ctx, time.Now().Add(time.Hour), 9); len(old) != 1 || err != nil {
			t.Errorf("expired: got %v, %v", old, err)
		}
		if _, err := db.AddBlob(ctx, "a", blob("x"), s); err != nil {
			t.Fatal(err)
		}
		if got, err := db.Session(ctx, "s", blob("x").Digest); err != index.ErrNotFound {
			t.Errorf("the session outlived its commit: %v, %v", got, err)
		}
	})
}
