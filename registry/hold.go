package registry

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/parfait-registry/parfait/index"
)

const (
	// claimWait is how long a push waits for the bytes of its blob to be deleted, before the client is told to come back.
	claimWait = 10 * time.Second
	// claimLook is how often it looks whether they are.
	claimLook = 20 * time.Millisecond

	// staleTries bounds how often a push that takes longer than a grace period tries to end.
	staleTries = 4
)

// patiently does what concerns the blob d, and does it again while the bytes of that are being deleted.
func patiently[T any](ctx context.Context, d digest.Digest, do func() (T, error)) (T, error) {
	limit := time.Now().Add(claimWait)
	for {
		result, err := do()
		if !errors.Is(err, index.ErrClaimed) {
			return result, err
		}
		if time.Now().After(limit) {
			return result, collectedError(d, err)
		}
		if err := rest(ctx, claimLook); err != nil {
			return result, err
		}
	}
}

// hold looks at a blob that is about to be pushed.
func (r *Registry) hold(ctx context.Context, d digest.Digest) (index.Hold, error) {
	return patiently(ctx, d, func() (index.Hold, error) { return r.index.Hold(ctx, d) })
}

// addStored commits b to the index. If that took longer than the hold of s is good for, it looks again first.
func (r *Registry) addStored(ctx context.Context, repo Name, b Blob, s index.Session) ([]index.Change, error) {
	db := r.telling(Act{Action: Push, Repo: repo, Digest: b.Digest, MediaType: BlobMediaType, Size: b.Size})
	for try := 1; ; try++ {
		changes, err := db.AddBlob(ctx, string(repo), b, s)
		if !errors.Is(err, index.ErrStale) {
			return changes, err
		}
		if try == staleTries {
			return nil, collectedError(b.Digest, err)
		}
		if s.Hold, err = r.holdStored(ctx, b); err != nil {
			return nil, err
		}
	}
}

// holdStored is hold for a blob whose bytes this push has written, or seen, so long ago that they may have been deleted.
func (r *Registry) holdStored(ctx context.Context, b Blob) (index.Hold, error) {
	h, err := r.hold(ctx, b.Digest)
	if err != nil || h.Stored {
		return h, err
	}
	if _, err := r.store.Stat(ctx, blobKey(b.Digest)); err != nil {
		return h, collectedError(b.Digest, err)
	}
	return h, nil
}

// collectedError has the client push again.
func collectedError(d digest.Digest, err error) error {
	return &Error{Code: Unavailable, Detail: d, Err: err,
		Message: fmt.Sprintf("blob %s, which nothing referred to, is being deleted: push it again", d)}
}
