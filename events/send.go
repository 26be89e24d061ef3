package events

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/parfait-registry/parfait/index"
)

// newClient returns a client for an endpoint, which verifies certificates and follows no redirects.
func newClient() *http.Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = parallel
	return &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// errExpired says that another process may be telling the endpoint by now.
var errExpired = errors.New("the lease of the endpoint has expired")

// send sends one event, in the endpoint's timeout and not beyond until. The error shows neither URL nor headers.
func (e *endpoint) send(ctx context.Context, n index.Notice, until time.Time) error {
	limit := time.Now().Add(e.Timeout)
	if until.Before(limit) {
		limit = until
	}
	ctx, cancel := context.WithDeadline(ctx, limit)
	defer cancel()
	if ctx.Err() != nil {
		return errExpired
	}
	body, err := e.Format.encode(n.Event)
	if err != nil {
		return fmt.Errorf("event %d: %w", n.ID, err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, e.URL, bytes.NewReader(body))
	if err != nil {
		return errors.New("the url is none") // Check tells mistakes
	}
	req.Header.Set("User-Agent", "parfait")
	for name, values := range e.Headers {
		req.Header.Del(name)
		for _, value := range values {
			req.Header.Add(name, value)
		}
	}
	req.Host = req.Header.Get("Host")
	req.Header.Set("Content-Type", e.Format.contentType())
	resp, err := e.client.Do(req)
	if err != nil {
		if told, ok := errors.AsType[*url.Error](err); ok {
			err = told.Err // without the URL
		}
		return err
	}
	defer resp.Body.Close()
	_, _ = io.CopyN(io.Discard, resp.Body, 64<<10) // so that the connection can be used again
	switch {
	case resp.StatusCode >= 300 && resp.StatusCode < 400:
		return fmt.Errorf("it answers %d, and redirects are not followed: name the URL that it redirects to", resp.StatusCode)
	case resp.StatusCode < 200 || resp.StatusCode >= 300:
		return fmt.Errorf("it answers %d", resp.StatusCode)
	}
	return nil
}
