package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/index"
)

// verificationPage is how many facts are read in one go.
const verificationPage = 500

// blobs compares the blobs of store and index, of which both have the same order.
func (w *verification) blobs(ctx context.Context) error {
	after, _ := parseBlobKey(w.walked.Reached)
	facts, stop := iter.Pull2(w.blobFacts(ctx, after))
	defer stop()
	fact, err, more := facts()
	for o, listed := range w.Store.List(ctx, root+"blobs/", w.walked.Reached) {
		if listed != nil {
			return listed
		}
		d, ok := parseBlobKey(o.Key)
		if !ok {
			continue
		}
		for ; more && err == nil && fact.Digest < d; fact, err, more = facts() {
			if err := w.checkMissing(ctx, fact.Digest); err != nil {
				return err
			}
		}
		if err != nil {
			return err
		}
		if more && fact.Digest == d {
			fact, err, more = facts()
		}
		if err := w.checkBlob(ctx, d, o); err != nil {
			return err
		}
		if err := w.reach(ctx, o.Key); err != nil {
			return err
		}
	}
	for ; more && err == nil; fact, err, more = facts() {
		if err := w.checkMissing(ctx, fact.Digest); err != nil {
			return err
		}
	}
	if err != nil {
		return err
	}
	return w.reach(ctx, root+"repositories/")
}

// blobFacts yields what the index knows of blobs.
func (w *verification) blobFacts(ctx context.Context, after digest.Digest) iter.Seq2[index.BlobFact, error] {
	return func(yield func(index.BlobFact, error) bool) {
		for {
			page, err := w.Index.BlobFacts(ctx, after, verificationPage)
			if err != nil {
				yield(index.BlobFact{}, err)
				return
			}
			for _, f := range page {
				if !yield(f, nil) {
					return
				}
			}
			if len(page) < verificationPage {
				return
			}
			after = page[len(page)-1].Digest
		}
	}
}

// checkMissing looks again at a blob that a list of the store did not have.
func (w *verification) checkMissing(ctx context.Context, d digest.Digest) error {
	fact, err := w.Index.BlobFact(ctx, d)
	if errors.Is(err, index.ErrNotFound) || err == nil && !fact.Stored && !fact.Linked {
		return nil // it went meanwhile, or need not be here
	}
	if err != nil {
		return err
	}
	_, err = w.Store.Stat(ctx, blobKey(d))
	if errors.Is(err, fs.ErrNotExist) {
		return w.found(Finding{Defect: MissingBlob, Key: blobKey(d)}, func() error { return w.heal(ctx, fact) })
	}
	return err // or it came meanwhile
}

// checkBlob hashes a blob.
func (w *verification) checkBlob(ctx context.Context, d digest.Digest, o drivers.Object) error {
	got, size, err := w.hash(ctx, d)
	if errors.Is(err, fs.ErrNotExist) {
		return w.checkMissing(ctx, d)
	}
	if unreadable, ok := errors.AsType[*unreadableError](err); ok {
		return w.found(Finding{Defect: UnreadableBlob, Key: o.Key, Detail: unreadable.Error()}, nil)
	}
	if err != nil {
		return err
	}
	w.verified.Blobs++
	fact, err := w.Index.BlobFact(ctx, d) // after the bytes were there
	known := err == nil
	if err != nil && !errors.Is(err, index.ErrNotFound) {
		return err
	}
	switch counts := known && (fact.Stored || fact.Linked); {
	case !known && !w.Alone && time.Since(o.ModTime) < uploadAge: // it may be on its way
	case !known:
		return w.found(Finding{Defect: ExtraBlob, Key: o.Key}, nil)
	case counts && got != d:
		detail := fmt.Sprintf("it has %d bytes with the digest %s", size, got)
		return w.found(Finding{Defect: CorruptBlob, Key: o.Key, Detail: detail}, func() error { return w.heal(ctx, fact) })
	case counts && fact.Size != size:
		detail := fmt.Sprintf("it has %d bytes, the index says %d", size, fact.Size)
		return w.found(Finding{Defect: WrongSize, Key: o.Key, Detail: detail}, func() error {
			return w.Index.Resize(ctx, index.Blob{Digest: d, Size: size})
		})
	}
	return nil
}

// hash reads a blob, no faster than it may.
func (w *verification) hash(ctx context.Context, d digest.Digest) (got digest.Digest, size int64, err error) {
	body, err := w.Store.Open(ctx, blobKey(d), 0, -1)
	if err != nil {
		return "", 0, unreadable(ctx, err)
	}
	defer body.Close()
	h := d.Algorithm().Hash()
	buf := buffers.Get().(*[bufferSize]byte)
	defer buffers.Put(buf)
	for {
		n, err := body.Read(buf[:])
		h.Write(buf[:n])
		size += int64(n)
		w.verified.Bytes += int64(n)
		if err == io.EOF {
			return digest.NewDigest(d.Algorithm(), h), size, nil
		}
		if err != nil {
			return "", 0, unreadable(ctx, err)
		}
		err = w.pace.wait(ctx, n)
		if err == nil {
			err = w.tick(ctx)
		}
		if err != nil {
			return "", 0, err
		}
	}
}

// An unreadableError is one of an object that is there, and of a store that answers otherwise.
type unreadableError struct{ error }

// unreadable makes err one, if it is.
func unreadable(ctx context.Context, err error) error {
	if ctx.Err() != nil || Passing(err) || errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return &unreadableError{err}
}

// heal gives a manifest the bytes that the index has, and takes another blob out of all repositories.
func (w *verification) heal(ctx context.Context, fact index.BlobFact) error {
	d := fact.Digest
	payload, err := w.Index.Payload(ctx, d)
	if err == nil && d.Algorithm().FromBytes(payload) == d {
		if err := drivers.Put(ctx, w.Store, blobKey(d), payload); err != nil {
			return err
		}
		return w.Index.Shown(ctx, []index.Blob{{Digest: d, Size: int64(len(payload))}})
	}
	if err != nil && !errors.Is(err, index.ErrNotFound) {
		return err
	}
	if !fact.Linked { // a push writes the bytes in any case, and may be about to
		return w.Index.Distrust(ctx, d)
	}
	return w.lose(ctx, d)
}
