package gocloud

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"strings"

	"cloud.google.com/go/storage"
	"github.com/googleapis/gax-go/v2"
	"gocloud.dev/blob"
	"gocloud.dev/blob/azureblob"
	"gocloud.dev/blob/gcsblob"
	"gocloud.dev/blob/memblob"
	"gocloud.dev/blob/s3blob"
	"gocloud.dev/gcp"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/drivers/parts"
	"github.com/parfait-registry/parfait/drivers/retry"
)

// URLConfig is what a flavor says about a bucket that a URL names.
type URLConfig struct {
	// URL names the bucket as gocloud.dev/blob does, such as s3://bucket?region=eu-west-1, gs://bucket or
	// azblob://container. Credentials are those that the tools of the service find. No default.
	URL string `yaml:"blob_url"`
	// Path is a prefix of all names in the bucket. Default: none.
	Path string `yaml:"storage_path"`

	// PartSize is how many bytes of an object go up in one request. Default: 16MiB.
	PartSize int64 `yaml:"storage_part_size" flavor:"bytes"`
	// Buffers bounds the memory of all uploads together, in bytes. Default: 256MiB.
	Buffers int64 `yaml:"storage_buffers" flavor:"bytes"`
}

// schemes are those that blob_url may have. This is the only place that lists them. gocloud's file:// is none: it does
// not sync what it stores, nor list in order.
func schemes() *blob.URLMux {
	mux := new(blob.URLMux)
	mux.RegisterBucket(azureblob.Scheme, &azureblob.URLOpener{
		MakeClient:        azureblob.NewDefaultClient,
		ServiceURLOptions: *azureblob.NewDefaultServiceURLOptions(),
	})
	mux.RegisterBucket(gcsblob.Scheme, google{})
	mux.RegisterBucket(memblob.Scheme, &memblob.URLOpener{})
	mux.RegisterBucket(s3blob.Scheme, amazon{})
	return mux
}

// OpenURL connects to the bucket that cfg names, which has to exist, and checks that it can list, write, read and delete
// there. An error is one line that names the key of the flavor to change. ctx governs OpenURL alone.
func OpenURL(ctx context.Context, cfg URLConfig, log *slog.Logger) (*Driver, error) {
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	u, err := cfg.parse()
	if err != nil {
		return nil, err
	}
	prefix, err := drivers.Prefix(cfg.Path)
	if err != nil {
		return nil, err
	}
	bucket, err := schemes().OpenBucketURL(ctx, u)
	if err != nil {
		return nil, fmt.Errorf("blob_url %s://%s: %w", u.Scheme, u.Host, brief(err))
	}
	d := &Driver{name: "blob", bucket: bucket, prefix: prefix, log: log}
	limits := parts.Config{Size: cfg.PartSize, Buffers: cfg.Buffers, Copies: copies}
	var native azure
	if bucket.As(&native.container) {
		d.azure, limits.Copies = &native, 0
	}
	if d.pool, err = parts.NewPool(limits); err != nil {
		return nil, err
	}
	if err := d.probe(ctx); err != nil {
		return nil, explainURL(u, err)
	}
	return d, nil
}

// parse returns the URL, which is of a scheme that there is.
func (c URLConfig) parse() (*url.URL, error) {
	mux := schemes()
	known := strings.Join(mux.BucketSchemes(), "://, ") + "://"
	if c.URL == "" {
		return nil, fmt.Errorf("blob_url is empty; it names the bucket of storage: blob, and begins with %s", known)
	}
	u, err := url.Parse(c.URL)
	switch {
	case err != nil || u.Scheme == "":
		return nil, fmt.Errorf("blob_url: it is no URL; it has to begin with %s", known)
	case u.Scheme == "file":
		return nil, fmt.Errorf("blob_url: for a folder there is storage: local; it has to begin with %s", known)
	case !mux.ValidBucketScheme(u.Scheme):
		return nil, fmt.Errorf("blob_url: nothing here knows %s://; it has to begin with %s", u.Scheme, known)
	case u.Host == "" && u.Scheme != memblob.Scheme:
		return nil, fmt.Errorf("blob_url: there is no bucket after %s://", u.Scheme)
	}
	return u, nil
}

// amazon opens s3:// URLs.
type amazon struct{}

// OpenBucketURL implements [blob.BucketURLOpener]. Checksums that are not asked for are not for every server that speaks
// S3, and where there are none the library complains about each object on standard error.
func (amazon) OpenBucketURL(ctx context.Context, u *url.URL) (*blob.Bucket, error) {
	q := u.Query()
	for _, key := range []string{"request_checksum_calculation", "response_checksum_validation"} {
		if !q.Has(key) {
			q.Set(key, "when_required")
		}
	}
	with := *u
	with.RawQuery = q.Encode()
	return new(s3blob.URLOpener).OpenBucketURL(ctx, &with)
}

// google opens gs:// URLs, with application default credentials or for the emulator of STORAGE_EMULATOR_HOST.
type google struct{}

// OpenBucketURL implements [blob.BucketURLOpener].
func (google) OpenBucketURL(ctx context.Context, u *url.URL) (*blob.Bucket, error) {
	client := gcp.NewAnonymousHTTPClient(newTransport())
	if os.Getenv("STORAGE_EMULATOR_HOST") == "" {
		creds, err := gcp.DefaultCredentials(context.WithoutCancel(ctx)) // they are renewed later
		if err != nil {
			return nil, err
		}
		if client, err = gcp.NewHTTPClient(newTransport(), gcp.CredentialsTokenSource(creds)); err != nil {
			return nil, err
		}
	}
	bucket, err := (&gcsblob.URLOpener{Client: client}).OpenBucketURL(ctx, u)
	if err != nil {
		return nil, err
	}
	var library *storage.Client
	if bucket.As(&library) {
		library.SetRetry(
			storage.WithBackoff(gax.Backoff{Initial: retry.FirstPause, Max: retry.MaxPause, Multiplier: retry.Factor}),
			storage.WithMaxAttempts(retry.Attempts))
	}
	return bucket, nil
}
