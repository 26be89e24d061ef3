package registry

import (
	"context"

	"github.com/parfait-registry/parfait/drivers"
)

// Holder says which process took the store last and has not said since that it is done with it; "" is none. It may have
// been killed. any reports whether others with the same index may have the store as well. Nothing is changed.
func Holder(ctx context.Context, store drivers.Driver) (who string, any bool, err error) {
	h, err := newest(ctx, store)
	if err != nil || h.number == 0 || h.Over {
		return "", false, err
	}
	return h.record.String(), h.Shared, nil
}
