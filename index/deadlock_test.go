package index

import (
	"log/slog"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/parfait-registry/parfait/integration/harness"
)

// TestDeadlock has two transactions wait for each other. The one that PostgreSQL ends is run again.
func TestDeadlock(t *testing.T) {
	p := harness.PostgreSQL(t, "fsync=off", "deadlock_timeout=100ms")
	db, err := Open(t.Context(), Config{Database: p.URL}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	digests := []digest.Digest{digest.FromString("0"), digest.FromString("1")}
	for _, d := range digests {
		if _, err := db.AddBlob(t.Context(), "a", Blob{Digest: d}, Session{}); err != nil {
			t.Fatal(err)
		}
	}
	var both, wg sync.WaitGroup
	both.Add(2)
	var runs [2]int
	for i := range runs {
		wg.Go(func() {
			err := db.note(t.Context(), "cross", func(tx *tx) error {
				if _, err := tx.exec("see-blob", pack(digests[i]), now()); err != nil {
					return err
				}
				if runs[i]++; runs[i] == 1 {
					both.Done()
					both.Wait()
				}
				tx.do("see-blob", pack(digests[1-i]), now())
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := runs[0] + runs[1]; n != 3 {
		t.Errorf("the transactions ran %d times in all, want one of them twice", n)
	}
}
