package swift

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	composeAtOnce = 8         // requests
	copySize      = 512 << 20 // bytes that Swift copies in one request, within [answerTimeout]; it takes up to 5 GiB
	maxManifest   = 8 << 20   // bytes
)

// abortTimeout bounds the time that is spent on the remains of a Compose that failed.
const abortTimeout = 30 * time.Second

// Compose implements [drivers.Composer]. Sources stay. One small source is copied by Swift, with one request. One large
// source and dst share their segments. Several sources are copied by Swift into segments of dst; but if all are no more
// than one part, it is better to stream them, so that dst becomes a small object.
func (d *Driver) Compose(ctx context.Context, dst string, srcs ...string) error {
	for _, key := range slices.Concat(srcs, []string{dst}) {
		if err := check(ctx, "compose", key); err != nil {
			return err
		}
	}
	switch len(srcs) {
	case 0:
		return failure(ctx, "compose", dst, errors.ErrUnsupported)
	case 1:
		return d.copy(ctx, dst, srcs[0])
	default:
		return d.concatenate(ctx, dst, srcs)
	}
}

// noEtag is that of no object. With it, Swift copies small objects, for which it takes the etag of the source instead, and
// refuses to copy a manifest, for which it does not.
const noEtag = "00000000000000000000000000000000"

func (d *Driver) copy(ctx context.Context, dst, src string) error {
	err := d.client.do(ctx, request{
		method: http.MethodPut, object: d.name(dst), query: url.Values{"multipart-manifest": {"get"}},
		header: map[string]string{"X-Copy-From": escape(d.client.path(d.name(src))), "X-Fresh-Metadata": "true", "Etag": noEtag},
	}, nil)
	if status(err) == http.StatusUnprocessableEntity {
		err = d.share(ctx, dst, src)
	}
	switch {
	case err == nil:
		return nil
	case status(err) == http.StatusNotFound:
		return failure(ctx, "compose", src, err)
	}
	return failure(ctx, "compose", dst, err)
}

// share gives the large object src a second manifest, at dst.
func (d *Driver) share(ctx context.Context, dst, src string) error {
	var manifest []byte
	id := ""
	err := d.client.do(ctx, request{
		method: http.MethodGet, object: d.name(src), query: url.Values{"multipart-manifest": {"get"}, "format": {"raw"}},
		header: map[string]string{"X-Newest": "true"},
	}, func(resp *http.Response) (err error) {
		defer resp.Body.Close()
		if id = resp.Header.Get(idHeader); id == "" || !isLarge(resp.Header) {
			return fmt.Errorf("a source that is no large object of this driver: %w", errors.ErrUnsupported)
		}
		manifest, err = io.ReadAll(io.LimitReader(resp.Body, maxManifest))
		return err
	})
	if err != nil {
		return err
	}
	if err := (folder{d, id}).claim(ctx, dst); err != nil {
		return err
	}
	return d.putRawManifest(ctx, d.name(dst), manifest, map[string]string{idHeader: id})
}

// A piece is a range of a source that becomes a segment.
type piece struct {
	src    string
	off, n int64
}

func (d *Driver) concatenate(ctx context.Context, dst string, srcs []string) error {
	pieces, total, err := d.pieces(ctx, srcs)
	if err != nil {
		return err
	}
	if total <= d.pool.PartSize() {
		return failure(ctx, "compose", dst, fmt.Errorf("%d bytes in all: %w", total, errors.ErrUnsupported))
	}
	f := folder{d, newID()}
	if err := f.claim(ctx, dst); err != nil {
		return failure(ctx, "compose", dst, err)
	}
	list, err := d.copyPieces(ctx, f, pieces)
	if err != nil {
		return errors.Join(err, d.abandon(ctx, f, dst, len(pieces)))
	}
	if err := f.name(ctx, dst, list, map[string]string{idHeader: f.id}); err != nil {
		return failure(ctx, "compose", dst, err)
	}
	return nil
}

// pieces cuts the sources into what Swift copies in one request each.
func (d *Driver) pieces(ctx context.Context, srcs []string) (pieces []piece, total int64, err error) {
	sizes := make([]int64, len(srcs))
	g, groupCtx := errgroup.WithContext(ctx)
	g.SetLimit(composeAtOnce)
	for i, src := range srcs {
		g.Go(func() error {
			o, err := d.stat(groupCtx, src)
			if err != nil {
				return failure(groupCtx, "compose", src, err)
			}
			sizes[i] = o.Size
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, 0, err
	}
	for i, src := range srcs {
		total += sizes[i]
		for off := int64(0); off < sizes[i]; off += copySize {
			pieces = append(pieces, piece{src, off, min(copySize, sizes[i]-off)})
		}
	}
	return pieces, total, nil
}

// copyPieces makes pieces the segments of f.
func (d *Driver) copyPieces(ctx context.Context, f folder, pieces []piece) ([]segment, error) {
	list := make([]segment, len(pieces))
	g, groupCtx := errgroup.WithContext(ctx)
	g.SetLimit(composeAtOnce)
	for i, p := range pieces {
		g.Go(func() error {
			r := request{method: http.MethodPut, object: f.segment(i), header: ranged(p.off, p.n)}
			r.header["X-Copy-From"] = escape(d.client.path(d.name(p.src)))
			r.header["X-Fresh-Metadata"] = "true"
			err := d.client.do(groupCtx, r, func(resp *http.Response) error {
				drain(resp.Body)
				list[i] = segment{f.segment(i), strings.Trim(resp.Header.Get("Etag"), `"`), p.n}
				return nil
			})
			if err != nil {
				return failure(groupCtx, "compose", p.src, err)
			}
			return nil
		})
	}
	return list, g.Wait()
}

// abandon removes up to n segments that no manifest was asked for.
func (d *Driver) abandon(ctx context.Context, f folder, dst string, n int) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortTimeout)
	defer cancel()
	var names []string
	for i := range n {
		names = append(names, f.segment(i))
	}
	if err := d.removeAll(ctx, append(names, f.owner(dst))); err != nil {
		return failure(ctx, "compose", dst, err)
	}
	return nil
}
