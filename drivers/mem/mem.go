// Package mem keeps objects in the memory of the process. It is for tests and trials (storage: mem): everything is
// gone when the process ends.
//
// A writer necessarily holds its object, and up to as much again while the buffer grows. Open readers share the bytes
// of the object and keep an old one alive when it is replaced.
package mem

import (
	"bytes"
	"context"
	"io"
	"io/fs"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/parfait-registry/parfait/drivers"
)

// pageSize is how many objects List collects under one lock.
const pageSize = 1000

// A Driver is an empty store at first. Make one with [New].
type Driver struct {
	mu      sync.RWMutex
	objects map[string]object // mu guards objects
	keys    []string          // mu guards keys: those of objects, sorted
}

type object struct {
	data    []byte // never changed
	modTime time.Time
}

var (
	_ drivers.Driver             = (*Driver)(nil)
	_ drivers.Composer           = (*Driver)(nil)
	_ drivers.BatchDeleter       = (*Driver)(nil)
	_ drivers.ConditionalCreator = (*Driver)(nil)
)

// New returns a driver with no objects.
func New() *Driver {
	return &Driver{objects: make(map[string]object)}
}

// Open implements [drivers.Driver].
func (d *Driver) Open(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	o, err := d.object(ctx, "open", key)
	if err != nil {
		return nil, err
	}
	size := int64(len(o.data))
	switch {
	case off < 0:
		return nil, failure("open", key, fs.ErrInvalid)
	case off > size:
		return nil, failure("open", key, drivers.ErrRange)
	case n < 0 || n > size-off:
		n = size - off
	}
	return io.NopCloser(bytes.NewReader(o.data[off : off+n])), nil
}

// Stat implements [drivers.Driver].
func (d *Driver) Stat(ctx context.Context, key string) (drivers.Object, error) {
	o, err := d.object(ctx, "stat", key)
	if err != nil {
		return drivers.Object{}, err
	}
	return o.describe(key), nil
}

// object returns what is at key, or the error of operation op.
func (d *Driver) object(ctx context.Context, op, key string) (object, error) {
	if err := check(ctx, op, key); err != nil {
		return object{}, err
	}
	d.mu.RLock()
	defer d.mu.RUnlock()
	o, ok := d.objects[key]
	if !ok {
		return object{}, failure(op, key, fs.ErrNotExist)
	}
	return o, nil
}

func (o object) describe(key string) drivers.Object {
	return drivers.Object{Key: key, Size: int64(len(o.data)), ModTime: o.modTime}
}

// List implements [drivers.Driver]. Objects that come and go meanwhile may or may not be among those it yields.
func (d *Driver) List(ctx context.Context, prefix, after string) iter.Seq2[drivers.Object, error] {
	return func(yield func(drivers.Object, error) bool) {
		for {
			if err := ctx.Err(); err != nil {
				yield(drivers.Object{}, failure("list", prefix, err))
				return
			}
			page := d.page(prefix, after)
			for _, o := range page {
				if !yield(o, nil) {
					return
				}
			}
			if len(page) < pageSize {
				return
			}
			after = page[len(page)-1].Key
		}
	}
}

// page returns the first objects under prefix whose keys sort after after.
func (d *Driver) page(prefix, after string) []drivers.Object {
	d.mu.RLock()
	defer d.mu.RUnlock()
	i, found := slices.BinarySearch(d.keys, max(prefix, after))
	if found && d.keys[i] == after {
		i++
	}
	var page []drivers.Object
	for _, key := range d.keys[i:] {
		if len(page) == pageSize || !strings.HasPrefix(key, prefix) {
			break
		}
		page = append(page, d.objects[key].describe(key))
	}
	return page
}

// Delete implements [drivers.Driver].
func (d *Driver) Delete(ctx context.Context, key string) error {
	if err := check(ctx, "delete", key); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.remove(key)
	return nil
}

// DeleteAll implements [drivers.BatchDeleter]. It deletes all or, after an error, none.
func (d *Driver) DeleteAll(ctx context.Context, keys ...string) error {
	for _, key := range keys {
		if err := check(ctx, "delete", key); err != nil {
			return err
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, key := range keys {
		d.remove(key)
	}
	return nil
}

// Compose implements [drivers.Composer]. It leaves the sources where they are.
func (d *Driver) Compose(ctx context.Context, dst string, srcs ...string) error {
	if err := check(ctx, "compose", dst); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	var parts [][]byte
	for _, src := range srcs {
		o, ok := d.objects[src]
		if !ok {
			return failure("compose", src, fs.ErrNotExist)
		}
		parts = append(parts, o.data)
	}
	if len(parts) == 1 {
		d.put(dst, parts[0])
	} else {
		d.put(dst, bytes.Join(parts, nil))
	}
	return nil
}

// put stores data at key. The caller holds mu.
func (d *Driver) put(key string, data []byte) {
	if i, found := slices.BinarySearch(d.keys, key); !found {
		d.keys = slices.Insert(d.keys, i, key)
	}
	d.objects[key] = object{data: data, modTime: time.Now()}
}

// remove forgets key. The caller holds mu.
func (d *Driver) remove(key string) {
	if i, found := slices.BinarySearch(d.keys, key); found {
		d.keys = slices.Delete(d.keys, i, i+1)
	}
	delete(d.objects, key)
}

// check says what stands against operation op on key before it begins.
func check(ctx context.Context, op, key string) error {
	err := ctx.Err()
	if err == nil {
		err = drivers.ValidKey(key)
	}
	if err != nil {
		return failure(op, key, err)
	}
	return nil
}

func failure(op, key string, err error) error {
	return &drivers.Error{Driver: "mem", Op: op, Key: key, Err: err}
}
