package gocloud

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/bloberror"
	"gocloud.dev/gcerrors"
	"google.golang.org/api/googleapi"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/drivers/retry"
)

// failure makes err the error of operation op on key, in words of package drivers. ctx is the operation's.
func (d *Driver) failure(ctx context.Context, op, key string, err error) error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*drivers.Error](err); ok {
		return e
	}
	return &drivers.Error{Driver: d.name, Op: op, Key: key, Err: cause(ctx, err)}
}

func cause(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, drivers.ErrRange), errors.Is(err, drivers.ErrUnavailable), errors.Is(err, errors.ErrUnsupported),
		errors.Is(err, fs.ErrInvalid), errors.Is(err, fs.ErrClosed):
		return err
	case forbidden(err): // before the codes: gocloud takes Google's refusals for absent objects
		return fmt.Errorf("%w: %w", fs.ErrPermission, brief(err))
	case bucketMissing(err), transient(err): // it was there when the driver was opened
		return retry.Unavailable(brief(err))
	}
	switch gcerrors.Code(err) {
	case gcerrors.NotFound:
		return fmt.Errorf("%w: %w", fs.ErrNotExist, brief(err))
	case gcerrors.FailedPrecondition, gcerrors.AlreadyExists:
		return fmt.Errorf("%w: %w", fs.ErrExist, brief(err))
	}
	switch status(err) { // of what did not come through gocloud
	case http.StatusNotFound:
		return fmt.Errorf("%w: %w", fs.ErrNotExist, brief(err))
	case http.StatusPreconditionFailed:
		return fmt.Errorf("%w: %w", fs.ErrExist, brief(err))
	}
	if bloberror.HasCode(err, bloberror.BlobAlreadyExists) {
		return fmt.Errorf("%w: %w", fs.ErrExist, brief(err))
	}
	return brief(err)
}

// forbidden reports whether err says that somebody may not do something.
func forbidden(err error) bool {
	code := status(err)
	return code == http.StatusUnauthorized || code == http.StatusForbidden
}

// bucketMissing reports whether err says that the bucket itself is not there.
func bucketMissing(err error) bool {
	if e, ok := errors.AsType[aws](err); ok && e.ErrorCode() == "NoSuchBucket" {
		return true
	}
	return bloberror.HasCode(err, bloberror.ContainerNotFound, bloberror.ContainerBeingDeleted, bloberror.ContainerDisabled)
}

// transient reports whether err may pass. The context is for the caller to ask.
func transient(err error) bool {
	if err == nil {
		return false
	}
	if code := status(err); code != 0 {
		return retry.Status(code)
	}
	return retry.Transient(err)
}

// deniedForNow reports whether S3 denies a request, which MinIO does for a moment while a directory that it is to write
// to is being removed. What else may pass, the libraries repeat.
func deniedForNow(err error) bool {
	e, ok := errors.AsType[aws](err)
	return ok && e.ErrorCode() == "AccessDenied"
}

// aws is what errors of S3 answer to.
type aws interface {
	error
	ErrorCode() string
	ErrorMessage() string
}

// status is that of the answer that err is about; 0 if there was none.
func status(err error) int {
	if e, ok := errors.AsType[*azcore.ResponseError](err); ok {
		return e.StatusCode
	}
	if e, ok := errors.AsType[*googleapi.Error](err); ok {
		return e.Code
	}
	type response interface {
		error
		HTTPStatusCode() int
	}
	if e, ok := errors.AsType[response](err); ok {
		return e.HTTPStatusCode()
	}
	return 0
}

// queries are those of URLs, which may hold credentials.
var queries = regexp.MustCompile(`\?[^\s":]+`)

// brief is err in one line, without what the libraries put around it.
func brief(err error) error {
	text := err.Error()
	if e, ok := errors.AsType[*url.Error](err); ok {
		text = e.Err.Error() // the URL may have a signature in it
	} else if e, ok := errors.AsType[*azcore.ResponseError](err); ok {
		text = fmt.Sprintf("status %d %s", e.StatusCode, e.ErrorCode)
	} else if e, ok := errors.AsType[*googleapi.Error](err); ok {
		text = fmt.Sprintf("status %d %s", e.Code, e.Message)
	} else if e, ok := errors.AsType[aws](err); ok {
		text = e.ErrorCode() + " " + e.ErrorMessage()
	}
	if _, cause, ok := strings.Cut(text, "): "); ok && strings.HasPrefix(text, "blob (") { // gocloud's own words
		text = cause
	}
	const longest = 300
	text = queries.ReplaceAllString(strings.Join(strings.Fields(text), " "), "?…")
	if len(text) > longest {
		text = strings.ToValidUTF8(text[:longest], "") + "…"
	}
	return &abridged{text, err}
}

// An abridged error is another one that says less.
type abridged struct {
	text string
	err  error
}

func (e *abridged) Error() string { return e.text }

func (e *abridged) Unwrap() error { return e.err }
