package legacy

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"

	"github.com/parfait-registry/parfait/drivers"
)

// A Folder is the store of a registry that kept its files in one. Package local has its files likewise, but tries to
// write first, and has no keys with a '%'. Symbolic links are followed.
type Folder string

// OpenFolder returns the folder at path, which has to be there.
func OpenFolder(path string) (Folder, error) {
	info, err := os.Stat(path)
	if err == nil && !info.IsDir() {
		err = &fs.PathError{Op: "open", Path: path, Err: errors.New("not a folder")}
	}
	return Folder(path), err
}

// Open implements [Source].
func (f Folder) Open(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if !filepath.IsLocal(key) {
		return nil, &fs.PathError{Op: "open", Path: key, Err: fs.ErrInvalid}
	}
	file, err := os.Open(filepath.Join(string(f), key))
	if err != nil {
		return nil, err
	}
	if _, err := file.Seek(off, io.SeekStart); err != nil {
		file.Close()
		return nil, err
	}
	if n < 0 {
		return file, nil
	}
	return struct {
		io.Reader
		io.Closer
	}{io.LimitReader(file, n), file}, nil
}

// List implements [Source]. The prefix has to be empty or to end in a slash. Keys come in the order of a file system,
// folder by folder.
func (f Folder) List(ctx context.Context, prefix, after string) iter.Seq2[drivers.Object, error] {
	return func(yield func(drivers.Object, error) bool) {
		f.walk(ctx, prefix, func(o drivers.Object, err error) bool { return err == nil && o.Key <= after || yield(o, err) })
	}
}

// walk yields the files below dir, which is empty or ends in a slash. It reports whether to go on.
func (f Folder) walk(ctx context.Context, dir string, yield func(drivers.Object, error) bool) bool {
	entries, err := os.ReadDir(filepath.Join(string(f), dir))
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			yield(drivers.Object{}, err)
			return false
		}
		return true
	}
	for _, e := range entries {
		key := dir + e.Name()
		info, err := os.Stat(filepath.Join(string(f), key))
		more := true
		switch {
		case errors.Is(err, fs.ErrNotExist): // it went, or is a link to nowhere
		case err != nil:
			yield(drivers.Object{}, err)
			return false
		case info.IsDir():
			more = f.walk(ctx, key+"/", yield)
		case info.Mode().IsRegular():
			more = yield(drivers.Object{Key: key, Size: info.Size(), ModTime: info.ModTime()}, nil)
		}
		if !more {
			return false
		}
	}
	return true
}
