package gocloud

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	azblob "github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/sas"
	"golang.org/x/sync/errgroup"

	"github.com/parfait-registry/parfait/drivers/parts"
	"github.com/parfait-registry/parfait/drivers/retry"
)

const (
	// pieceSize is how much Azure copies in one request, well before anybody would lose patience.
	pieceSize = 64 << 20
	// maxPieces is how many blocks an object of Azure's may have.
	maxPieces = 50_000
	// piecesAtOnce bounds the requests of one Compose that are under way.
	piecesAtOnce = 8
	// sourceTTL is how long the server may take until it reads a source.
	sourceTTL = time.Hour
)

// Compose implements [drivers.Composer]. It leaves the sources where they are.
func (d *Driver) Compose(ctx context.Context, dst string, srcs ...string) error {
	for _, key := range append([]string{dst}, srcs...) {
		if err := check(ctx, key); err != nil {
			return d.failure(ctx, "compose", key, err)
		}
	}
	if d.azure != nil {
		return d.composePieces(ctx, dst, srcs)
	}
	if len(srcs) != 1 {
		return d.failure(ctx, "compose", dst, errors.ErrUnsupported)
	}
	err := d.bucket.Copy(ctx, d.prefix+dst, d.prefix+srcs[0], nil)
	if status(err) == http.StatusBadRequest { // S3 copies up to 5 GiB
		err = errors.ErrUnsupported
	}
	return d.failure(ctx, "compose", srcs[0], err)
}

// A piece is a part of a source, or all of it, as one block of the object that is composed.
type piece struct {
	id     string
	url    string // of the source, with leave to read it
	etag   azcore.ETag
	off, n int64
	whole  bool // it is all of its source
}

func (d *Driver) composePieces(ctx context.Context, dst string, srcs []string) error {
	pieces, err := d.pieces(ctx, srcs)
	if err != nil {
		return err
	}
	switch {
	case len(pieces) == 0:
		return d.newBlocks(dst, false).Whole(ctx, parts.Part{})
	case len(pieces) > maxPieces:
		return d.failure(ctx, "compose", dst, errors.ErrUnsupported)
	case len(pieces) == 1 && pieces[0].whole:
		err = d.copyWhole(ctx, dst, pieces[0])
	default:
		err = retry.Do(ctx, dropped, func() error { return d.copyPieces(ctx, dst, pieces) })
	}
	return d.failure(ctx, "compose", dst, err)
}

// pieces cuts sources into what the server copies in one request.
func (d *Driver) pieces(ctx context.Context, srcs []string) ([]piece, error) {
	found := make([]azblob.GetPropertiesResponse, len(srcs))
	g, groupCtx := errgroup.WithContext(ctx)
	g.SetLimit(piecesAtOnce)
	for i, src := range srcs {
		g.Go(func() (err error) {
			found[i], err = d.blob(src).GetProperties(groupCtx, nil)
			return d.failure(groupCtx, "compose", src, err)
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	var pieces []piece
	for i, src := range srcs {
		source, err := d.sourceURL(src)
		if err != nil {
			return nil, d.failure(ctx, "compose", src, err)
		}
		size, etag := *found[i].ContentLength, *found[i].ETag
		for off := int64(0); off < size; off += pieceSize {
			n := min(pieceSize, size-off)
			content := sha256.Sum256(fmt.Appendf(nil, "%s %s %d %d", d.prefix+src, etag, off, n))
			pieces = append(pieces, piece{blockID(len(pieces), content), source, etag, off, n, n == size})
		}
	}
	return pieces, nil
}

// sourceURL is a URL that the server itself can read src from.
func (d *Driver) sourceURL(src string) (string, error) {
	client := d.blob(src)
	if d.azure.signs() {
		return client.GetSASURL(sas.BlobPermissions{Read: true}, time.Now().Add(sourceTTL), nil)
	}
	u, err := url.Parse(client.URL())
	if err != nil {
		return "", err
	}
	if !u.Query().Has("sig") {
		return "", errors.ErrUnsupported
	}
	return u.String(), nil
}

func (d *Driver) copyWhole(ctx context.Context, dst string, p piece) error {
	_, err := d.blob(dst).CopyFromURL(ctx, p.url, &azblob.CopyFromURLOptions{
		SourceModifiedAccessConditions: &azblob.SourceModifiedAccessConditions{SourceIfMatch: &p.etag}})
	return err
}

func (d *Driver) copyPieces(ctx context.Context, dst string, pieces []piece) error {
	to := d.newBlocks(dst, false)
	g, groupCtx := errgroup.WithContext(ctx)
	g.SetLimit(piecesAtOnce)
	ids := make([]string, len(pieces))
	for i, p := range pieces {
		ids[i] = p.id
		g.Go(func() error {
			_, err := to.to.StageBlockFromURL(groupCtx, p.id, p.url, &blockblob.StageBlockFromURLOptions{
				Range:                          azblob.HTTPRange{Offset: p.off, Count: p.n},
				SourceModifiedAccessConditions: &azblob.SourceModifiedAccessConditions{SourceIfMatch: &p.etag},
			})
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	_, err := to.to.CommitBlockList(ctx, ids, &blockblob.CommitBlockListOptions{HTTPHeaders: to.headers})
	return err
}

// A signer signs URLs with the account key. Azure's signatures do not tell GET from HEAD.
type signer struct{ d *Driver }

// SignURL implements [drivers.URLSigner].
func (s signer) SignURL(ctx context.Context, method, key string, ttl time.Duration) (string, error) {
	err := check(ctx, key)
	if err == nil && method != http.MethodGet && method != http.MethodHead {
		err = errors.ErrUnsupported
	}
	var u string
	if err == nil {
		u, err = s.d.blob(key).GetSASURL(sas.BlobPermissions{Read: true}, time.Now().Add(ttl), nil)
	}
	return u, s.d.failure(ctx, "sign", key, err)
}
