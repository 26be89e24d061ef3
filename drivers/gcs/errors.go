package gcs

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"strings"

	"cloud.google.com/go/auth"
	"google.golang.org/api/googleapi"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/drivers/retry"
)

// failure makes err the error of operation op on key, in words of package drivers. ctx is the operation's.
func failure(ctx context.Context, op, key string, err error) error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*drivers.Error](err); ok {
		return e
	}
	return &drivers.Error{Driver: "gcs", Op: op, Key: key, Err: cause(ctx, op, err)}
}

func cause(ctx context.Context, op string, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	switch status(err) {
	case http.StatusNotFound:
		if op == "list" || op == "write" || op == "commit" || bucketMissing(err) {
			return retry.Unavailable(brief(err)) // the bucket was there when the driver was opened
		}
		return fmt.Errorf("%w: %w", fs.ErrNotExist, brief(err))
	case http.StatusUnauthorized, http.StatusForbidden:
		return fmt.Errorf("%w: %w", fs.ErrPermission, brief(err))
	case http.StatusPreconditionFailed:
		return fmt.Errorf("%w: %w", fs.ErrExist, brief(err))
	case http.StatusRequestedRangeNotSatisfiable:
		return drivers.ErrRange
	}
	if transient(err) {
		return retry.Unavailable(brief(err))
	}
	if _, ok := errors.AsType[*auth.Error](err); ok {
		return fmt.Errorf("%w: %w", fs.ErrPermission, brief(err))
	}
	return brief(err)
}

// transient reports whether err may pass. The context is for the caller to ask.
func transient(err error) bool {
	if err == nil {
		return false
	}
	if code := status(err); code != 0 {
		return retry.Status(code)
	}
	if e, ok := errors.AsType[*auth.Error](err); ok { // who hands out tokens has an answer of its own
		return e.Response != nil && retry.Status(e.Response.StatusCode)
	}
	return retry.Transient(err)
}

// status is that of the answer that err is about; 0 if there was none.
func status(err error) int {
	if e, ok := errors.AsType[*googleapi.Error](err); ok {
		return e.Code
	}
	return 0
}

// bucketMissing tells a 404 for want of the bucket from one for want of an object. The text is all that differs; where
// it is another one, a missing bucket looks like a missing object.
func bucketMissing(err error) bool {
	e, ok := errors.AsType[*googleapi.Error](err)
	if !ok || e.Code != http.StatusNotFound {
		return false
	}
	text := e.Message + e.Body
	return strings.Contains(text, "bucket does not exist") || strings.Contains(text, "NoSuchBucket")
}

// A briefError is err in words of its own.
type briefError struct {
	text string
	err  error
}

func (e *briefError) Error() string { return e.text }
func (e *briefError) Unwrap() error { return e.err }

// brief is err in one line, without what the library puts around it.
func brief(err error) error {
	text := err.Error()
	if e, ok := errors.AsType[*googleapi.Error](err); ok {
		text = fmt.Sprintf("status %d, %s", e.Code, cmp.Or(e.Message, http.StatusText(e.Code)))
	} else if e, ok := errors.AsType[*auth.Error](err); ok && e.Response != nil {
		text = refusal(e)
	} else if e, ok := errors.AsType[*url.Error](err); ok {
		text = e.Err.Error() // the URL is long, and says nothing that the key does not
	}
	text = strings.Join(strings.Fields(text), " ")
	const longest = 300
	if len(text) > longest {
		text = strings.ToValidUTF8(text[:longest], "") + "…"
	}
	return &briefError{text, err}
}

// refusal is what the server of tokens had to say.
func refusal(e *auth.Error) string {
	var answer struct {
		Code string `json:"error"`
		Text string `json:"error_description"`
	}
	_ = json.Unmarshal(e.Body, &answer) // whoever answers something else has said nothing
	return fmt.Sprintf("status %d, %s %s", e.Response.StatusCode, answer.Code, answer.Text)
}
