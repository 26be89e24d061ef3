package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/opencontainers/go-digest"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/index"
)

// What the store shows, one thing at a time. An error of type [*Error] says that it is broken; the others are those of
// the driver.

// readLink reads the digest that a link holds.
func readLink(ctx context.Context, store drivers.Driver, key string) (digest.Digest, error) {
	const longest = 200 // bytes; a digest has 71 or 135
	text, err := readUpTo(ctx, store, key, longest)
	if err != nil {
		return "", err
	}
	return ParseDigest(string(text))
}

// largestManifest bounds what is read as a manifest, in bytes, whatever max_manifest_size was when it was pushed.
const largestManifest = 64 << 20

// readManifest reads a manifest, whose bytes have to have the digest d.
func readManifest(ctx context.Context, store drivers.Driver, d digest.Digest) (index.Manifest, error) {
	payload, err := readUpTo(ctx, store, blobKey(d), largestManifest)
	if err != nil {
		return index.Manifest{}, err
	}
	if got := d.Algorithm().FromBytes(payload); got != d {
		return index.Manifest{}, &Error{Code: DigestInvalid, Message: fmt.Sprintf("the manifest has the digest %s", got)}
	}
	m, err := parseManifest("", payload)
	m.Digest = d
	return m, err
}

// readUpTo reads a whole object, which must not have more than limit bytes.
func readUpTo(ctx context.Context, store drivers.Driver, key string, limit int64) ([]byte, error) {
	body, err := store.Open(ctx, key, 0, limit+1)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	data, err := io.ReadAll(body)
	if err == nil && int64(len(data)) > limit {
		err = &Error{Code: SizeInvalid, Message: fmt.Sprintf("it has more than %d bytes", limit)}
	}
	return data, err
}

// findBlob returns the size of the blob d, to which the link at key belongs. Distribution keeps a blob that was pushed
// by a sha512 digest under its sha256 digest alone, and has the link hold that. If copies is set, such a blob is copied
// to its own place.
func findBlob(ctx context.Context, store drivers.Driver, key string, d digest.Digest, copies bool) (size int64, err error) {
	o, err := store.Stat(ctx, blobKey(d))
	if !errors.Is(err, fs.ErrNotExist) || d.Algorithm() == digest.Canonical {
		return o.Size, err
	}
	target, err := readLink(ctx, store, key)
	if err != nil {
		return 0, err
	}
	if target == d {
		return 0, &Error{Code: BlobUnknown, Message: "the store lacks the blob"}
	}
	if !copies {
		o, err = store.Stat(ctx, blobKey(target))
		return o.Size, err
	}
	return copyBlob(ctx, store, target, d)
}

// copyBlob makes the bytes of from, which have the digest to as well, a blob of that.
func copyBlob(ctx context.Context, store drivers.Driver, from, to digest.Digest) (size int64, err error) {
	r, err := store.Open(ctx, blobKey(from), 0, -1)
	if err != nil {
		return 0, err
	}
	defer r.Close()
	w, err := store.Create(ctx, blobKey(to))
	if err != nil {
		return 0, err
	}
	defer w.Close()
	h := to.Algorithm().Hash()
	if size, err = ingest(w, h, r); err != nil {
		return 0, err
	}
	if err := checkDigest(to, h); err != nil {
		return 0, err
	}
	return size, w.Commit()
}
