// Package swift keeps objects in a container of OpenStack Swift. Start with [Open].
//
// # Large objects
//
// An object of up to one part (storage_part_size) is an object of Swift, stored with one request. A larger one is a
// static large object: a manifest at its key that names segments, which Swift reads one after the other. They are below
// "~segments/", after storage_path: no key can begin so, and List ends before it. They share the container with the rest
// because Swift lets a signed URL read nothing beyond the container whose key signed it.
//
// Segments never change, and several manifests may name the same: that is how [Driver.Compose] gives a large object
// another key without a copy of its bytes. So nothing that deletes or replaces an object looks at segments. This is the
// rule instead:
//
//   - The segments of one upload are in a folder of their own, "~segments/<id>/", and a manifest names those of one
//     folder only. It carries the id in its metadata, and is taken for one of any folder if somebody removes that.
//   - Before a manifest is stored at a key, an empty object "~segments/<id>/owner/<key>" is.
//   - Only [Driver.Sweep] removes a folder once its manifest was asked for, and only if none of the keys that may own it
//     has a manifest with its id, which it asks of the objects at those keys and not of a listing. It takes two sweeps:
//     the first one that finds a folder without an owner leaves a mark in it, and a later one removes it if the mark is
//     old enough and there still is no owner.
//
// A crash at any point thus leaves a folder that is swept later, never a manifest without its segments. The space of a
// large object that was deleted or replaced is free after the second sweep that follows.
//
// # Consistency
//
// Swift is eventually consistent. A small cluster shows new objects at once; on a large one that is in trouble, a listing
// may lag behind, and a read may see an object that was replaced a moment ago. Sweep counts on listings that lag by
// less than half the age that it is given. Of two that replace one object, the later one by the clocks of Swift's
// proxies wins. See [Driver.CreateNew] for what there is of atomic creation.
//
// # Memory
//
// A writer holds up to 256 KiB, and beyond that up to five parts from a pool that all writers share (storage_buffers).
// List holds a page of up to 5000 rows.
package swift

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"log/slog"
	"sync"
	"time"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/drivers/parts"
)

// A Driver stores objects in one container, below a prefix. Make one with [Open].
type Driver struct {
	client *client
	prefix string // of all names in the container
	pool   *parts.Pool
	limits limits
	log    *slog.Logger

	tempURLKey string // of the flavor
	derivedKey string // what the container is given if there is no key at all
	mu         sync.Mutex
	signWith   string // mu guards signWith: the key that URLs are signed with, once it is known
}

var (
	_ drivers.Driver             = (*Driver)(nil)
	_ drivers.Composer           = (*Driver)(nil)
	_ drivers.BatchDeleter       = (*Driver)(nil)
	_ drivers.ConditionalCreator = (*Driver)(nil)
	_ drivers.URLSigner          = (*Driver)(nil)
	_ drivers.Sweeper            = (*Driver)(nil)
)

// openTimeout bounds [Open].
const openTimeout = 8 * time.Second

// Open returns a driver on the container that cfg names, which it makes if there is none, after it has listed, written,
// read and deleted an object there. Errors name the key of the flavor that has to be changed.
func Open(ctx context.Context, cfg Config, log *slog.Logger) (*Driver, error) {
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	d, err := newDriver(cfg, log)
	if err != nil {
		return nil, err
	}
	if err := d.connect(ctx, cfg); err != nil {
		return nil, err
	}
	return d, d.probe(ctx, cfg)
}

// newDriver is Open without a request.
func newDriver(cfg Config, log *slog.Logger) (*Driver, error) {
	prefix, err := cfg.check()
	if err != nil {
		return nil, err
	}
	pool, err := parts.NewPool(parts.Config{Size: cfg.PartSize, Buffers: cfg.Buffers})
	if err != nil {
		return nil, err
	}
	c, err := newClient(cfg)
	if err != nil {
		return nil, err
	}
	return &Driver{client: c, prefix: prefix, pool: pool, log: log, tempURLKey: cfg.TempURLKey,
		derivedKey: hexHMAC(sha256.New, cfg.Password, "signed URLs of "+cfg.Container)}, nil
}

// name is the name in the container of the object at key.
func (d *Driver) name(key string) string { return d.prefix + key }

// check says what stands against operation op on key before it begins.
func check(ctx context.Context, op, key string) error {
	if err := ctx.Err(); err != nil {
		return failure(ctx, op, key, err)
	}
	if err := drivers.ValidKey(key); err != nil {
		return failure(ctx, op, key, err)
	}
	return nil
}

// newID returns what nobody else has.
func newID() string { return rand.Text() }
