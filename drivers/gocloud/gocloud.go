// Package gocloud keeps objects in a bucket that package gocloud.dev/blob can open: a container of Azure Blob Storage
// (storage: azureblob, see [OpenAzure]), or what a URL names (storage: blob, see [OpenURL]).
//
// A small object is stored, read, described or deleted with one request. List pages through what has the prefix; only
// S3 and Google start right after a given key, elsewhere what comes before it is listed too, and skipped.
//
// # Azure
//
// An object of more than a part goes up as blocks, several at once, straight from the buffers of the pool: a writer
// takes what package parts says, and nothing on top. Nobody sees blocks before they are committed; those that never
// are, Azure drops after a week. A block is named after its content. So of several writers of one large object, all
// can commit if they bring the same bytes; of those that bring others, the first to commit wins, and the rest get
// [drivers.ErrUnavailable]: Azure has dropped their blocks.
//
// Compose copies on the side of the server, up to 64 MiB in one request and more as blocks, which also nobody sees
// before they are committed. That and SignURL take an account key; with a SAS token there is Compose alone, and with
// Azure's default credentials objects are composed by streaming them.
//
// # Other buckets
//
// A writer keeps up to 256 KiB, and then streams into gocloud's own writer in order. For that it takes a part of
// storage_part_size and four more that the libraries may hold, so that large uploads beyond storage_buffers wait for
// others to end. The drivers made for S3 and Google do better.
//
// # Names
//
// gocloud writes a slash after two dots as "__0x2f__", and so such keys sort as if the slash were an underscore. Azure
// lists in byte order unless the account has a hierarchical namespace, which is not supported.
package gocloud

import (
	"context"
	"log/slog"
	"time"

	"gocloud.dev/blob"
	"gocloud.dev/gcerrors"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/drivers/parts"
)

// A Driver stores in one bucket. Make one with [OpenAzure] or [OpenURL].
type Driver struct {
	name   string // of the back end, for errors
	bucket *blob.Bucket
	azure  *azure // nil if the bucket is none of Azure's
	prefix string
	pool   *parts.Pool
	log    *slog.Logger
}

var (
	_ drivers.Driver             = (*Driver)(nil)
	_ drivers.Composer           = (*Driver)(nil)
	_ drivers.ConditionalCreator = (*Driver)(nil)
	_ drivers.URLSigner          = signer{}
)

// openTimeout bounds Open.
const openTimeout = 8 * time.Second

// octets is the type of all objects, which keeps gocloud from guessing one.
const octets = "application/octet-stream"

// As hands out a [drivers.URLSigner] where there is a key to sign with (see [drivers.As]).
func (d *Driver) As(target any) bool {
	t, ok := target.(*drivers.URLSigner)
	if !ok || d.azure == nil || !d.azure.signs() {
		return false
	}
	*t = signer{d}
	return true
}

// Stat implements [drivers.Driver].
func (d *Driver) Stat(ctx context.Context, key string) (drivers.Object, error) {
	if err := check(ctx, key); err != nil {
		return drivers.Object{}, d.failure(ctx, "stat", key, err)
	}
	attrs, err := d.bucket.Attributes(ctx, d.prefix+key)
	if err != nil {
		return drivers.Object{}, d.failure(ctx, "stat", key, err)
	}
	return drivers.Object{Key: key, Size: attrs.Size, ModTime: attrs.ModTime}, nil
}

// Delete implements [drivers.Driver].
func (d *Driver) Delete(ctx context.Context, key string) error {
	if err := check(ctx, key); err != nil {
		return d.failure(ctx, "delete", key, err)
	}
	err := d.bucket.Delete(ctx, d.prefix+key)
	if err == nil || absent(err) {
		return nil
	}
	return d.failure(ctx, "delete", key, err)
}

// absent reports whether err says that there is no such object, in a bucket that is there.
func absent(err error) bool {
	return gcerrors.Code(err) == gcerrors.NotFound && !forbidden(err) && !bucketMissing(err)
}

// check says what stands against an operation on key before it begins.
func check(ctx context.Context, key string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return drivers.ValidKey(key)
}
