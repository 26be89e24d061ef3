package registry

import "context"

// Flush brings the store up to date, as the background work does from time to time.
func (r *Registry) Flush(ctx context.Context) error { return r.outbox.flush(ctx) }
