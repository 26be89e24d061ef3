package registry

import (
	"errors"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/index"
)

// Passing reports whether err is of a store or index that does not answer now and may later: the client is to come back.
func Passing(err error) bool {
	return errors.Is(err, drivers.ErrUnavailable) || errors.Is(err, index.ErrUnavailable)
}
