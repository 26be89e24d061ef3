// Package retry is the one policy for back ends that fail for a moment. Drivers hand its numbers to the library of
// their back end where that can repeat a request by itself, and use [Do] and [Reader] where it cannot:
//
//   - up to [Attempts] tries, with pauses that double from [FirstPause] up to [MaxPause], each cut at random so that
//     many clients do not come back at once;
//   - for connections that fail or end early, for 408, 429 and the 5xx that promise to pass, and for nothing else;
//   - after that the error wraps [drivers.ErrUnavailable], and the client of the registry is told to come back.
package retry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"syscall"
	"time"

	"github.com/parfait-registry/parfait/drivers"
)

// The policy. All pauses together are at most some three seconds.
const (
	Attempts   = 6
	FirstPause = 100 * time.Millisecond
	MaxPause   = 2 * time.Second
	Factor     = 2 // from one pause to the next
)

// ConnectTimeout bounds how long a connection to a back end may take to come about.
const ConnectTimeout = 5 * time.Second

// Do calls f until it succeeds, fails with an error that is not transient, or the policy is spent. A transient error
// that is left because ctx has ended wraps the error of ctx too.
func Do(ctx context.Context, transient func(error) bool, f func() error) error {
	for try := 1; ; try++ {
		err := f()
		if err == nil || !transient(err) {
			return err
		}
		if try == Attempts || Pause(ctx, try) != nil {
			return ended(ctx, err)
		}
	}
}

// ended adds the error of ctx to err, if there is one that err does not wrap.
func ended(ctx context.Context, err error) error {
	if cause := ctx.Err(); cause != nil && !errors.Is(err, cause) {
		return fmt.Errorf("%w: %w", cause, err)
	}
	return err
}

// Delay is how long to wait before the try that follows try number n, which counts from 1. It is another one each time.
func Delay(n int) time.Duration {
	longest := FirstPause
	for range n - 1 {
		longest = min(longest*Factor, MaxPause)
	}
	return rand.N(longest) + 1
}

// Pause waits for the [Delay] after try number n. It returns the error of ctx if that ends first, or has ended.
func Pause(ctx context.Context, n int) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	timer := time.NewTimer(Delay(n))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Transient reports whether err is one of a connection, and may pass: refused, reset, timed out, ended early, a name
// that is not known yet. What a back end itself answers is up to its driver: see [Status]. A deadline looks like a
// connection that timed out, so whoever has a context asks that first.
func Transient(err error) bool {
	if errors.Is(err, context.Canceled) || lasting(err) {
		return false
	}
	if e, ok := errors.AsType[net.Error](err); ok && e.Timeout() {
		return true
	}
	if _, ok := errors.AsType[*net.OpError](err); ok {
		return true
	}
	for _, e := range []error{io.EOF, io.ErrUnexpectedEOF, syscall.ECONNRESET, syscall.ECONNREFUSED, syscall.EPIPE} {
		if errors.Is(err, e) {
			return true
		}
	}
	_, ok := errors.AsType[*url.Error](err)
	return ok // net/http has no types for what goes wrong on a connection that it reuses
}

// Status reports whether the status of an answer says that the same request may succeed later.
func Status(code int) bool {
	switch code {
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusBadGateway,
		http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// Unavailable marks a transient error that is left when the policy is spent.
func Unavailable(err error) error {
	return fmt.Errorf("%w: %w", drivers.ErrUnavailable, err)
}
