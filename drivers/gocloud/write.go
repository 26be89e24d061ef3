package gocloud

import (
	"bytes"
	"context"
	"io"
	"io/fs"

	"gocloud.dev/blob"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/drivers/parts"
	"github.com/parfait-registry/parfait/drivers/retry"
)

// copies is how many parts the libraries hold of one object that streams, beside the one here: what S3's takes, which
// is the most.
const copies = 4

// small is how many bytes a stream takes before it needs a part of the pool.
const small = 256 << 10

// Create implements [drivers.Driver].
func (d *Driver) Create(ctx context.Context, key string) (drivers.Writer, error) {
	return d.create(ctx, key, false)
}

// CreateNew implements [drivers.ConditionalCreator].
func (d *Driver) CreateNew(ctx context.Context, key string) (drivers.Writer, error) {
	return d.create(ctx, key, true)
}

func (d *Driver) create(ctx context.Context, key string, onlyNew bool) (drivers.Writer, error) {
	if err := check(ctx, key); err != nil {
		return nil, d.failure(ctx, "create", key, err)
	}
	if d.azure != nil {
		return parts.NewWriter(ctx, d.pool, d.newBlocks(key, onlyNew), parts.Options{Sums: true}), nil
	}
	ctx, cancel := context.WithCancel(ctx)
	return &stream{ctx: ctx, cancel: cancel, d: d, key: key, onlyNew: onlyNew}, nil
}

// A stream writes an object in order, by gocloud's own means. gocloud's Writer cannot be used: Azure's panics when the
// service refuses the object, and others take Close for the end of an object that is whole.
type stream struct {
	ctx     context.Context // of the upload; ended before anything that gocloud could take for the object's end
	cancel  context.CancelFunc
	d       *Driver
	key     string
	onlyNew bool

	buffer []byte         // what has not been sent
	pipe   *io.PipeWriter // to the upload; nil if there is none
	done   chan struct{}  // closed when the upload has ended
	result error          // of the upload. Set before done is closed.
	over   bool           // committed or closed
}

// Write takes p. It waits for room in the pool when it has taken more than a little.
func (s *stream) Write(p []byte) (int, error) {
	if s.over {
		return 0, s.d.failure(s.ctx, "write", s.key, fs.ErrClosed)
	}
	if s.pipe == nil && len(s.buffer)+len(p) <= small {
		s.buffer = append(s.buffer, p...)
		return len(p), nil
	}
	if s.pipe == nil {
		if err := s.start(); err != nil {
			return 0, s.d.failure(s.ctx, "write", s.key, err)
		}
	}
	total := len(p)
	for len(p) > 0 {
		if len(s.buffer) == cap(s.buffer) {
			if err := s.flush(); err != nil {
				return total - len(p), s.d.failure(s.ctx, "write", s.key, err)
			}
		}
		n := min(cap(s.buffer)-len(s.buffer), len(p))
		s.buffer = append(s.buffer, p[:n]...)
		p = p[n:]
	}
	return total, nil
}

// start lets the upload begin, with a buffer of the pool that is also the leave for what the libraries hold.
func (s *stream) start() error {
	b, err := s.d.pool.Get(s.ctx)
	if err != nil {
		return err
	}
	s.buffer = append(b, s.buffer...)
	var r *io.PipeReader
	r, s.pipe = io.Pipe()
	s.done = make(chan struct{})
	go func() {
		defer close(s.done)
		s.result = s.upload(r)
		r.CloseWithError(s.result)
	}()
	return nil
}

// upload stores what r gives, up to its end, as the object.
func (s *stream) upload(r io.Reader) error {
	return s.d.bucket.Upload(s.ctx, s.d.prefix+s.key, r, &blob.WriterOptions{
		ContentType:    octets,
		BufferSize:     int(s.d.pool.PartSize()),
		MaxConcurrency: 1,
		IfNotExist:     s.onlyNew,
	})
}

// flush sends the buffer.
func (s *stream) flush() error {
	_, err := s.pipe.Write(s.buffer)
	s.buffer = s.buffer[:0]
	return err
}

// Commit makes the object visible.
func (s *stream) Commit() error {
	if s.over {
		return s.d.failure(s.ctx, "commit", s.key, fs.ErrClosed)
	}
	s.over = true
	if err := s.commit(); err != nil {
		return s.d.failure(s.ctx, "commit", s.key, err)
	}
	return nil
}

func (s *stream) commit() error {
	if err := s.ctx.Err(); err != nil {
		return err
	}
	if s.pipe == nil {
		return retry.Do(s.ctx, deniedForNow, func() error { return s.upload(bytes.NewReader(s.buffer)) })
	}
	if err := s.flush(); err != nil {
		return err
	}
	s.pipe.Close()
	<-s.done
	return s.result
}

// Close drops what was not committed.
func (s *stream) Close() error {
	s.over = true
	s.cancel()
	if s.pipe == nil {
		return nil
	}
	s.pipe.CloseWithError(context.Canceled)
	<-s.done
	s.d.pool.Put(s.buffer)
	s.pipe, s.buffer = nil, nil
	return nil
}
