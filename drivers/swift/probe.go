package swift

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	ncw "github.com/ncw/swift/v2"

	"github.com/parfait-registry/parfait/drivers/retry"
)

// tolerance is what two clocks may differ by, one of which tells whole seconds.
const tolerance = 2 * time.Second

// probes is what the keys of probes begin with.
const probes = "parfait/probe/"

// connect logs in, learns about the cluster, and sees to it that there is a container.
func (d *Driver) connect(ctx context.Context, cfg Config) error {
	var base string
	err := retry.Do(ctx, transient, func() (err error) {
		base, _, err = d.client.login(ctx)
		return err
	})
	if err != nil {
		return cfg.explainLogin(ctx, err)
	}
	err = retry.Do(ctx, transient, func() (err error) {
		var noLarge bool
		d.limits, noLarge, err = d.client.discover(ctx)
		if noLarge {
			return errors.New("the cluster has no static large objects (slo)")
		}
		return err
	})
	if err != nil {
		return cfg.explainStore(ctx, base, err)
	}
	err = d.client.do(ctx, request{method: http.MethodHead}, func(resp *http.Response) error {
		resp.Body.Close()
		if t, err := http.ParseTime(resp.Header.Get("Date")); err == nil && time.Until(t).Abs() > tolerance {
			d.client.skew = time.Until(t)
		}
		return nil
	})
	if status(err) == http.StatusNotFound {
		err = d.client.do(ctx, request{method: http.MethodPut}, nil)
		return cfg.explain(ctx, base, "create", err)
	}
	return cfg.explain(ctx, base, "use", err)
}

// probe does once what the driver will do all the time.
func (d *Driver) probe(ctx context.Context, cfg Config) error {
	base, _, err := d.client.login(ctx)
	if err != nil {
		return cfg.explainLogin(ctx, err)
	}
	name := d.name(probes + newID())
	for _, step := range []struct {
		verb string
		do   func() error
	}{
		{"list", func() error {
			for _, err := range d.rows(ctx, probes, "", segments) {
				return err
			}
			return nil
		}},
		{"write to", func() error { _, err := d.put(ctx, name, []byte("probe"), nil); return err }},
		{"read from", func() error { return d.client.do(ctx, request{method: http.MethodGet, object: name}, nil) }},
		{"delete from", func() error { return d.remove(ctx, name) }},
	} {
		if err := cfg.explain(ctx, base, step.verb, step.do()); err != nil {
			return err
		}
	}
	return nil
}

// explain says which key of the flavor stands in the way of a request to the container.
func (cfg *Config) explain(ctx context.Context, base, verb string, err error) error {
	switch status(err) {
	case 0:
		if err == nil {
			return nil
		}
		return cfg.explainStore(ctx, base, err)
	case http.StatusUnauthorized:
		return fmt.Errorf("swift_object_storage_url: the object store at %s does not take the token of swift_authurl (%w)", base, err)
	case http.StatusForbidden:
		return fmt.Errorf("swift_user: user %q may not %s container %q (%w)", cfg.User, verb, cfg.Container, err)
	case http.StatusNotFound:
		return fmt.Errorf("swift_object_storage_url: there is no account at %s to %s container %q in (%w)", base, verb, cfg.Container, err)
	}
	return fmt.Errorf("swift_container: %s container %q: %w", verb, cfg.Container, err)
}

// explainStore is about an object store that gives no answer, or not that of one.
func (cfg *Config) explainStore(ctx context.Context, base string, err error) error {
	if _, ok := errors.AsType[*loginError](err); ok {
		return cfg.explainLogin(ctx, err)
	}
	if isCertificate(err) {
		return fmt.Errorf("swift_cacert: the object store at %s: %w", base, err)
	}
	if cfg.ObjectStorageURL != "" {
		return fmt.Errorf("swift_object_storage_url: %w", late(ctx, err))
	}
	return fmt.Errorf("swift_object_storage_url: is not set, and the object store that swift_authurl names is at %s: %w", base, late(ctx, err))
}

// explainLogin says which key of the flavor keeps the identity service from letting us in.
func (cfg *Config) explainLogin(ctx context.Context, err error) error {
	if isCertificate(err) {
		return fmt.Errorf("swift_cacert: %w", err)
	}
	answer, ok := errors.AsType[*ncw.Error](err)
	if !ok {
		return cfg.explainNoAnswer(ctx, err)
	}
	text := fmt.Sprintf("%d %s", answer.StatusCode, http.StatusText(answer.StatusCode))
	switch answer.StatusCode {
	case 0:
		return cfg.explainNoStorage()
	case http.StatusUnauthorized, http.StatusForbidden:
		if cfg.version() > 1 {
			text += "; swift_tenant_name, and swift_domain_name for version 3, count as well"
		}
		return fmt.Errorf("swift_user, swift_password: %s does not let user %q in: %s", cfg.AuthURL, cfg.User, text)
	case http.StatusBadRequest:
		return fmt.Errorf("swift_tenant_name, swift_domain_name: %s does not understand them: %s", cfg.AuthURL, text)
	}
	return fmt.Errorf("swift_authurl: %s answers as no identity service of version %d (see swift_auth_version) does: %s",
		cfg.AuthURL, cfg.version(), text)
}

func (cfg *Config) explainNoAnswer(ctx context.Context, err error) error {
	_, syntax := errors.AsType[*json.SyntaxError](err)
	_, kind := errors.AsType[*json.UnmarshalTypeError](err)
	if syntax || kind {
		return fmt.Errorf("swift_authurl: %s answers as no identity service of version %d (see swift_auth_version) does",
			cfg.AuthURL, cfg.version())
	}
	if e, ok := errors.AsType[*loginError](err); ok {
		err = e.err
	}
	return fmt.Errorf("swift_authurl: %w", late(ctx, err))
}

func (cfg *Config) explainNoStorage() error {
	kind := cfg.endpoint()
	switch {
	case cfg.version() == 1:
		return fmt.Errorf("swift_authurl: %s answers as no identity service of version 1 (see swift_auth_version) does", cfg.AuthURL)
	case cfg.RegionName != "":
		return fmt.Errorf("swift_region_name: %s names no %s object store in region %q (see swift_endpoint_type)",
			cfg.AuthURL, kind, cfg.RegionName)
	}
	return fmt.Errorf("swift_endpoint_type: %s names no %s object store; swift_tenant_name may be missing", cfg.AuthURL, kind)
}

// late says so in plain words if time is up.
func late(ctx context.Context, err error) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("no answer within %v", openTimeout)
	}
	if errors.Is(err, io.EOF) {
		return errors.New("the connection was closed without an answer")
	}
	return err
}

// isCertificate reports whether the other side could not prove who it is.
func isCertificate(err error) bool {
	_, ok := errors.AsType[*tls.CertificateVerificationError](err)
	return ok
}
