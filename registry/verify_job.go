package registry

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/parfait-registry/parfait/index"
)

// Verify runs v in a process of its own. First it takes the store, which no other index may have then; the error wraps
// [ErrRefused] if one has, or if the index is not of this store.
func Verify(ctx context.Context, v Verifier, log *slog.Logger) (Verified, error) {
	lease, _, err := takeLease(ctx, v.Store, v.Index, leaseLife, false, log)
	if err != nil {
		return Verified{}, err
	}
	defer lease.release(context.WithoutCancel(ctx))
	return v.Run(ctx)
}

// A Verification says how far this process is in verifying the store, or how it was in the end.
type Verification struct {
	Verified
	UnderWay bool
	Finished time.Time // when the last one was done that this process has done; zero if there was none
}

// verifiedSoFar is a Verification that is looked at while it goes on.
type verifiedSoFar struct {
	mu sync.Mutex // guards v
	v  Verification
}

func (s *verifiedSoFar) set(v Verification) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.v = v
}

// Verification says how far the verification in the background is.
func (r *Registry) Verification() Verification {
	r.verified.mu.Lock()
	defer r.verified.mu.Unlock()
	return r.verified.v
}

// verify verifies the store if it is time to, unless another process does.
func (r *Registry) verify(ctx context.Context) error {
	last, err := r.index.Walk(ctx, index.Verification)
	if err != nil || !last.UnderWay && time.Since(last.Finished) < r.cfg().VerifyInterval {
		return err
	}
	r.log.Info("verifying the store", "bytes_per_second", r.cfg().VerifyRate)
	v, err := Verifier{
		Store: r.store, Index: r.index, Rate: r.cfg().VerifyRate,
		Found: func(f Finding) {
			r.log.Error("the store is not as it should be", "defect", string(f.Defect), "key", f.Key, "detail", f.Detail)
		},
		Progress: func(v Verified) { r.verified.set(Verification{Verified: v, UnderWay: true}) },
	}.Run(ctx)
	if errors.Is(err, ErrVerifying) || errors.Is(err, ErrAdopting) {
		return nil // it is tried again
	}
	if err != nil {
		r.verified.set(Verification{Verified: v})
		return err
	}
	r.verified.set(Verification{Verified: v, Finished: time.Now()})
	r.log.Info("store verified", "blobs", v.Blobs, "bytes", v.Bytes, "links", v.Links, "findings", v.Findings)
	return nil
}
