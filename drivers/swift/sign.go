package swift

import (
	"context"
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"net/http"
	"net/url"
	"time"
)

// The headers in which an account and a container tell their owner the key of their signed URLs.
const (
	accountKey   = "X-Account-Meta-Temp-Url-Key"
	containerKey = "X-Container-Meta-Temp-Url-Key"
)

// SignURL implements [drivers.URLSigner] with a TempURL. The time it ends is by the clock of the cluster. Only the first
// call sends requests, if the flavor names no key.
func (d *Driver) SignURL(ctx context.Context, method, key string, ttl time.Duration) (string, error) {
	if err := check(ctx, "sign", key); err != nil {
		return "", err
	}
	if !d.limits.tempURL {
		return "", failure(ctx, "sign", key, fmt.Errorf("the cluster takes no signed URLs: %w", errors.ErrUnsupported))
	}
	secret, err := d.signingKey(ctx)
	if err != nil {
		return "", failure(ctx, "sign", key, err)
	}
	base, err := d.client.publicURL(ctx)
	if err != nil {
		return "", failure(ctx, "sign", key, err)
	}
	u, err := url.Parse(d.client.url(base, request{object: d.name(key)}))
	if err != nil {
		return "", failure(ctx, "sign", key, err)
	}
	expires := d.client.now().Add(ttl).Unix()
	u.RawQuery = url.Values{
		"temp_url_sig":     {d.signature(secret, fmt.Sprintf("%s\n%d\n%s", method, expires, u.Path))},
		"temp_url_expires": {fmt.Sprint(expires)},
	}.Encode()
	return u.String(), nil
}

func (d *Driver) signature(secret, text string) string {
	if d.limits.sha256 {
		return hexHMAC(sha256.New, secret, text)
	}
	return hexHMAC(sha1.New, secret, text)
}

func hexHMAC(digest func() hash.Hash, secret, text string) string {
	mac := hmac.New(digest, []byte(secret))
	mac.Write([]byte(text))
	return hex.EncodeToString(mac.Sum(nil))
}

// signingKey returns the key that signs URLs.
func (d *Driver) signingKey(ctx context.Context) (string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.signWith != "" {
		return d.signWith, nil
	}
	key, err := d.findKey(ctx)
	if err == nil {
		d.signWith = key
	}
	return key, err
}

// findKey looks for the key in the flavor, the container and the account. If there is none, the container gets one that
// every process with the same flavor would give it, so that it does not matter which does.
func (d *Driver) findKey(ctx context.Context) (string, error) {
	if d.tempURLKey != "" {
		return d.tempURLKey, nil
	}
	key, err := d.headerOf(ctx, request{method: http.MethodHead}, containerKey)
	if err != nil || key != "" {
		return key, err
	}
	// Who has the container need not have the account: then it gives no answer, or not this header.
	key, err = d.headerOf(ctx, request{method: http.MethodHead, account: true}, accountKey)
	if key != "" || transient(err) {
		return key, err
	}
	key = d.derivedKey
	err = d.client.do(ctx, request{method: http.MethodPost, header: map[string]string{containerKey: key}}, nil)
	if err != nil {
		err = fmt.Errorf("neither container nor account show a key for signed URLs, and the container takes none: "+
			"set swift_temp_url_key: %w", err)
	}
	return key, err
}

func (d *Driver) headerOf(ctx context.Context, r request, name string) (value string, err error) {
	err = d.client.do(ctx, r, func(resp *http.Response) error {
		resp.Body.Close()
		value = resp.Header.Get(name)
		return nil
	})
	return value, err
}
