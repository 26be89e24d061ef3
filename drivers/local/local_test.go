package local

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/drivers/drivertest"
	"github.com/parfait-registry/parfait/drivers/metered"
)

func TestDriver(t *testing.T) {
	drivertest.Run(t, func(t *testing.T) drivers.Driver { return openAt(t, t.TempDir()) })
}

func TestDriver_Metered(t *testing.T) {
	drivertest.Run(t, func(t *testing.T) drivers.Driver { return metered.New(openAt(t, t.TempDir())) })
}

func BenchmarkDriver(b *testing.B) {
	drivertest.Bench(b, func(b *testing.B) drivers.Driver { return openAt(b, b.TempDir()) })
}

func openAt(t testing.TB, folder string) *Driver {
	t.Helper()
	d, err := Open(Config{Path: folder})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func put(t *testing.T, d *Driver, key string) {
	t.Helper()
	if err := drivers.Put(t.Context(), d, key, []byte(key)); err != nil {
		t.Fatal(err)
	}
}

func stage(t *testing.T, d *Driver, key string) {
	t.Helper()
	if err := drivers.StagePut(t.Context(), d, key, []byte(key)); err != nil {
		t.Fatal(err)
	}
}

// wantObject checks that what put stored under stored is at key.
func wantObject(t *testing.T, d *Driver, key, stored string) {
	t.Helper()
	if got, err := drivers.ReadAll(t.Context(), d, key, 1000); string(got) != stored || err != nil {
		t.Errorf("object %q: got %q, %v, want %q", key, got, err, stored)
	}
}

// files returns what is in folder, directories included.
func files(t *testing.T, folder string) []string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(folder, func(name string, _ fs.DirEntry, err error) error {
		if name != folder && !isJournal(filepath.Base(name)) {
			names = append(names, strings.TrimPrefix(name, folder+"/"))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func keys(t *testing.T, d *Driver) []string {
	t.Helper()
	var keys []string
	for o, err := range d.List(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, o.Key)
	}
	return keys
}

func TestOpen_MakesFolder(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "a/b/c")
	put(t, openAt(t, folder), "x/y")
	if got, want := files(t, folder), []string{"x", "x/y"}; !slices.Equal(got, want) {
		t.Errorf("got files %q, want %q", got, want)
	}
}

func TestOpen_Errors(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, path string }{
		{"empty", ""},
		{"a file", file},
		{"below a file", file + "/store"},
		{"where nothing can be written", "/proc/self"},
		{"where nothing can be made", "/proc/self/store"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Open(Config{Path: tt.path})
			if err == nil || !strings.Contains(err.Error(), "storage_path") || !strings.Contains(err.Error(), tt.path) {
				t.Errorf("got error %v, want one that names storage_path and %q", err, tt.path)
			}
		})
	}
}

func TestDriver_RootRemoved(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "store")
	d := openAt(t, folder)
	if err := os.Remove(folder); err != nil {
		t.Fatal(err)
	}
	if err := drivers.Put(t.Context(), d, "a/b", nil); err == nil {
		t.Error("put: got no error")
	}
	if err := drivers.Put(t.Context(), d, "a", nil); err == nil {
		t.Error("put at the root: got no error")
	}
}

func TestDriver_OpenIsFile(t *testing.T) {
	d := openAt(t, t.TempDir())
	put(t, d, "a/b")
	for _, n := range []int64{-1, 3, 100} {
		r, err := metered.New(d).Open(t.Context(), "a/b", 0, n)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		if _, ok := r.(*os.File); !ok {
			t.Errorf("open for %d bytes: got a %T, want a *os.File", n, r)
		}
	}
}

func TestDriver_Modes(t *testing.T) {
	folder := t.TempDir()
	if err := os.Mkdir(filepath.Join(folder, "dir"), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "file"), nil, 0o666); err != nil {
		t.Fatal(err)
	}
	put(t, openAt(t, folder), "a/b")
	for got, want := range map[string]string{"a": "dir", "a/b": "file"} {
		g, err := os.Stat(filepath.Join(folder, got))
		if err != nil {
			t.Fatal(err)
		}
		w, err := os.Stat(filepath.Join(folder, want))
		if err != nil {
			t.Fatal(err)
		}
		if g.Mode() != w.Mode() {
			t.Errorf("%s: got mode %v, want %v", got, g.Mode(), w.Mode())
		}
	}
}

// TestDriver_Leftovers has what crashed writers leave, of this driver and of registry:2, and what else may lie about.
func TestDriver_Leftovers(t *testing.T) {
	folder := t.TempDir()
	d := openAt(t, folder)
	for range 2 {
		w, err := d.Create(t.Context(), "a/b/data")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, "half an obj"); err != nil {
			t.Fatal(err)
		}
	}
	put(t, d, "a/b/data")
	for _, name := range []string{"lost+found/x", "a/b/data.0123.tmp", "a/ä", "a/empty/dir/x.tmp"} {
		name := filepath.Join(folder, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, nil, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := keys(t, d), []string{"a/b/data"}; !slices.Equal(got, want) {
		t.Errorf("list: got %q, want %q", got, want)
	}
	if _, err := d.Stat(t.Context(), "a/b/data.0123.tmp"); err == nil {
		t.Error("stat of a temporary file: got no error")
	}
	if n, err := d.Sweep(t.Context(), time.Hour); n != 0 || err != nil {
		t.Errorf("sweep of what is an hour old: got %d, %v, want none", n, err)
	}
	if n, err := d.Sweep(t.Context(), 0); n != 4 || err != nil {
		t.Errorf("sweep: got %d, %v, want 4", n, err)
	}
	want := []string{"a", "a/b", "a/b/data", "a/ä", "lost+found", "lost+found/x"}
	if got := files(t, folder); !slices.Equal(got, want) {
		t.Errorf("after the sweep: got files %q, want %q", got, want)
	}
}

func TestDriver_SweptWriter(t *testing.T) {
	d := openAt(t, t.TempDir())
	w, err := d.Create(t.Context(), "a/b")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Sweep(t.Context(), -time.Hour); err != nil {
		t.Fatal(err)
	}
	if err := w.Commit(); err == nil {
		t.Error("commit of a writer whose file was swept: got no error")
	}
	if got := keys(t, d); len(got) != 0 {
		t.Errorf("list: got %q, want nothing", got)
	}
}

func TestDriver_PrunesDirectories(t *testing.T) {
	ctx := t.Context()
	for _, tt := range []struct {
		name string
		do   func(d *Driver) error
	}{
		{"delete", func(d *Driver) error { return d.Delete(ctx, "a/b/c") }},
		{"unstage", func(d *Driver) error { return d.Unstage(ctx, "a/b/c") }},
		{"delete all", func(d *Driver) error { return d.DeleteAll(ctx, "a/b/c", "a/x/y") }},
		{"delete of what another process unlinked", func(d *Driver) error {
			if err := d.root.Unlink("a/b/c"); err != nil {
				return err
			}
			return d.Delete(ctx, "a/b/c")
		}},
		{"dropped writer", func(d *Driver) error {
			w, err := d.Create(ctx, "a/b/d/e")
			if err != nil {
				return err
			}
			if err := d.Delete(ctx, "a/b/c"); err != nil {
				return err
			}
			return w.Close()
		}},
		{"cancelled writer", func(d *Driver) error {
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			w, err := d.Create(ctx, "a/b/d/e")
			if err != nil {
				return err
			}
			cancel()
			if err := w.Commit(); err == nil {
				return fmt.Errorf("commit: no error")
			}
			return d.Delete(t.Context(), "a/b/c")
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			folder := t.TempDir()
			d := openAt(t, folder)
			put(t, d, "a/b/c")
			if err := tt.do(d); err != nil {
				t.Fatal(err)
			}
			if got := files(t, folder); len(got) != 0 {
				t.Errorf("got files %q, want none", got)
			}
		})
	}
}

// TestDriver_ListWhileDeleted lists what comes and goes. What stays must be there each time, and no list may fail.
func TestDriver_ListWhileDeleted(t *testing.T) {
	d := openAt(t, t.TempDir())
	put(t, d, "a/0/stays")
	put(t, d, "a/9/stays")
	ctx, cancel := context.WithCancel(t.Context())
	g, ctx := errgroup.WithContext(ctx)
	for side := range 2 {
		g.Go(func() error {
			for i := 0; ctx.Err() == nil; i++ {
				key := fmt.Sprintf("a/%d/%d/%d", i%9, i%5, side)
				if err := drivers.StagePut(t.Context(), d, key, nil); err != nil {
					return err
				}
				if err := d.Unstage(t.Context(), key); err != nil {
					return err
				}
			}
			return nil
		})
	}
	for range 300 {
		if got := keys(t, d); !slices.Contains(got, "a/0/stays") || !slices.Contains(got, "a/9/stays") {
			t.Errorf("list: got %q, want a/0/stays and a/9/stays", got)
		}
	}
	cancel()
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
}

func TestDriver_Symlinks(t *testing.T) {
	folder := t.TempDir()
	d := openAt(t, folder)
	put(t, d, "a/b/c")
	for name, target := range map[string]string{"dir": "a/b", "file": "a/b/c", "dangling": "nowhere"} {
		if err := os.Symlink(target, filepath.Join(folder, name)); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := keys(t, d), []string{"a/b/c", "dir/c", "file"}; !slices.Equal(got, want) {
		t.Errorf("list: got %q, want %q", got, want)
	}
	wantObject(t, d, "dir/c", "a/b/c")
}
