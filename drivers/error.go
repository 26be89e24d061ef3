package drivers

import (
	"errors"
	"fmt"
)

// ErrRange says that an offset lies past the end of an object.
var ErrRange = errors.New("offset past the end of the object")

// ErrUnavailable says that a back end did not answer, or asked to be left alone, for as long as the driver was willing
// to try (see package retry). The same call may succeed later.
var ErrUnavailable = errors.New("the store is unavailable")

// An Error tells which driver failed at what. Match the cause with [errors.Is].
type Error struct {
	Driver string // "local", "s3", …
	Op     string // "open", "create", "write", "commit", "stat", "list", "delete", "compose", "sign", "sync"
	Key    string
	Err    error
}

func (e *Error) Error() string {
	return fmt.Sprintf("%s: %s %q: %v", e.Driver, e.Op, e.Key, e.Err)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }
