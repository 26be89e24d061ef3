package swift

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"strings"
	"syscall"

	ncw "github.com/ncw/swift/v2"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/drivers/retry"
)

// A statusError is an answer without success.
type statusError struct {
	code   int
	header http.Header
	detail string // what Swift says about it in one line, if anything
}

// newStatusError closes the body of resp.
func newStatusError(resp *http.Response) *statusError {
	e := &statusError{code: resp.StatusCode, header: resp.Header}
	if strings.HasPrefix(resp.Header.Get("Content-Type"), "text/plain") {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 300)) // as much as there is
		e.detail = strings.Join(strings.Fields(string(text)), " ")
	}
	drain(resp.Body)
	return e
}

func (e *statusError) Error() string {
	text := fmt.Sprintf("%d %s", e.code, http.StatusText(e.code))
	if e.detail != "" {
		text += ": " + e.detail
	}
	return text
}

// status returns the status of the answer that err is about, or 0.
func status(err error) int {
	if e, ok := errors.AsType[*statusError](err); ok {
		return e.code
	}
	return 0
}

// A loginError is what the identity service said instead of giving a token.
type loginError struct{ err error }

// Error tells no more than the status of an answer: what comes with it may be a page of text.
func (e *loginError) Error() string {
	if answer, ok := errors.AsType[*ncw.Error](e.err); ok && answer.StatusCode != 0 {
		return fmt.Sprintf("log in: %d %s", answer.StatusCode, http.StatusText(answer.StatusCode))
	}
	return fmt.Sprintf("log in: %v", e.err)
}

func (e *loginError) Unwrap() error { return e.err }

// rateLimited is what Swift answers instead of 429 Too Many Requests.
const rateLimited = 498

// transient reports whether the same request may succeed later. A 409 is one that another request has overtaken, or a
// large object with a segment that is out of reach.
func transient(err error) bool {
	if e, ok := errors.AsType[*statusError](err); ok {
		return retry.Status(e.code) || e.code == http.StatusConflict || e.code == rateLimited
	}
	if e, ok := errors.AsType[*ncw.Error](err); ok {
		return retry.Status(e.StatusCode)
	}
	return retry.Transient(err)
}

// failure is err as package drivers wants it.
func failure(ctx context.Context, op, key string, err error) error {
	if _, ok := errors.AsType[*drivers.Error](err); ok {
		return err
	}
	return &drivers.Error{Driver: "swift", Op: op, Key: key, Err: classify(ctx, err)}
}

func classify(ctx context.Context, err error) error {
	if ctx.Err() != nil && !errors.Is(err, ctx.Err()) {
		return fmt.Errorf("%w: %w", ctx.Err(), err)
	}
	if ctx.Err() != nil {
		return err
	}
	if transient(err) {
		return retry.Unavailable(err)
	}
	switch status(err) {
	case http.StatusNotFound:
		return fmt.Errorf("%w: %w", fs.ErrNotExist, err)
	case http.StatusUnauthorized, http.StatusForbidden:
		return fmt.Errorf("%w: %w", fs.ErrPermission, err)
	case http.StatusRequestedRangeNotSatisfiable:
		return fmt.Errorf("%w: %w", drivers.ErrRange, err)
	case http.StatusInsufficientStorage:
		return fmt.Errorf("%w: %w", syscall.ENOSPC, err)
	}
	if errors.Is(err, ncw.AuthorizationFailed) || errors.Is(err, ncw.Forbidden) {
		return fmt.Errorf("%w: %w", fs.ErrPermission, err)
	}
	return err
}
