package legacy

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/parfait-registry/parfait/registry"
)

// layer gives the repository the layer of s. It is read if no run has read it, or if the new registry has it no more.
func (x *importer) layer(ctx context.Context, s step) (layer, error) {
	id := s.image.ID
	x.mu.Lock()
	l, known := x.layers[id]
	broken := x.broken[id]
	x.mu.Unlock()
	if broken != nil {
		return layer{}, broken
	}
	if !known {
		var err error
		if l, known, err = x.recall(ctx, id, s.stored); err != nil {
			return layer{}, err
		}
	}
	if known {
		has, err := x.mount(ctx, l)
		if has {
			x.learn(id, l, nil)
		}
		if has || err != nil {
			return l, err
		}
	}
	if x.DryRun {
		x.count(s)
		x.learn(id, l, nil)
		return l, nil
	}
	l, err := x.transfer(ctx, s)
	if isProblem(err) {
		x.learn(id, layer{}, err)
	}
	if err != nil {
		return layer{}, err
	}
	x.count(s)
	x.learn(id, l, nil)
	return l, x.remember(context.WithoutCancel(ctx), id, l, s.stored) // what it took is not to be lost
}

// learn keeps in mind what has become of the layer of the image id.
func (x *importer) learn(id string, l layer, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.broken[id] = err; err == nil {
		x.layers[id], x.here[l.Digest] = l, true
	}
}

func (x *importer) count(s step) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.report.Layers++
	x.report.Bytes += s.stored
}

// mount gives the repository a layer that the registry has. It reports false if that does not have it any more.
func (x *importer) mount(ctx context.Context, l layer) (bool, error) {
	x.mu.Lock()
	here := x.here[l.Digest]
	x.mu.Unlock()
	if l.Digest == "" || here || x.DryRun {
		return true, nil
	}
	_, err := x.To.MountBlob(ctx, x.repo, l.Digest, "", nil)
	if e, ok := errors.AsType[*registry.Error](err); ok && e.Code == registry.BlobUnknown {
		return false, nil
	}
	return err == nil, err
}

// transfer reads a layer of the old store, once, and pushes what it becomes.
func (x *importer) transfer(ctx context.Context, s step) (l layer, err error) {
	stored, err := x.open(ctx, s)
	if err != nil {
		return layer{}, err
	}
	defer stored.Close()
	session, err := x.To.StartUpload(ctx, x.repo, digest.SHA256)
	if err != nil {
		return layer{}, err
	}
	defer func() {
		if err != nil || l.Digest == "" {
			err = errors.Join(err, x.cancel(ctx, session))
		}
	}()
	blob := newRecoder(stored)
	_, pushErr := x.To.WriteChunk(ctx, x.repo, session.ID, registry.Chunk{Body: blob, Length: -1})
	l, err = blob.result()
	if err == nil {
		err = stored.check()
	}
	switch {
	case pushErr != nil && (err == nil || errors.Is(err, errStopped)):
		return layer{}, pushErr
	case err != nil:
		return layer{}, sourceError(ctx, fmt.Errorf("image %s: its layer: %w", s.image.ID, err))
	case l.Digest == "":
		return l, nil
	}
	_, err = x.To.CommitUpload(ctx, x.repo, session.ID, l.Digest, registry.Chunk{})
	return l, err
}

// cancel drops an upload, even after ctx has ended. One that stays would expire.
func (x *importer) cancel(ctx context.Context, s registry.Session) error {
	ctx, done := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer done()
	return x.To.CancelUpload(ctx, s.Repo, s.ID)
}

// A storedLayer reads a layer of the old store and sums it up, as that did.
type storedLayer struct {
	io.ReadCloser
	sum    hash.Hash
	size   int64    // bytes read
	sums   []string // in hexadecimal, one of which it has to have; none if that is not known
	listed int64    // bytes that it has to have
	onRead func(n int)
}

func (x *importer) open(ctx context.Context, s step) (*storedLayer, error) {
	id := s.image.ID
	sums, err := readAll(ctx, x.From.source, imageKey(id, "_checksum"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	l := &storedLayer{sum: sha256.New(), sums: parseChecksums(sums), listed: s.stored}
	if s.stored == 0 && len(l.sums) == 0 {
		return nil, problem("image %s: its layer has no bytes, and no check sum that says so", id)
	}
	json, err := readAll(ctx, x.From.source, imageKey(id, "json"))
	if err != nil {
		return nil, err
	}
	l.sum.Write(append(json, '\n')) // the old registry meant to vouch for both
	l.onRead = func(n int) { x.progress(func(p *Progress) { p.Bytes += int64(n) }) }
	if l.ReadCloser, err = x.From.source.Open(ctx, imageKey(id, "layer"), 0, -1); err != nil {
		return nil, sourceError(ctx, fmt.Errorf("image %s: its layer: %w", id, err))
	}
	return l, nil
}

func (l *storedLayer) Read(p []byte) (int, error) {
	n, err := l.ReadCloser.Read(p)
	l.sum.Write(p[:n])
	l.size += int64(n)
	l.onRead(n)
	return n, err
}

// check says whether what was read is what the old registry got.
func (l *storedLayer) check() error {
	if l.size != l.listed {
		return fmt.Errorf("it has %d bytes, and not %d as the store lists it", l.size, l.listed)
	}
	if got := fmt.Sprintf("%x", l.sum.Sum(nil)); len(l.sums) > 0 && !slices.Contains(l.sums, got) {
		return fmt.Errorf("its check sum is %s, not %s", got, l.sums[0])
	}
	return nil
}
