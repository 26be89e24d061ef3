package gcs

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"cloud.google.com/go/auth"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/drivers/retry"
)

// probeFolder is where the objects of probes are.
const probeFolder = "parfait/probe/"

// probe does once what the driver is for. It returns what it was about when it failed.
func (d *Driver) probe(ctx context.Context) (verb string, err error) {
	const text = "Parfait wrote this to see whether it can, and is about to delete it.\n"
	key := probeFolder + strings.ToLower(rand.Text())
	for _, err := range d.list(ctx, key, "") {
		if err != nil {
			return "list", err
		}
	}
	s := &sink{ctx: ctx, d: d, key: key}
	if err := retry.Do(ctx, transient, func() error { return s.put(ctx, []byte(text)) }); err != nil {
		return "write", err
	}
	_, readErr := drivers.ReadAll(ctx, d, key, int64(len(text)))
	if err := d.remove(ctx, key); err != nil {
		return "delete", err
	}
	return "read", readErr
}

// explain says why a probe failed, and which key of the flavor to change.
func explain(cfg Config, where server, verb string, err error) error {
	bucket, _ := cfg.bucket()
	key := "gcs_bucket"
	if cfg.Bucket == "" {
		key = "boto_bucket"
	}
	if e, ok := errors.AsType[*drivers.Error](err); ok {
		err = e.Err
	}
	_, syntax := errors.AsType[*json.SyntaxError](err)
	_, refused := errors.AsType[*auth.Error](err)
	switch code := status(err); {
	case refused:
		return explainToken(err)
	case code == http.StatusUnauthorized:
		return fmt.Errorf("gcs_keyfile: %s does not accept the credentials: %w", where.Host, brief(err))
	case code == http.StatusForbidden:
		return fmt.Errorf("gcs_keyfile: the credentials may not %s objects in bucket %q: %w", verb, bucket, brief(err))
	case code == http.StatusNotFound:
		return fmt.Errorf("%s: there is no bucket %q at %s", key, bucket, where.Host)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s: no answer from %s within %v: %w", where.key, where.Host, openTimeout, brief(err))
	case errors.Is(err, http.ErrSchemeMismatch):
		return fmt.Errorf("%s, gs_secure: %s speaks http, not https", where.key, where.Host)
	case syntax:
		return fmt.Errorf("%s: what answers at %s is no Google Cloud Storage: %w", where.key, where.Host, brief(err))
	case code == 0 || transient(err):
		return fmt.Errorf("%s: cannot %s objects at %s: %w", where.key, verb, where.Host, brief(err))
	}
	return fmt.Errorf("%s, %s: cannot %s objects in bucket %q at %s: %w", key, where.key, verb, bucket, where.Host, brief(err))
}
