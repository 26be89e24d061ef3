package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"syscall"

	"github.com/parfait-registry/parfait/registry"
)

// statuses has the status of each code. Where the distribution-spec leaves it open, it is the one that registries
// have used for ten years.
var statuses = map[registry.Code]int{
	registry.BlobUnknown:             http.StatusNotFound,
	registry.BlobUploadInvalid:       http.StatusBadRequest,
	registry.BlobUploadUnknown:       http.StatusNotFound,
	registry.DigestInvalid:           http.StatusBadRequest,
	registry.ManifestBlobUnknown:     http.StatusBadRequest,
	registry.ManifestInvalid:         http.StatusBadRequest,
	registry.ManifestUnknown:         http.StatusNotFound,
	registry.NameInvalid:             http.StatusBadRequest,
	registry.NameUnknown:             http.StatusNotFound,
	registry.SizeInvalid:             http.StatusBadRequest,
	registry.Unauthorized:            http.StatusUnauthorized,
	registry.Denied:                  http.StatusForbidden,
	registry.Unsupported:             http.StatusMethodNotAllowed,
	registry.TooManyRequests:         http.StatusTooManyRequests,
	registry.RangeInvalid:            http.StatusRequestedRangeNotSatisfiable,
	registry.PaginationNumberInvalid: http.StatusBadRequest,
	registry.Unavailable:             http.StatusServiceUnavailable,
	registry.StoreFull:               http.StatusInsufficientStorage,
	registry.Unknown:                 http.StatusInternalServerError,
}

// statusClientGone is in the log in the place of the status that nobody received.
const statusClientGone = 499

// retryAfter is what is proposed, in seconds, where nothing better is known.
const retryAfter = "5"

// errDraining is the answer to new work while the server drains.
var errDraining = &registry.Error{Code: registry.Unavailable, Message: "the registry is about to stop: ask again"}

// A statusError answers with a status that its code alone does not say.
type statusError struct {
	status int
	err    *registry.Error
}

func (e *statusError) Error() string { return e.err.Error() }
func (e *statusError) Unwrap() error { return e.err }

// A readError is a body that could not be read to its end.
type readError struct{ err error }

func (e *readError) Error() string { return fmt.Sprintf("read the body of the request: %v", e.err) }
func (e *readError) Unwrap() error { return e.err }

// A sendError is an answer that could not be written to its end.
type sendError struct{ err error }

func (e *sendError) Error() string { return fmt.Sprintf("write the answer: %v", e.err) }
func (e *sendError) Unwrap() error { return e.err }

// A bodyReader marks errors of a request's body, to tell them from those of the store that it is copied to.
type bodyReader struct{ io.Reader }

func (b bodyReader) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if err != nil && err != io.EOF {
		err = &readError{err}
	}
	return n, err
}

// writeError answers a request that failed with err. Faults of the registry itself are logged here, and nowhere
// else, and not told to the client. It does not return if there is nobody to tell, or if the answer has begun.
func (s *Server) writeError(w *response, r *http.Request, err error) {
	if gone(r, err) {
		w.err, w.gone = err, true
		panic(http.ErrAbortHandler) // writes nothing: a plain return would send an empty 200
	}
	status, errs := describe(err)
	if (status >= http.StatusInternalServerError || w.status != 0) && err != error(errDraining) {
		s.log.LogAttrs(r.Context(), slog.LevelError, "request failed",
			slog.String("method", r.Method), slog.String("path", clip(r.URL.Path)), slog.Any("err", err))
	} else {
		w.err = err // for the access log
	}
	if w.status != 0 {
		w.cut = true
		panic(http.ErrAbortHandler) // cuts the connection, so that the client does not take a part for the whole
	}
	h := w.Header()
	if status == http.StatusServiceUnavailable {
		h.Set("Retry-After", retryAfter)
	}
	h["Content-Type"] = []string{"application/json"}
	if r.Method == http.MethodHead {
		w.WriteHeader(status)
		return
	}
	body := encodeErrors(errs, strings.HasPrefix(r.URL.Path, "/v1/"))
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	w.WriteHeader(status)
	w.Write(body) // a failure is the client's loss alone, and in the access log
}

// gone reports whether err means that the client left.
func gone(r *http.Request, err error) bool {
	if errors.Is(err, errSlow) {
		return false // it was sent away
	}
	if _, ok := errors.AsType[*sendError](err); ok {
		return true
	}
	if e, ok := errors.AsType[*readError](err); ok {
		// What is left is a body that HTTP/1 cannot parse. HTTP/2 resets the stream for that.
		return r.ProtoMajor > 1 || cut(e.err) || errors.Is(e.err, io.ErrUnexpectedEOF)
	}
	return errors.Is(err, context.Canceled) && r.Context().Err() != nil
}

// cut reports whether err is one of a connection that broke.
func cut(err error) bool {
	for _, e := range []error{syscall.ECONNRESET, syscall.EPIPE, syscall.ETIMEDOUT, net.ErrClosed, os.ErrDeadlineExceeded} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// describe returns what to answer for err, the status being that of the first error.
func describe(err error) (int, registry.Errors) {
	if e, ok := errors.AsType[*statusError](err); ok {
		return e.status, registry.Errors{e.err}
	}
	if e, ok := errors.AsType[*registry.Error](err); ok {
		switch {
		case errors.Is(err, errSlow):
			return http.StatusRequestTimeout, registry.Errors{e}
		case errors.Is(err, registry.ErrTooLarge):
			return http.StatusRequestEntityTooLarge, registry.Errors{e}
		}
	}
	if e, ok := errors.AsType[*readError](err); ok {
		return http.StatusBadRequest, registry.Errors{{Code: registry.SizeInvalid, Message: e.Error()}}
	}
	if errs, ok := errors.AsType[registry.Errors](err); ok && len(errs) > 0 {
		return statusOf(errs[0].Code), errs
	}
	if e, ok := errors.AsType[*registry.Error](err); ok {
		return statusOf(e.Code), registry.Errors{e}
	}
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return statuses[registry.StoreFull], registry.Errors{
			{Code: registry.StoreFull, Message: "the store of the registry is full"}}
	}
	if registry.Passing(err) {
		return statuses[registry.Unavailable], registry.Errors{
			{Code: registry.Unavailable, Message: "what the registry keeps its data in does not answer: try again"}}
	}
	return http.StatusInternalServerError, registry.Errors{
		{Code: registry.Unknown, Message: "the registry failed; its log says why"}}
}

func statusOf(c registry.Code) int {
	if status, ok := statuses[c]; ok {
		return status
	}
	return http.StatusInternalServerError
}

type errorItem struct {
	Code    registry.Code `json:"code"`
	Message string        `json:"message"`
	Detail  any           `json:"detail,omitempty"`
}

// encodeErrors makes the body that the distribution-spec asks for, or the one of the API before it.
func encodeErrors(errs registry.Errors, v1 bool) []byte {
	if v1 {
		body, _ := json.Marshal(map[string]string{"error": errs[0].Message}) // strings always encode
		return append(body, '\n')
	}
	items := make([]errorItem, len(errs))
	for i, e := range errs {
		items[i] = errorItem{e.Code, e.Message, e.Detail}
	}
	body, err := json.Marshal(map[string][]errorItem{"errors": items})
	if err != nil { // a detail that is no JSON
		for i := range items {
			items[i].Detail = nil
		}
		body, _ = json.Marshal(map[string][]errorItem{"errors": items})
	}
	return append(body, '\n')
}
