// Package gcs keeps objects in a bucket of Google Cloud Storage, by its JSON API.
//
// A small object is stored, read, described or deleted with one request. An object of more than one part goes up in
// order, as one resumable upload: one operation on the bill whatever its size. It is seen by nobody before its last
// byte has come; one that is abandoned is forgotten by Google after a week, and costs nothing. What the server stores
// is checked against a CRC32C of what was sent.
//
// A writer takes 256 KiB at first, then up to two parts of the pool (see package parts), and the library holds one more
// part of each large object; storage_buffers bounds all of that together. Copies and concatenations are made on the
// side of the server, 32 objects at a time.
//
// All writes may be repeated when an answer is lost: what is stored is the same each time. CreateNew puts a word of its
// own beside the object, to recognise an object that it has created itself.
package gcs

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"time"

	"cloud.google.com/go/auth/httptransport"
	"cloud.google.com/go/storage"
	"github.com/googleapis/gax-go/v2"
	"google.golang.org/api/option"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/drivers/parts"
	"github.com/parfait-registry/parfait/drivers/retry"
)

// A Driver stores in one bucket. Make one with [Open].
type Driver struct {
	name   string // of the bucket
	prefix string // of all objects
	pool   *parts.Pool
	log    *slog.Logger

	who      identity
	http     *http.Client // sends credentials, if there are any
	bucket   *storage.BucketHandle
	media    string // URL of the bucket's objects
	insecure bool   // whether that is http
}

var (
	_ drivers.Driver             = (*Driver)(nil)
	_ drivers.Composer           = (*Driver)(nil)
	_ drivers.ConditionalCreator = (*Driver)(nil)
	_ drivers.Sweeper            = (*Driver)(nil)
)

// openTimeout bounds Open.
const openTimeout = 8 * time.Second

// answerTimeout bounds the time between a request and the header of its answer.
const answerTimeout = 30 * time.Second

// Open connects to the bucket, and checks that it can list, write, read and delete there. An error is one line that
// names the key of the flavor to change. ctx governs Open alone.
func Open(ctx context.Context, cfg Config, log *slog.Logger) (*Driver, error) {
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	where, err := cfg.server()
	if err != nil {
		return nil, err
	}
	d, err := newDriver(cfg, log)
	if err != nil {
		return nil, err
	}
	transport := newTransport()
	who, err := findCredentials(ctx, cfg, where, transport)
	if err != nil {
		return nil, err
	}
	if err := d.connect(ctx, where, who, transport); err != nil {
		return nil, fmt.Errorf("%s: %w", where.key, brief(err))
	}
	if verb, err := d.probe(ctx); err != nil {
		return nil, explain(cfg, where, verb, err)
	}
	return d, nil
}

// newDriver returns one that is not connected yet.
func newDriver(cfg Config, log *slog.Logger) (*Driver, error) {
	name, err := cfg.bucket()
	if err != nil {
		return nil, err
	}
	prefix, err := drivers.Prefix(cfg.Path)
	if err != nil {
		return nil, err
	}
	// The library holds one more copy of the part that is on its way.
	pool, err := parts.NewPool(parts.Config{Size: cfg.PartSize, Buffers: cfg.Buffers, Copies: 1})
	if err != nil {
		return nil, err
	}
	return &Driver{name: name, prefix: prefix, pool: pool, log: log}, nil
}

// newTransport returns one that speaks HTTP/1: a connection for each large object is faster than one for all.
func newTransport() *http.Transport {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: retry.ConnectTimeout}).DialContext,
		TLSHandshakeTimeout:   retry.ConnectTimeout,
		ResponseHeaderTimeout: answerTimeout,
		MaxIdleConnsPerHost:   100,
		IdleConnTimeout:       90 * time.Second,
		Protocols:             &protocols,
	}
}

// connect makes the clients, without a request.
func (d *Driver) connect(ctx context.Context, where server, who identity, transport http.RoundTripper) error {
	d.http = &http.Client{
		Transport: transport,
		// Credentials go along with every request, and so would to wherever the server redirects.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	as := option.WithoutAuthentication()
	if who.credentials != nil {
		if err := httptransport.AddAuthorizationMiddleware(d.http, who.credentials); err != nil {
			return err
		}
		as = option.WithAuthCredentials(who.credentials)
	}
	api := where.String() + "/storage/v1/"
	client, err := storage.NewClient(ctx, option.WithHTTPClient(d.http), as, option.WithEndpoint(api),
		storage.WithDisabledClientMetrics())
	if err != nil {
		return err
	}
	d.bucket = client.Bucket(d.name).Retryer(
		storage.WithPolicy(storage.RetryAlways),
		storage.WithBackoff(backoff()),
		storage.WithMaxAttempts(retry.Attempts),
		storage.WithErrorFunc(transient))
	d.media = api + "b/" + url.PathEscape(d.name) + "/o/"
	d.who, d.insecure = who, where.Scheme == "http"
	return nil
}

// backoff is the policy of package retry in the library's form.
func backoff() gax.Backoff {
	return gax.Backoff{Initial: retry.FirstPause, Max: retry.MaxPause, Multiplier: retry.Factor}
}

// object returns a handle of the object at key.
func (d *Driver) object(key string) *storage.ObjectHandle { return d.bucket.Object(d.prefix + key) }

// check says what stands against operation op on key before it begins.
func check(ctx context.Context, op, key string) error {
	if err := ctx.Err(); err != nil {
		return failure(ctx, op, key, err)
	}
	return failure(ctx, op, key, drivers.ValidKey(key))
}

// Stat implements [drivers.Driver].
func (d *Driver) Stat(ctx context.Context, key string) (drivers.Object, error) {
	if err := check(ctx, "stat", key); err != nil {
		return drivers.Object{}, err
	}
	attrs, err := d.object(key).Attrs(ctx)
	if err != nil {
		return drivers.Object{}, failure(ctx, "stat", key, err)
	}
	return drivers.Object{Key: key, Size: attrs.Size, ModTime: attrs.Updated}, nil
}

// Delete implements [drivers.Driver].
func (d *Driver) Delete(ctx context.Context, key string) error {
	if err := check(ctx, "delete", key); err != nil {
		return err
	}
	return d.remove(ctx, key)
}

// remove is Delete for any key.
func (d *Driver) remove(ctx context.Context, key string) error {
	err := d.object(key).Delete(ctx)
	if status(err) == http.StatusNotFound && !bucketMissing(err) {
		return nil
	}
	return failure(ctx, "delete", key, err)
}
