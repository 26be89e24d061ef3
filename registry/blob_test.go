package registry_test

import (
	"testing"

	"github.com/parfait-registry/parfait/drivers/mem"
	"github.com/parfait-registry/parfait/registry"
)

// A blob is mounted from where the client may pull it, and nowhere else.
func TestMountFromSome(t *testing.T) {
	f, ctx := start(t, registry.Config{}, mem.New()), t.Context()
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
}
