package swift

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"time"

	ncw "github.com/ncw/swift/v2"
)

// defaultDomain is what an identity service of version 3 comes with.
const defaultDomain = "Default"

// newConnection tells the library how to log in. It is used for nothing else.
func newConnection(cfg Config, transport http.RoundTripper) *ncw.Connection {
	c := &ncw.Connection{
		AuthUrl: cfg.AuthURL, AuthVersion: cfg.version(), UserName: cfg.User, ApiKey: cfg.Password,
		Tenant: cfg.TenantName, TenantId: cfg.TenantID, Region: cfg.RegionName, UserAgent: "parfait",
		EndpointType: ncw.EndpointType(cfg.endpoint()), Transport: transport,
	}
	if cfg.version() == 3 {
		c.Domain, c.DomainId = cfg.DomainName, cfg.DomainID
		c.TenantDomain, c.TenantDomainId = cfg.TenantDomainName, cfg.TenantDomainID
		if c.Domain == "" && c.DomainId == "" {
			c.Domain = defaultDomain
		}
	}
	return c
}

// login returns the URL of the account and a token for it, which it gets if there is none that holds.
func (c *client) login(ctx context.Context) (base, token string, err error) {
	if err := c.conn.Acquire(ctx, 1); err != nil {
		return "", "", err
	}
	defer c.conn.Release(1)
	if !c.swift.Authenticated() {
		if err := c.authenticate(ctx); err != nil {
			return "", "", &loginError{err}
		}
	}
	return c.swift.StorageUrl, c.swift.AuthToken, nil
}

// authenticate logs in. The caller holds conn.
func (c *client) authenticate(ctx context.Context) error {
	err := c.swift.Authenticate(ctx)
	if _, pinned := c.swift.Auth.(pinned); c.storageURL == "" || pinned || c.swift.Auth == nil {
		return err
	}
	if err != nil && !isNoStorage(err) {
		return err
	}
	c.swift.Auth = pinned{c.swift.Auth, c.storageURL}
	return c.swift.Authenticate(ctx)
}

// isNoStorage reports whether the identity service let us in, but named no object store that will do.
func isNoStorage(err error) bool {
	e, ok := errors.AsType[*ncw.Error](err)
	return ok && e.StatusCode == 0
}

// expire forgets a token that the store does not take, unless another request has got a new one meanwhile.
func (c *client) expire(ctx context.Context, token string) error {
	if err := c.conn.Acquire(ctx, 1); err != nil {
		return err
	}
	defer c.conn.Release(1)
	if c.swift.AuthToken == token {
		c.swift.UnAuthenticate()
	}
	return nil
}

// publicURL is the URL of the account for clients of the registry.
func (c *client) publicURL(ctx context.Context) (string, error) {
	base, _, err := c.login(ctx)
	if err != nil {
		return "", err
	}
	if err := c.conn.Acquire(ctx, 1); err != nil {
		return "", err
	}
	defer c.conn.Release(1)
	if catalog, ok := c.swift.Auth.(ncw.CustomEndpointAuthenticator); ok {
		base = cmp.Or(catalog.StorageUrlForEndpoint(ncw.EndpointTypePublic), base)
	}
	return base, nil
}

// pinned is an identity service with a URL of the account that is not its own.
type pinned struct {
	ncw.Authenticator
	url string
}

// StorageUrl implements [ncw.Authenticator].
func (p pinned) StorageUrl(bool) string { return p.url }

// Expires implements [ncw.Expireser]. Zero is unknown.
func (p pinned) Expires() time.Time {
	if e, ok := p.Authenticator.(ncw.Expireser); ok {
		return e.Expires()
	}
	return time.Time{}
}
