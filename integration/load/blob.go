package main

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"sync/atomic"
)

const (
	blockSize = 64 << 10
	stampSize = 16
)

// A forge makes content that no server has seen: one block of random bytes over and over, each time with another stamp
// in front. It is made as it is read, at the speed of a memory copy, so that making and comparing it takes little of
// the CPU that the server under test shares.
type forge struct {
	block []byte
	nonce uint64 // of this run
	count atomic.Uint64
}

func newForge() *forge {
	f := &forge{block: make([]byte, blockSize)}
	rand.Read(f.block)
	f.nonce = binary.LittleEndian.Uint64(f.block)
	return f
}

// A blob is content and its digest. It has either data or a forge that makes it.
type blob struct {
	size   int64
	digest string
	data   []byte
	forge  *forge
	id     uint64
}

func (f *forge) blob(size int64) *blob {
	b := &blob{size: size, forge: f, id: f.nonce + f.count.Add(1)<<32}
	h := sha256.New()
	buf := make([]byte, blockSize)
	for off := int64(0); off < size; off += blockSize {
		part := buf[:min(blockSize, size-off)]
		b.fill(part, off)
		h.Write(part)
	}
	b.digest = "sha256:" + hex.EncodeToString(h.Sum(nil))
	return b
}

func dataBlob(data []byte) *blob {
	return &blob{size: int64(len(data)), digest: digestOf(data), data: data}
}

func digestOf(p []byte) string {
	sum := sha256.Sum256(p)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// Fill writes the blob's bytes from off on to p.
func (b *blob) fill(p []byte, off int64) {
	if b.forge == nil {
		copy(p, b.data[off:])
		return
	}
	var stamp [stampSize]byte
	for len(p) > 0 {
		in := off % blockSize
		n := copy(p, b.forge.block[in:])
		if in < stampSize {
			binary.LittleEndian.PutUint64(stamp[:], b.id)
			binary.LittleEndian.PutUint64(stamp[8:], uint64(off/blockSize))
			copy(p, stamp[in:])
		}
		p, off = p[n:], off+int64(n)
	}
}

func (b *blob) reader() io.Reader { return &blobReader{blob: b} }

type blobReader struct {
	blob *blob
	off  int64
}

func (r *blobReader) Read(p []byte) (int, error) {
	if r.off == r.blob.size {
		return 0, io.EOF
	}
	p = p[:min(int64(len(p)), r.blob.size-r.off)]
	r.blob.fill(p, r.off)
	r.off += int64(len(p))
	return len(p), nil
}

// Compare reads r to its end and says where it differs from the n bytes of the blob from off on.
func (b *blob) compare(r io.Reader, off, n int64) error {
	buf := min(n+1, 4*blockSize) // a byte more than there is to be, to see what is too much
	got, want := make([]byte, buf), make([]byte, buf)
	for end := off + n; ; {
		n, err := r.Read(got)
		if off+int64(n) > end {
			return fmt.Errorf("more than %d bytes came back", end)
		}
		b.fill(want[:n], off)
		if !bytes.Equal(got[:n], want[:n]) {
			return fmt.Errorf("wrong bytes came back between %d and %d", off, off+int64(n))
		}
		off += int64(n)
		if err == io.EOF && off == end {
			return nil
		}
		if err != nil {
			return fmt.Errorf("after %d of %d bytes: %w", off, end, err)
		}
	}
}

const manifestType = "application/vnd.oci.image.manifest.v1+json"

type descriptor struct {
	MediaType string `json:"mediaType"`
	Digest    string `json:"digest"`
	Size      int64  `json:"size"`
}

// An image is layers, a config and the manifest that names them.
type image struct {
	blobs    []*blob // the layers, then the config
	manifest *blob
}

// SmallImage is three layers of 64 KiB.
func (f *forge) smallImage() *image { return f.image(3, 64<<10) }

// LayeredImage is sixty layers of 16 KiB.
func (f *forge) layeredImage() *image { return f.image(60, 16<<10) }

func (f *forge) image(count int, size int64) *image {
	img := &image{}
	var layers []descriptor
	var diffs []string
	for range count {
		layer := f.blob(size)
		img.blobs = append(img.blobs, layer)
		layers = append(layers, descriptor{"application/vnd.oci.image.layer.v1.tar", layer.digest, layer.size})
		diffs = append(diffs, layer.digest)
	}
	config := dataBlob(mustMarshal(map[string]any{
		"architecture": "amd64",
		"os":           "linux",
		"rootfs":       map[string]any{"type": "layers", "diff_ids": diffs},
	}))
	img.blobs = append(img.blobs, config)
	img.manifest = dataBlob(mustMarshal(map[string]any{
		"schemaVersion": 2,
		"mediaType":     manifestType,
		"config":        descriptor{"application/vnd.oci.image.config.v1+json", config.digest, config.size},
		"layers":        layers,
	}))
	return img
}

func mustMarshal(v any) []byte {
	p, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return p
}
