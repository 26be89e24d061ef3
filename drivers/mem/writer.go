package mem

import (
	"context"
	"io/fs"

	"github.com/parfait-registry/parfait/drivers"
)

// Create implements [drivers.Driver].
func (d *Driver) Create(ctx context.Context, key string) (drivers.Writer, error) {
	return d.create(ctx, key, false)
}

// CreateNew implements [drivers.ConditionalCreator].
func (d *Driver) CreateNew(ctx context.Context, key string) (drivers.Writer, error) {
	return d.create(ctx, key, true)
}

func (d *Driver) create(ctx context.Context, key string, onlyNew bool) (drivers.Writer, error) {
	if err := check(ctx, "create", key); err != nil {
		return nil, err
	}
	return &writer{ctx: ctx, d: d, key: key, onlyNew: onlyNew}, nil
}

type writer struct {
	ctx     context.Context // of the request that the writer serves
	d       *Driver
	key     string
	onlyNew bool
	data    []byte
	closed  bool // committed or dropped
}

func (w *writer) Write(p []byte) (int, error) {
	if err := w.usable(); err != nil {
		return 0, failure("write", w.key, err)
	}
	w.data = append(w.data, p...)
	return len(p), nil
}

func (w *writer) Commit() error {
	if err := w.usable(); err != nil {
		return failure("commit", w.key, err)
	}
	w.d.mu.Lock()
	defer w.d.mu.Unlock()
	if _, ok := w.d.objects[w.key]; ok && w.onlyNew {
		return failure("commit", w.key, fs.ErrExist)
	}
	w.d.put(w.key, w.data)
	w.closed, w.data = true, nil
	return nil
}

func (w *writer) Close() error {
	w.closed, w.data = true, nil
	return nil
}

func (w *writer) usable() error {
	if w.closed {
		return fs.ErrClosed
	}
	return w.ctx.Err()
}
