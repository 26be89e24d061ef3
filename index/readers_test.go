package index_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/parfait-registry/parfait/index"
)

// TestReadersDoNotWrite has many look-ups at once while a transaction runs, when no connection is open for them yet.
func TestReadersDoNotWrite(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "index.db"))
	running, end := make(chan struct{}), make(chan struct{})
	rebuilt := make(chan error, 1)
	go func() {
		rebuilt <- db.Rebuild(t.Context(), func(*index.Builder) error {
			close(running)
			<-end
			return nil
		})
	}()
	<-running
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	var wg sync.WaitGroup
	start := time.Now()
	for i := range 32 {
		wg.Go(func() {
			if _, err := db.Manifest(ctx, "repo", fmt.Sprint(i)); !errors.Is(err, index.ErrNotFound) {
				t.Errorf("got %v, want ErrNotFound", err)
			}
		})
	}
	wg.Wait()
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("look-ups took %v while a transaction ran", took)
	}
	close(end)
	if err := <-rebuilt; err != nil {
		t.Error(err)
	}
}
