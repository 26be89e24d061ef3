package legacy

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/registry"
)

// A note is kept in the new store for each layer that was imported, so that no run reads it again: the digests of a
// layer cannot be had without reading it all.
type note struct {
	layer
	Stored int64 `json:"stored"` // size in the old store, in bytes
}

func noteKey(id string) string { return "parfait/import-v1/" + id }

// recall returns what is noted of the layer of the image id, which the old store has with so many bytes. ok is false if
// that is nothing of use: notes are not synced, so a power cut may have damaged one.
func (x *importer) recall(ctx context.Context, id string, stored int64) (l layer, ok bool, err error) {
	const longest = 1 << 10 // bytes
	data, err := drivers.ReadAll(ctx, x.Store, noteKey(id), longest)
	if errors.Is(err, fs.ErrNotExist) {
		return layer{}, false, nil
	}
	if err != nil {
		return layer{}, false, err
	}
	n, ok := parseNote(data)
	return n.layer, ok && n.Stored == stored, nil
}

func parseNote(data []byte) (n note, ok bool) {
	if err := json.Unmarshal(data, &n); err != nil {
		return note{}, false
	}
	if _, err := registry.ParseDigest(n.DiffID.String()); err != nil {
		return note{}, false
	}
	if n.Digest != "" {
		if _, err := registry.ParseDigest(n.Digest.String()); err != nil {
			return note{}, false
		}
	}
	return n, true
}

// remember notes what the layer of the image id has become.
func (x *importer) remember(ctx context.Context, id string, l layer, stored int64) error {
	data, err := json.Marshal(note{l, stored})
	if err != nil {
		return err
	}
	return drivers.StagePut(ctx, x.Store, noteKey(id), data)
}
