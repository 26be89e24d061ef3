package drivers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"golang.org/x/sync/errgroup"
)

// deletesAtOnce bounds how many Deletes [DeleteAll] has under way where a back end cannot delete in batches.
const deletesAtOnce = 16

// Compose makes dst the concatenation of srcs, durably: on the side of the back end if it is a [Composer] that
// supports these sources, else by streaming them through this process. No sources make an empty object. Sources may
// be gone afterwards, and the caller deletes them in any case. A source that is not there is [io/fs.ErrNotExist].
// After an error dst is what it was, or complete; sources are only ever gone once dst is complete.
func Compose(ctx context.Context, d Driver, dst string, srcs ...string) error {
	if c, ok := As[Composer](d); ok && len(srcs) > 0 {
		err := c.Compose(ctx, dst, srcs...)
		if !errors.Is(err, errors.ErrUnsupported) {
			return err
		}
	}
	w, err := d.Create(ctx, dst)
	if err != nil {
		return err
	}
	defer w.Close()
	for _, src := range srcs {
		if err := appendObject(ctx, d, w, src); err != nil {
			return err
		}
	}
	return w.Commit()
}

func appendObject(ctx context.Context, d Driver, w io.Writer, src string) error {
	r, err := d.Open(ctx, src, 0, -1)
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = io.Copy(w, r)
	return err
}

// DeleteAll removes the objects at keys, durably: in batches where the back end is a [BatchDeleter], else one by one
// with several under way at once. Absent keys are no error. After an error some may be gone; calling it again with
// the same keys is right.
func DeleteAll(ctx context.Context, d Driver, keys ...string) error {
	if b, ok := As[BatchDeleter](d); ok {
		err := b.DeleteAll(ctx, keys...)
		if !errors.Is(err, errors.ErrUnsupported) {
			return err
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(deletesAtOnce)
	for _, key := range keys {
		g.Go(func() error { return d.Delete(ctx, key) })
	}
	return g.Wait()
}

// Stage starts an object whose loss in a power cut does no harm (see [Stager]); it is a Create where the back end
// has nothing cheaper.
func Stage(ctx context.Context, d Driver, key string) (Writer, error) {
	if s, ok := As[Stager](d); ok {
		return s.Stage(ctx, key)
	}
	return d.Create(ctx, key)
}

// Unstage removes an object that may come back after a power cut without harm (see [Stager]); it is a Delete where
// the back end has nothing cheaper.
func Unstage(ctx context.Context, d Driver, key string) error {
	if s, ok := As[Stager](d); ok {
		return s.Unstage(ctx, key)
	}
	return d.Delete(ctx, key)
}

// Sync makes durable all that [Stage] and [Unstage] did before. It does nothing where the back end is no [Stager],
// since all was durable at once there.
func Sync(ctx context.Context, d Driver) error {
	if s, ok := As[Stager](d); ok {
		return s.Sync(ctx)
	}
	return nil
}

// ReadAll returns the whole object at key, which the caller knows to be a small one: more than limit bytes are an
// error.
func ReadAll(ctx context.Context, d Driver, key string, limit int64) ([]byte, error) {
	r, err := d.Open(ctx, key, 0, limit+1)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("object %q has more than %d bytes", key, limit)
	}
	return data, nil
}

// Put stores data at key. The object is durable when Put returns nil.
func Put(ctx context.Context, d Driver, key string, data []byte) error {
	w, err := d.Create(ctx, key)
	return put(w, err, data)
}

// settleNew is how long [PutNew] waits for others to write what they were about to write when it looked.
const settleNew = 2 * time.Second

// PutNew stores data, which has to be unlike anybody else's, at key if there is no object; else the error is
// [io/fs.ErrExist]. It is durable when PutNew returns nil.
//
// Where the back end is no [ConditionalCreator], PutNew looks whether there is an object, writes its own, waits for two
// seconds, and looks again: of several that come at the same time the last one to write has made the object. Who is held
// up for longer than that between the look and the write replaces it, which its maker finds when it reads it again.
func PutNew(ctx context.Context, d Driver, key string, data []byte) error {
	if c, ok := As[ConditionalCreator](d); ok {
		w, err := c.CreateNew(ctx, key)
		if err = put(w, err, data); !errors.Is(err, errors.ErrUnsupported) {
			return err
		}
	}
	exists := fmt.Errorf("create %q: %w", key, fs.ErrExist)
	if _, err := d.Stat(ctx, key); err == nil {
		return exists
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := Put(ctx, d, key, data); err != nil {
		return err
	}
	select {
	case <-time.After(settleNew):
	case <-ctx.Done():
		return ctx.Err()
	}
	got, err := ReadAll(ctx, d, key, int64(len(data)))
	if err != nil || !bytes.Equal(got, data) {
		return errors.Join(exists, err)
	}
	return nil
}

// StagePut stores data at key as [Stage] does: visible to everyone when it returns nil, durable after the next
// [Sync].
func StagePut(ctx context.Context, d Driver, key string, data []byte) error {
	w, err := Stage(ctx, d, key)
	return put(w, err, data)
}

func put(w Writer, err error, data []byte) error {
	if err != nil {
		return err
	}
	defer w.Close()
	if _, err := w.Write(data); err != nil {
		return err
	}
	return w.Commit()
}
