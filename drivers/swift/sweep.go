package swift

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// sweepAtOnce is how many folders are looked at at once.
const sweepAtOnce = 16

// A tree is what a listing tells of one folder.
type tree struct {
	folder
	segments []string // names of segments and manifests
	owners   []row
	mark     *row      // nil if there is none
	newest   time.Time // of all but the mark
}

// Sweep implements [drivers.Sweeper]: it removes the segments of large objects that are no more, or never came to be, in
// the second sweep that finds them so, and what was left by an [Open] that was cut off. It asks for one object for each
// large object there is. It counts folders and objects.
func (d *Driver) Sweep(ctx context.Context, age time.Duration) (int, error) {
	n, err := d.sweepProbes(ctx, age)
	if err != nil {
		return n, failure(ctx, "sweep", probes, err)
	}
	folders, err := d.sweepFolders(ctx, age)
	if err != nil {
		err = failure(ctx, "sweep", segments, err)
	}
	return n + folders, err
}

func (d *Driver) sweepProbes(ctx context.Context, age time.Duration) (n int, err error) {
	for r, err := range d.rows(ctx, probes, "", "") {
		if err == nil && d.client.now().Sub(r.modTime()) < age {
			continue
		}
		if err == nil {
			err = d.remove(ctx, r.Name)
		}
		if err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

func (d *Driver) sweepFolders(ctx context.Context, age time.Duration) (int, error) {
	var removed atomic.Int64
	g, groupCtx := errgroup.WithContext(ctx)
	g.SetLimit(sweepAtOnce)
	for t, err := range d.trees(groupCtx) {
		if err != nil {
			g.Go(func() error { return err })
			break
		}
		g.Go(func() error {
			gone, err := d.sweepFolder(groupCtx, t, age)
			if gone {
				removed.Add(1)
			}
			return err
		})
	}
	err := g.Wait()
	return int(removed.Load()), err
}

// trees yields the folders in order.
func (d *Driver) trees(ctx context.Context) func(yield func(*tree, error) bool) {
	return func(yield func(*tree, error) bool) {
		var t *tree
		for r, err := range d.rows(ctx, segments, "", "") {
			if err != nil {
				yield(nil, err)
				return
			}
			id, name, ok := strings.Cut(strings.TrimPrefix(r.Name, d.prefix+segments), "/")
			if !ok {
				continue // not ours
			}
			if t != nil && t.id != id {
				if !yield(t, nil) {
					return
				}
				t = nil
			}
			if t == nil {
				t = &tree{folder: folder{d, id}}
			}
			t.add(name, r)
		}
		if t != nil {
			yield(t, nil)
		}
	}
}

// add adds what is called name in the folder.
func (t *tree) add(name string, r row) {
	if r.Name == t.folder.mark() {
		t.mark = &r
		return
	}
	if strings.HasPrefix(name, owners) {
		t.owners = append(t.owners, r)
	} else {
		t.segments = append(t.segments, r.Name)
	}
	if r.modTime().After(t.newest) {
		t.newest = r.modTime()
	}
}

// sweepFolder does what the package's rule says, and reports whether the folder is gone.
func (d *Driver) sweepFolder(ctx context.Context, t *tree, age time.Duration) (gone bool, err error) {
	now := d.client.now()
	if now.Sub(t.newest) < age {
		return false, nil
	}
	owned, err := d.owned(ctx, t)
	switch {
	case err != nil:
		return false, err
	case owned && t.mark != nil:
		return false, d.remove(ctx, t.mark.Name)
	case owned:
		return false, nil
	case t.mark == nil:
		_, err := d.put(ctx, t.folder.mark(), nil, nil)
		return false, err
	case now.Sub(t.mark.modTime()) < age/2:
		return false, nil
	}
	d.log.DebugContext(ctx, "segments are removed", "driver", "swift", "key", t.path(), "segments", len(t.segments))
	if err := d.removeAll(ctx, t.segments); err != nil {
		return false, err
	}
	last := []string{t.mark.Name} // what is left by a crash before here is found again
	for _, r := range t.owners {
		last = append(last, r.Name)
	}
	return true, d.removeAll(ctx, last)
}

// owned reports whether one of the owners has a manifest that names the segments. The last one that was added has. A
// manifest without an id, which somebody who set other metadata has taken from it, may well be the one.
func (d *Driver) owned(ctx context.Context, t *tree) (bool, error) {
	slices.SortFunc(t.owners, func(a, b row) int { return b.modTime().Compare(a.modTime()) })
	for _, r := range t.owners {
		id, large, err := d.identity(ctx, strings.TrimPrefix(r.Name, t.path()+owners))
		if err != nil || id == t.id || large && id == "" {
			return err == nil, err
		}
	}
	return false, nil
}
