package swift

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	ncw "github.com/ncw/swift/v2"
	"golang.org/x/sync/semaphore"

	"github.com/parfait-registry/parfait/drivers/parts"
	"github.com/parfait-registry/parfait/drivers/retry"
)

// A client sends requests to one container. It is safe for concurrent use.
type client struct {
	http       *http.Client
	container  string
	storageURL string        // of the flavor; empty: the identity service tells
	skew       time.Duration // by which the cluster's clock is ahead of ours

	conn  *semaphore.Weighted // of 1: guards swift, and gives way to the end of a context
	swift *ncw.Connection
}

// idleTimeout is how long a connection may wait for its next request. Swift closes it after a minute.
const idleTimeout = 30 * time.Second

// answerTimeout bounds how long Swift may take from the end of a request to the beginning of the answer, in which it
// copies objects or looks at each segment of a manifest.
const answerTimeout = time.Minute

func newClient(cfg Config) (*client, error) {
	transport := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: retry.ConnectTimeout}).DialContext,
		TLSHandshakeTimeout:   retry.ConnectTimeout,
		ResponseHeaderTimeout: answerTimeout,
		ExpectContinueTimeout: time.Second,
		MaxIdleConnsPerHost:   100,
		IdleConnTimeout:       idleTimeout,
		DisableCompression:    true, // the length of an answer has to be that of the object
	}
	if cfg.CACert != "" {
		roots, err := certificates(cfg.CACert)
		if err != nil {
			return nil, fmt.Errorf("swift_cacert: %w", err)
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	}
	return &client{
		http: &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse // which could take the token elsewhere
		}},
		container:  cfg.Container,
		storageURL: strings.TrimRight(cfg.ObjectStorageURL, "/"),
		conn:       semaphore.NewWeighted(1),
		swift:      newConnection(cfg, transport),
	}, nil
}

// certificates returns those of the system and of a PEM file.
func certificates(file string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s has no certificate in PEM form", file)
	}
	return roots, nil
}

// A request is one that may be repeated.
type request struct {
	method  string
	account bool   // it is about the account, not the container
	object  string // its name in the container; empty: the container itself
	query   url.Values
	header  map[string]string
	body    []byte
}

// do sends r as often as the policy of package retry allows, until it is answered with success. use may be nil; else it
// is given the answer, whose body it has to close, and its error counts as that of the request.
func (c *client) do(ctx context.Context, r request, use func(*http.Response) error) error {
	return retry.Do(ctx, transient, func() error {
		resp, err := c.send(ctx, r)
		if err != nil {
			return err
		}
		if use == nil {
			drain(resp.Body)
			return nil
		}
		return use(resp)
	})
}

// send sends r once, or twice if the token was no longer good. An answer without success is a [statusError].
func (c *client) send(ctx context.Context, r request) (*http.Response, error) {
	for second := false; ; second = true {
		base, token, err := c.login(ctx)
		if err != nil {
			return nil, err
		}
		resp, err := c.sendAs(ctx, base, token, r)
		if e, ok := errors.AsType[*statusError](err); !ok || e.code != http.StatusUnauthorized || second {
			return resp, err
		}
		if err := c.expire(ctx, token); err != nil {
			return nil, err
		}
	}
}

func (c *client) sendAs(ctx context.Context, base, token string, r request) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, r.method, c.url(base, r), nil)
	if err != nil {
		return nil, err
	}
	if len(r.body) > 0 {
		loan := parts.Lend(r.body)
		defer loan.Return()
		req.Body, req.ContentLength = loan.Open(), int64(len(r.body))
		req.GetBody = func() (io.ReadCloser, error) { return loan.Open(), nil }
	}
	for name, value := range r.header {
		req.Header.Set(name, value)
	}
	req.Header.Set("User-Agent", "parfait")
	req.Header.Set("X-Auth-Token", token)
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return nil, newStatusError(resp)
	}
	return resp, nil
}

// url is that of r in the account at base.
func (c *client) url(base string, r request) string {
	u := strings.TrimRight(base, "/")
	if !r.account {
		u += "/" + url.PathEscape(c.container)
	}
	if r.object != "" {
		u += "/" + escape(r.object)
	}
	if r.query != nil {
		u += "?" + r.query.Encode()
	}
	return u
}

// path is how a header or a body names an object of the container.
func (c *client) path(object string) string { return "/" + c.container + "/" + object }

// escape is for the names of objects, whose slashes stay.
func escape(name string) string {
	return (&url.URL{Path: "/" + name}).EscapedPath()[1:]
}

// drain reads what is left of a short answer, so that the connection can be used again.
func drain(body io.ReadCloser) {
	_, _ = io.CopyN(io.Discard, body, 64<<10)
	body.Close()
}

// now is the time by the clock of the cluster.
func (c *client) now() time.Time { return time.Now().Add(c.skew) }
