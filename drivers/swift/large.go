package swift

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
)

// segments is where the folders are, after the driver's prefix. It sorts after every key.
const segments = "~segments/"

// A folder holds the segments of one large object, and the names of its owners. See the package's rule.
type folder struct {
	d  *Driver
	id string
}

func (f folder) path() string { return f.d.prefix + segments + f.id + "/" }

// segment is the name of segment number n.
func (f folder) segment(n int) string { return fmt.Sprintf("%s%08d", f.path(), n) }

// manifest is the name of manifest number n of those that the object's own manifest names, at a level of them.
func (f folder) manifest(level, n int) string {
	return fmt.Sprintf("%smanifest-%d-%06d", f.path(), level, n)
}

// owners is what the names of owners begin with.
const owners = "owner/"

// owner is the name of the object that makes key an owner.
func (f folder) owner(key string) string { return f.path() + owners + key }

// mark is the name of the object that says that a sweep has found no owner.
func (f folder) mark() string { return f.path() + "unowned" }

// claim makes key an owner. It comes before a manifest at key.
func (f folder) claim(ctx context.Context, key string) error {
	_, err := f.d.put(ctx, f.owner(key), nil, nil)
	return err
}

// A segment is what a manifest names: bytes, or a further manifest.
type segment struct {
	name string // in the container
	etag string
	size int64 // bytes; never 0
}

// name makes the segments the object at key, which owns the folder. header goes with its manifest. Where that would have
// to name more segments than the cluster allows, it names manifests in the folder which do.
func (f folder) name(ctx context.Context, key string, list []segment, header map[string]string) error {
	for level := 0; len(list) > f.d.limits.manifest; level++ {
		var upper []segment
		for len(list) > 0 {
			n := min(len(list), f.d.limits.manifest)
			s, err := f.d.putManifest(ctx, f.manifest(level, len(upper)), list[:n], nil)
			if err != nil {
				return err
			}
			upper, list = append(upper, s), list[n:]
		}
		list = upper
	}
	_, err := f.d.putManifest(ctx, f.d.name(key), list, header)
	return err
}

// putManifest stores a manifest under a name of the container, and returns it as a segment for another one. Swift checks
// that all it names is there, and what it was when it was stored.
func (d *Driver) putManifest(ctx context.Context, name string, list []segment, header map[string]string) (segment, error) {
	type entry struct {
		Path string `json:"path"`
		Etag string `json:"etag"`
		Size int64  `json:"size_bytes"`
	}
	entries := make([]entry, len(list))
	sums, size := md5.New(), int64(0)
	for i, s := range list {
		entries[i] = entry{d.client.path(s.name), s.etag, s.size}
		fmt.Fprint(sums, s.etag)
		size += s.size
	}
	body, err := json.Marshal(entries)
	if err != nil {
		return segment{}, err
	}
	err = d.putRawManifest(ctx, name, body, header)
	return segment{name, hex.EncodeToString(sums.Sum(nil)), size}, err
}

// putRawManifest stores a manifest in Swift's own form.
func (d *Driver) putRawManifest(ctx context.Context, name string, manifest []byte, header map[string]string) error {
	h := map[string]string{"Content-Type": "application/octet-stream"}
	for name, value := range header {
		h[name] = value
	}
	query := url.Values{"multipart-manifest": {"put"}}
	return d.client.do(ctx, request{method: http.MethodPut, object: name, query: query, header: h, body: manifest}, nil)
}
