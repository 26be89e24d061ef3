package s3

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/drivers/parts"
	"github.com/parfait-registry/parfait/drivers/retry"
)

// answered is what the SDK makes of an answer with an error.
func answered(status int, code string) error {
	return &smithy.OperationError{ServiceID: "S3", OperationName: "GetObject", Err: &smithyhttp.ResponseError{
		Response: &smithyhttp.Response{Response: &http.Response{StatusCode: status, Status: http.StatusText(status)}},
		Err:      &smithy.GenericAPIError{Code: code, Message: "about " + code},
	}}
}

// timeout is what the SDK makes of a server that does not answer.
func timeout(t *testing.T) error {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client := &http.Client{Transport: &http.Transport{ResponseHeaderTimeout: 10 * time.Millisecond}}
	resp, err := client.Get("http://" + l.Addr().String())
	if err == nil {
		resp.Body.Close()
		t.Fatal("a listener that never accepts has answered")
	}
	return &smithy.OperationError{ServiceID: "S3", OperationName: "GetObject", Err: &smithyhttp.RequestSendError{Err: err}}
}

// TestRetryer checks how often what is tried.
func TestRetryer(t *testing.T) {
	for name, tt := range map[string]struct {
		err  error
		want int // tries
	}{
		"internal error":      {answered(500, "InternalError"), retry.Attempts},
		"busy":                {answered(503, "SlowDown"), retry.Attempts},
		"slow request":        {answered(400, "RequestTimeout"), retry.Attempts},
		"concurrent request":  {answered(409, "OperationAborted"), retry.Attempts},
		"refused":             {&smithy.OperationError{Err: &net.OpError{Op: "dial", Err: errors.New("refused")}}, retry.Attempts},
		"no answer":           {timeout(t), 2},
		"denied":              {answered(403, "AccessDenied"), 4},
		"wrong signature":     {answered(403, "SignatureDoesNotMatch"), 1},
		"clock":               {answered(403, "RequestTimeTooSkewed"), 1},
		"absent":              {answered(404, "NoSuchKey"), 1},
		"condition":           {answered(412, "PreconditionFailed"), 1},
		"not implemented":     {answered(501, "NotImplemented"), 1},
		"cancelled":           {&smithy.OperationError{Err: &smithy.CanceledError{Err: context.Canceled}}, 1},
		"certificate":         {&smithy.OperationError{Err: &smithyhttp.RequestSendError{Err: http.ErrSchemeMismatch}}, 1},
		"answer that is cut":  {&smithy.OperationError{Err: &smithyhttp.ResponseError{Response: &smithyhttp.Response{Response: &http.Response{StatusCode: 200}}, Err: &smithy.DeserializationError{Err: errors.New("XML")}}}, retry.Attempts},
		"bug in this program": {errors.New("no key"), 1},
	} {
		r := newRetryer()
		tries := 1
		for r.IsErrorRetryable(tt.err) && tries < r.MaxAttempts() {
			if d, err := r.RetryDelay(tries, tt.err); err != nil {
				if !errors.Is(err, tt.err) {
					t.Errorf("%s: the last error is %v", name, err)
				}
				break
			} else if d <= 0 || d > retry.MaxPause {
				t.Errorf("%s: pause of %v", name, d)
			}
			tries++
		}
		if tries != tt.want {
			t.Errorf("%s: got %d tries, want %d", name, tries, tt.want)
		}
	}
	if token, err := newRetryer().GetRetryToken(t.Context(), nil); err != nil || token == nil {
		t.Errorf("got no token: %v", err)
	}
}

// TestFailure checks what answers mean to the callers of a driver.
func TestFailure(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want error // nil for none in particular
	}{
		{answered(404, "NoSuchKey"), fs.ErrNotExist},
		{answered(404, "NotFound"), fs.ErrNotExist}, // of a HEAD
		{answered(404, "NoSuchBucket"), drivers.ErrUnavailable},
		{answered(404, "NoSuchUpload"), nil},
		{answered(403, "AccessDenied"), fs.ErrPermission},
		{answered(403, "Forbidden"), fs.ErrPermission},
		{answered(401, "Unauthorized"), fs.ErrPermission},
		{answered(400, "ExpiredToken"), fs.ErrPermission},
		{answered(416, "InvalidRange"), drivers.ErrRange},
		{answered(416, "RequestedRangeNotSatisfiable"), drivers.ErrRange},
		{answered(501, "NotImplemented"), errors.ErrUnsupported},
		{answered(507, "XMinioStorageFull"), syscall.ENOSPC},
		{answered(400, "XMinioAdminBucketQuotaExceeded"), syscall.ENOSPC},
		{answered(403, "QuotaExceeded"), syscall.ENOSPC},
		{answered(400, "InvalidArgument"), nil},
		{answered(503, "SlowDown"), drivers.ErrUnavailable},
		{fs.ErrInvalid, fs.ErrInvalid},
	} {
		err := failure(t.Context(), "open", "a/b", tt.err)
		for _, kind := range []error{fs.ErrNotExist, fs.ErrPermission, fs.ErrInvalid, drivers.ErrRange, drivers.ErrUnavailable, errors.ErrUnsupported,
			syscall.ENOSPC} {
			if got := errors.Is(err, kind); got != (kind == tt.want) {
				t.Errorf("%v: it is %q: %v", err, kind, got)
			}
		}
		if !errors.Is(err, tt.err) {
			t.Errorf("%v does not wrap what the SDK said", err)
		}
	}
	err := failure(t.Context(), "open", "a/b", answered(404, "NoSuchKey"))
	if want := `s3: open "a/b": file does not exist: NoSuchKey: about NoSuchKey`; err.Error() != want {
		t.Errorf("got %q, want %q", err, want)
	}
}

func TestIncapable(t *testing.T) {
	for code, want := range map[string]bool{"400 InvalidPart": true, "400 RequestTimeout": false, "400 ExpiredToken": false, "405 MethodNotAllowed": true,
		"411 MissingContentLength": true, "501 NotImplemented": true, "403 AccessDenied": false, "404 NoSuchKey": false, "503 SlowDown": false} {
		var status int
		var name string
		if _, err := fmt.Sscan(code, &status, &name); err != nil {
			t.Fatal(err)
		}
		if got := incapable(answered(status, name)); got != want {
			t.Errorf("%s: got %v, want %v", code, got, want)
		}
	}
}

// A server that does not answer is not a context that has ended.
func TestFailure_Timeout(t *testing.T) {
	err := failure(t.Context(), "open", "a", timeout(t))
	if !errors.Is(err, drivers.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want that the store is unavailable and nothing else", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err = failure(ctx, "open", "a", timeout(t))
	if errors.Is(err, drivers.ErrUnavailable) || !errors.Is(err, context.Canceled) {
		t.Errorf("after the end of the context: got %v, want its error", err)
	}
	if err := failure(ctx, "open", "a", answered(403, "AccessDenied")); errors.Is(err, context.Canceled) {
		t.Errorf("an answer after the end of the context: got %v, want it", err)
	}
}

// An object of too many parts is refused with the key that helps.
func TestUpload_TooManyParts(t *testing.T) {
	pool, err := parts.NewPool(parts.Config{})
	if err != nil {
		t.Fatal(err)
	}
	u := &upload{d: &Driver{pool: pool}, key: "a"}
	err = u.Part(t.Context(), parts.Part{N: 10_000})
	if e, ok := errors.AsType[*drivers.Error](err); !ok || e.Op != "write" || !strings.Contains(err.Error(), "167772160000 bytes: raise storage_part_size") {
		t.Errorf("got error %v", err)
	}
}
