package registry

import (
	"context"
	"errors"
	"io/fs"
	"iter"
	"strings"
	"time"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/index"
)

const (
	// sweepAge is how long ago what a Sweeper removes was written to at the latest. No upload pauses for so long.
	sweepAge = 24 * time.Hour

	// sweepBatch bounds how many things are asked of the index at a time.
	sweepBatch = 1000
)

// Swept is what a sweep has found.
type Swept struct {
	Unknown int64 // blobs that the index did not know; they are collected if they still are unreferenced later
	Bytes   int64 // of these
	Missing int64 // blobs that the store should have and has not
	Links   int64 // of facts that are none
	Parts   int64 // of uploads that are over
}

// sweepInBackground sweeps, unless somebody has done that not long ago.
func (r *Registry) sweepInBackground(ctx context.Context) error {
	lease, err := r.index.Lease(ctx, sweepLease, r.cfg().GCSweepInterval)
	if errors.Is(err, index.ErrLeased) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := r.sweepUnfinished(ctx); err != nil {
		return errors.Join(err, lease.End(ctx))
	}
	if may, err := r.collects(ctx); !may || err != nil {
		return errors.Join(err, lease.End(ctx))
	}
	if _, err := r.sweep(ctx, sweepOptions{}); err != nil {
		return errors.Join(err, lease.End(ctx)) // it is tried again sooner
	}
	return nil
}

// sweepUnfinished removes the unfinished objects of processes that were killed, where the back end keeps such.
func (r *Registry) sweepUnfinished(ctx context.Context) error {
	sweeper, ok := drivers.As[drivers.Sweeper](r.store)
	if !ok {
		return nil
	}
	n, err := sweeper.Sweep(ctx, sweepAge)
	if n > 0 {
		r.log.Info("unfinished objects removed", "objects", n)
	}
	return err
}

// sweepOptions is how a sweep that was asked for differs.
type sweepOptions struct {
	dry      bool         // whether it is only to report
	report   func(Doomed) // is called with what will go; may be nil
	progress func()       // is called with each object; may be nil
}

// sweep compares all that is in the store with the index. What is in the store for longer than a grace period and
// unknown to the index is put on the way out of it: of a push that is under way it is no part.
func (r *Registry) sweep(ctx context.Context, o sweepOptions) (Swept, error) {
	s := &sweeper{Registry: r, sweepOptions: o, old: time.Now().Add(-r.index.Grace()), oldPart: time.Now().Add(-r.cfg().UploadTTL)}
	s.unknown.deal, s.facts.deal, s.parts.deal = s.addFound, s.doubt, s.deleteParts
	err := s.blobs(ctx)
	if err == nil {
		err = s.repositories(ctx)
	}
	if s.found != (Swept{}) && !s.dry {
		r.log.Info("swept", "unknown_blobs", s.found.Unknown, "bytes", s.found.Bytes, "missing_blobs", s.found.Missing,
			"links", s.found.Links, "upload_parts", s.found.Parts)
	}
	return s.found, err
}

// A sweeper does one sweep.
type sweeper struct {
	*Registry
	sweepOptions
	found   Swept
	old     time.Time // what was written before is old
	oldPart time.Time // and for parts of uploads

	unknown batch[index.Blob]  // to be added to the index
	facts   batch[index.Entry] // to be looked for in the index
	parts   batch[string]      // keys, to be deleted

	session string // the one that was looked for last
	lives   bool   // and whether it was found
}

// A batch gathers things and deals with sweepBatch of them at a time.
type batch[T any] struct {
	things []T
	deal   func(context.Context, []T) error
}

func (b *batch[T]) add(ctx context.Context, thing T) error {
	b.things = append(b.things, thing)
	if len(b.things) < sweepBatch {
		return nil
	}
	return b.flush(ctx)
}

// flush deals with what is left.
func (b *batch[T]) flush(ctx context.Context) error {
	things := b.things
	b.things = nil
	if len(things) == 0 {
		return nil
	}
	return b.deal(ctx, things)
}

// blobs merges the list of the store with that of the index, both in the order of digests.
func (s *sweeper) blobs(ctx context.Context) error {
	next, stop := iter.Pull2(s.indexed(ctx))
	defer stop()
	row, err, more := next()
	for o, listErr := range s.objects(ctx, root+"blobs/") {
		if listErr != nil {
			return listErr
		}
		d, ok := parseBlobKey(o.Key)
		if !ok {
			continue
		}
		for ; more && err == nil && row.Digest < d; row, err, more = next() {
			if err := s.missing(ctx, row); err != nil {
				return err
			}
		}
		if err != nil {
			return err
		}
		if more && row.Digest == d {
			row, err, more = next()
			continue
		}
		if o.ModTime.Before(s.old) {
			if err := s.addUnknown(ctx, index.Blob{Digest: d, Size: o.Size}); err != nil {
				return err
			}
		}
	}
	for ; more && err == nil; row, err, more = next() {
		if err := s.missing(ctx, row); err != nil {
			return err
		}
	}
	if err != nil {
		return err
	}
	return s.unknown.flush(ctx)
}

// objects lists the store.
func (s *sweeper) objects(ctx context.Context, prefix string) iter.Seq2[drivers.Object, error] {
	return func(yield func(drivers.Object, error) bool) {
		for o, err := range s.store.List(ctx, prefix, "") {
			if s.progress != nil && err == nil {
				s.progress()
			}
			if !yield(o, err) || err != nil {
				return
			}
		}
	}
}

// indexed lists the index.
func (s *sweeper) indexed(ctx context.Context) iter.Seq2[index.Listed, error] {
	return func(yield func(index.Listed, error) bool) {
		var last index.Listed
		for {
			page, err := s.index.Blobs(ctx, last.Digest, sweepBatch)
			if err != nil {
				yield(index.Listed{}, err)
				return
			}
			for _, last = range page {
				if !yield(last, nil) {
					return
				}
			}
			if len(page) < sweepBatch {
				return
			}
		}
	}
}

// missing looks again at a blob that the list of the store does not have: it may have come since, or gone.
func (s *sweeper) missing(ctx context.Context, row index.Listed) error {
	if !row.Stored || row.Claimed {
		return nil
	}
	absent := func() (bool, error) {
		_, err := s.store.Stat(ctx, blobKey(row.Digest))
		if errors.Is(err, fs.ErrNotExist) {
			return true, nil
		}
		return false, err
	}
	if gone, err := absent(); !gone || err != nil {
		return err
	}
	if stored, err := s.index.Stored(ctx, row.Digest); !stored || err != nil {
		return err
	}
	if gone, err := absent(); !gone || err != nil {
		return err
	}
	s.found.Missing++
	s.log.Error("the store lacks the bytes of a blob", "digest", row.Digest, "bytes", row.Size)
	return nil
}

func (s *sweeper) addUnknown(ctx context.Context, b index.Blob) error {
	s.found.Unknown++
	s.found.Bytes += b.Size
	s.doom(Doomed{Kind: DoomedUnknown, Digest: b.Digest, Size: b.Size})
	return s.unknown.add(ctx, b)
}

func (s *sweeper) addFound(ctx context.Context, unknown []index.Blob) error {
	if s.dry {
		return nil
	}
	return s.index.AddFound(ctx, unknown)
}

func (s *sweeper) doom(d Doomed) {
	if s.report != nil {
		s.report(d)
	}
}

// repositories looks for the facts of all links, and for the sessions of parts of uploads.
func (s *sweeper) repositories(ctx context.Context) error {
	for o, err := range s.objects(ctx, root+"repositories/") {
		if err != nil {
			return err
		}
		if session, ok := uploadSession(o.Key); ok {
			err = s.part(ctx, session, o)
		} else if l, parseErr := parseLink(o.Key); parseErr == nil && o.ModTime.Before(s.old) {
			err = s.link(ctx, l)
		}
		if err != nil {
			return err
		}
	}
	if err := s.facts.flush(ctx); err != nil {
		return err
	}
	return s.parts.flush(ctx)
}

// uploadSession returns the session that the part of an upload is of, be it one of the registry:2 image, which has a
// folder for each.
func uploadSession(key string) (session string, ok bool) {
	_, rest, ok := strings.Cut(key, "/_uploads/")
	if i := strings.IndexAny(rest, "./"); i >= 0 {
		rest = rest[:i]
	}
	return rest, ok
}

// part deletes a part unless its session lives.
func (s *sweeper) part(ctx context.Context, session string, o drivers.Object) error {
	if !o.ModTime.Before(s.oldPart) {
		return nil
	}
	if session != s.session {
		_, err := s.index.Session(ctx, session, "")
		if err != nil && !errors.Is(err, index.ErrNotFound) {
			return err
		}
		s.session, s.lives = session, err == nil
	}
	if s.lives {
		return nil
	}
	s.found.Parts++
	s.doom(Doomed{Kind: DoomedPart, Key: o.Key, Size: o.Size})
	return s.parts.add(ctx, o.Key)
}

func (s *sweeper) deleteParts(ctx context.Context, keys []string) error {
	if s.dry {
		return nil
	}
	return drivers.DeleteAll(ctx, s.store, keys...)
}

// link looks for the fact of a link.
func (s *sweeper) link(ctx context.Context, l link) error {
	e := index.Entry{Repo: string(l.repo), Ref: l.digest.String()}
	switch l.kind {
	case layerLink:
		e.Kind = index.Layer
	case revisionLink:
		e.Kind = index.Revision
	case tagLink:
		e.Kind, e.Ref = index.Tag, l.tag
	default:
		return nil
	}
	return s.facts.add(ctx, e)
}

// doubt has the outbox see to the links of those facts that the index does not have. If one of them has come to be
// meanwhile, it writes the link again.
func (s *sweeper) doubt(ctx context.Context, facts []index.Entry) error {
	digests, err := s.index.Digests(ctx, facts)
	if err != nil {
		return err
	}
	var none []index.Entry
	for i, e := range facts {
		if digests[i] == "" {
			none = append(none, e)
			s.found.Links++
			s.doom(Doomed{Kind: DoomedLink, Repo: e.Repo, Key: e.Ref})
		}
	}
	if s.dry || len(none) == 0 {
		return nil
	}
	entries, err := s.index.Doubt(ctx, none)
	if err != nil {
		return err
	}
	return s.outbox.adopt(ctx, entries)
}
