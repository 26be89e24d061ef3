package s3

import (
	"context"
	"errors"
	"net/http"
	"time"

	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	api "github.com/aws/aws-sdk-go-v2/service/s3"
)

// SignURL implements [drivers.URLSigner] for GET and HEAD, without a request. A URL that is signed with credentials
// which end earlier than ttl ends with them.
func (d *Driver) SignURL(ctx context.Context, method, key string, ttl time.Duration) (string, error) {
	err := check(ctx, key)
	var signed *v4.PresignedHTTPRequest
	if err == nil {
		signed, err = d.sign(ctx, method, key, api.WithPresignExpires(ttl))
	}
	if err != nil {
		return "", failure(ctx, "sign", key, err)
	}
	return signed.URL, nil
}

func (d *Driver) sign(ctx context.Context, method, key string, ttl func(*api.PresignOptions)) (*v4.PresignedHTTPRequest, error) {
	switch method {
	case http.MethodGet:
		return d.presign.PresignGetObject(ctx, &api.GetObjectInput{Bucket: &d.bucket, Key: d.key(key)}, ttl)
	case http.MethodHead:
		return d.presign.PresignHeadObject(ctx, &api.HeadObjectInput{Bucket: &d.bucket, Key: d.key(key)}, ttl)
	}
	return nil, errors.ErrUnsupported
}
