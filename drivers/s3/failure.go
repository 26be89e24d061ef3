package s3

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/drivers/retry"
)

// failure says that op on key did not work because of err, in the words of package drivers.
func failure(ctx context.Context, op, key string, err error) error {
	return &drivers.Error{Driver: "s3", Op: op, Key: key, Err: cause(ctx, err)}
}

// A fault is an error of the SDK with what it means.
type fault struct {
	kind error // of package drivers or io/fs; nil if none fits
	text string
	err  error // nil if it would be taken for what it is not
}

func (f *fault) Error() string {
	if f.kind == nil {
		return f.text
	}
	return f.kind.Error() + ": " + f.text
}

func (f *fault) Unwrap() []error {
	var errs []error
	for _, err := range []error{f.kind, f.err} {
		if err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

// cause is err in the words of package drivers, if it is of the SDK or of a connection.
func cause(ctx context.Context, err error) error {
	_, ofSDK := errors.AsType[*smithy.OperationError](err)
	switch {
	case code(err) == "" && ctx.Err() != nil:
		return ctx.Err()
	case !ofSDK && !transient(err):
		return err
	}
	f := &fault{kind: kind(err), text: oneLine(err), err: err}
	if errors.Is(err, context.DeadlineExceeded) { // a time-out of the network says that it is one, too
		f.err = nil
	}
	return f
}

// kind classifies an error of the SDK; nil if it is nobody's special concern.
func kind(err error) error {
	switch code(err) {
	case "NoSuchKey", "NotFound", "NoSuchVersion":
		return fs.ErrNotExist
	case "NoSuchBucket":
		return drivers.ErrUnavailable
	case "InvalidRange":
		return drivers.ErrRange
	case "NotImplemented":
		return errors.ErrUnsupported
	case "QuotaExceeded", "XMinioAdminBucketQuotaExceeded":
		return syscall.ENOSPC
	}
	switch {
	case status(err) == http.StatusInsufficientStorage:
		return syscall.ENOSPC
	case transient(err):
		return drivers.ErrUnavailable
	case stale(err), status(err) == http.StatusUnauthorized, status(err) == http.StatusForbidden:
		return fs.ErrPermission
	case status(err) == http.StatusRequestedRangeNotSatisfiable:
		return drivers.ErrRange
	case status(err) == http.StatusNotImplemented:
		return errors.ErrUnsupported
	}
	return nil
}

// transient reports whether the same request may succeed later.
func transient(err error) bool {
	switch code(err) {
	case "RequestTimeout", "SlowDown", "Throttling", "OperationAborted", "ConditionalRequestConflict":
		return true
	case "XAmzContentSHA256Mismatch", "BadDigest": // other bytes have arrived than were sent
		return true
	case "ExistingObjectIsDirectory": // no key is one: versitygw was removing a directory when it wanted it back
		return true
	}
	switch n := status(err); {
	case n == 0:
		return retry.Transient(err)
	case n < 300: // an answer that broke off
		_, ok := errors.AsType[*smithy.DeserializationError](err)
		return ok || retry.Transient(err)
	default:
		return retry.Status(n)
	}
}

// stale reports whether the credentials were good for some time only, and that is over.
func stale(err error) bool {
	return code(err) == "ExpiredToken" || code(err) == "InvalidToken"
}

// denied reports whether the server refuses a request for want of rights.
func denied(err error) bool { return code(err) == "AccessDenied" }

// incapable reports whether err says that the server does not do what it is asked, or not with these objects. Servers
// differ in how they say so.
func incapable(err error) bool {
	if stale(err) {
		return false
	}
	switch status(err) {
	case http.StatusBadRequest, http.StatusMethodNotAllowed, http.StatusLengthRequired, http.StatusNotImplemented:
		return !transient(err)
	}
	return errors.Is(err, errors.ErrUnsupported)
}

// conflict reports whether a condition on a request was not met.
func conflict(err error) bool {
	return status(err) == http.StatusPreconditionFailed || status(err) == http.StatusConflict
}

// timedOut reports whether err is a time-out of the network.
func timedOut(err error) bool {
	e, ok := errors.AsType[net.Error](err)
	return ok && e.Timeout()
}

// code is the server's own name for what is wrong, or "".
func code(err error) string {
	if e, ok := errors.AsType[smithy.APIError](err); ok {
		return e.ErrorCode()
	}
	return ""
}

// status is that of the server's answer, or 0 if there was none.
func status(err error) int {
	if r := response(err); r != nil {
		return r.StatusCode
	}
	return 0
}

func response(err error) *smithyhttp.Response {
	if e, ok := errors.AsType[*smithyhttp.ResponseError](err); ok && e.Response != nil && e.Response.Response != nil {
		return e.Response
	}
	return nil
}

// oneLine is what err says, without what the SDK wraps around it.
func oneLine(err error) string {
	text := err.Error()
	if e, ok := errors.AsType[smithy.APIError](err); ok {
		text = e.ErrorCode()
		if message := e.ErrorMessage(); message != "" && message != text {
			text += ": " + message
		}
	} else if e, ok := errors.AsType[*url.Error](err); ok {
		text = e.Err.Error()
	} else if r := response(err); r != nil {
		text = "the server answers " + r.Status
	}
	return strings.Join(strings.Fields(text), " ")
}
