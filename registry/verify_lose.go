package registry

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/index"
)

const (
	// loseLease is how long nobody collects after a verification has died that was about to lose a blob.
	loseLease = time.Minute
	// loseLook is how often a verification looks whether somebody still collects.
	loseLook = 100 * time.Millisecond
)

// lose takes a blob whose bytes are bad or missing from all repositories, and moves bytes that there are to the quarantine.
//
// The blob is claimed meanwhile, so that who pushes it waits. Nobody else must act on that claim, as a collector does: it
// would delete the bytes and let the push have their place, and the bytes of the push would be those that are moved. So a
// verification is a collector for that time.
func (w *verification) lose(ctx context.Context, d digest.Digest) (err error) {
	lease, err := w.beCollector(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lease.End(context.WithoutCancel(ctx))) }()
	ctx, stop := lease.Keep(ctx)
	defer stop()
	lost, err := w.Index.LoseBlob(ctx, lease, d)
	if err != nil {
		return err
	}
	if err := w.outbox.show(ctx, lost); err != nil {
		return err
	}
	// A push that began when no repository had the blob may have brought the right bytes since they were looked at.
	got, size, err := w.hash(ctx, d)
	switch {
	case err == nil && got == d:
		found, err := w.Index.FindBlob(ctx, lease, index.Blob{Digest: d, Size: size}, lost)
		if err != nil {
			return err
		}
		return w.outbox.show(ctx, found)
	case err == nil:
		err = w.quarantine(ctx, lease, d)
	case errors.Is(err, fs.ErrNotExist):
		err = nil
	}
	if err != nil {
		return err
	}
	return w.Index.BytesAreGone(ctx, lease, d)
}

// beCollector waits until nobody collects, and keeps others from it.
func (w *verification) beCollector(ctx context.Context) (*index.Lease, error) {
	for {
		lease, err := w.Index.Lease(ctx, collectLease, loseLease)
		if err != index.ErrLeased {
			return lease, err
		}
		if err := w.tick(ctx); err != nil {
			return nil, err
		}
		if err := rest(ctx, loseLook); err != nil {
			return nil, err
		}
	}
}

// quarantine moves bytes out of their place.
func (w *verification) quarantine(ctx context.Context, lease *index.Lease, d digest.Digest) error {
	if err := drivers.Compose(ctx, w.Store, quarantineKey(d), blobKey(d)); err != nil {
		return err
	}
	inTime, cancel := inTime(ctx, lease, loseLease)
	defer cancel()
	if err := w.Store.Delete(inTime, blobKey(d)); err != nil {
		return fmt.Errorf("quarantine %s: %w", d, err)
	}
	return nil
}
