package registry

import (
	"errors"
	"fmt"
)

// A Code is one of the error codes of the distribution-spec (code-1 to code-14), or of those that registries have
// used beside them for ten years.
type Code string

// The codes that this package returns. Package server maps each to an HTTP status.
const (
	BlobUnknown         Code = "BLOB_UNKNOWN"
	BlobUploadInvalid   Code = "BLOB_UPLOAD_INVALID"
	BlobUploadUnknown   Code = "BLOB_UPLOAD_UNKNOWN"
	DigestInvalid       Code = "DIGEST_INVALID"
	ManifestBlobUnknown Code = "MANIFEST_BLOB_UNKNOWN"
	ManifestInvalid     Code = "MANIFEST_INVALID"
	ManifestUnknown     Code = "MANIFEST_UNKNOWN"
	NameInvalid         Code = "NAME_INVALID"
	NameUnknown         Code = "NAME_UNKNOWN"
	SizeInvalid         Code = "SIZE_INVALID"
	Unauthorized        Code = "UNAUTHORIZED"
	Denied              Code = "DENIED"
	Unsupported         Code = "UNSUPPORTED"
	TooManyRequests     Code = "TOOMANYREQUESTS"

	RangeInvalid            Code = "RANGE_INVALID"             // a chunk that does not begin where the last one ended
	PaginationNumberInvalid Code = "PAGINATION_NUMBER_INVALID" // n is not a number of results
	Unavailable             Code = "UNAVAILABLE"               // the registry drains, or its store does not answer
	StoreFull               Code = "STORE_FULL"                // no space left
	Unknown                 Code = "UNKNOWN"                   // a fault of the registry; the log has the cause
)

// ErrTooLarge is wrapped in the Error of a blob that is longer than the configuration allows, whose code is SIZE_INVALID.
var ErrTooLarge = errors.New("too large")

// An Error is what a client did wrong, or what it has to be told, in the words of the distribution-spec. Errors of
// other types are faults of the registry itself.
type Error struct {
	Code    Code
	Message string // names the thing; for the client
	Detail  any    // JSON for the client; may be nil
	Err     error  // the cause, for the log; may be nil
}

func (e *Error) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("%s: %s: %v", e.Code, e.Message, e.Err)
	}
	return fmt.Sprintf("%s: %s", e.Code, e.Message)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Errors are several things wrong with one request, such as each blob that a manifest names in vain.
type Errors []*Error

func (e Errors) Error() string {
	if len(e) == 1 {
		return e[0].Error()
	}
	return fmt.Sprintf("%v (and %d more)", e[0], len(e)-1)
}

// Unwrap returns them all.
func (e Errors) Unwrap() []error {
	all := make([]error, len(e))
	for i := range e {
		all[i] = e[i]
	}
	return all
}
