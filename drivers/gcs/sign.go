package gcs

import (
	"context"
	"time"

	"cloud.google.com/go/storage"

	"github.com/parfait-registry/parfait/drivers"
)

// As hands out the capability of a [drivers.URLSigner] (see [drivers.As]) if the credentials are those of a service
// account: nobody else can sign.
func (d *Driver) As(target any) bool {
	t, ok := target.(*drivers.URLSigner)
	if !ok || d.who.sign == nil && !d.who.remote {
		return false
	}
	*t = signer{d}
	return true
}

// A signer makes URLs in the driver's name.
type signer struct{ d *Driver }

var _ drivers.URLSigner = signer{}

// SignURL implements [drivers.URLSigner]. Where the key of the service account is not at hand, as on a machine of
// Google's, the server makes the signature: that takes a request or two for each URL, and a role that has the right,
// such as roles/iam.serviceAccountTokenCreator.
func (s signer) SignURL(ctx context.Context, method, key string, ttl time.Duration) (string, error) {
	if err := check(ctx, "sign", key); err != nil {
		return "", err
	}
	options := &storage.SignedURLOptions{
		Scheme:   storage.SigningSchemeV4,
		Method:   method,
		Expires:  time.Now().Add(ttl),
		Insecure: s.d.insecure,
	}
	if s.d.who.sign != nil {
		options.GoogleAccessID, options.SignBytes = s.d.who.account, s.d.who.sign
	}
	u, err := s.d.bucket.SignedURL(s.d.prefix+key, options)
	return u, failure(ctx, "sign", key, err)
}
