package registry

import "context"

// Flush brings the store up to date, as the background work does from time to time.
func (r *Registry) Flush(ctx context.Context) error { return r.outbox.flush(ctx) }

// Collect takes away what nothing refers to, as the background work does from time to time.
func (r *Registry) Collect(ctx context.Context) (Collected, error) { return r.collect(ctx, nil) }

// Sweep compares store and index, as the background work does from time to time.
func (r *Registry) Sweep(ctx context.Context) (Swept, error) { return r.sweep(ctx, sweepOptions{}) }
