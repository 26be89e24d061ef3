package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// A rootfs is an archive of all the files of an image, which belong to root. It is always the same for the same files:
// docker builds anew what has changed.
type rootfs struct {
	w    *tar.Writer
	seen map[string]bool // paths in the image
	err  error           // the first one, after which nothing is done
}

// write makes an archive, whole or not at all.
func write(path string, fill func(r *rootfs) error) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "rootfs-*.tmp")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	w := tar.NewWriter(f)
	err = fill(&rootfs{w: w, seen: make(map[string]bool)})
	if err := errors.Join(err, w.Close(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// add writes one entry, unless there is one of that path.
func (r *rootfs) add(h tar.Header, content io.Reader) {
	if r.err != nil || r.seen[h.Name] {
		return
	}
	r.seen[h.Name] = true
	h.Name = strings.TrimPrefix(h.Name, "/")
	h.ModTime = time.Unix(0, 0)
	h.Format = tar.FormatPAX
	if r.err = r.w.WriteHeader(&h); r.err == nil && content != nil {
		_, r.err = io.Copy(r.w, content)
	}
}

// folder adds an empty folder.
func (r *rootfs) folder(name string, owner int, mode int64) {
	r.add(tar.Header{Name: name, Typeflag: tar.TypeDir, Mode: mode, Uid: owner, Gid: owner}, nil)
}

// text adds a file that says text.
func (r *rootfs) text(name string, mode int64, text []byte) {
	r.add(tar.Header{Name: name, Mode: mode, Size: int64(len(text))}, bytes.NewReader(text))
}

// link adds a symbolic link.
func (r *rootfs) link(name, target string) {
	r.add(tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: target, Mode: 0o777}, nil)
}

// file adds a file of this machine, which everybody may read, and execute if anybody may.
func (r *rootfs) file(path, name string) {
	if r.err != nil {
		return
	}
	f, err := os.Open(path)
	if err != nil {
		r.err = err
		return
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		r.err = err
		return
	}
	mode := int64(0o644)
	if info.Mode()&0o111 != 0 {
		mode = 0o755
	}
	r.add(tar.Header{Name: name, Mode: mode, Size: info.Size()}, f)
}

// tree adds the files and links below a folder of this machine, under their own paths.
func (r *rootfs) tree(dir string) {
	if r.err != nil {
		return
	}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.Type().IsRegular():
			r.file(path, path)
		case entry.Type() == fs.ModeSymlink:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			r.link(path, target)
		}
		return r.err
	})
	r.err = errors.Join(r.err, err)
}

// program adds a program or a library of this machine, under its own path, and the libraries that it needs.
func (r *rootfs) program(path string) {
	r.file(path, path)
	if r.err != nil {
		return
	}
	out, err := exec.Command("ldd", path).Output()
	if err != nil {
		r.err = fmt.Errorf("ldd %s: %w", path, err)
		return
	}
	// Of lines such as `libz.so.1 => /lib/x86_64-linux-gnu/libz.so.1 (0x00007f…)`.
	for word := range strings.FieldsSeq(string(out)) {
		if strings.HasPrefix(word, "/") {
			r.file(word, word)
		}
	}
}
