package gcs

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"strings"

	"cloud.google.com/go/auth"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/drivers/retry"
)

// probeFolder is where the objects of probes are.
const probeFolder = "parfait/probe/"

// probe does once what the driver is for.
func (d *Driver) probe(ctx context.Context) error {
	const text = "Parfait wrote this to see whether it can, and is about to delete it.\n"
	key := probeFolder + strings.ToLower(rand.Text())
	for _, err := range d.list(ctx, key, "") {
		if err != nil {
			return &probeError{"list", err}
		}
	}
	s := &sink{d: d, key: key}
	if err := retry.Do(ctx, transient, func() error { return s.put(ctx, []byte(text)) }); err != nil {
		return &probeError{"write", err}
	}
	_, readErr := drivers.ReadAll(ctx, d, key, int64(len(text)))
	if err := d.remove(ctx, key); err != nil {
		return &probeError{"delete", err}
	}
	if readErr != nil {
		return &probeError{"read", readErr}
	}
	return nil
}

// A probeError says what cannot be done with objects.
type probeError struct {
	verb string
	err  error
}

func (e *probeError) Error() string { return e.verb + " objects: " + e.err.Error() }
func (e *probeError) Unwrap() error { return e.err }

// explain says why a probe failed, and which key of the flavor to change.
func explain(cfg Config, where server, probe error) error {
	bucket, _ := cfg.bucket()
	key := "gcs_bucket"
	if cfg.Bucket == "" {
		key = "boto_bucket"
	}
	err := probe
	verb := "use"
	if e, ok := errors.AsType[*probeError](probe); ok {
		verb, err = e.verb, e.err
	}
	_, syntax := errors.AsType[*json.SyntaxError](err)
	_, refused := errors.AsType[*auth.Error](err)
	switch code := status(err); {
	case refused:
		return explainToken(err)
	case code == http.StatusUnauthorized:
		return fmt.Errorf("gcs_keyfile: %s does not accept the credentials: %w", where.Host, brief(err))
	case code == http.StatusForbidden, errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("gcs_keyfile: the credentials may not %s objects in bucket %q: %w", verb, bucket, brief(err))
	case code == http.StatusNotFound:
		return fmt.Errorf("%s: there is no bucket %q at %s", key, bucket, where.Host)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s: no answer from %s within %v: %w", where.key, where.Host, openTimeout, brief(err))
	case errors.Is(err, http.ErrSchemeMismatch):
		return fmt.Errorf("%s, gs_secure: %s speaks http, not https", where.key, where.Host)
	case syntax:
		return fmt.Errorf("%s: what answers at %s is no Google Cloud Storage: %w", where.key, where.Host, brief(err))
	case code != 0 && !transient(err):
		return fmt.Errorf("%s: cannot %s objects in bucket %q: %w", key, verb, bucket, brief(err))
	}
	return fmt.Errorf("%s: cannot reach %s: %w", where.key, where.Host, brief(err))
}
