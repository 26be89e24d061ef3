package gocloud

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	azblob "github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/bloberror"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/sas"
	"gocloud.dev/blob"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/drivers/parts"
	"github.com/parfait-registry/parfait/drivers/retry"
)

// An azure is what Azure can do and gocloud does not offer.
type azure struct{ container *container.Client }

// blob returns a client for the blob that gocloud keeps key in.
func (d *Driver) blob(key string) *blockblob.Client {
	return d.azure.container.NewBlockBlobClient(d.blobName(key))
}

// blobName asks gocloud for the name that it has for a key. There is no request: the listing stops before it begins.
func (d *Driver) blobName(key string) string {
	name := d.prefix + key
	_, _, _ = d.bucket.ListPage(context.Background(), blob.FirstPageToken, 1, &blob.ListOptions{
		Prefix: name,
		BeforeList: func(as func(any) bool) error {
			var opts *container.ListBlobsHierarchyOptions
			if as(&opts) {
				name = *opts.Prefix
			}
			return errors.New("that was all")
		},
	})
	return name
}

// signs reports whether there is an account key.
func (a *azure) signs() bool {
	_, err := a.container.NewBlobClient("x").GetSASURL(sas.BlobPermissions{Read: true}, time.Now().Add(time.Hour), nil)
	return err == nil
}

// blocks stores one object of Azure's. It is a [parts.Sink].
type blocks struct {
	d       *Driver
	key     string
	to      *blockblob.Client
	headers *azblob.HTTPHeaders
	unless  *azblob.AccessConditions // for the request that makes the object

	mu  sync.Mutex
	ids []string // mu guards ids, the names of the blocks by their numbers
}

var _ parts.Sink = (*blocks)(nil)

func (d *Driver) newBlocks(key string, onlyNew bool) *blocks {
	contentType, any := octets, azcore.ETagAny
	b := &blocks{d: d, key: key, to: d.blob(key), headers: &azblob.HTTPHeaders{BlobContentType: &contentType}}
	if onlyNew {
		b.unless = &azblob.AccessConditions{ModifiedAccessConditions: &azblob.ModifiedAccessConditions{IfNoneMatch: &any}}
	}
	return b
}

// Whole implements [parts.Sink].
func (b *blocks) Whole(ctx context.Context, p parts.Part) error {
	loan := parts.Lend(p.Data)
	defer loan.Return()
	_, err := b.to.Upload(ctx, loan.Open(), &blockblob.UploadOptions{HTTPHeaders: b.headers, AccessConditions: b.unless})
	return b.d.failure(ctx, "commit", b.key, err)
}

// Begin implements [parts.Sink]. Azure needs no word beforehand.
func (b *blocks) Begin(context.Context) error { return nil }

// Part implements [parts.Sink].
func (b *blocks) Part(ctx context.Context, p parts.Part) error {
	id := blockID(p.N, p.SHA256())
	loan := parts.Lend(p.Data)
	defer loan.Return()
	if _, err := b.to.StageBlock(ctx, id, loan.Open(), nil); err != nil {
		return b.d.failure(ctx, "write", b.key, err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ids = append(b.ids, make([]string, max(0, p.N+1-len(b.ids)))...)
	b.ids[p.N] = id
	return nil
}

// Complete implements [parts.Sink].
func (b *blocks) Complete(ctx context.Context, n int) error {
	_, err := b.to.CommitBlockList(ctx, b.ids[:n], &blockblob.CommitBlockListOptions{
		HTTPHeaders: b.headers, AccessConditions: b.unless})
	if dropped(err) {
		err = retry.Unavailable(errors.New("another writer of the object was faster"))
	}
	return b.d.failure(ctx, "commit", b.key, err)
}

// Abort implements [parts.Sink]. There is no way to drop blocks, and no need: Azure does so after a week.
func (b *blocks) Abort(context.Context) error { return nil }

// Failure implements [parts.Sink].
func (b *blocks) Failure(op string, err error) error {
	return &drivers.Error{Driver: b.d.name, Op: op, Key: b.key, Err: err}
}

// dropped reports whether err says that blocks are gone, as they are when another writer of the blob commits.
func dropped(err error) bool {
	return bloberror.HasCode(err, bloberror.InvalidBlockList)
}

// blockID names block n of an object after what is in it. All names have to be of one length.
func blockID(n int, content [sha256.Size]byte) string {
	return base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(content[:], uint32(n)))
}
