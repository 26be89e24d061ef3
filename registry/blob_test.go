package registry_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/drivers/mem"
	"github.com/parfait-registry/parfait/registry"
)

// A blob is mounted from where the client may pull it, and nowhere else.
func TestMountFromSome(t *testing.T) {
	databases(t, func(t *testing.T, p place) {
		f, ctx := start(t, registry.Config{}, p), t.Context()
		d := push(t, f.Registry, "secret", []byte("a blob")).Digest
		elsewhere := push(t, f.Registry, "public", []byte("another")).Digest
		public := func(repo string) bool { return repo == "public" }
		for _, from := range []registry.Name{"secret", "nobody", ""} {
			if _, err := f.MountBlob(ctx, "mine", d, from, public); code(err) != registry.BlobUnknown {
				t.Errorf("from %q: got %v, want BLOB_UNKNOWN", from, err)
			}
		}
		if _, err := f.Blob(ctx, "mine", d); code(err) != registry.BlobUnknown {
			t.Errorf("got %v, want that nothing was mounted", err)
		}
		push(t, f.Registry, "public", []byte("a blob"))
		for to, from := range map[registry.Name]registry.Name{"one": "", "two": "public"} {
			if b, err := f.MountBlob(ctx, to, d, from, public); err != nil || b.Size != 6 {
				t.Errorf("from %q: got %v, %v", from, b, err)
			}
			read(t, f.Registry, to, d)
		}
		if _, err := f.MountBlob(ctx, "one", elsewhere, "secret", nil); code(err) != registry.BlobUnknown {
			t.Errorf("from a repository that lacks it: got %v, want BLOB_UNKNOWN", err)
		}
		if _, err := f.MountBlob(ctx, "one", elsewhere, "", nil); err != nil {
			t.Errorf("from anywhere: %v", err)
		}
	})
}

// A signer is a store that signs URLs, or fails to.
type signer struct {
	drivers.Driver
	err error
}

func (s signer) SignURL(_ context.Context, method, key string, _ time.Duration) (string, error) {
	return "http://store.example/" + key + "?" + method, s.err
}

// A store that turns out not to sign URLs serves its blobs through the registry.
func TestBlobURL(t *testing.T) {
	broken := errors.New("broken")
	for _, tt := range []struct {
		err, want error
		ok        bool
	}{
		{nil, nil, true},
		{&drivers.Error{Err: errors.ErrUnsupported}, nil, false},
		{broken, broken, false},
	} {
		f := start(t, registry.Config{Redirect: true}, place{store: signer{mem.New(), tt.err}})
		b := push(t, f.Registry, "app", []byte("a blob"))
		url, ok, err := f.BlobURL(t.Context(), registry.Blob{Digest: b.Digest, Size: b.Size}, http.MethodGet)
		if ok != tt.ok || ok && url == "" || !errors.Is(err, tt.want) {
			t.Errorf("%v: got %q, %v, %v", tt.err, url, ok, err)
		}
	}
}
