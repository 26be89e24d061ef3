package registry_test

import (
	"context"
	"strings"
	"sync"
	"testing"

	"github.com/parfait-registry/parfait/drivers"
)

// A watched driver finds that nobody writes the bytes of a blob while somebody deletes them.
type watched struct {
	drivers.Driver
	t testing.TB

	mu                sync.Mutex     // guards what follows
	deleting, writing map[string]int // how many do so, by key
}

// begin notes that somebody begins to do something with keys, which others must not be doing the opposite with.
func (w *watched) begin(do, opposite map[string]int, keys ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, key := range keys {
		if do[key]++; opposite[key] > 0 && strings.HasPrefix(key, root+"blobs/") {
			w.t.Errorf("%s is written and deleted at once", key)
		}
	}
}

func (w *watched) end(do map[string]int, keys ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, key := range keys {
		if do[key]--; do[key] == 0 {
			delete(do, key)
		}
	}
}

func (w *watched) Create(ctx context.Context, key string) (drivers.Writer, error) {
	next, err := w.Driver.Create(ctx, key)
	return &watchedWriter{next, w, key}, err
}

func (w *watched) Stage(ctx context.Context, key string) (drivers.Writer, error) {
	next, err := drivers.Stage(ctx, w.Driver, key)
	return &watchedWriter{next, w, key}, err
}

type watchedWriter struct {
	drivers.Writer
	w   *watched
	key string
}

func (w *watchedWriter) Commit() error {
	w.w.begin(w.w.writing, w.w.deleting, w.key)
	defer w.w.end(w.w.writing, w.key)
	return w.Writer.Commit()
}

func (w *watched) Compose(ctx context.Context, dst string, srcs ...string) error {
	w.begin(w.writing, w.deleting, dst)
	defer w.end(w.writing, dst)
	return drivers.Compose(ctx, w.Driver, dst, srcs...)
}

func (w *watched) DeleteAll(ctx context.Context, keys ...string) error {
	w.begin(w.deleting, w.writing, keys...)
	defer w.end(w.deleting, keys...)
	return drivers.DeleteAll(ctx, w.Driver, keys...)
}

func (w *watched) Unstage(ctx context.Context, key string) error {
	return drivers.Unstage(ctx, w.Driver, key)
}

func (w *watched) Sync(ctx context.Context) error { return drivers.Sync(ctx, w.Driver) }
