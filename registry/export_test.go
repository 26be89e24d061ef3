package registry

import "context"

// Flush brings the store up to date, as the background work does from time to time.
func (r *Registry) Flush(ctx context.Context) error { return r.outbox.flush(ctx) }

// Abandon ends the background work, and what ends with a process, without anything else.
func (r *Registry) Abandon() {
	r.stop()
	r.work.Wait()
	r.lease.stop()
	r.lease.work.Wait()
	if r.lease.lock != nil {
		r.lease.lock.Close()
	}
}

// Collect takes away what nothing refers to, as the background work does from time to time.
func (r *Registry) Collect(ctx context.Context) (Collected, error) { return r.collect(ctx, nil) }

// Sweep compares store and index, as the background work does from time to time.
func (r *Registry) Sweep(ctx context.Context) (Swept, error) { return r.sweep(ctx, sweepOptions{}) }
