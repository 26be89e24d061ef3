package s3

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/aws/aws-sdk-go-v2/aws"
	api "github.com/aws/aws-sdk-go-v2/service/s3"
	"golang.org/x/sync/errgroup"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/drivers/parts"
)

const (
	minPart = 5 << 20 // of all but the last part of an object
	maxCopy = 5 << 30 // of one request

	// copyPart is how much one request of several copies. More would take longer, as they run side by side. An object
	// that is known to be larger is copied in such parts, too.
	copyPart = 64 << 20

	copiesAtOnce = 8

	// maxLarge bounds the objects that are known to be large: about 200 bytes each.
	maxLarge = 1024
)

// Compose implements [drivers.Composer]. One source of up to 5 GiB is one request, unless this process wrote it and it is
// larger than a part of a copy: then it is several at the same time.
func (d *Driver) Compose(ctx context.Context, dst string, srcs ...string) error {
	for _, key := range append([]string{dst}, srcs...) {
		if err := check(ctx, key); err != nil {
			return failure(ctx, "compose", key, err)
		}
	}
	if len(srcs) == 1 && srcs[0] != dst {
		if o, ok := d.large.Get(srcs[0]); ok && d.join(ctx, dst, []span{{key: srcs[0], n: o.size, whole: true, etag: &o.etag}}) == nil {
			return nil
		}
		err := d.copy(ctx, dst, srcs[0])
		if err == nil {
			return nil
		}
		if !incapable(err) { // for the size of the source, say
			return composeFailure(ctx, srcs[0], dst, err)
		}
	}
	spans, err := d.spans(ctx, srcs)
	if err != nil {
		return err
	}
	return d.join(ctx, dst, spans)
}

// copy makes dst a copy of src.
func (d *Driver) copy(ctx context.Context, dst, src string) error {
	_, err := d.api.CopyObject(ctx, &api.CopyObjectInput{
		Bucket: &d.bucket, Key: d.key(dst), CopySource: d.source(src),
		ServerSideEncryption: d.encrypt, SSEKMSKeyId: optional(d.kmsKey), StorageClass: d.class,
	}, d.clients.slowly)
	return err
}

// source is how a copy names the object at key. Neither bucket nor key holds a character that wants to be escaped.
func (d *Driver) source(key string) *string { return aws.String(d.bucket + "/" + d.prefix + key) }

// composeFailure is about src if that is what is missing. What the server cannot do, the caller may do by streaming.
func composeFailure(ctx context.Context, src, dst string, err error) error {
	key := dst
	if code(err) == "NoSuchKey" {
		key = src
	}
	if incapable(err) {
		err = fmt.Errorf("%w: %s", errors.ErrUnsupported, oneLine(err))
	}
	return failure(ctx, "compose", key, err)
}

// A span is a piece of an object.
type span struct {
	key    string
	off, n int64
	whole  bool    // whether it is all of the object
	etag   *string // of the object; nil if it is not known
}

// A large object is one that was stored in several parts.
type large struct {
	size int64 // bytes
	etag string
}

// spans returns the objects at keys that hold anything.
func (d *Driver) spans(ctx context.Context, keys []string) ([]span, error) {
	all := make([]span, len(keys))
	g, sub := errgroup.WithContext(ctx)
	g.SetLimit(copiesAtOnce)
	for i, key := range keys {
		g.Go(func() error {
			o, err := d.stat(sub, key)
			if err != nil {
				return failure(sub, "compose", key, err)
			}
			all[i] = span{key: key, n: o.Size, whole: true}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	var filled []span
	for _, s := range all {
		if s.n > 0 {
			filled = append(filled, s)
		}
	}
	return filled, nil
}

// join makes dst the concatenation of spans.
func (d *Driver) join(ctx context.Context, dst string, spans []span) error {
	if len(spans) == 1 && spans[0].n <= copyPart && spans[0].key != dst {
		if err := d.copy(ctx, dst, spans[0].key); err != nil {
			return composeFailure(ctx, spans[0].key, dst, err)
		}
		return nil
	}
	pieces := cut(spans)
	if len(pieces) > maxParts {
		return failure(ctx, "compose", dst, fmt.Errorf("%d parts: %w", len(pieces), errors.ErrUnsupported))
	}
	u := &upload{d: d, key: dst}
	if size(spans) <= d.pool.PartSize() {
		return u.gather(ctx, spans, func(data []byte) error {
			if err := d.put(ctx, dst, parts.Part{Data: data}); err != nil {
				return failure(ctx, "compose", dst, err)
			}
			return nil
		})
	}
	if err := u.begin(ctx); err != nil {
		return failure(ctx, "compose", dst, err)
	}
	err := u.copyAll(ctx, pieces)
	if err != nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), parts.AbortTimeout)
		defer cancel()
		_ = u.Abort(ctx) // Sweep finds it otherwise
	}
	return err
}

// cut divides spans into what is to be one part each: most are ranges of one source, to be copied by the server, and as
// equal as the sources allow, since some servers insist on that. What is too small for a part is put together with what
// follows, up to the least that a part may have.
func cut(spans []span) [][]span {
	each := max(int64(copyPart), size(spans)/(maxParts/2))
	var pieces [][]span
	var small []span
	for _, s := range spans {
		if lack := minPart - size(small); len(small) > 0 {
			n := min(lack, s.n)
			small = append(small, span{key: s.key, off: s.off, n: n})
			s = span{key: s.key, off: s.off + n, n: s.n - n}
			if n < lack {
				continue
			}
			pieces, small = append(pieces, small), nil
		}
		switch {
		case s.n == 0:
		case s.n < minPart:
			small = []span{s}
		default:
			pieces = append(pieces, divide(s, each)...)
		}
	}
	if len(small) > 0 {
		pieces = append(pieces, small)
	}
	return pieces
}

// divide cuts s into equal pieces, but for the last, of up to each bytes.
func divide(s span, each int64) [][]span {
	count := (s.n + each - 1) / each
	if count == 1 {
		return [][]span{{s}}
	}
	var pieces [][]span
	length := (s.n + count - 1) / count
	for off := int64(0); off < s.n; off += length {
		pieces = append(pieces, []span{{key: s.key, off: s.off + off, n: min(length, s.n-off), etag: s.etag}})
	}
	return pieces
}

// size is the number of bytes of spans.
func size(spans []span) (n int64) {
	for _, s := range spans {
		n += s.n
	}
	return n
}

// copyAll makes a part of each piece, and the object of the parts.
func (u *upload) copyAll(ctx context.Context, pieces [][]span) error {
	g, sub := errgroup.WithContext(ctx)
	g.SetLimit(copiesAtOnce)
	for n, piece := range pieces {
		g.Go(func() error {
			if len(piece) == 1 {
				return u.copyPart(sub, n, piece[0])
			}
			return u.gather(sub, piece, func(data []byte) error {
				if err := u.part(sub, parts.Part{N: n, Data: data}); err != nil {
					return failure(sub, "compose", u.key, err)
				}
				return nil
			})
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if err := u.complete(ctx); err != nil { // since the parts are not equal, say
		return composeFailure(ctx, u.key, u.key, err)
	}
	return nil
}

// copyPart has the server make s part n.
func (u *upload) copyPart(ctx context.Context, n int, s span) error {
	input := &api.UploadPartCopyInput{
		Bucket: &u.d.bucket, Key: u.d.key(u.key), UploadId: &u.id, PartNumber: aws.Int32(int32(n) + 1),
		CopySource: u.d.source(s.key), CopySourceIfMatch: s.etag,
	}
	if !s.whole {
		input.CopySourceRange = aws.String(fmt.Sprintf("bytes=%d-%d", s.off, s.off+s.n-1))
	}
	out, err := u.d.api.UploadPartCopy(ctx, input, u.d.clients.slowly)
	if err == nil && out.CopyPartResult == nil {
		err = errors.ErrUnsupported
	}
	if err != nil {
		u.lost(ctx)
		return composeFailure(ctx, s.key, u.key, err)
	}
	u.add(n, out.CopyPartResult.ETag, s.n)
	return nil
}

// gather reads spans, which fit into a part, into a buffer of the pool for use.
func (u *upload) gather(ctx context.Context, spans []span, use func(data []byte) error) error {
	buffer, err := u.d.pool.Get(ctx)
	if err != nil {
		return failure(ctx, "compose", u.key, err)
	}
	defer u.d.pool.Put(buffer)
	data := buffer[:size(spans)]
	g, sub := errgroup.WithContext(ctx)
	g.SetLimit(copiesAtOnce)
	rest := data
	for _, s := range spans {
		into := rest[:s.n]
		rest = rest[s.n:]
		g.Go(func() error { return u.d.readSpan(sub, s, into) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return use(data)
}

func (d *Driver) readSpan(ctx context.Context, s span, into []byte) error {
	r, err := d.Open(ctx, s.key, s.off, s.n)
	if err == nil {
		defer r.Close()
		_, err = io.ReadFull(r, into)
	}
	if e, ok := errors.AsType[*drivers.Error](err); ok {
		err = e.Err
	}
	if err != nil {
		return &drivers.Error{Driver: "s3", Op: "compose", Key: s.key, Err: err}
	}
	return nil
}
