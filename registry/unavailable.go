package registry

import (
	"errors"

	"github.com/parfait-registry/parfait/drivers"
)

// Passing reports whether err is of a store that does not answer now and may later: the client is to come back.
func Passing(err error) bool {
	return errors.Is(err, drivers.ErrUnavailable)
}
