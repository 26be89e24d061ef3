package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// A target is a registry under test.
type target struct {
	name  string
	base  *url.URL // without a path; user and password in it become Basic authentication
	pid   int      // 0: not known
	empty bool     // the bare handler, which answers as it is asked to and keeps nothing
	http  *http.Client
	prepared
}

// Prepared is what scenarios have left on a target for others.
type prepared struct {
	big     *blob  // in repository big
	image   *image // in repository image, as v1
	tagged  string // repository with all the tags
	catalog bool   // whether the catalog has been filled
}

func newTarget(name, address string) (*target, error) {
	base, err := url.Parse(strings.TrimSuffix(address, "/"))
	if err != nil {
		return nil, err
	}
	if base.Host == "" || base.Path != "" {
		return nil, fmt.Errorf("not a registry's URL: %q", address)
	}
	return &target{name: name, base: base, http: &http.Client{Transport: newTransport()}}, nil
}

// Send makes a request and hands over the answer, whose body the caller closes. An answer with none of the statuses
// in want is an error.
func (t *target) send(ctx context.Context, method, ref string, body *blob, header http.Header, want ...int) (*http.Response, error) {
	u, err := t.base.Parse(ref)
	if err != nil {
		return nil, err
	}
	if u.User == nil && u.Host == t.base.Host {
		u.User = t.base.User
	}
	req := (&http.Request{Method: method, URL: u, Host: u.Host, Header: header}).WithContext(ctx)
	if body != nil {
		req.ContentLength = body.size
		req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(body.reader()), nil }
		req.Body, _ = req.GetBody()
	}
	resp, err := t.http.Do(req)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(want, resp.StatusCode) {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 300))
		resp.Body.Close()
		return nil, fmt.Errorf("%s %s: got %s, want %v: %s", method, u.Redacted(), resp.Status, want, text)
	}
	return resp, nil
}

// Exchange is send for answers whose body is small. It reads the body to its end.
func (t *target) exchange(ctx context.Context, method, ref string, body *blob, header http.Header, want ...int) (*http.Response, []byte, error) {
	resp, err := t.send(ctx, method, ref, body, header, want...)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	payload, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, nil, fmt.Errorf("%s %s: %w", method, ref, err)
	}
	return resp, payload, nil
}

// CheckDigest compares the digest that the registry names, if it names one, to the right one.
func checkDigest(resp *http.Response, want string) error {
	if got := resp.Header.Get("Docker-Content-Digest"); got != "" && got != want {
		return fmt.Errorf("%s %s: got Docker-Content-Digest %s, want %s", resp.Request.Method, resp.Request.URL.Path, got, want)
	}
	return nil
}

func octets() http.Header { return http.Header{"Content-Type": {"application/octet-stream"}} }

// PushStream pushes a blob as docker does: POST, PATCH, PUT.
func (t *target) pushStream(ctx context.Context, repo string, b *blob) error {
	location, err := t.startUpload(ctx, repo)
	if err != nil {
		return err
	}
	resp, _, err := t.exchange(ctx, http.MethodPatch, location, b, octets(), http.StatusAccepted)
	if err != nil {
		return err
	}
	location, err = locationOf(resp)
	if err != nil {
		return err
	}
	return t.finishUpload(ctx, location, b.digest, nil)
}

// PushWhole pushes a blob as containerd does: POST, PUT.
func (t *target) pushWhole(ctx context.Context, repo string, b *blob) error {
	location, err := t.startUpload(ctx, repo)
	if err != nil {
		return err
	}
	return t.finishUpload(ctx, location, b.digest, b)
}

func (t *target) startUpload(ctx context.Context, repo string) (location string, err error) {
	resp, _, err := t.exchange(ctx, http.MethodPost, "/v2/"+repo+"/blobs/uploads/", nil, nil, http.StatusAccepted)
	if err != nil {
		return "", err
	}
	return locationOf(resp)
}

func (t *target) finishUpload(ctx context.Context, location, digest string, body *blob) error {
	separator := "?"
	if strings.Contains(location, "?") {
		separator = "&"
	}
	resp, _, err := t.exchange(ctx, http.MethodPut, location+separator+"digest="+url.QueryEscape(digest), body, octets(), http.StatusCreated)
	if err != nil {
		return err
	}
	return checkDigest(resp, digest)
}

func locationOf(resp *http.Response) (string, error) {
	u, err := resp.Location()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w", resp.Request.Method, resp.Request.URL.Path, err)
	}
	return u.String(), nil
}

// HasBlob asks for a blob by HEAD.
func (t *target) hasBlob(ctx context.Context, repo string, b *blob) (bool, error) {
	ref := "/v2/" + repo + "/blobs/" + b.digest
	resp, _, err := t.exchange(ctx, http.MethodHead, ref, nil, nil, http.StatusOK, http.StatusNotFound)
	if err != nil || resp.StatusCode == http.StatusNotFound {
		return false, err
	}
	if resp.ContentLength != b.size && !t.empty {
		return false, fmt.Errorf("HEAD %s: got length %d, want %d", ref, resp.ContentLength, b.size)
	}
	return true, checkDigest(resp, b.digest)
}

// Mount links a blob of another repository and says whether the registry did.
func (t *target) mount(ctx context.Context, repo, from string, b *blob) (bool, error) {
	query := url.Values{"mount": {b.digest}, "from": {from}}
	resp, _, err := t.exchange(ctx, http.MethodPost, "/v2/"+repo+"/blobs/uploads/?"+query.Encode(), nil, nil,
		http.StatusCreated, http.StatusAccepted)
	return err == nil && resp.StatusCode == http.StatusCreated, err
}

// PullBlob gets a blob and compares each byte of it.
func (t *target) pullBlob(ctx context.Context, repo string, b *blob) error {
	ref := "/v2/" + repo + "/blobs/" + b.digest
	resp, err := t.send(ctx, http.MethodGet, ref, nil, nil, http.StatusOK)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := b.compare(resp.Body, 0, b.size); err != nil {
		return fmt.Errorf("GET %s: %w", ref, err)
	}
	return checkDigest(resp, b.digest)
}

// PullRange gets n bytes of a blob from off on and compares them.
func (t *target) pullRange(ctx context.Context, repo string, b *blob, off, n int64) error {
	ref := "/v2/" + repo + "/blobs/" + b.digest
	part := fmt.Sprintf("bytes %d-%d/%d", off, off+n-1, b.size)
	header := http.Header{"Range": {fmt.Sprintf("bytes=%d-%d", off, off+n-1)}}
	resp, err := t.send(ctx, http.MethodGet, ref, nil, header, http.StatusPartialContent)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if got := resp.Header.Get("Content-Range"); got != part {
		return fmt.Errorf("GET %s: got Content-Range %q, want %q", ref, got, part)
	}
	if err := b.compare(resp.Body, off, n); err != nil {
		return fmt.Errorf("GET %s, %s: %w", ref, part, err)
	}
	return nil
}

func (t *target) putManifest(ctx context.Context, repo, tag string, manifest *blob) error {
	header := http.Header{"Content-Type": {manifestType}}
	resp, _, err := t.exchange(ctx, http.MethodPut, "/v2/"+repo+"/manifests/"+tag, manifest, header, http.StatusCreated)
	if err != nil {
		return err
	}
	return checkDigest(resp, manifest.digest)
}

func (t *target) pullManifest(ctx context.Context, repo, tag string, manifest *blob) error {
	ref := "/v2/" + repo + "/manifests/" + tag
	resp, payload, err := t.exchange(ctx, http.MethodGet, ref, nil, http.Header{"Accept": {manifestType}}, http.StatusOK)
	if err != nil {
		return err
	}
	if !bytes.Equal(payload, manifest.data) {
		return fmt.Errorf("GET %s: got %.60q…, want the manifest %s", ref, payload, manifest.digest)
	}
	return checkDigest(resp, manifest.digest)
}

// PushImage pushes an image as docker does: HEAD, POST, PATCH, PUT for each blob, then the manifest.
func (t *target) pushImage(ctx context.Context, repo, tag string, img *image) error {
	for _, b := range img.blobs {
		has, err := t.hasBlob(ctx, repo, b)
		if err != nil {
			return err
		}
		if has {
			return fmt.Errorf("%s has %s before it was pushed", t.name, b.digest)
		}
		if err := t.pushStream(ctx, repo, b); err != nil {
			return err
		}
	}
	return t.putManifest(ctx, repo, tag, img.manifest)
}

// PullImage pulls the manifest, then each blob.
func (t *target) pullImage(ctx context.Context, repo, tag string, img *image) error {
	if err := t.pullManifest(ctx, repo, tag, img.manifest); err != nil {
		return err
	}
	for _, b := range img.blobs {
		if err := t.pullBlob(ctx, repo, b); err != nil {
			return err
		}
	}
	return nil
}

func (t *target) deleteManifest(ctx context.Context, repo string, manifest *blob) error {
	_, _, err := t.exchange(ctx, http.MethodDelete, "/v2/"+repo+"/manifests/"+manifest.digest, nil, nil, http.StatusAccepted)
	return err
}

// Page gets n names of a list after last, the values of key in the answer, and compares them to want. More says
// whether the answer has to name a next page.
func (t *target) page(ctx context.Context, ref, key, last string, want []string, more bool) error {
	query := url.Values{"n": {strconv.Itoa(len(want))}, "last": {last}}
	resp, payload, err := t.exchange(ctx, http.MethodGet, ref+"?"+query.Encode(), nil, nil, http.StatusOK)
	if err != nil {
		return err
	}
	var list map[string]json.RawMessage
	var names []string
	if err := errors.Join(json.Unmarshal(payload, &list), json.Unmarshal(list[key], &names)); err != nil {
		return fmt.Errorf("GET %s: %w", ref, err)
	}
	if !slices.Equal(names, want) {
		return fmt.Errorf("GET %s after %s: got %d names %.60q…, want %d", ref, last, len(names), names, len(want))
	}
	if more && resp.Header.Get("Link") == "" {
		return fmt.Errorf("GET %s after %s: no Link to the next page", ref, last)
	}
	return nil
}
