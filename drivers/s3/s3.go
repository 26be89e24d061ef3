// Package s3 keeps objects in a bucket of Amazon S3, or of any other server that speaks its language: MinIO, Ceph,
// versitygw, R2, Google's interoperability endpoint.
//
// An object of up to one part (storage_part_size) is one PutObject; a larger one goes up in parts of equal size,
// several at once (see package parts). Compose is a copy on the server; of what is too small to be copied there, up to
// 5 MiB a source come through this process.
//
// # Memory
//
// A writer holds up to 256 KiB, and then up to five parts of the pool that storage_buffers bounds. Nothing holds a
// part twice. A reader holds 64 KiB, and List a page of 1000 objects.
//
// # Check sums
//
// Over http the server checks the SHA-256 of each body, as it is part of the signature; over https TLS does that, and
// no second sum is sent. The newer headers and trailers with check sums are left out, since many servers refuse them.
// Deletions in batches carry the Content-MD5 that they have to have.
//
// # Failures
//
// Requests are repeated as package retry says, by the SDK; one that timed out is repeated once. A read that breaks goes
// on where it broke, if the object is still the same. A bucket that is gone is [drivers.ErrUnavailable], not the
// absence of each object in it; only Stat cannot tell.
package s3

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	api "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/drivers/parts"
)

// A Driver stores objects in one bucket, below a prefix. Make one with [Open].
type Driver struct {
	api      *api.Client
	clients  clients
	presign  *api.PresignClient
	bucket   string
	prefix   string // of all keys
	encrypt  types.ServerSideEncryption
	kmsKey   string
	class    types.StorageClass
	pool     *parts.Pool
	sums     bool        // whether what is stored is signed
	noCreate bool        // whether the server cannot create only what is absent
	noBatch  atomic.Bool // whether the server cannot delete in batches

	large *lru.Cache[string, large] // objects above copyPart that this process wrote lately
}

var (
	_ drivers.Driver             = (*Driver)(nil)
	_ drivers.URLSigner          = (*Driver)(nil)
	_ drivers.Composer           = (*Driver)(nil)
	_ drivers.BatchDeleter       = (*Driver)(nil)
	_ drivers.ConditionalCreator = (*Driver)(nil)
	_ drivers.Sweeper            = (*Driver)(nil)
)

const (
	openTimeout  = 7 * time.Second
	probeTimeout = time.Second // for the removal of a probe when all else has failed

	// probes is where Open leaves a small object for a moment.
	probes = "parfait/probe/"

	firstRegion = "us-east-1" // to ask for the right one
)

// Open returns a driver on the bucket that cfg names, after it has listed, written, read and deleted there. ctx governs
// Open alone, which takes at most 8 s. An error is one line that begins with the key of the flavor to change.
func Open(ctx context.Context, cfg Config, log *slog.Logger) (*Driver, error) {
	s, err := cfg.settings()
	if err != nil {
		return nil, err
	}
	c := newClients()
	d, err := s.open(ctx, cfg, c, log)
	if err != nil {
		c.close()
		return nil, err
	}
	return d, nil
}

func (s *settings) open(ctx context.Context, cfg Config, c clients, log *slog.Logger) (*Driver, error) {
	trying, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	who, region, err := identity(trying, cfg)
	if err != nil {
		return nil, fmt.Errorf("s3_access_key is empty, and what Amazon's tools are set to cannot be read: %s", oneLine(err))
	}
	found, err := who.Retrieve(trying)
	if err != nil && ctx.Err() != nil {
		return nil, ctx.Err()
	} else if err != nil {
		return nil, errors.New("s3_access_key is empty, and there are no credentials where Amazon's tools look for them")
	}
	s.region = region
	if region == "" {
		s.region = firstRegion
	}
	d := s.driver(who, c)
	err = d.try(trying, s, log)
	if right := rightRegion(err); right != "" && region == "" {
		s.region = right
		d = s.driver(who, c)
		err = d.try(trying, s, log)
	}
	switch {
	case err == nil:
		return d, nil
	case ctx.Err() != nil:
		return nil, ctx.Err()
	}
	return nil, s.explain(ctx, err, found.Source)
}

// driver returns one that has not been tried.
func (s *settings) driver(who aws.CredentialsProvider, c clients) *Driver {
	d := &Driver{
		api: s.newAPI(s.endpoint, s.region, who, c), clients: c, bucket: s.bucket, prefix: s.prefix, kmsKey: s.kmsKey,
		class: types.StorageClass(s.storageClass), pool: s.pool, sums: s.signPayload,
	}
	d.large, _ = lru.New[string, large](maxLarge) // fails if that is not positive
	public := d.api
	if s.public != "" {
		public = s.newAPI(s.public, s.region, who, c)
	}
	d.presign = api.NewPresignClient(public)
	switch {
	case s.kmsKey != "":
		d.encrypt = types.ServerSideEncryptionAwsKms
	case s.encrypt != choiceFalse:
		d.encrypt = types.ServerSideEncryptionAes256
	}
	return d
}

// A step is what Open failed at.
type step struct {
	doing string // "list", …
	err   error
}

func (s *step) Error() string { return s.doing + ": " + s.err.Error() }
func (s *step) Unwrap() error { return s.err }

// try does once what the registry does all the time, and finds out what the server cannot do.
func (d *Driver) try(ctx context.Context, s *settings, log *slog.Logger) error {
	_, err := d.api.ListObjectsV2(ctx, &api.ListObjectsV2Input{
		Bucket: &d.bucket, Prefix: optional(d.prefix), MaxKeys: aws.Int32(1),
	})
	if err != nil {
		return &step{"list", err}
	}
	key := probes + rand.Text()
	if err := d.tryWrite(ctx, key, s, log); err != nil {
		return err
	}
	err = d.tryRest(ctx, key)
	if err != nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), probeTimeout)
		defer cancel()
		_ = d.Delete(ctx, key) // Sweep finds it otherwise
	}
	return err
}

// tryWrite stores a probe at key, encrypted if that is wanted and can be.
func (d *Driver) tryWrite(ctx context.Context, key string, s *settings, log *slog.Logger) error {
	out, err := d.api.PutObject(ctx, d.putInput(key, []byte(key)))
	refused := err != nil && d.encrypt != "" && cannotEncrypt(err)
	ignored := err == nil && d.encrypt != "" && out.ServerSideEncryption == ""
	switch {
	case !refused && !ignored:
	case s.encrypt != choiceAuto:
		if ignored {
			err = errIgnored
			_ = d.Delete(ctx, key)
		}
		return &step{"encrypt", err}
	default:
		d.encrypt = ""
		if refused {
			_, err = d.api.PutObject(ctx, d.putInput(key, []byte(key)))
		}
		if err == nil {
			log.Warn("s3_encrypt: the server does not encrypt; objects are stored as they are", "bucket", d.bucket)
		}
	}
	if err != nil {
		return &step{"write", err}
	}
	return nil
}

var errIgnored = errors.New("it ignores the request to encrypt")

// tryRest reads, replaces conditionally and deletes the probe at key.
func (d *Driver) tryRest(ctx context.Context, key string) error {
	got, err := d.api.GetObject(ctx, &api.GetObjectInput{Bucket: &d.bucket, Key: d.key(key)})
	if err != nil {
		return &step{"read", err}
	}
	data, err := io.ReadAll(io.LimitReader(got.Body, 1<<10))
	got.Body.Close()
	if err == nil && !bytes.Equal(data, []byte(key)) {
		err = errors.New("other bytes came back than were written")
	}
	if err != nil {
		return &step{"read", err}
	}
	input := d.putInput(key, []byte(key))
	input.IfNoneMatch = aws.String("*")
	_, err = d.api.PutObject(ctx, input)
	if err != nil && transient(err) && !conflict(err) {
		return &step{"write", err}
	}
	d.noCreate = !conflict(err)
	_, err = d.api.DeleteObject(ctx, &api.DeleteObjectInput{Bucket: &d.bucket, Key: d.key(key)})
	if err != nil {
		return &step{"delete", err}
	}
	return nil
}

// Close closes the connections that wait for requests. The driver can be used no more.
func (d *Driver) Close() error {
	d.clients.close()
	return nil
}

// key is the name of the object at key, as the SDK wants it.
func (d *Driver) key(key string) *string { return aws.String(d.prefix + key) }

// check says what stands against an operation on key before it begins.
func check(ctx context.Context, key string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return drivers.ValidKey(key)
}
