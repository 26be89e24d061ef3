package gcs

import (
	"context"
	"crypto/rand"
	"hash/crc32"
	"net/http"
	"time"

	"cloud.google.com/go/storage"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/drivers/parts"
	"github.com/parfait-registry/parfait/drivers/retry"
)

const (
	contentType = "application/octet-stream"

	// markName is the name of a sink's mark in the metadata of its object.
	markName = "parfait-writer"

	// partTimeout bounds how long the library goes on with a part whose tries fail. It is long, since a line may be
	// slow; how many tries there are is up to the sink.
	partTimeout = 10 * time.Minute
)

// Create implements [drivers.Driver].
func (d *Driver) Create(ctx context.Context, key string) (drivers.Writer, error) {
	return d.create(ctx, key, "")
}

// CreateNew implements [drivers.ConditionalCreator].
func (d *Driver) CreateNew(ctx context.Context, key string) (drivers.Writer, error) {
	return d.create(ctx, key, rand.Text())
}

func (d *Driver) create(ctx context.Context, key, mark string) (drivers.Writer, error) {
	if err := check(ctx, "create", key); err != nil {
		return nil, err
	}
	return parts.NewWriter(ctx, d.pool, &sink{ctx: ctx, d: d, key: key, mark: mark}, parts.Options{AtOnce: 1}), nil
}

// A sink is where the parts of one object go.
type sink struct {
	ctx  context.Context // of the writer
	d    *Driver
	key  string
	mark string // for an object that must be new: tells it from that of any other writer

	upload *storage.Writer // of an object of several parts
	cancel context.CancelFunc
}

// Whole implements [parts.Sink]. The library does not repeat what it has no copy of, so that is done here.
func (s *sink) Whole(ctx context.Context, p parts.Part) error {
	tries := 0
	err := retry.Do(ctx, transient, func() error {
		tries++
		return s.put(ctx, p.Data)
	})
	if s.mark != "" && tries > 1 && status(err) == http.StatusPreconditionFailed && s.isOurs(ctx) {
		err = nil // a try before has succeeded, and its answer was lost
	}
	return failure(ctx, "commit", s.key, err)
}

// put stores data with one request.
func (s *sink) put(ctx context.Context, data []byte) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w := s.newUpload(ctx, s.d.object(s.key))
	w.ChunkSize = 0
	w.CRC32C = crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli))
	w.SendCRC32C = true
	if _, err := w.Write(data); err != nil {
		return err
	}
	return w.Close()
}

// newUpload starts an upload of the object.
func (s *sink) newUpload(ctx context.Context, o *storage.ObjectHandle) *storage.Writer {
	if s.mark != "" {
		o = o.If(storage.Conditions{DoesNotExist: true})
	}
	w := o.NewWriter(ctx)
	w.ContentType = contentType
	if s.mark != "" {
		w.Metadata = map[string]string{markName: s.mark}
	}
	return w
}

// isOurs reports whether the object that is there is the one that this sink has stored.
func (s *sink) isOurs(ctx context.Context) bool {
	attrs, err := s.d.object(s.key).Attrs(ctx)
	return err == nil && attrs.Metadata[markName] == s.mark
}

// Begin implements [parts.Sink]. The upload itself begins with the first part.
func (s *sink) Begin(ctx context.Context) error {
	ctx, s.cancel = context.WithCancel(ctx)
	failed := 0 // tries in a row: the library bounds those of a part by time alone, and asks about good answers too
	o := s.d.object(s.key).Retryer(storage.WithErrorFunc(func(err error) bool {
		if err == nil {
			failed = 0
			return false
		}
		failed++
		return failed < retry.Attempts && transient(err)
	}))
	s.upload = s.newUpload(ctx, o)
	s.upload.ChunkSize = int(s.d.pool.PartSize())
	s.upload.ChunkRetryDeadline = partTimeout
	return nil
}

// Part implements [parts.Sink]. Parts come in order. The library has taken the part before it stores it, so that an
// error may be that of an earlier one.
func (s *sink) Part(ctx context.Context, p parts.Part) error {
	_, err := s.upload.Write(p.Data)
	return failure(ctx, "write", s.key, err)
}

// Complete implements [parts.Sink].
func (s *sink) Complete(ctx context.Context, _ int) error {
	return failure(ctx, "commit", s.key, s.upload.Close())
}

// Abort implements [parts.Sink]. An upload whose context has ended is never finished by the library.
func (s *sink) Abort(context.Context) error {
	s.cancel()
	_ = s.upload.Close() // waits for it; the error is that of the context
	return nil
}

// Failure implements [parts.Sink].
func (s *sink) Failure(op string, err error) error {
	return failure(s.ctx, op, s.key, err)
}
